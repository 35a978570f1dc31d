"""Small files of state, written whole or not at all. Leaf module."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write(path: Path, data: str | bytes, mode: int = 0o600) -> None:
    """Write a file atomically: after a crash there is the old one or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data.encode() if isinstance(data, str) else data)
        stream.flush()
        os.fchmod(stream.fileno(), mode)
        os.fsync(stream.fileno())
    temporary.rename(path)


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON atomically, readable by its owner only."""
    write(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Return the value of a JSON file, or None if there is no file."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def tail(path: Path, lines: int = 15) -> str:
    """Return the last lines of a text file that may be long or missing."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 200 * lines))
            return "\n".join(stream.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
