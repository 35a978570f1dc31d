"""What every application tells about itself. Must not import: pyinfra, gevent."""

from __future__ import annotations

from typing import Protocol

from wizard.baselines.cleaning import Cleaning
from wizard.machines.desired import Facts, Part
from wizard.machines.job import MachineJob


class Application(Protocol):
    """An application: what it needs of a webserver and how it is installed there.

    `packages` are Debian packages, `writable` the paths that it writes to (all else may be
    thrown away with the machine), `uploads` the one among or below them that visitors' and
    editors' files go to, which webservers must have in common (empty: there is none).
    `code` is the folder whose files all webservers have in common by digest in production mode,
    but for `uploads` and what matches `passing` (shells' patterns of paths below it: caches, logs,
    what each deployment writes); empty: what it runs does not come from a folder that people fill.
    `cleaning` says what of it is private (wizard.baselines.cleaning); None: it has no baselines.
    """

    packages: tuple[str, ...]
    writable: tuple[str, ...]
    uploads: str
    code: str
    passing: tuple[str, ...]
    cleaning: Cleaning | None

    def table_prefix(self, deployment: str) -> str:
        """Return what the names of a deployment's tables begin with."""

    def nginx(self, job: MachineJob) -> str:
        """Return nginx's locations for the application."""

    def parts(self, job: MachineJob, facts: Facts) -> tuple[Part, ...]:
        """Return what should be true after the application phase; the database is reachable."""
