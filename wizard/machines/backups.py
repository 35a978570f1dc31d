"""Temporal backups on the machines that make them: the database machine, and the webserver that
leads. Must not import: pyinfra, gevent.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

from wizard.applications import application
from wizard.machines import postgresql
from wizard.machines.desired import Absent, File, Part
from wizard.machines.job import MachineJob
from wizard.machines.managed import CLIENT
from wizard.machines.places import OURS, SITE
from wizard.machines.templates import render
from wizard.rules import Role
from wizard.secrets import Secret

PACKAGES = ("restic",)
_PASSWORD = f"{OURS}/backup-password"
_CREDENTIALS = f"{OURS}/backup-credentials"
_SECOND = f"{OURS}/backup-second-credentials"
_CRON = "/etc/cron.d/build-usb-backup"


def may_make_backups(job: MachineJob) -> bool:
    """Say whether this machine keeps a part of each restore point, or would if it led."""
    return bool(job.backup.periods) and job.role in (Role.DATABASE, Role.WEBSERVER)


def makes_backups(job: MachineJob) -> bool:
    """Say whether this machine keeps a part of each restore point."""
    return may_make_backups(job) and (job.role is Role.DATABASE or job.leader)


def parts(job: MachineJob) -> tuple[Part, ...]:
    """Return what makes the backups, or what takes it away."""
    if not makes_backups(job):
        gone = tuple(Absent(path) for path in (_CRON, _PASSWORD, _CREDENTIALS, _SECOND))
        return (Part("backups", items=gone),)
    cron = render(
        "cron/backup.j2",
        periods=job.backup.periods,
        # deployments of one store do not all come at once
        minute=crc32(job.deployment.encode()) % 50 + 5,
    )
    return (
        Part(
            "backups",
            items=(
                File(_PASSWORD, Secret(job.secrets["backup_password"].reveal() + "\n"), mode=0o600),
                _credentials(job),
                _second(job),
                File(_CRON, cron),
            ),
        ),
    )


def _credentials(job: MachineJob) -> File | Absent:
    """Return the file with the store's keys; a machine with a role of its own at AWS needs none."""
    if not job.bucket.access_key:
        return Absent(_CREDENTIALS)
    keys = credentials(job.bucket.access_key, job.secrets["storage_secret_key"].reveal())
    return File(_CREDENTIALS, Secret(keys), mode=0o600)


def _second(job: MachineJob) -> File | Absent:
    """Return the file with the keys of the second storage."""
    second = job.backup.second
    if second is None:
        return Absent(_SECOND)
    keys = credentials(second.access_key, job.secrets["second_storage_key"].reveal())
    return File(_SECOND, Secret(keys), mode=0o600)


def credentials(access_key: str, secret_key: str) -> str:
    """Return the text of a file with a store's keys, as restic reads it."""
    return render("backup/credentials.j2", access_key=access_key, secret_key=secret_key)


def place(endpoint: str, region: str, bucket: str) -> dict[str, Any]:
    """Return how restic is told where a repository is; an empty endpoint is Amazon's."""
    return {
        "repository": f"s3:{endpoint or f'https://s3.{region}.amazonaws.com'}/{bucket}",
        "options": [f"s3.region={region}", "s3.bucket-lookup=path"],
    }


def database(name: str, engine: str, *, managed: bool) -> dict[str, Any]:
    """Return how the agent of the database machine reaches the application's database."""
    if engine == "postgresql":
        own = {"database": name, "engine": engine, "client_file": postgresql.CLIENT}
        return {**own, "managed": True} if managed else own
    return {"database": name, **({"client_file": CLIENT} if managed else {})}


def agent_config(job: MachineJob) -> dict[str, Any] | None:
    """Return what the agent is told of backups; holds no secret."""
    if not makes_backups(job):
        return None
    own = {
        "part": "database",
        **database(job.database.name, job.database.engine, managed=job.database.managed),
    }
    if job.role is Role.WEBSERVER:
        own = {"part": "files", "folders": list(application(job.application.kind).writable)}
        if job.application.kind != "wordpress":
            own["code"] = f"{SITE}/current"
    second = job.backup.second
    elsewhere: dict[str, Any] = {}
    if second is not None:
        elsewhere["second"] = {
            **place(second.endpoint, second.region, second.bucket),
            "credentials_file": _SECOND,
            "append_only": second.append_only,
        }
    return {
        **place(job.bucket.endpoint, job.bucket.region, job.backup.bucket),
        **elsewhere,
        "password_file": _PASSWORD,
        "credentials_file": _CREDENTIALS,
        "keep": {period: job.backup.keep[period] for period in job.backup.periods},
        "hosts": list(job.hosts),
        "parts": ["database", "files"] if job.database.engine else ["files"],
        **own,
    }
