"""The disks of a computer, as /sys and /proc tell of them: what they are, and what uses them.

Standard library only: it runs before anything is installed. Where the kernel tells is a
`Computer`, so that tests can show others.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SECTOR = 512


class Refused(Exception):
    """What must not or could not be done: what, why, what to do next, a line each."""


@dataclass(frozen=True)
class Computer:
    """Where the kernel tells of disks."""

    sys: Path = Path("/sys")
    proc: Path = Path("/proc")


@dataclass(frozen=True)
class Disk:
    """A whole disk; `size` in bytes."""

    name: str
    number: str  # major:minor
    size: int
    model: str
    serial: str
    usb: bool
    removable: bool
    read_only: bool
    folder: Path

    @property
    def device(self) -> Path:
        """Return its device file."""
        return Path("/dev", self.name)

    @property
    def shown_size(self) -> str:
        """Return the size as it is printed on the stick: in units of a thousand."""
        return f"{self.size / 1e9:.1f} GB"

    @property
    def confirmation(self) -> str:
        """Return what has to be typed before anything is written."""
        return f"{self.model} {self.shown_size}"


def disks(computer: Computer) -> list[Disk]:
    """Return all whole disks, also those that are refused."""
    return [disk_at(folder) for folder in sorted((computer.sys / "block").iterdir())]


def disk_at(entry: Path) -> Disk:
    """Return the disk that a folder of /sys/block is."""
    folder = entry.resolve()

    def text(name: str) -> str:
        try:
            return (folder / name).read_text().strip()
        except OSError:
            return ""

    model = " ".join(f"{text('device/vendor')} {text('device/model')}".split())
    return Disk(
        name=entry.name,
        number=text("dev"),
        size=int(text("size") or 0) * _SECTOR,
        model=model or "no name",
        serial=text("device/serial") or _usb_serial(folder),
        usb=any(re.fullmatch(r"usb\d+", part) for part in folder.parts),
        removable=text("removable") == "1",
        read_only=text("ro") == "1",
        folder=folder,
    )


def _usb_serial(folder: Path) -> str:
    for parent in folder.parents:
        if (parent / "idVendor").exists():
            try:
                return (parent / "serial").read_text().strip()
            except OSError:
                return ""
    return ""


def find(device: Path, computer: Computer) -> Disk:
    """Return the disk that a device file is. Raises Refused when it is no whole disk."""
    try:
        status = device.stat()
    except OSError as error:
        raise Refused(f"{device}: {error.strerror}") from error
    if not stat.S_ISBLK(status.st_mode):
        raise Refused(f"{device} is not a disk")
    number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    for disk in disks(computer):
        if disk.number == number:
            return disk
        for part in disk.folder.glob("*/partition"):
            if (part.parent / "dev").read_text().strip() == number:
                raise Refused(
                    f"{device} is a partition\nThe image is for a whole disk.\n"
                    f"Name the disk: /dev/{disk.name}"
                )
    raise Refused(f"{device} is not a whole disk of this computer")


def problems(disk: Disk, needed: int, computer: Computer) -> list[str]:
    """Return every reason not to write `needed` bytes to a disk; none: it may be asked about."""
    found = []
    if not disk.usb and not disk.removable:
        found.append("it is neither a USB disk nor removable: it belongs to this computer")
    if disk.read_only:
        found.append("it is write-protected")
    if disk.size < needed:
        found.append(f"it is too small: {disk.size} bytes, the image has {needed}")
    return found + uses(disk, computer)


def uses(disk: Disk, computer: Computer) -> list[str]:
    """Return what uses a disk: mounts, swap, and what is built on it (LVM, RAID, encryption)."""
    mounts = _mounts(computer)
    swaps = _swaps(computer)
    found = []
    for folder in _with_what_is_on_it(disk.folder):
        name = folder.name
        number = (folder / "dev").read_text().strip() if (folder / "dev").exists() else ""
        for where in mounts.get(number, []) + mounts.get(f"/dev/{name}", []):
            system = where in ("/", "/boot", "/boot/efi", "/usr", "/run/live/medium")
            holds = "it holds the running system: " if system else ""
            found.append(f"{holds}{name} is mounted on {where}")
        if name in swaps:
            found.append(f"{name} is in use as swap")
    found += [
        f"{holder.name} is built on it (LVM, RAID or encryption)"
        for part in (disk.folder, *_partitions(disk.folder))
        for holder in _entries(part / "holders")
    ]
    return list(dict.fromkeys(found))


def _partitions(folder: Path) -> list[Path]:
    return [path.parent for path in sorted(folder.glob("*/partition"))]


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _with_what_is_on_it(folder: Path) -> Iterator[Path]:
    """Yield a device's folder, its partitions', and those of all that is built on them."""
    yield folder
    for part in _partitions(folder):
        yield from _with_what_is_on_it(part)
    for holder in _entries(folder / "holders"):
        yield from _with_what_is_on_it(holder.resolve())


def _mounts(computer: Computer) -> dict[str, list[str]]:
    """Return where devices are mounted, by major:minor and by what they were called."""
    result: dict[str, list[str]] = {}
    for line in (computer.proc / "self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        words, source = before.split(), after.split()[1]
        # btrfs and the like give a number of their own: the name tells then
        for key in {words[2], source}:
            result.setdefault(key, []).append(words[4])
    return result


def _swaps(computer: Computer) -> set[str]:
    try:
        lines = (computer.proc / "swaps").read_text().splitlines()[1:]
    except OSError:
        return set()
    return {Path(line.split()[0]).resolve().name for line in lines}


def describe(disk: Disk) -> str:
    """Return a disk in one line."""
    kind = "USB" if disk.usb else "removable" if disk.removable else "built in"
    serial = f", serial number {disk.serial}" if disk.serial else ""
    return f"/dev/{disk.name}: {disk.model}, {disk.shown_size}, {kind}{serial}"
