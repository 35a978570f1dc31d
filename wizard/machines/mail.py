"""How a machine tells people by mail. Must not import: pyinfra, gevent."""

from __future__ import annotations

from typing import Any

from wizard.machines.desired import Absent, File, Part
from wizard.machines.job import MachineJob
from wizard.machines.places import OURS
from wizard.secrets import Secret

_PASSWORD = f"{OURS}/mail-password"


def part(job: MachineJob) -> Part:
    """Return the file with the password, or what takes it away."""
    if job.mail is None:
        return Part("mail", items=(Absent(_PASSWORD),))
    password = Secret(job.secrets["mail_password"].reveal() + "\n")
    return Part("mail", items=(File(_PASSWORD, password, mode=0o600),))


def agent_config(job: MachineJob) -> dict[str, Any] | None:
    """Return what the agent is told of mail; holds no secret."""
    return {**vars(job.mail), "password_file": _PASSWORD} if job.mail else None
