"""How the machine is: quick facts, from the kernel and systemd."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wizard.agent.config import Config
from wizard.agent.errors import AgentError
from wizard.agent.guard import run

_PROC = Path("/proc")


def facts(config: Config) -> dict[str, Any]:
    """Return the facts as plain JSON values; what cannot be found out is null.

    `disk_used` in percent, `memory_available` and `memory_total` in MiB, `load` over 1, 5 and 15
    minutes, `services` by unit, `certificate_days` until it expires, `files` the digest of the
    plugins and themes that are here. Takes under 0.2 s and touches no mounted file system but the
    root.
    """
    values: dict[str, Any] = {
        "boot_id": _or_none(boot_id),
        "uptime": _or_none(lambda: int(float((_PROC / "uptime").read_text().split()[0]))),
        "disk_used": _or_none(disk_used),
        "memory_available": _or_none(lambda: _memory("MemAvailable")),
        "memory_total": _or_none(lambda: _memory("MemTotal")),
        "load": _or_none(lambda: [round(value, 2) for value in os.getloadavg()]),
        "services": _or_none(lambda: services(config.services)),
        "reboot_required": Path("/run/reboot-required").exists(),
    }
    if config.certificate:
        values["certificate_days"] = _or_none(lambda: certificate_days(Path(config.certificate)))
    if config.files:
        values["files"] = _or_none(lambda: Path(config.files).read_text().strip())
    return values


def _or_none(question: Callable[[], Any]) -> Any:
    # one missing fact must not hide the others
    try:
        return question()
    except (AgentError, OSError, ValueError, IndexError):
        return None


def boot_id() -> str:
    """Return the kernel's id of this boot."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def disk_used(path: Path = Path("/")) -> int:
    """Return how full a file system is in percent, as df counts it."""
    status = os.statvfs(path)
    used = status.f_blocks - status.f_bfree
    return round(100 * used / max(1, used + status.f_bavail))


def _memory(key: str) -> int:
    for line in (_PROC / "meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) // 1024
    raise ValueError(key)


def services(units: tuple[str, ...]) -> dict[str, str]:
    """Return systemd's state by unit (`active`, `failed`, …); a pattern that no loaded unit
    matches is `not-found`."""
    if not units:
        return {}
    # --all: what is loaded but inactive is asked about as well
    output = run("systemctl", "show", "--all", "--property=Id,ActiveState,LoadState", *units)
    states: dict[str, str] = {}
    for block in output.strip().split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.splitlines())
        if values.get("Id"):
            loaded = values.get("LoadState") == "loaded"
            states[values["Id"]] = values.get("ActiveState", "") if loaded else "not-found"
    for unit in units:
        if "*" in unit and not any(Path(name).match(unit) for name in states):
            states[unit] = "not-found"
    return dict(sorted(states.items()))


def certificate_days(path: Path) -> int:
    """Return for how many whole days the first certificate of a PEM file is still valid; negative
    once expired."""
    line = run("openssl", "x509", "-in", str(path), "-noout", "-enddate", "-dateopt", "iso_8601")
    end = datetime.fromisoformat(line.strip().partition("=")[2].replace("Z", "+00:00"))
    return (end - datetime.now(UTC)).days
