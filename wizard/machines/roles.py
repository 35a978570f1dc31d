"""Which parts a machine has in which phase. Must not import: pyinfra, gevent."""

from __future__ import annotations

from wizard.applications import application
from wizard.machines import (
    autoscaler,
    backups,
    common,
    database,
    managed,
    postgresql,
    shared_config,
    uploads,
    webserver,
)
from wizard.machines.desired import Facts, Part
from wizard.machines.job import MachineJob, Phase
from wizard.machines.packages import COMMON, MARIADB, MARIADB_CLIENT, WEBSERVER
from wizard.rules import Role


def packages(job: MachineJob) -> list[str]:
    """Return the Debian packages that the phase needs; `a|b` means either."""
    if job.phase is not Phase.BASE:
        return []
    wanted = list(COMMON)
    if job.role is Role.DATABASE:
        wanted += _database(job)
    if job.role is Role.WEBSERVER:
        wanted += [*WEBSERVER, *application(job.application.kind).packages]
        if job.database.engine == "postgresql":
            wanted.append("php-pgsql")
    if job.role is Role.WEBSERVER and job.code is not None and job.code.composer:
        wanted.append("composer")
    if job.file_system:
        wanted += shared_config.FILE_SYSTEM_PACKAGES
    # a webserver that takes the lead over must not need a package index for it
    if backups.may_make_backups(job) or job.application.restored:
        wanted += backups.PACKAGES
    return wanted


def _database(job: MachineJob) -> tuple[str, ...]:
    if job.database.engine == "postgresql":
        return postgresql.CLIENTS if job.database.managed else postgresql.PACKAGES
    return MARIADB_CLIENT if job.database.managed else MARIADB


def parts(job: MachineJob, facts: Facts) -> tuple[Part, ...]:
    """Return what should be true on the machine after the phase, in order."""
    if job.phase is Phase.CERTIFICATE:
        return webserver.certificate_parts(job)
    if job.phase is Phase.APPLICATION:
        return application(job.application.kind).parts(job, facts)
    own = postgresql.parts if job.database.engine == "postgresql" else database.parts
    by_role = {
        Role.DATABASE: managed.parts if job.database.managed else own,
        Role.WEBSERVER: webserver.parts,
        Role.AUTOSCALER: autoscaler.parts,
    }
    # uploads are there before anything is put into them
    return (*common.parts(job, facts), *by_role[job.role](job, facts), *uploads.parts(job))
