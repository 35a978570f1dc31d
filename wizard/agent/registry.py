"""The machine's own entry in the deployment's registry: `machines/<name>.json`."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wizard import __version__
from wizard.agent.config import Config
from wizard.agent.errors import AgentError
from wizard.agent.guard import apart
from wizard.agent.mount import device_of

VERSION = 1
FOLDER = "machines"


def entry(
    config: Config, facts: dict[str, Any], synced: bool | None, commands: dict[str, Any]
) -> dict[str, Any]:
    """Return the entry: who the machine is, how it is, how the agent's last runs ended."""
    mount = commands.get("mount", {}).get("ok")
    return {
        "version": VERSION,
        "deployment": config.deployment,
        "name": config.name,
        "role": config.role,
        "address": config.private_address,
        **({"ipv6": config.ipv6} if config.ipv6 else {}),
        "time": now(),
        "agent": __version__,
        "boot_id": facts.get("boot_id"),
        "health": {
            **{key: value for key, value in facts.items() if key != "boot_id"},
            "mount": mount,
            "firewall_synced": synced,
        },
        "commands": {
            name: {key: result.get(key) for key in ("ok", "at", "failures_in_a_row")}
            for name, result in sorted(commands.items())
        },
    }


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write(config: Config, values: dict[str, Any], seconds: float = 15.0) -> None:
    """Put the entry where autoscalers look for it; AgentError if that does not answer."""
    data = json.dumps(values).encode()
    folder = config.registry / FOLDER

    def put() -> bytes:
        folder.mkdir(exist_ok=True)
        replace(folder, config.name, data)
        return b""

    # without this check a lost mount would be written to the disk below it
    if device_of(config.registry) is None:
        raise AgentError(f"{config.registry} is not mounted")
    apart(str(folder), put, seconds)


def replace(folder: Path, name: str, data: bytes) -> None:
    """Write `<name>.json` whole: beside it and renamed, or directly where renaming fails."""
    target, temporary = folder / f"{name}.json", folder / f".{name}.json.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    try:
        temporary.replace(target)
    except OSError:
        target.write_bytes(data)
        temporary.unlink(missing_ok=True)
