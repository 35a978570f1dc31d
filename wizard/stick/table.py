"""The partition table of the stick: read, one partition added after the image's own, renamed.

The kernel is told by `partx`: re-reading a table is refused while the system runs from the disk.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from wizard.errors import HomeError
from wizard.stick import commands
from wizard.stick.disks import Disk
from wizard.stick.medium import partition_device

SECTOR = 512  # bytes; the image's table counts in these
ALIGNMENT = 2**20 // SECTOR  # sectors
IMAGES = 2**30
"""Bytes that are left to the images of later versions before a new volume, on sticks of three times
that and more: so that such an image can be written and the volume kept."""
_BACKUP = 33  # sectors at the end of a disk for the copy of the table
LUKS_TYPE = "CA7D7CCB-63ED-4C53-861C-1742536059CC"
_RELOCATE = ("--relocate", "gpt-bak-std")


@dataclass(frozen=True)
class Entry:
    """One partition; `start` and `sectors` in sectors of 512 bytes."""

    number: int
    device: Path
    start: int
    sectors: int
    type: str
    name: str

    @property
    def size(self) -> int:
        """Return its size in bytes."""
        return self.sectors * SECTOR


@dataclass(frozen=True)
class Table:
    """The partitions of a disk, by where they are."""

    disk: Disk
    entries: tuple[Entry, ...]

    def named(self, name: str) -> Entry | None:
        """Return the partition of that name. HomeError if there are several."""
        found = [entry for entry in self.entries if entry.name == name]
        if len(found) > 1:
            raise HomeError(
                f"the stick has {len(found)} partitions named {name}",
                where=str(self.disk.device),
                cure="remove all but one with fdisk on another computer",
            )
        return found[0] if found else None

    def room(self) -> tuple[int, int]:
        """Return where a new partition would begin and how long it could be, in sectors."""
        end = max((entry.start + entry.sectors for entry in self.entries), default=ALIGNMENT)
        start = -(-end // ALIGNMENT) * ALIGNMENT
        if self.disk.size >= 3 * IMAGES:
            start = max(start, IMAGES // SECTOR)
        last = (self.disk.size // SECTOR - _BACKUP - 1) // ALIGNMENT * ALIGNMENT
        return start, max(0, last - start)


def read(disk: Disk) -> Table:
    """Return the disk's partitions. Raises HomeError when there is no GPT."""
    printed = commands.run(
        "sfdisk", "--json", disk.device, doing="read the stick's partition table"
    )
    found = json.loads(printed)["partitiontable"]
    if found.get("label") != "gpt" or found.get("sectorsize", SECTOR) != SECTOR:
        raise HomeError(
            "the stick has no GPT partition table with sectors of 512 bytes",
            where=str(disk.device),
            cure="write the image to the stick anew, as it is: dd, or build-image.sh --write",
        )
    entries = [_entry(disk, values) for values in found.get("partitions", [])]
    return Table(disk, tuple(sorted(entries, key=lambda entry: entry.start)))


def _entry(disk: Disk, values: dict[str, str | int]) -> Entry:
    node = str(values["node"])
    ending = re.search(r"(\d+)$", node.removeprefix(str(disk.device)))
    assert ending, node
    return Entry(
        number=int(ending[1]),
        device=Path(node),
        start=int(values["start"]),
        sectors=int(values["size"]),
        type=str(values["type"]).upper(),
        name=str(values.get("name", "")),
    )


def append(table: Table, name: str, sectors: int = 0) -> Entry:
    """Add a partition for an encrypted volume over the rest of the disk, or `sectors` of it.

    Raises HomeError. Killed at any moment, the table is the one before or the one after.
    """
    disk = table.disk
    _sfdisk(disk, *_RELOCATE, doing="move the copy of the partition table to the stick's end")
    start, longest = table.room()
    line = f'start={start}, size={sectors or longest}, type={LUKS_TYPE}, name="{name}"\n'
    _sfdisk(disk, "--append", given=line.encode(), doing="add a partition to the stick")
    tell_kernel(disk)
    entry = read(disk).named(name)
    if entry is None or not entry.device.exists():
        raise HomeError(
            "the new partition does not appear",
            where=str(disk.device),
            cure="restart from the stick and try again",
        )
    return entry


def rename(disk: Disk, entry: Entry, name: str) -> None:
    """Give a partition another name. Raises HomeError."""
    _sfdisk(disk, "--part-label", str(entry.number), name, doing="name the partition")


def tell_kernel(disk: Disk) -> None:
    """Make the kernel see partitions that were added. Raises HomeError."""
    commands.run("partx", "--update", disk.device, doing="show the kernel the new partition")
    if shutil.which("udevadm"):
        # what udev does with a new device (read-only at first sight) must be over before we go on
        commands.attempt("udevadm", "settle", "--timeout=10")


def set_writable(disk: Disk) -> None:
    """Lift the write protection that the image puts on every disk, of this disk and its parts.

    Raises HomeError when the stick itself is write-protected, by a switch or a fault.
    """
    parts = [partition_device(disk, entry.number) for entry in read(disk).entries]
    for device in (disk.device, *parts):
        if device.exists():
            commands.run("blockdev", "--setrw", device, doing="make the stick writable")
    for device in (disk.device, *parts):
        if device.exists() and _is_read_only(device):
            raise HomeError(
                "the stick is write-protected",
                where=str(device),
                why="it has a switch, or has protected itself because it is worn out",
                cure="move the switch, or use another stick; without that, go on in memory only",
            )


def is_protected(disk: Disk) -> bool:
    """Say whether the stick itself refuses to be written to, by a switch or a fault.

    The kernel says "read-only" too where only the image holds it: that is lifted for a moment, to
    see what is below, and put back. Raises HomeError.
    """
    if not _is_read_only(disk.device):
        return False
    commands.run("blockdev", "--setrw", disk.device, doing="see whether the stick is writable")
    try:
        return _is_read_only(disk.device)
    finally:
        commands.run("blockdev", "--setro", disk.device, doing="hold the stick read-only again")


def _is_read_only(device: Path) -> bool:
    printed = commands.run("blockdev", "--getro", device, doing="ask whether it is read-only")
    return printed.strip() == b"1"


def _sfdisk(disk: Disk, *words: str, doing: str, given: bytes = b"") -> None:
    options = ("--quiet", "--no-reread", "--no-tell-kernel", "--wipe", "never")
    # sfdisk takes what belongs to an action after the device
    action, *more = words
    place = [action, str(disk.device), *more]
    if action == "--relocate":
        place = [action, *more, str(disk.device)]
    commands.run("sfdisk", *options, "--wipe-partitions", "never", *place, doing=doing, given=given)
