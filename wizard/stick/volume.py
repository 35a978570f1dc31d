"""The encrypted volume on the stick: made, opened, closed, recovered; the helper's core.

    p1 system   p2 EFI   p3 ANSWERS   (gap)   BUILDUSB-DATA: LUKS2 > ext4 > /var/lib/build-usb
                                                home/    the build home, the wizard's
                                                system/  root's: networks that were joined

A volume is made under the name BUILDUSB-NEW and gets its own name last: whatever bears
BUILDUSB-DATA was whole once, and is never made anew without being asked.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from wizard.errors import HomeError
from wizard.home.files import explained
from wizard.secrets import Secret
from wizard.stick import commands, connections, luks, table
from wizard.stick.disks import Disk
from wizard.stick.luks import Cost, Header
from wizard.stick.medium import mounted_at
from wizard.stick.table import Entry, Table

NAME = "BUILDUSB-DATA"
UNFINISHED = "BUILDUSB-NEW"
MAPPING = "build-usb-data"
PLACE = Path("/var/lib/build-usb")
SMALLEST = 256 * 2**20  # bytes; 16 MiB of it are the header
_FOLDERS = ("home", "system")
_OPTIONS = "nosuid,nodev,noexec,noatime"
_STAGING = Path("/run/build-usb/new-volume")
_CORRECTED = 1  # exit codes of e2fsck(8) up to this one leave a clean file system


class Phase(StrEnum):
    """How far the volume is."""

    ABSENT = "absent"
    UNFINISHED = "unfinished"  # making it was interrupted; making it again starts over
    LOCKED = "locked"
    OPEN = "open"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class Status:
    """The volume now; sizes in bytes. `room` is what a new one could have.

    `protected`: the stick itself cannot be written to, so that none can be made or opened."""

    phase: Phase
    size: int = 0
    free: int = 0
    room: int = 0
    protected: bool = False


@dataclass(frozen=True)
class Owner:
    """The user whose build home is in the volume."""

    uid: int
    gid: int


def status(disk: Disk) -> Status:
    """Return how the volume is. Raises HomeError when the table cannot be read."""
    return replace(_found(disk), protected=table.is_protected(disk))


def _found(disk: Disk) -> Status:
    found = table.read(disk)
    entry = found.named(NAME)
    if entry is None:
        unfinished = found.named(UNFINISHED)
        if unfinished is not None:
            return Status(Phase.UNFINISHED, unfinished.size, room=unfinished.size)
        return Status(Phase.ABSENT, room=found.room()[1] * table.SECTOR)
    if is_open():
        return Status(Phase.OPEN, entry.size, shutil.disk_usage(PLACE).free)
    if luks.header(entry.device) is not Header.WHOLE:
        return Status(Phase.DAMAGED, entry.size)
    return Status(Phase.LOCKED, entry.size)


def is_open() -> bool:
    """Say whether the volume is mounted."""
    mount = mounted_at(PLACE)
    return mount is not None and mount.source == f"/dev/mapper/{MAPPING}"


def create(disk: Disk, passphrase: Secret, owner: Owner, cost: Cost | None = None) -> Secret:
    """Make the volume, open it and return its recovery key.

    A home that was begun in memory is taken along. Killed at any moment, the next call starts
    over. Raises HomeError when there is a volume, no room, or the stick cannot be written.
    """
    table.set_writable(disk)
    found = table.read(disk)
    if found.named(NAME) is not None:
        raise HomeError(
            "the stick has an encrypted volume already",
            where=str(disk.device),
            cure="open it with its passphrase or its recovery key",
        )
    entry = reserve(found)
    recovery = luks.generate_recovery_key()
    fill(disk, entry, (passphrase, recovery), owner, cost or Cost())
    open_volume(disk, recovery, owner)  # the passphrase was tried already; this one is quick
    return recovery


def reserve(found: Table) -> Entry:
    """Return the partition that is to become the volume: an unfinished one, or a new one."""
    entry = found.named(UNFINISHED)
    if entry is None:
        room = found.room()[1] * table.SECTOR
        if room < SMALLEST:
            raise HomeError(
                "the stick is too small for an encrypted volume",
                where=str(found.disk.device),
                why=f"{room / 2**20:.0f} MiB are free after the system, "
                f"at least {SMALLEST / 2**20:.0f} MiB are needed",
                cure="use a stick of 4 GB or more; without a volume, go on in memory only",
            )
        return table.append(found, UNFINISHED)
    if not entry.device.exists():
        table.tell_kernel(found.disk)
    return entry


def fill(
    disk: Disk,
    entry: Entry,
    keys: tuple[Secret, Secret],
    owner: Owner,
    cost: Cost,
) -> None:
    """Make an unfinished partition a whole volume with a copy of what is at PLACE now.

    `keys`: passphrase and recovery key. The name is given last: see above.
    """
    passphrase, recovery = keys
    mapping = f"{MAPPING}-new"
    _abandon(mapping)
    table.set_writable(disk)
    luks.format_device(entry.device, passphrase, cost)
    luks.add_recovery_key(entry.device, passphrase, recovery)
    luks.open_device(entry.device, recovery, mapping)
    try:
        inner = Path("/dev/mapper", mapping)
        commands.run(
            *("mkfs.ext4", "-q", "-F", "-m", "1", "-L", NAME, inner),
            doing="make the file system of the encrypted volume",
        )
        with _mounted(inner, _STAGING):
            _furnish(_STAGING, owner)
            for name in _FOLDERS:
                if (PLACE / name).is_dir():
                    _copy(PLACE / name, _STAGING / name)
        os.sync()
    finally:
        luks.close_device(mapping)
    if not luks.opens(entry.device, passphrase):
        raise HomeError(
            "the new volume does not open with its passphrase",
            where=str(entry.device),
            cure="the stick does not keep what is written to it: use another one",
        )
    table.rename(disk, entry, NAME)


def open_volume(disk: Disk, key: Secret, owner: Owner) -> None:
    """Open the volume with its passphrase or recovery key and mount it; once open, no error.

    Raises PassphraseError for a wrong key, HomeError when it is missing or damaged.
    """
    entry = existing(disk)
    table.set_writable(disk)
    if is_open():
        luks.check(entry.device, key)
        return
    if Path("/dev/mapper", MAPPING).exists():
        luks.close_device(MAPPING)  # a killed helper left it
    luks.open_device(entry.device, key, MAPPING)
    try:
        _check_files(Path("/dev/mapper", MAPPING))
        PLACE.mkdir(mode=0o755, parents=True, exist_ok=True)
        _mount(Path("/dev/mapper", MAPPING), PLACE)
        _furnish(PLACE, owner)
        with suppress(HomeError):  # full, it must open all the same
            connections.keep(PLACE / "system")
    except BaseException:
        with suppress(HomeError):
            connections.release()
            if is_open():
                _unmount(PLACE)
            luks.close_device(MAPPING)
        raise


def close_volume() -> None:
    """Unmount and lock the volume; what is closed already is no error. HomeError if in use."""
    if is_open():
        os.sync()
        connections.release()
        _unmount(PLACE)
    luks.close_device(MAPPING)


def recover(
    disk: Disk, recovery: Secret, passphrase: Secret, owner: Owner, cost: Cost | None = None
) -> None:
    """Open the volume with its recovery key and give it a new passphrase."""
    key = luks.typed_recovery_key(recovery)
    open_volume(disk, key, owner)
    luks.replace_passphrase(existing(disk).device, key, passphrase, cost or Cost())


def existing(disk: Disk) -> Entry:
    """Return the volume's partition. Raises HomeError when there is none, or it is damaged."""
    found = table.read(disk)
    entry = found.named(NAME)
    if entry is None:
        begun = found.named(UNFINISHED) is not None
        raise HomeError(
            "the encrypted volume was never finished" if begun else "there is no encrypted volume",
            where=str(disk.device),
            cure="make it: nothing is in it yet" if begun else "make one, or go on in memory only",
        )
    if not entry.device.exists():
        table.tell_kernel(disk)
    if luks.header(entry.device) is not Header.WHOLE:
        raise HomeError(
            "the encrypted volume is damaged: both copies of its header are unusable",
            where=str(entry.device),
            why="something else wrote to the stick, or it is failing; no passphrase can help",
            cure="restore a backup on another stick: docs/stick.md",
        )
    return entry


# -- files in it ---------------------------------------------------------------------------------


def _furnish(root: Path, owner: Owner) -> None:
    with explained(root, "prepare the encrypted volume"):
        root.chmod(0o755)
        for name, ids in zip(_FOLDERS, (owner, Owner(0, 0)), strict=True):
            folder = root / name
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.is_symlink():
                raise HomeError("a link is where a folder should be", where=str(folder))
            os.chown(folder, ids.uid, ids.gid)
            folder.chmod(0o700)


def _copy(source: Path, target: Path) -> None:
    commands.run(
        *("cp", "--archive", "--one-file-system", f"{source}/.", target),
        doing="copy the build home into the volume",
        cure="the volume may be too small for it: use a larger stick",
    )


def _check_files(inner: Path) -> None:
    """Replay the journal, and refuse a file system with errors that need a decision."""
    ended = commands.attempt("e2fsck", "-p", inner)
    if ended.returncode > _CORRECTED:
        raise HomeError(
            "the file system in the encrypted volume is damaged",
            where=str(inner),
            why=ended.stdout.decode(errors="replace").strip()[-2000:],
            cure="restore a backup on another stick; or open a root shell and run: "
            f"cryptsetup open PARTITION {MAPPING}, then e2fsck -f {inner}",
        )


def _abandon(mapping: str) -> None:
    """Let go of what a killed helper left of an unfinished volume."""
    if mounted_at(_STAGING):
        _unmount(_STAGING)
    luks.close_device(mapping)


@contextmanager
def _mounted(device: Path, place: Path) -> Iterator[None]:
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    _mount(device, place)
    try:
        yield
    finally:
        _unmount(place)


def _mount(device: Path, place: Path) -> None:
    commands.run(
        *("mount", "--types", "ext4", "--options", _OPTIONS, device, place),
        doing="mount the encrypted volume",
    )


def _unmount(place: Path) -> None:
    commands.run(
        *("umount", place),
        doing="unmount the encrypted volume",
        cure="end what still uses it (a deployment under way, a shell in it), then try again",
    )
