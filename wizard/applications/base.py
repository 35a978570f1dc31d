"""What every application tells about itself. Must not import: pyinfra, gevent."""

from __future__ import annotations

from typing import Protocol

from wizard.machines.desired import Facts, Part
from wizard.machines.job import MachineJob


class Application(Protocol):
    """An application: what it needs of a webserver and how it is installed there.

    `packages` are Debian packages, `writable` the paths that it writes to (all else may be
    thrown away with the machine), `uploads` the one among or below them that visitors' and
    editors' files go to, which webservers must have in common (empty: there is none).
    """

    packages: tuple[str, ...]
    writable: tuple[str, ...]
    uploads: str

    def nginx(self, job: MachineJob) -> str:
        """Return nginx's locations for the application."""

    def parts(self, job: MachineJob, facts: Facts) -> tuple[Part, ...]:
        """Return what should be true after the application phase; the database is reachable."""
