"""Own code on its way: fetched on the build machine, carried to webservers, told its settings."""

from __future__ import annotations

import secrets as random
from functools import partial
from string import Template

from wizard.answers.sections import OwnRepository
from wizard.engine import agents, open, repository, ssh
from wizard.engine.context import Context
from wizard.engine.graph import Reporter, Step
from wizard.errors import MachineError
from wizard.machines.certificates import MYSQL_TRUST
from wizard.machines.job import DatabaseSettings
from wizard.machines.places import SITE
from wizard.rules import Role
from wizard.secrets import Secret, generate

_FETCH = "code"


def wanted(context: Context) -> OwnRepository | None:
    """Return where own code comes from; None where none is deployed."""
    source = context.answers.application.source
    return source if isinstance(source, OwnRepository) else None


def fetched(context: Context) -> tuple[str, ...]:
    """Return the step that fetches the code, if there is code: nothing is begun before."""
    return (_FETCH,) if wanted(context) else ()


def carried(context: Context, machine: str) -> tuple[str, ...]:
    """Return the step after which a webserver has the archive."""
    return (f"code:{machine}",) if wanted(context) else ()


def steps(context: Context) -> list[Step]:
    """Return the steps that fetch the code and carry it to the webservers."""
    if not wanted(context):
        return []
    return [
        Step(_FETCH, "fetch the code", partial(_fetch, context), expected=2),
        *(
            Step(
                f"code:{machine.name}",
                "carry the code there",
                partial(_carry, context, machine.name),
                needs=(_FETCH, f"configure:{machine.name}"),
                machine=machine.name,
                expected=1,
            )
            for machine in context.plan.of_role(Role.WEBSERVER)
        ),
    ]


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
            "DATABASE_CERTIFICATE": MYSQL_TRUST,
        }
    return Secret(Template(template).safe_substitute(values))


def _fetch(context: Context, report: Reporter) -> str:
    source = wanted(context)
    assert source is not None
    token = None
    if source.credentials is not None:
        where = "application.source.credentials"
        token = open.credential(source.credentials, context.credentials, where)
    report.progress(source.url, 0, 1)
    context.code = repository.fetch(source, token, context.home.folder / "code")
    return f"{context.code.settings.commit[:12]} of {source.url}"


def _carry(context: Context, machine: str, report: Reporter) -> str:
    code = context.code
    assert code is not None
    there = f"{SITE}/archives/{code.settings.digest}.tar"
    check = f"echo '{code.settings.digest}  {there}' | sha256sum --check --status"
    with ssh.connect(agents.connection(context, machine)) as client:
        if ssh.run(client, ("sh", "-c", check))[0] == 0:
            return "is there"
        made = ssh.run(client, ("install", "-d", "-m", "0700", f"{SITE}/archives"))
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
    return f"{code.archive.stat().st_size // 1024} KiB"
