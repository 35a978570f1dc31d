"""What a stick keeps when another image is written to it: its encrypted volume, and its partition
ANSWERS. Standard library only.

The volume is not moved: the new image's partition table gets its entry. Until the beginning of the
stick is written, last of all, the old table's copy at the stick's end still tells of the volume.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wizard.stick import gpt
from wizard.stick.disks import Refused
from wizard.stick.gpt import SECTOR, Table

_ANSWERS = 2  # its entry, counted from 0, in every image
_LABEL = b"ANSWERS    "


@dataclass(frozen=True)
class Kept:
    """`parts` of the image as they are to be on this stick, each with where it begins (bytes), and
    what is at the stick's end."""

    parts: tuple[tuple[int, bytes], ...]
    end: bytes

    def into(self, data: bytes, offset: int) -> bytes:
        """Return bytes of the image that begin at `offset` as they are to be on this stick."""
        changed = bytearray(data)
        for start, part in self.parts:
            first, last = max(start, offset), min(start + len(part), offset + len(data))
            if first < last:
                changed[first - offset : last - offset] = part[first - start : last - start]
        return bytes(changed)


def find(device: Path, image: Path) -> Kept | None:
    """Return what a stick keeps, None if it has no encrypted volume. Raises Refused when the image
    has no room for it, OSError."""
    with device.open("rb") as stick, image.open("rb") as source:
        sectors = os.lseek(stick.fileno(), 0, os.SEEK_END) // SECTOR
        whole = _table(stick.fileno(), 1)
        known = whole or _table(stick.fileno(), sectors - 1)
        volume = known.volume() if known else None
        if volume is None:
            return None
        new = _table(source.fileno(), 1)
        if new is None:
            raise Refused(f"{image} has no partition table")
        try:
            length = os.lseek(source.fileno(), 0, os.SEEK_END) // SECTOR
            front, end = new.with_volume(volume, length, sectors).to_bytes(sectors)
        except ValueError as error:
            raise Refused(
                f"{error}\nNothing was written. Back the stick up (docs/stick.md), write it with "
                "--anew, which loses the volume, and restore the backup; or use another stick."
            ) from error
        parts = [(SECTOR, front)]
        if whole is not None:  # else an earlier run was interrupted, and may have written over it
            parts += _answers(stick.fileno(), whole, new)
    return Kept(tuple(parts), end)


def _table(file: int, sector: int) -> Table | None:
    header = os.pread(file, SECTOR, sector * SECTOR)
    at, length = gpt.entries_at(header)
    return Table.parse(header, os.pread(file, length, at * SECTOR))


def _answers(stick: int, old: Table, new: Table) -> list[tuple[int, bytes]]:
    (first, last), (start, end) = (gpt.extent(table.entries[_ANSWERS]) for table in (old, new))
    if last - first != end - start:
        return []
    data = os.pread(stick, (last - first + 1) * SECTOR, first * SECTOR)
    return [(start * SECTOR, data)] if _LABEL in data[:SECTOR] else []
