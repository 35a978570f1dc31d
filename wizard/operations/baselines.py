"""Baselines: made of a running deployment, looked through, committed, signed and published."""

from __future__ import annotations

import threading
from pathlib import Path

from wizard.applications import application
from wizard.baselines import tree
from wizard.baselines.scan import Finding, scan
from wizard.engine import baseline_make as make
from wizard.engine import baseline_repository as repository
from wizard.engine.baseline_make import Order
from wizard.errors import NotSupportedError, UsageError
from wizard.home.home import DeploymentHome, Home
from wizard.operations.run import Show, on_running
from wizard.operations.session import Session
from wizard.secrets import Secret


def folder_of(home: Home, name: str) -> Path:
    """Return where the baseline of a deployment is kept, unless it is made elsewhere."""
    return home.path / "baselines" / name


def create(
    session: Session, deployment: DeploymentHome, order: Order, show: Show, stop: threading.Event
) -> list[Finding]:
    """Make a baseline of a running deployment; return what keeps it from being published."""
    on_running(
        f"baseline {deployment.name}",
        session,
        deployment,
        show,
        stop,
        lambda context: make.steps(context, order),
    )
    return inspect(session, order.folder)


def inspect(session: Session | None, folder: Path) -> list[Finding]:
    """Return what must not be published in a folder; without a session no secrets are known."""
    return scan(folder, known(session) if session else ())


def publish(session: Session, folder: Path, remote: str | None, token: Secret | None) -> str:
    """Commit, sign and push a baseline, if a remote is given, and return the commit; see
    engine.baseline_repository.commit for what is refused."""
    key = repository.own_key(session.credentials)
    commit = repository.commit(folder, key, known(session), _deployable)
    if remote:
        repository.push(folder, remote, token)
    return commit


def public_key(session: Session) -> str:
    """Return the key that others name as a signer of this home's baselines."""
    return repository.own_key(session.credentials).public


def known(session: Session) -> list[tuple[str, Secret]]:
    """Return every secret of the build home and its deployments by name."""
    found = session.credentials.items()
    for name in session.home.deployments():
        found += session.secrets(session.home.deployment(name)).items()
    return found


def chosen(home: Home, name: str) -> Path:
    """Return the folder of a baseline that is named as one, or after its deployment."""
    for folder in (Path(name), folder_of(home, name)):
        if folder.is_dir():
            return folder
    raise UsageError(
        f"there is no baseline {name}",
        where=str(folder_of(home, name)),
        cure="make one of a deployment: build-usb baseline create NAME",
    )


def _deployable(folder: Path) -> None:
    manifest = repository.read_manifest(folder)
    app = application(manifest.application)
    if app.cleaning is None:
        raise NotSupportedError(f"there are no baselines of {manifest.application}")
    entries, read = repository.in_folder(folder)
    tree.check(entries, read, list(make.named(app)), make.uploads_below(app))
