"""What the agent remembers between its runs, and that only one runs at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wizard.agent.errors import TimeLimitError
from wizard.agent.guard import TimeLimit


@dataclass(frozen=True)
class Places:
    """Where things are on a machine (a test has them elsewhere)."""

    config: Path = Path("/etc/build-usb/machine.json")
    state: Path = Path("/var/lib/build-usb")
    runtime: Path = Path("/run/build-usb")
    ufw: Path = Path("/etc/ufw")
    ufw_defaults: Path = Path("/etc/default/ufw")
    nginx_edge: Path = Path("/etc/nginx/conf.d/build-usb-edge.conf")
    scratch: Path = Path("/var/tmp/build-usb-check")  # noqa: S108 - root's own, made with 0700

    @property
    def last(self) -> Path:
        """The results of the last runs."""
        return self.state / "last.json"

    @property
    def peers(self) -> Path:
        """The copy of the last good peers."""
        return self.state / "peers.json"

    @property
    def edge(self) -> Path:
        """What is known of the proxies in front of the site."""
        return self.state / "edge.json"

    @property
    def build_machine(self) -> Path:
        """What the build machine said last of where it is, signed."""
        return self.state / "build-machine.json"

    @property
    def mail(self) -> Path:
        """What people were told by mail, and what is still to be sent."""
        return self.state / "mail.json"

    @property
    def lock(self) -> Path:
        """Held while the agent works; says since when and by whom."""
        return self.runtime / "agent.lock"

    @property
    def backup_lock(self) -> Path:
        """Held while a backup is made or put back."""
        return self.runtime / "backup.lock"


def write_whole(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file so that a reader sees the old or the new one, after a crash too."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), mode)
    temporary.replace(path)


def read_last(path: Path) -> dict[str, Any]:
    """Return the results of the last runs by command; empty if there are none that can be read."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    commands = values.get("commands") if isinstance(values, dict) else None
    if not isinstance(commands, dict):
        return {}
    return {name: value for name, value in commands.items() if isinstance(value, dict)}


def record(path: Path, command: str, result: dict[str, Any]) -> dict[str, Any]:
    """Keep a command's result with the number of failures: in a row, and since the first run."""
    commands = read_last(path)
    before = commands.get(command, {})
    failed = 0 if result["ok"] else 1
    commands[command] = {
        **result,
        "failures_in_a_row": failed and _count(before, "failures_in_a_row") + 1,
        "failures": _count(before, "failures") + failed,
        "runs": _count(before, "runs") + 1,
    }
    write_whole(path, json.dumps({"version": 1, "commands": commands}, indent=1).encode())
    kept: dict[str, Any] = commands[command]
    return kept


def _count(values: dict[str, Any], key: str) -> int:
    value = values.get(key, 0)
    return value if isinstance(value, int) else 0


@contextlib.contextmanager
def locked(path: Path, wait: float) -> Iterator[bool]:
    """Hold the lock; yields False if another still has it after `wait` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait <= 0:
                yield False
                return
            try:
                with TimeLimit(wait):
                    fcntl.flock(file, fcntl.LOCK_EX)
            except TimeLimitError:
                yield False
                return
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "since": time.time()}))
        file.flush()
        yield True


def held_for(path: Path) -> float | None:
    """Return for how many seconds a run has held the lock; None if none does."""
    try:
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                try:
                    return max(0.0, time.time() - float(json.load(file)["since"]))
                except (ValueError, KeyError, TypeError):
                    return 0.0
    except OSError:
        pass
    return None
