"""Brings plugins, themes and translations of one deployment to all webservers of another, which is
in production mode: there WordPress may change none, for that would happen on one of them only."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime

from wizard.applications import application
from wizard.engine import gather
from wizard.engine import state as states
from wizard.engine.context import Context
from wizard.engine.graph import Step
from wizard.errors import BuildUsbError, MachineError, UsageError
from wizard.home.home import DeploymentHome
from wizard.operations import run
from wizard.operations.run import Show
from wizard.operations.session import Session, read_answers, read_state


def carry(
    session: Session,
    source: DeploymentHome,
    deployment: DeploymentHome,
    show: Show,
    stop: threading.Event,
) -> str:
    """Bring the files of `source` to the webservers of `deployment`, one after the other, and
    return their digest. If the site does not answer with them all have those of before again."""
    _check(source, deployment)
    before = read_state(deployment)
    digest = _gathered(session, source, deployment, show, stop)
    today = datetime.now(UTC).date().isoformat()
    if digest != before.files:
        _know(deployment, digest, f"{source.name}, {today}")
    answers = read_answers(deployment)
    try:
        run.deploy(session, answers, show, stop)
    except MachineError as error:
        if digest == before.files:
            raise
        _know(deployment, before.files, before.files_of)
        try:
            run.deploy(session, answers, show, stop)
        except BuildUsbError as again:
            error.cure = f"deploy {deployment.name} again; its webservers differ ({again.what})"
        else:
            error.cure = (
                f"mend it on {source.name}; all webservers of {deployment.name} have the files of "
                "before"
            )
        raise
    return digest


def _check(source: DeploymentHome, deployment: DeploymentHome) -> None:
    """Raise UsageError where there is nothing to bring, or nobody to bring it to."""
    there, here = read_answers(source), read_answers(deployment)
    if here.mode != "production":
        raise UsageError(
            f"{deployment.name} has one webserver, and the application changes its plugins itself",
            where="mode",
            cure="log in as the administrator",
        )
    if not application(here.application.kind).code:
        raise UsageError(
            f"{here.application.kind} has no plugins that people put there",
            where="application.kind",
            cure="its code is what its answers name: change that, then build-usb deploy",
        )
    if there.application.kind != here.application.kind:
        raise UsageError(
            f"{source.name} is {there.application.kind}, {deployment.name} is "
            f"{here.application.kind}",
            where="application.kind",
        )


def _gathered(
    session: Session,
    source: DeploymentHome,
    deployment: DeploymentHome,
    show: Show,
    stop: threading.Event,
) -> str:
    found: list[str] = []

    def steps(context: Context) -> list[Step]:
        def gathered(_: object) -> str:
            found.append(gather.gathered(context, gather.folder(deployment)))
            return found[0][:12]

        return [Step("gather", "gather plugins, themes and translations", gathered)]

    run.on_running(f"carry {source.name}", session, source, show, stop, steps)
    return found[0]


def _know(deployment: DeploymentHome, digest: str, of: str) -> None:
    with deployment.lock(f"carry {deployment.name}"):
        state = states.load(deployment.state_file)
        assert state is not None
        states.save(deployment.state_file, replace(state, files=digest, files_of=of))
