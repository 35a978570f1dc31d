"""Partitions the helper mounts for the wizard: ANSWERS of the stick, and other USB sticks.

Mounted nosuid, nodev, noexec. Other sticks are USB disks that nothing else uses; internal disks
are refused whatever their name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wizard.errors import HomeError, UsageError
from wizard.stick import commands, table
from wizard.stick.disks import Disk, disks, uses
from wizard.stick.medium import HERE, mounted_at, partition_device
from wizard.stick.volume import Owner

ANSWERS = Path("/run/build-usb/answers")
OTHER = Path("/run/build-usb/other")
_ANSWERS_NUMBER = 3  # of the partition, in every image
_MODES = ("ro", "rw")
KINDS = ("vfat", "exfat", "ext4")
"""File systems of other sticks that can be used."""


def facts(disk: Disk) -> dict[str, Any]:
    """Return what a person knows a disk by."""
    return {
        "name": disk.name,
        "model": disk.model,
        "serial": disk.serial,
        "size": disk.size,
        "read_only": disk.read_only,
    }


# -- ANSWERS -------------------------------------------------------------------------------------


def mount_answers(stick: Disk, mode: str, owner: Owner) -> Path:
    """Mount ANSWERS of the stick, or change how it is mounted. Raises HomeError, UsageError."""
    _check_mode(mode)
    if mode == "rw":
        table.set_writable(stick)
    device = partition_device(stick, _ANSWERS_NUMBER)
    _mount(device, ANSWERS, mode, "vfat", owner)
    return ANSWERS


@contextmanager
def writable_answers(stick: Disk, owner: Owner) -> Iterator[Path]:
    """Have ANSWERS mounted read-write for a moment, and as it was after it."""
    before = mounted_at(ANSWERS)
    mount_answers(stick, "rw", owner)
    try:
        yield ANSWERS
    finally:
        if before is None:
            unmount(ANSWERS)
        elif "ro" in before.options:
            commands.run("mount", "-o", "remount,ro", ANSWERS, doing="make ANSWERS read-only")


def unmount(place: Path) -> None:
    """Unmount one of our places; what is not mounted is no error. Raises HomeError if in use."""
    if mounted_at(place):
        commands.run(
            "umount", place, doing="unmount", cure="close the files that are open there, try again"
        )


# -- other sticks --------------------------------------------------------------------------------


def others(stick: Disk | None) -> list[dict[str, Any]]:
    """Return the other USB sticks and their partitions, with why one cannot be used."""
    found = []
    for disk in _usb(stick):
        parts = [
            {"device": str(device), "kind": _tag("TYPE", device), "label": _tag("LABEL", device)}
            for path in sorted(disk.folder.glob("*/partition"))
            for device in [Path("/dev", path.parent.name)]
        ]
        found.append({**facts(disk), "partitions": parts, "used": uses(disk, HERE)})
    return found


def _usb(stick: Disk | None) -> list[Disk]:
    return [
        disk
        for disk in disks(HERE)
        if disk.usb and disk.size and (stick is None or disk.number != stick.number)
    ]


def other(name: str, serial: str, size: str, stick: Disk) -> Disk:
    """Return the other stick that is exactly this one. Raises HomeError, UsageError."""
    for disk in _usb(stick):
        if (disk.name, disk.serial, str(disk.size)) == (name, serial, size):
            used = uses(disk, HERE)
            if used:
                raise HomeError("the other stick is in use", where=name, why="\n".join(used))
            return disk
    raise UsageError("there is no such USB stick besides the one started from", where=name)


def mount_other(device: str, mode: str, stick: Disk | None, owner: Owner) -> Path:
    """Mount a partition of another USB stick. Raises HomeError, UsageError."""
    _check_mode(mode)
    if not re.fullmatch(r"/dev/sd[a-z]{1,3}[0-9]{1,3}", device):
        raise UsageError(
            "not a partition of a USB stick",
            where=device,
            cure="a stick without a partition table is not used: give it one, with a FAT partition",
        )
    partition = Path(device)
    owning = [d for d in _usb(stick) if (d.folder / partition.name / "partition").exists()]
    if not owning:
        raise UsageError("not a partition of another USB stick", where=device)
    kind = _tag("TYPE", partition)
    if kind not in KINDS:
        raise HomeError(
            f"cannot use the file system of the other stick: {kind or 'none is known'}",
            where=device,
            cure=f"use a stick with one of {', '.join(KINDS)}",
        )
    if mode == "rw":
        for path in (owning[0].device, partition):
            commands.run("blockdev", "--setrw", path, doing="make the other stick writable")
    _mount(partition, OTHER, mode, kind, owner)
    return OTHER


def _tag(tag: str, device: Path) -> str:
    words = ("blkid", "--probe", "--match-tag", tag, "--output", "value", device)
    return commands.attempt(*words).stdout.decode(errors="replace").strip()


def _check_mode(mode: str) -> None:
    if mode not in _MODES:
        raise UsageError("the mode is ro or rw")


def _mount(device: Path, place: Path, mode: str, kind: str, owner: Owner) -> None:
    mount = mounted_at(place)
    if mount is not None:
        if Path(mount.source) != device:
            raise HomeError(f"{mount.source} is mounted there", where=str(place))
        commands.run("mount", "-o", f"remount,{mode}", place, doing=f"mount {mode}")
        return
    place.mkdir(mode=0o755, parents=True, exist_ok=True)
    options = f"{mode},nosuid,nodev,noexec"
    if kind != "ext4":
        options += f",uid={owner.uid},gid={owner.gid},fmask=177,dmask=077"
    # ext4 of a stick that was pulled out is not even replayed when it is only read
    options += ",noload" if kind == "ext4" and mode == "ro" else ""
    commands.run("mount", "-t", kind, "-o", options, device, place, doing=f"mount {device}")
