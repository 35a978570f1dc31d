"""What the system was started from, and the disk it is on; reads /proc and /sys only.

Every function takes where these are as `Computer`, so that tests can show it others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from wizard.errors import NotSupportedError
from wizard.stick.disks import Computer, Disk, disk_at

MEDIUM = Path("/run/live/medium")
BOOT_DISK = Path("/run/build-usb/boot-disk")
"""Written in the initramfs: name and sequence number of the disk that was started from."""
HERE = Computer()
_IN_MEMORY = ("tmpfs", "ramfs", "rootfs")
_OURS = frozenset({1, 2, 3})  # partitions of the image: system, EFI, ANSWERS


class Origin(StrEnum):
    """What this computer runs from."""

    STICK = "stick"  # our image on a disk of its own
    MEMORY = "memory"  # copied to memory at boot: the stick may be gone
    DISC = "disc"  # our image without its partitions: DVD, or a file on a Ventoy stick
    ORDINARY = "ordinary"  # an installed system


@dataclass(frozen=True)
class Mount:
    """A line of /proc/self/mountinfo."""

    device: str  # major:minor
    target: Path
    kind: str
    source: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Medium:
    """What the system was started from; `disk` only when our stick is plugged in."""

    origin: Origin
    disk: Disk | None = None


def mounts(computer: Computer = HERE) -> list[Mount]:
    """Return what is mounted, later mounts last."""
    result = []
    for line in (computer.proc / "self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        words, rest = before.split(), after.split()
        target = Path(_unescaped(words[4]))
        result.append(
            Mount(words[2], target, rest[0], _unescaped(rest[1]), tuple(words[5].split(",")))
        )
    return result


def mounted_at(target: Path, computer: Computer = HERE) -> Mount | None:
    """Return what is mounted on a folder, the uppermost; None if nothing is."""
    return next((m for m in reversed(mounts(computer)) if m.target == target), None)


def find(computer: Computer = HERE) -> Medium:
    """Say what the system was started from; never looks at any disk but that one."""
    mount = mounted_at(MEDIUM, computer)
    if mount is None:
        live = "boot=live" in (computer.proc / "cmdline").read_text().split()
        return Medium(Origin.MEMORY, _noted(computer)) if live else Medium(Origin.ORDINARY)
    if mount.kind in _IN_MEMORY:
        return Medium(Origin.MEMORY, _noted(computer))
    place = computer.sys / "dev/block" / mount.device
    if not (place / "partition").exists():
        return Medium(Origin.DISC)
    parent = place.resolve().parent
    return Medium(Origin.STICK, disk_at(parent)) if _is_ours(parent) else Medium(Origin.DISC)


def _noted(computer: Computer) -> Disk | None:
    """Return the stick that the memory was filled from, if it is still plugged in."""
    try:
        name, sequence = BOOT_DISK.read_text().split()
        folder = (computer.sys / "block" / name).resolve()
        same = (folder / "diskseq").read_text().strip() == sequence
    except (OSError, ValueError):
        return None
    return disk_at(folder) if same and _is_ours(folder) else None


def _is_ours(folder: Path) -> bool:
    return {int(path.read_text()) for path in folder.glob("*/partition")} >= _OURS


def boot_disk(computer: Computer = HERE) -> Disk:
    """Return the stick. Raises NotSupportedError that says why there is none."""
    medium = find(computer)
    if medium.disk is not None:
        return medium.disk
    raise NotSupportedError(
        {
            Origin.MEMORY: "the system runs from memory, and the stick is not plugged in",
            Origin.DISC: "the system was not started from a stick with partitions of its own",
        }.get(medium.origin, "this computer was not started from a Build USB stick"),
        why={
            Origin.MEMORY: "it was started by the menu entry that copies it to memory",
            Origin.DISC: "it runs from a DVD, or from an image file on a multi-boot stick",
        }.get(medium.origin, f"nothing is mounted at {MEDIUM}"),
        cure="go on in memory only, or write the image to a stick and start from that",
    )


def _unescaped(text: str) -> str:
    # mountinfo writes blanks as \040 and so on
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), text)


def partition_device(whole: Disk, number: int) -> Path:
    """Return the device of a partition: `sda5`, `mmcblk0p5`, `loop0p5`."""
    separator = "p" if whole.name[-1].isdigit() else ""
    return whole.device.with_name(f"{whole.name}{separator}{number}")
