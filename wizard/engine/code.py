"""Code on its way: own, a project's release, or the plugins and themes that people put into an
application (engine.gather); fetched on the build machine, carried to webservers, told its settings.

In production mode the archive goes to the bucket, and each webserver takes it from there: those
that autoscalers build do so as well.
"""

from __future__ import annotations

import secrets as random
from functools import partial
from string import Template

from wizard.answers import sections
from wizard.answers.sections import Release
from wizard.engine import agents, gather, open, release, repository, ssh
from wizard.engine.context import Context
from wizard.engine.graph import Reporter, Step
from wizard.errors import MachineError, UsageError
from wizard.machines.certificates import DATABASE_TRUST
from wizard.machines.job import DatabaseSettings
from wizard.machines.places import SITE
from wizard.machines.shared_config import bucket_at
from wizard.rules import Role
from wizard.secrets import Secret, generate

_FETCH = "code"
FOLDER = "code/"
"""Where in the deployment's bucket archives are, named by their SHA-256."""
SETTINGS = "settings_file"
"""The secret that autoscalers have in place of the template: the settings file itself."""


def wanted(context: Context) -> sections.Code | Release | None:
    """Return where the code comes from; None where it comes as Debian's package."""
    return context.answers.application.code


def is_released(context: Context) -> bool:
    """Say whether the application comes as a release of its project."""
    return isinstance(wanted(context), Release)


def fetched(context: Context) -> tuple[str, ...]:
    """Return the step that fetches the code, if there is code: nothing is begun before."""
    return (_FETCH,) if wanted(context) else ()


def gathered(context: Context) -> tuple[str, ...]:
    """Return the step that gathers the code from a webserver, if that is where it comes from: what
    others are told of it is told after that."""
    return (gather.STEP,) if gather.due(context) else ()


def _comes(context: Context) -> bool:
    """Say whether there is code to carry."""
    return bool(wanted(context) or gather.due(context) or context.code)


def carried(context: Context, machine: str) -> tuple[str, ...]:
    """Return the step after which a webserver has the archive."""
    return (f"code:{machine}",) if _comes(context) else ()


def steps(context: Context) -> list[Step]:
    """Return the steps that fetch the code and carry it to the webservers."""
    if not _comes(context):
        return []
    fetch = Step(_FETCH, "fetch the code", partial(_fetch, context), expected=2)
    return [
        *([fetch] if wanted(context) else []),
        *_store(context),
        *(
            carry(context, machine.name, f"configure:{machine.name}", *stored(context))
            for machine in context.plan.of_role(Role.WEBSERVER)
        ),
    ]


def carry(context: Context, machine: str, *needs: str) -> Step:
    """Return the step after which a webserver has the archive."""
    return Step(
        f"code:{machine}",
        "carry the code there",
        partial(bring, context, machine),
        needs=needs,
        machine=machine,
        expected=1,
    )


def stored(context: Context) -> tuple[str, ...]:
    """Return the step after which the archive is where machines get it: here, or in the bucket."""
    if not _comes(context):
        return ()
    return tuple(step.id for step in _store(context)) or (_FETCH,)


def _store(context: Context) -> list[Step]:
    if context.plan.mode != "production":
        return []
    title = "put the code into the bucket"
    needs = (*fetched(context), *gathered(context), "bucket")
    return [Step("code:bucket", title, partial(_put, context), needs=needs)]


def _put(context: Context, report: Reporter) -> str:
    assert context.bucket is not None
    code = context.code
    if code is None:
        return "there is none"
    key = f"{FOLDER}{code.settings.digest}.tar"
    if key in context.bucket.keys(FOLDER):
        return "is there"
    if not code.archive.is_file():
        raise UsageError(
            "the files that webservers have in common are neither in the bucket nor here",
            where=key,
            cure="bring them from a deployment that has them: build-usb carry FROM "
            f"{context.plan.deployment}",
        )
    report.progress(key, 0, 1)
    context.bucket.put(key, code.archive.read_bytes())
    return f"{code.archive.stat().st_size // 1024} KiB"


def forget(context: Context) -> None:
    """Take archives of before out of the bucket, when nobody needs them any more."""
    if context.code is None or context.bucket is None:
        return
    for key in context.bucket.keys(FOLDER):
        if key != f"{FOLDER}{context.code.settings.digest}.tar":
            context.bucket.delete(key)


def settings_text(context: Context, database: DatabaseSettings) -> Secret | None:
    """Return the settings file of own code, None if it has none."""
    code = context.code
    if code is None or not code.settings.settings:
        return None
    return (
        context.secrets.get(SETTINGS)
        if context.inside
        else settings_file(context, code.template, database)
    )


def settings_file(context: Context, template: str, database: DatabaseSettings) -> Secret:
    """Return the settings file: the template with `${NAME}` of the names below filled in; all
    other text, and other names, stay as they are."""
    plan = context.plan

    def secret(name: str) -> str:
        return context.secrets.get_or_create(name, generate).reveal()

    values = {
        "SITE_URL": f"https://{plan.application.hosts[0]}",
        "SITE_HOST": plan.application.hosts[0],
        "SITE_TITLE": plan.application.title,
        "ADMIN_USER": plan.application.admin_user,
        "ADMIN_EMAIL": plan.application.admin_email,
        "ADMIN_PASSWORD": secret("admin_password"),
        "APPLICATION_KEY": context.secrets.get_or_create(
            "application_key", lambda: Secret(random.token_hex(32))
        ).reveal(),
    }
    if database.engine:
        values |= {
            "DATABASE_HOST": database.address,
            "DATABASE_PORT": str(database.port),
            "DATABASE_NAME": database.name,
            "DATABASE_USER": database.user,
            "DATABASE_PASSWORD": secret("database_password"),
            "DATABASE_CERTIFICATE": DATABASE_TRUST,
        }
    return Secret(Template(template).safe_substitute(values))


def _fetch(context: Context, report: Reporter) -> str:
    source = wanted(context)
    assert source is not None
    folder = context.home.folder / "code"
    if isinstance(source, Release):
        report.progress(source.url or str(source.file), 0, 1)
        context.code = release.fetch(context.plan.application.kind, source, folder)
        return f"{context.code.settings.commit}, {source.sha256[:12]}"
    token, where = None, context.answers.application.code_key
    if source.credentials is not None:
        token = open.credential(source.credentials, context.credentials, f"{where}.credentials")
    report.progress(source.url, 0, 1)
    context.code = repository.fetch(source, token, folder, where)
    return f"{context.code.settings.commit[:12]} of {source.url}"


def bring(context: Context, machine: str, _report: Reporter) -> str:
    """Let a webserver have the archive; MachineError if it does not arrive whole."""
    code = context.code
    if code is None:
        return "there is none"
    name = f"{code.settings.digest}.tar"
    there = f"{SITE}/archives/{name}"
    check = f"echo '{code.settings.digest}  {there}' | sha256sum --check --status"
    with ssh.connect(agents.connection(context, machine)) as client:
        if ssh.run(client, ("sh", "-c", check))[0] == 0:
            return "is there"
        made = ssh.run(client, ("install", "-d", "-m", "0700", f"{SITE}/archives"))
        if context.plan.mode == "production":
            bucket = bucket_at(context.plan.mode, context.plan.file_system)
            copied = ssh.run(
                client, ("cp", f"{bucket}/{FOLDER}{name}", f"{there}.new"), seconds=300
            )
            made = copied if copied[0] else made
        else:
            with client.open_sftp() as files:
                files.put(str(code.archive), f"{there}.new")
        done = ssh.run(client, ("sh", "-c", f"mv {there}.new {there} && {check}"), seconds=300)
    if made[0] or done[0]:
        raise MachineError(
            "the code did not arrive as it was sent",
            where=machine,
            why=done[2][-500:] or made[2][-500:],
            cure="run the same command again",
        )
    return code.settings.commit[:12]
