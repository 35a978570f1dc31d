"""Writes the image to a USB stick and reads it back: `python3 -I wizard/stick/write.py IMAGE DISK`.

Standard library only, nothing of this package: it runs before anything is installed. Without a
disk it lists the disks that an image could be written to.

Everything that is known of disks comes from /sys and /proc, as `Computer`, so that tests can show
it others. What is first on the stick is written last: a killed run leaves nothing that starts.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import hashlib
import json
import mmap
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CHUNK = 4 * 2**20  # bytes
_SECTOR = 512
_TABLE_COPY = 34 * _SECTOR  # bytes at a disk's end where an older partition table may have its copy
_FLUSH_BUFFERS, _REREAD_TABLE = 0x1261, 0x125F  # BLKFLSBUF and BLKRRPART of linux/fs.h
_VOLUME = "BUILDUSB-DATA"

Progress = Callable[[str, int, int], None]
"""Is told what is done (`writing`, `reading back`), bytes done, bytes in all."""


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


def warnings(device: Path) -> list[str]:
    """Return what would be lost that a person may not think of."""
    try:
        printed = subprocess.run(
            ["sfdisk", "--json", str(device)], capture_output=True, check=True
        ).stdout
        parts = json.loads(printed)["partitiontable"]["partitions"]
    except (OSError, subprocess.CalledProcessError, ValueError, KeyError):
        return []
    if any(part.get("name") == _VOLUME for part in parts):
        return [
            "It is a Build USB stick with an encrypted volume, which would be lost. Back it up "
            "first: docs/stick.md."
        ]
    return []


# -- writing -------------------------------------------------------------------------------------


def write(image: Path, device: Path, progress: Progress) -> str:
    """Write the image, read it back, and return its SHA-256 (hex). Raises Refused.

    `device` must have been examined before; it is opened so that nobody else can mount it.
    """
    size = image.stat().st_size
    try:
        target = os.open(device, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(
            f"{device} cannot be opened for writing: {error.strerror}\n"
            + ("Something uses it." if error.errno == errno.EBUSY else "Run as root, or with sudo.")
        ) from error
    try:
        with image.open("rb") as source:
            digests = _write(source.fileno(), target, size, progress)
            forget(target)
            _compare(device, digests, size, progress)
            whole = hashlib.file_digest(source, "sha256").hexdigest()
        _tell_kernel(target)
    except OSError as error:
        raise Refused(
            f"writing to {device} failed: {error.strerror}\n"
            "The stick is not usable now. Try another USB port, then another stick."
        ) from error
    finally:
        os.close(target)
    return whole


def _write(source: int, target: int, size: int, progress: Progress) -> dict[int, bytes]:
    """Write all chunks, the first one last; return their digests by where they begin."""
    end = os.lseek(target, 0, os.SEEK_END)
    _put(target, bytes(min(CHUNK, size)), 0)
    # an older table's copy at the end would be found when ours is looked for
    if end - _TABLE_COPY >= size:
        _put(target, bytes(_TABLE_COPY), end - _TABLE_COPY)
    digests: dict[int, bytes] = {}
    done = 0
    for offset in (*range(CHUNK, size, CHUNK), 0):
        data = os.pread(source, CHUNK, offset)
        if offset == 0:
            os.fsync(target)
        _put(target, data, offset)
        digests[offset] = hashlib.sha256(data).digest()
        done += len(data)
        # what is only in memory yet is not progress
        if offset % (8 * CHUNK) == 0:
            os.fdatasync(target)
        progress("writing", done, size)
    os.fsync(target)
    return digests


def _put(target: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(target, view, offset)
        view, offset = view[written:], offset + written


def forget(target: int) -> None:
    """Make the kernel forget what it remembers of the disk, so that it is really read back."""
    os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)
    fcntl.ioctl(target, _FLUSH_BUFFERS)


def _compare(device: Path, digests: dict[int, bytes], size: int, progress: Progress) -> None:
    reader = _open_direct(device)
    buffer = mmap.mmap(-1, CHUNK)  # aligned, as reading past the cache demands
    try:
        for offset in sorted(digests):
            length = min(CHUNK, size - offset)
            got = 0
            while got < length:
                with memoryview(buffer) as view:
                    count = os.preadv(reader, [view[got:]], offset + got)
                if count == 0:
                    break
                got += count
            if hashlib.sha256(buffer[:length]).digest() != digests[offset]:
                raise Refused(
                    f"{device} does not hold what was written: it differs between bytes {offset} "
                    f"and {offset + length}\nThe stick is faulty, or smaller than it says.\n"
                    "Use another stick."
                )
            progress("reading back", offset + length, size)
    finally:
        buffer.close()
        os.close(reader)


def _open_direct(device: Path) -> int:
    try:
        return os.open(device, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return os.open(device, os.O_RDONLY | os.O_CLOEXEC)


def _tell_kernel(target: int) -> None:
    # refused for a disk without partitions, such as a loop device: nothing to read anew
    with suppress(OSError):
        fcntl.ioctl(target, _REREAD_TABLE)


# -- the program ---------------------------------------------------------------------------------


def check_image(image: Path) -> int:
    """Return the image's size in bytes. Raises Refused if it is none or damaged."""
    try:
        size = image.stat().st_size
        with image.open("rb") as file:
            file.seek(0x8001)
            mark = file.read(5)
    except OSError as error:
        raise Refused(f"{image}: {error.strerror}") from error
    if mark != b"CD001" or size % _SECTOR:
        raise Refused(f"{image} is not an image\nIt has no ISO 9660 file system.")
    sums = image.with_name("SHA256SUMS")
    if sums.exists():
        wanted = re.search(
            rf"^([0-9a-f]{{64}})[ *]+{re.escape(image.name)}$", sums.read_text(), re.M
        )
        with image.open("rb") as file:
            if wanted and hashlib.file_digest(file, "sha256").hexdigest() != wanted[1]:
                raise Refused(
                    f"{image} is damaged\nIts SHA-256 is not the one in {sums}.\n"
                    "Download or build it again."
                )
    return size


def run(image: Path, device: Path | None, computer: Computer, ask: Callable[[str], str]) -> str:
    """Do what the command line asks; return what to say at the end. Raises Refused."""
    needed = check_image(image)
    if device is None:
        return _listing(needed, computer)
    disk = find(device, computer)
    reasons = problems(disk, needed, computer)
    if reasons:
        raise Refused("\n".join([f"not written to {describe(disk)}", *reasons]))
    tell = [describe(disk), "Everything on it is lost.", *warnings(device)]
    typed = ask("\n".join([*tell, f"Type its model and size to go on ({disk.confirmation}): "]))
    if " ".join(typed.split()) != disk.confirmation:
        raise Refused("not confirmed: nothing was written")
    # it may have been exchanged or mounted while the person typed
    if find(device, computer) != disk or uses(disk, computer):
        raise Refused(f"{device} changed meanwhile: nothing was written")
    digest = write(image, device, _Bar())
    return (
        f"\n{image.name} is on {describe(disk)}; read back and found identical.\n"
        f"SHA-256 {digest}\nThe stick can be taken out."
    )


def _listing(needed: int, computer: Computer) -> str:
    fit = [disk for disk in disks(computer) if disk.size and not problems(disk, needed, computer)]
    if not fit:
        return "No stick was found that the image could be written to. Plug one in, unmounted."
    return "\n".join(["The image could be written to:", *(f"  {describe(d)}" for d in fit)])


class _Bar:
    """One line with per cent and speed; a line each ten per cent where there is no terminal."""

    def __init__(self) -> None:
        self._what, self._since, self._shown = "", 0.0, -1

    def __call__(self, what: str, done: int, size: int) -> None:
        if what != self._what:
            self._what, self._since, self._shown = what, time.monotonic(), -1
        percent = done * 100 // size
        terminal = sys.stderr.isatty()
        if percent == self._shown or (not terminal and percent // 10 == self._shown // 10):
            return
        self._shown = percent
        speed = done / 1e6 / max(time.monotonic() - self._since, 0.001)
        end = "\n" if not terminal or done == size else ""
        sys.stderr.write(
            f"{chr(13) if terminal else ''}{what} {percent:3d} %, {speed:.0f} MB/s{end}"
        )
        sys.stderr.flush()


def main() -> int:
    """Run the program; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0].split(":")[0])
    parser.add_argument("image", type=Path, help="the image (.iso)")
    parser.add_argument("device", type=Path, nargs="?", help="the stick, such as /dev/sdX")
    arguments = parser.parse_args()
    try:
        said = run(arguments.image, arguments.device, Computer(), input)
    except Refused as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except (KeyboardInterrupt, EOFError):
        sys.stderr.write("\nstopped; if writing had begun, write the stick again\n")
        return 130
    sys.stdout.write(f"{said}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
