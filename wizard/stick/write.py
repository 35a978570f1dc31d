"""Writes the image to a USB stick and reads it back: `python3 -m wizard.stick.write IMAGE DISK`.

Standard library only: it runs before anything is installed. Without a disk it lists the disks that
an image could be written to. The encrypted volume of a Build USB stick is kept, see `kept`.

What is first on the stick is written last: a killed run leaves nothing that starts.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import hashlib
import mmap
import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from wizard.stick import kept
from wizard.stick.disks import Computer, Disk, Refused, describe, disks, find, problems, uses
from wizard.stick.kept import Kept

CHUNK = 4 * 2**20  # bytes
_SECTOR = 512
_TABLE_COPY = 34 * _SECTOR  # bytes at a disk's end where an older partition table may have its copy
_FLUSH_BUFFERS, _REREAD_TABLE = 0x1261, 0x125F  # BLKFLSBUF and BLKRRPART of linux/fs.h
_NOTHING = Kept((), b"")

Progress = Callable[[str, int, int], None]
"""Is told what is done (`writing`, `reading back`), bytes done, bytes in all."""


# -- writing -------------------------------------------------------------------------------------


def write(image: Path, device: Path, progress: Progress, keep: Kept = _NOTHING) -> str:
    """Write the image with what the stick keeps, read it back, and return the SHA-256 (hex) of the
    image. Raises Refused.

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
            digests = _write(source.fileno(), target, size, progress, keep)
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


def _write(source: int, target: int, size: int, progress: Progress, keep: Kept) -> dict[int, bytes]:
    """Write all chunks, the first one last; return their digests by where they begin."""
    end = os.lseek(target, 0, os.SEEK_END)
    _put(target, bytes(min(CHUNK, size)), 0)
    # an older table's copy at the end would be found when ours is looked for
    if end - _TABLE_COPY >= size and not keep.end:
        _put(target, bytes(_TABLE_COPY), end - _TABLE_COPY)
    digests: dict[int, bytes] = {}
    done = 0
    for offset in (*range(CHUNK, size, CHUNK), 0):
        data = keep.into(os.pread(source, CHUNK, offset), offset)
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
    # of a table and its copy one is whole at any moment
    _put(target, keep.end, end - len(keep.end))
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


def examine(device: Path, needed: int, computer: Computer) -> Disk:
    """Return the disk that `needed` bytes may be written to. Raises Refused with every reason."""
    disk = find(device, computer)
    reasons = problems(disk, needed, computer)
    if reasons:
        raise Refused("\n".join([f"not written to {describe(disk)}", *reasons]))
    return disk


def run(
    image: Path,
    device: Path | None,
    computer: Computer,
    ask: Callable[[str], str],
    *,
    anew: bool = False,
) -> str:
    """Do what the command line asks; return what to say at the end. Raises Refused.

    `anew`: nothing on the stick is kept."""
    needed = check_image(image)
    if device is None:
        return _listing(needed, computer)
    disk = examine(device, needed, computer)
    keep = _kept(device, image, anew=anew)
    lost = "Everything on it is lost."
    if keep is not None:
        lost = "Its encrypted volume and its partition ANSWERS are kept; its system is replaced."
    elif anew and _kept(device, image) is not None:
        lost = "Everything on it is lost, its encrypted volume too."
    typed = ask(
        f"{describe(disk)}\n{lost}\nType its model and size to go on ({disk.confirmation}): "
    )
    if " ".join(typed.split()) != disk.confirmation:
        raise Refused("not confirmed: nothing was written")
    # it may have been exchanged or mounted while the person typed
    changed = find(device, computer) != disk or uses(disk, computer)
    if changed or _kept(device, image, anew=anew) != keep:
        raise Refused(f"{device} changed meanwhile: nothing was written")
    digest = write(image, device, _Bar(), keep or _NOTHING)
    return (
        f"\n{image.name} is on {describe(disk)}; read back and found identical.\n"
        f"SHA-256 {digest}\nThe stick can be taken out."
    )


def _kept(device: Path, image: Path, *, anew: bool = False) -> Kept | None:
    try:
        return None if anew else kept.find(device, image)
    except OSError as error:
        raise Refused(
            f"{device} cannot be read: {error.strerror}\nRun as root, or with sudo."
        ) from error


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
    parser.add_argument("image", type=Path, nargs="?", help="the image (.iso)")
    parser.add_argument("device", type=Path, nargs="?", help="the stick, such as /dev/sdX")
    parser.add_argument(
        "--anew", action="store_true", help="keep nothing of the stick, not its encrypted volume"
    )
    parser.add_argument(
        "--examine", type=Path, metavar="DEVICE", help="only say why not to write to it, if so"
    )
    given = parser.parse_args()
    if (given.image is None) == (given.examine is None):
        parser.error("give an image, or --examine DEVICE")
    try:
        if given.examine:
            examine(given.examine, 0, Computer())
            return 0
        said = run(given.image, given.device, Computer(), input, anew=given.anew)
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
