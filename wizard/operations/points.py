"""Restore points of a running deployment: made, listed, looked into, put back whole or a file."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from wizard.engine import backups, joining, letting_in
from wizard.engine.context import Context
from wizard.engine.graph import Step
from wizard.errors import UsageError
from wizard.home.home import DeploymentHome
from wizard.operations.run import Show, follow, on_running
from wizard.operations.session import Session, make_context, read_answers


def backup(
    session: Session,
    deployment: DeploymentHome,
    show: Show,
    stop: threading.Event,
    *,
    check: bool = False,
) -> str:
    """Make a restore point now and return its name; `check`: restore it into a scratch place."""
    point = backups.new_point("manual")
    on_running(
        f"backup {deployment.name}",
        session,
        deployment,
        show,
        stop,
        lambda context: [
            *backups.backup_steps(context, point),
            *(backups.check_steps(context) if check else ()),
        ],
    )
    return point


def restore(
    session: Session,
    deployment: DeploymentHome,
    point: str,
    show: Show,
    stop: threading.Event,
    *,
    second: bool = False,
) -> None:
    """Put a restore point back in place of what runs; `second`: from the second storage. UsageError
    if there is no such point."""

    def steps(context: Context) -> list[Step]:
        backups.find(context, point, second=second)
        mending = joining.again(context, "open")
        return backups.restore_steps(context, point, mending, second=second)

    on_running(f"restore {deployment.name}", session, deployment, show, stop, steps)


def restore_file(
    session: Session,
    deployment: DeploymentHome,
    point: str,
    path: str,
    show: Show,
    stop: threading.Event,
    *,
    second: bool = False,
) -> None:
    """Put one file of a restore point back in place. UsageError if there is no such file."""
    on_running(
        f"restore {deployment.name}",
        session,
        deployment,
        show,
        stop,
        lambda context: backups.file_steps(context, point, path, second=second),
    )


def fetch_file(
    session: Session,
    deployment: DeploymentHome,
    point: str,
    path: str,
    to: Path,
    *,
    second: bool = False,
) -> int:
    """Write one file of a restore point to a file of this computer; return its size in bytes."""
    if to.exists():
        raise UsageError(f"{to} is there already", cure="name a file that is not there yet")
    context = _looking(session, deployment)
    backups.find(context, point, whole=False, second=second)
    part = to.with_name(f".{to.name}.part")
    try:
        # it may be the database, with all that is private in it
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            size = backups.fetch(context, point, path, file, second=second)
        part.rename(to)
    except OSError as error:
        raise UsageError(
            f"{to} cannot be written", why=error.strerror or "", cure="name another place"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return size


def points(
    session: Session, deployment: DeploymentHome, *, second: bool = False
) -> list[dict[str, Any]]:
    """Return the restore points of a deployment, oldest first; `second`: of the second storage."""
    return backups.points(_looking(session, deployment), second=second)


def show_point(
    session: Session, deployment: DeploymentHome, point: str, path: str, *, second: bool = False
) -> list[dict[str, Any]]:
    """Return what the parts of a restore point are, and what a folder of its files holds."""
    return backups.show(_looking(session, deployment), point, path, second=second)


def _looking(session: Session, deployment: DeploymentHome) -> Context:
    context = make_context(session, deployment, read_answers(deployment))
    follow(context)
    known, here = context.state.build_machine, letting_in.moved_to(context.provider, context.state)
    if here:
        raise UsageError(
            f"the machines let in {known}, and this computer is at {here} now",
            cure=f"build-usb let-in {deployment.name}: it takes a minute",
        )
    return context
