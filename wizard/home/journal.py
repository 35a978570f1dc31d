"""The memory of what was intended and done: append-only JSON lines, numbered and checksummed."""

from __future__ import annotations

import json
import os
import threading
import zlib
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wizard.errors import HomeError
from wizard.home.files import append_line, explained, read_bytes


@dataclass(frozen=True)
class Entry:
    """One line: `seq` counts from 1, `at` is ISO 8601 in UTC, `data` plain JSON values."""

    seq: int
    kind: str
    step: str
    data: dict[str, Any] = field(default_factory=dict)
    at: str = ""


class Journal:
    """A deployment's journal. One process writes (under the deployment's lock), any may read.

    `note` tells people what reading had to forgive, and is empty otherwise.
    """

    def __init__(self, path: Path, entries: list[Entry], good: int, torn: bool) -> None:
        self.path = path
        self.note = (
            f"{path}: the last line was only half written (power loss?); it is left out"
            if torn
            else ""
        )
        self._entries = entries
        self._good = good if torn else None  # bytes to keep, where there is something to cut
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Read the journal at `path`; one that is not there yet is empty.

        A torn last line is dropped. Damage before it raises HomeError naming the line.
        """
        data = read_bytes(path) or b""
        lines = data.split(b"\n")
        # what follows the last newline: nothing, or a line whose end never reached the disk
        tail = lines.pop()
        entries: list[Entry] = []
        good = 0
        for number, line in enumerate(lines, start=1):
            entry = _parse(line, number)
            if entry is None:
                if number == len(lines) and not tail:
                    return cls(path, entries, good, torn=True)
                raise _damaged(path, number)
            entries.append(entry)
            good += len(line) + 1
        return cls(path, entries, good, torn=bool(tail))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All entries, oldest first."""
        with self._lock:
            return tuple(self._entries)

    def record(self, kind: str, step: str, **data: Any) -> Entry:
        """Append an entry; it is on disk when this returns. Raises HomeError.

        `data` must be plain JSON values: a Secret is refused with TypeError.
        """
        with self._lock:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            entry = Entry(len(self._entries) + 1, kind, step, data, now)
            line = _format(asdict(entry))
            if self._good is not None:
                with explained(self.path, "cut the torn line off"):
                    os.truncate(self.path, self._good)
                self._good = None
            append_line(self.path, line)
            self._entries.append(entry)
            return entry

    @staticmethod
    def set_aside(path: Path) -> Path:
        """Rename a damaged journal to `journal.jsonl.corrupt-<date>` and return that path."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = path.with_name(f"{path.name}.corrupt-{stamp}")
        with explained(path, "set aside"):
            path.rename(aside)
        return aside


def _canonical(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def _format(values: dict[str, Any]) -> str:
    body = _canonical(values)
    return f'{body[:-1]},"crc":"{zlib.crc32(body.encode()):08x}"}}'


def _parse(line: bytes, number: int) -> Entry | None:
    try:
        values = json.loads(line)
        crc = values.pop("crc")
        if f"{zlib.crc32(_canonical(values).encode()):08x}" != crc or values["seq"] != number:
            return None
        return Entry(**values)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _damaged(path: Path, number: int) -> HomeError:
    return HomeError(
        f"the journal is damaged at line {number}",
        where=str(path),
        why="the line is not what was written: its checksum or number does not match",
        cure=f"set it aside: mv {path.name} {path.name}.corrupt; then run the same command again. "
        "Nothing is lost: what exists is listed from the cloud, by its tag",
    )
