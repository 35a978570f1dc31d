"""The files of an application that all its webservers have in common (plugins, themes,
translations), in production mode: gathered from one that has them, as an archive known by its
digest, which engine.code carries to the others as it carries code.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from wizard.applications import application
from wizard.engine import agents, ssh
from wizard.engine.backups import keepers
from wizard.engine.context import OWN, Context
from wizard.engine.graph import Step
from wizard.engine.repository import LARGEST, Code
from wizard.engine.state import State
from wizard.errors import MachineError, UsageError
from wizard.home.files import make_folder
from wizard.home.home import DeploymentHome
from wizard.machines import common_files
from wizard.machines.job import CodeSettings
from wizard.machines.remote import source
from wizard.plan.model import Plan

STEP = "content:code"
"""The step that gathers what a site begins with."""
_SECONDS = 600.0


def has_common(plan: Plan) -> bool:
    """Say whether webservers have such files in common."""
    return plan.mode == "production" and bool(application(plan.application.kind).code)


def due(context: Context) -> bool:
    """Say whether they are to be gathered from the webserver that got what the site begins with."""
    content = context.answers.application.source.kind in ("backup", "baseline")
    # who is published has them
    new = context.published is None and not context.state.files and context.state.content != OWN
    return content and new and has_common(context.plan)


def known(plan: Plan, home: DeploymentHome, state: State) -> Code | None:
    """Return the files as they were gathered before; None: they are the package's own."""
    if not state.files or not has_common(plan):
        return None
    return _code(plan, home, state.files, state.files_of)


def gathered(context: Context, folder: Path) -> str:
    """Fetch the files of the deployment's webserver into `folder`, and return their digest."""
    app, machine = application(context.plan.application.kind), keepers(context)["files"]
    order = json.dumps({"folder": app.code, "passing": app.passing})
    make_folder(folder)
    new = folder / ".gathered.new"
    try:
        with ssh.connect(agents.connection(context, machine)) as client, new.open("wb") as into:
            command = ("python3", "-I", "-c", source("files"), "pack", order)
            size = ssh.fetch(client, command, into, seconds=_SECONDS)
        if size > LARGEST:
            raise UsageError(
                f"plugins, themes and translations are larger than {LARGEST} bytes",
                where=machine,
                cure=f"look what is large below {app.code}: build-usb ssh {machine}",
            )
        with new.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        new.replace(folder / f"{digest}.tar")
    finally:
        new.unlink(missing_ok=True)
    return digest


def steps(context: Context, put: tuple[str, ...]) -> list[Step]:
    """Return the step that gathers what the site begins with; `put`: the step that puts it there,
    if that is not done."""
    if not due(context):
        return []
    first = keepers(context)["files"]
    return [
        Step(
            STEP,
            "gather plugins, themes and translations",
            lambda _: _begin(context),
            needs=put or (f"configure:{first}",),
            machine=first,
            expected=3,
        )
    ]


def _begin(context: Context) -> str:
    """Gather the files that the site begins with, and let the deployment know them."""
    if context.state.content == OWN:
        return "there are none: the site's own are kept"
    digest = gathered(context, folder(context.home))
    context.update(lambda state: replace(state, files=digest, files_of=state.content))
    context.code = known(context.plan, context.home, context.state)
    return digest[:12]


def put(context: Context, machine: str) -> str:
    """Make the files on a webserver those that all have, where something else has changed them."""
    code, app = context.code, application(context.plan.application.kind)
    assert code is not None
    host = context.plan.application.hosts[0]
    order = common_files.order(app.code, app.passing, code.settings, host)
    with ssh.connect(agents.connection(context, machine)) as client:
        status, _, errors = ssh.run(client, common_files.COMMAND, order, _SECONDS)
    if status:
        raise MachineError(
            "its plugins and themes are not those that all webservers have",
            where=machine,
            why=errors.strip()[-500:],
            cure=f"deploy {context.plan.deployment} again",
        )
    return code.settings.digest[:12]


def folder(home: DeploymentHome) -> Path:
    """Return where archives are on this computer."""
    return home.folder / "code"


def _code(plan: Plan, home: DeploymentHome, digest: str, of: str) -> Code:
    settings = CodeSettings(
        digest=digest,
        commit=of,
        docroot="",
        writable=(),
        health_path=plan.application.health_path,
        cron="",
        settings=False,
    )
    return Code(settings, folder(home) / f"{digest}.tar")
