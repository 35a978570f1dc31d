"""Packs the agent into one file for machines, and writes the configuration it reads there.

Must not import: pyinfra, gevent.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import wizard
from wizard.applications import application
from wizard.machines import backups, mail, postgresql, shared_config, uploads
from wizard.machines.job import MachineJob
from wizard.machines.places import (
    BUCKET,
    BUCKET_UNIT,
    MARKER,
    SHARED_CONFIG,
    SHARED_CONFIG_UNIT,
    TLS,
    UPLOADS_UNIT,
)
from wizard.rules import Role

_SHEBANG = b"#!/usr/bin/python3 -I\n"
# the first moment that a zip file can express: the same sources are the same bytes
_DATE = (1980, 1, 1, 0, 0, 0)
_MAIN = """import sys

from wizard.agent.commands import main

sys.exit(main())
"""


def _services(job: MachineJob) -> tuple[str, ...]:
    if job.role is Role.DATABASE:
        engine = postgresql.SERVICE if job.database.engine == "postgresql" else "mariadb.service"
        return () if job.database.managed else (engine,)
    return ("nginx.service", "php*-fpm.service") if job.role is Role.WEBSERVER else ()


def build() -> bytes:
    """Return the agent as an executable zip file (mode 0755); same sources, same bytes."""
    package = Path(wizard.__file__).parent
    files = {
        # not the package's own: on a machine there is nothing but the agent
        "wizard/__init__.py": f'__version__ = "{wizard.__version__}"\n'.encode(),
        "__main__.py": _MAIN.encode(),
    }
    for source in (package / "agent").glob("*.py"):
        files[f"wizard/agent/{source.name}"] = source.read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in sorted(files):
            # stored: the agent starts each minute, and unpacking costs more than 30 kB of disk
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return _SHEBANG + packed.getvalue()


def _mounts(job: MachineJob) -> Iterator[str]:
    if shared_config.bucket_at(job.mode, job.file_system) == BUCKET:
        yield BUCKET_UNIT
    if uploads.place(job):
        yield UPLOADS_UNIT


def _files(job: MachineJob) -> str:
    folder = job.role is Role.WEBSERVER and application(job.application.kind).code
    return f"{folder}/{MARKER}" if folder and job.mode == "production" else ""


def machine_config(job: MachineJob) -> dict[str, Any]:
    """Return the content of `/etc/build-usb/machine.json` (mode 0600) for the job's machine.

    Holds no secret; docs/agent.md describes every key.
    """
    return {
        "version": 1,
        "deployment": job.deployment,
        "name": job.name,
        "role": str(job.role),
        "private_address": job.private_address,
        "ipv6": job.ipv6,
        "network_cidr": job.network_cidr,
        "build_machine": job.build_machine,
        "build_machine_at": job.build_machine_at,
        "administrator": job.administrator,
        "ssh_port": job.ssh_port,
        "firewall": job.firewall,
        "rules": [dict(rule) for rule in job.rules],
        "peers": [
            {"name": peer.name, "role": str(peer.role), "address": peer.address}
            for peer in job.peers
        ],
        "hosts": list(job.hosts),
        "edge": job.edge and {"url": job.edge.url, "networks": list(job.edge.networks)},
        "shared_config": SHARED_CONFIG,
        "shared_config_unit": SHARED_CONFIG_UNIT,
        "registry": shared_config.bucket_at(job.mode, job.file_system),
        "services": ["cron.service", "ssh.service", *_services(job), *_mounts(job)],
        "certificate": (f"{TLS}/current/fullchain.pem" if job.role is Role.WEBSERVER else ""),
        "files": _files(job),
        "backup": backups.agent_config(job),
        "mail": mail.agent_config(job),
    }
