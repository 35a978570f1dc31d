"""A GPT partition table as bytes: what a new image's says, with the encrypted volume of the stick
that it is written to. Pure; standard library only.

Layouts are those of the UEFI specification, 5.3: header in sector 1, its copy in the last one.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from typing import Self

SECTOR = 512  # bytes
VOLUME = "BUILDUSB-DATA"
_SIGNATURE = b"EFI PART"
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")
_MOST_ENTRIES = 1024


@dataclass(frozen=True)
class Table:
    """The table of a disk. `entries` are bytes, all of one length, the empty ones too; `first` and
    `last` the sectors that partitions may use."""

    revision: int
    first: int
    last: int
    identity: bytes
    at: int
    entries: tuple[bytes, ...]

    @classmethod
    def parse(cls, header: bytes, entries: bytes) -> Self | None:
        """Return the table of a header's sector and what follows `entries_at`; None: none."""
        if len(header) < _HEADER.size or not header.startswith(_SIGNATURE):
            return None
        (_, revision, size, checksum, _, _, _, first, last, identity, at, number, length, sums) = (
            _HEADER.unpack_from(header)
        )
        if not (_HEADER.size <= size <= SECTOR and length >= _ENTRY.size):
            return None
        if zlib.crc32(header[:16] + bytes(4) + header[20:size]) != checksum:
            return None
        listed = entries[: number * length]
        if number > _MOST_ENTRIES or len(listed) < number * length or zlib.crc32(listed) != sums:
            return None
        parts = tuple(listed[n * length : (n + 1) * length] for n in range(number))
        return cls(revision, first, last, identity, at, parts)

    def volume(self) -> bytes | None:
        """Return the entry of the encrypted volume."""
        return next((entry for entry in self.entries if name(entry) == VOLUME), None)

    def with_volume(self, entry: bytes, image: int, sectors: int) -> Self:
        """Return this table of an image of so many sectors for a disk of `sectors`, with this entry
        after its own. Raises ValueError when there is no place for it."""
        last = sectors - 2 - self.length
        start, end = extent(entry)
        used = [number for number, known in enumerate(self.entries) if any(known[:16])]
        if start < image:
            raise ValueError("the image is larger than the room before the encrypted volume")
        place = max(used, default=-1) + 1
        if place >= len(self.entries) or len(self.entries[0]) != len(entry) or end > last:
            raise ValueError("the image's partition table has no place for the encrypted volume")
        listed = (*self.entries[:place], entry, *self.entries[place + 1 :])
        return replace(self, last=last, entries=listed)

    @property
    def length(self) -> int:
        """Return how many sectors the entries take."""
        return -(-sum(map(len, self.entries)) // SECTOR)

    def to_bytes(self, sectors: int) -> tuple[bytes, bytes]:
        """Return what goes to sector 1, entries at `at`; and to the end of a disk of that size:
        the entries' copy and the header's."""
        listed = b"".join(self.entries)
        final = sectors - 1
        padded = listed.ljust(self.length * SECTOR, b"\0")
        front = self._header(1, final, self.at, listed)
        gap = bytes((self.at - 2) * SECTOR)
        back = self._header(final, 1, final - self.length, listed)
        return front + gap + padded, padded + back

    def _header(self, own: int, other: int, at: int, listed: bytes) -> bytes:
        values = (own, other, self.first, self.last, self.identity, at, len(self.entries),
                  len(self.entries[0]), zlib.crc32(listed))  # fmt: skip
        blank = _HEADER.pack(_SIGNATURE, self.revision, _HEADER.size, 0, 0, *values)
        whole = _HEADER.pack(_SIGNATURE, self.revision, _HEADER.size, zlib.crc32(blank), 0, *values)
        return whole.ljust(SECTOR, b"\0")


def entries_at(header: bytes) -> tuple[int, int]:
    """Return where a header says that its entries are, in sectors, and how many bytes they take;
    as it says: it may be nonsense."""
    if len(header) < _HEADER.size or not header.startswith(_SIGNATURE):
        return 0, 0
    values = _HEADER.unpack_from(header)
    return values[10], min(values[11], _MOST_ENTRIES) * min(values[12], SECTOR)


def name(entry: bytes) -> str:
    """Return the name of a partition."""
    text: bytes = _ENTRY.unpack_from(entry)[5]
    return text.decode("utf-16-le", errors="replace").partition("\0")[0]


def extent(entry: bytes) -> tuple[int, int]:
    """Return the first and the last sector of a partition."""
    values = _ENTRY.unpack_from(entry)
    return values[2], values[3]
