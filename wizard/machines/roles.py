"""Which parts a machine has in which phase. Must not import: pyinfra, gevent."""

from __future__ import annotations

from wizard.applications import application
from wizard.machines import autoscaler, backups, common, database, managed, shared_config, webserver
from wizard.machines.desired import Facts, Part
from wizard.machines.job import MachineJob, Phase
from wizard.machines.packages import COMMON, DATABASE, MANAGED_DATABASE, WEBSERVER
from wizard.rules import Role


def packages(job: MachineJob) -> list[str]:
    """Return the Debian packages that the phase needs; `a|b` means either."""
    if job.phase is not Phase.BASE:
        return []
    wanted = list(COMMON)
    if job.role is Role.DATABASE:
        wanted += MANAGED_DATABASE if job.database.managed else DATABASE
    if job.role is Role.WEBSERVER:
        wanted += [*WEBSERVER, *application(job.application.kind).packages]
    if job.file_system:
        wanted += shared_config.FILE_SYSTEM_PACKAGES
    if backups.makes_backups(job) or job.application.restored:
        wanted += backups.PACKAGES
    return wanted


def parts(job: MachineJob, facts: Facts) -> tuple[Part, ...]:
    """Return what should be true on the machine after the phase, in order."""
    if job.phase is Phase.CERTIFICATE:
        return webserver.certificate_parts(job)
    if job.phase is Phase.APPLICATION:
        return application(job.application.kind).parts(job, facts)
    by_role = {
        Role.DATABASE: managed.parts if job.database.managed else database.parts,
        Role.WEBSERVER: webserver.parts,
        Role.AUTOSCALER: autoscaler.parts,
    }
    return (*common.parts(job, facts), *by_role[job.role](job, facts))
