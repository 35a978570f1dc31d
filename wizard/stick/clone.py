"""A second stick made of this one: the system byte for byte, the volume as new one of its own.

The copy has its own volume key and recovery key, and the same passphrase. Until it is whole its
volume bears the name of an unfinished one, so a half copy is never taken for a whole one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from wizard.errors import HomeError
from wizard.home.files import explained
from wizard.secrets import Secret
from wizard.stick import commands, luks, table, volume
from wizard.stick.disks import Disk
from wizard.stick.table import SECTOR, Table
from wizard.stick.volume import NAME, PLACE, UNFINISHED, Owner
from wizard.stick.write import CHUNK, forget

_OURS = (NAME, UNFINISHED)


def clone(
    source: Disk,
    target: Disk,
    keys: tuple[Secret, Secret],
    owner: Owner,
    cost: luks.Cost | None = None,
) -> None:
    """Make `target` a copy of `source`. All that was on `target` is lost.

    `keys`: the passphrase of the volume, which must be open, and the copy's recovery key.
    Raises HomeError, PassphraseError.
    """
    passphrase, recovery = keys[0], luks.typed_recovery_key(keys[1])
    found = table.read(source)
    entry = found.named(NAME)
    if entry is not None:
        if not volume.is_open():
            raise HomeError("the encrypted volume is not open", cure="open it, then copy the stick")
        luks.check(entry.device, passphrase)
    end = _end_of_system(found)
    system = Table(target, tuple(e for e in found.entries if e.name not in _OURS))
    begin = system.room()[0] if entry else end
    needed = begin * SECTOR + (shrunk(entry.size) if entry else 0)
    if target.size < needed:
        raise HomeError(
            "the other stick is too small",
            where=target.model,
            why=f"it has {target.size / 1e9:.1f} GB, {needed / 1e9:.1f} GB are needed",
        )
    with _left_alone(target):
        commands.run("blockdev", "--setrw", target.device, doing="make the other stick writable")
        _copy_system(source, target, end)
        _write_table(found, target)
        if entry is not None:
            reserved = volume.reserve(table.read(target))
            fresh = (passphrase, recovery)
            volume.fill(target, reserved, fresh, owner, cost or luks.Cost())


@contextmanager
def _left_alone(target: Disk) -> Iterator[None]:
    """Keep udev off a disk, by its lock: it would set each of its partitions read-only again."""
    with explained(target.device, "open"), target.device.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def shrunk(size: int) -> int:
    """Return how many bytes a volume needs that holds what this one does now."""
    status = os.statvfs(PLACE)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    return min(size, max(volume.SMALLEST, used * 5 // 4 + volume.SMALLEST // 4))


def _end_of_system(found: Table) -> int:
    """Return the sector after the last partition of the image."""
    return max(e.start + e.sectors for e in found.entries if e.name not in _OURS)


def _copy_system(source: Disk, target: Disk, end: int) -> None:
    """Copy what is before sector `end` and read it back."""
    length = end * SECTOR
    written = hashlib.sha256()
    try:
        reader = os.open(source.device, os.O_RDONLY | os.O_CLOEXEC)
        # exclusive: refused while anything uses the disk
        writer = os.open(target.device, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        raise HomeError("a stick cannot be opened", why=str(error)) from error
    try:
        with explained(target.device, "copy the system to"):
            for offset in range(0, length, CHUNK):
                data = os.pread(reader, min(CHUNK, length - offset), offset)
                written.update(data)
                view = memoryview(data)
                while view:
                    count = os.pwrite(writer, view, offset + len(data) - len(view))
                    view = view[count:]
            os.fsync(writer)
            forget(writer)
            found = hashlib.sha256()
            for offset in range(0, length, CHUNK):
                found.update(os.pread(writer, min(CHUNK, length - offset), offset))
    finally:
        os.close(reader)
        os.close(writer)
    if found.digest() != written.digest():
        raise HomeError(
            "the other stick does not hold what was written", where=target.model,
            cure="use another stick",
        )  # fmt: skip


def _write_table(found: Table, target: Disk) -> None:
    """Give the copy a table of its own: the image's partitions, the boot sector as it was."""
    boot_sector = _boot_sector(found.disk)
    lines = ["label: gpt", f"first-lba: {min(64, *(e.start for e in found.entries))}"]
    lines += [
        f'{e.device}: start={e.start}, size={e.sectors}, type={e.type}, name="{e.name}"'
        for e in found.entries
        if e.name not in _OURS
    ]
    commands.run(
        *("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel"),
        *("--wipe", "never", "--wipe-partitions", "never", target.device),
        given="\n".join([*lines, ""]).encode(),
        doing="write the other stick's partition table",
    )
    with explained(target.device, "write the boot sector of"), target.device.open("r+b") as file:
        file.write(boot_sector)
        file.flush()
        os.fsync(file.fileno())
    commands.run("partx", "--update", target.device, doing="show the kernel the other stick")


def _boot_sector(disk: Disk) -> bytes:
    with disk.device.open("rb") as file:
        return file.read(SECTOR)
