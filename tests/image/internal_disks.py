"""Internal disks of a laptop that must stay as they are, each thing on them asking to be written.

Made of files alone; only LVM's tools want a loop device.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

MIB = 2**20
_LINUX, _SWAP, _LVM, _ESP, _WINDOWS = (
    "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
    "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
    "E6D6D379-F507-44C2-A23C-238F2A3DF928",
    "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7",
)
PROGRAMS = ("debugfs", "mkfs.ext4", "mkfs.vfat", "mkswap", "sfdisk", "losetup", "pvcreate",
            "mkntfs", "ntfscp")  # fmt: skip


def run(*words: str | Path, given: str | None = None) -> str:
    """Run a tool with the paths of administration; return what it printed."""
    paths = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    ended = subprocess.run(
        words, input=given, capture_output=True, text=True, env=paths, check=False
    )
    assert ended.returncode == 0, (words, ended.stdout, ended.stderr)
    return ended.stdout


def _blank(path: Path, size: int) -> Path:
    path.unlink(missing_ok=True)
    path.touch()
    os.truncate(path, size)
    return path


def unclean_ext4(path: Path) -> Path:
    """Make an ext4 whose journal holds a write that was never carried out: mounting it,
    even read-only, carries it out."""
    folder = path.with_suffix(".tree")
    (folder / "home").mkdir(parents=True)
    (folder / "home/important").write_text("mine\n" * 1000)
    block = path.with_suffix(".block")
    block.write_bytes(b"late write".ljust(4096, b"!"))
    _blank(path, 128 * MIB)
    run("mkfs.ext4", "-q", "-b", "4096", "-L", "LAPTOP", "-d", folder, path)
    run("debugfs", "-w", "-f", "-", path, given=f"jo\njw -b 9000 {block}\njc\n")
    assert "needs_recovery" in run("dumpe2fs", "-h", path)
    return path


def _swap(path: Path, *, suspended: bool) -> Path:
    _blank(path, 32 * MIB).chmod(0o600)
    run("mkswap", "-q", "-L", "SWAP", path)
    if suspended:
        with path.open("r+b") as file:
            file.seek(4086)
            file.write(b"S1SUSPEND")
    return path


def _volume_group(path: Path) -> Path:
    loop = run("losetup", "--find", "--show", _blank(path, 64 * MIB)).strip()
    try:
        run("pvcreate", "-q", loop)
        run("vgcreate", "-q", "laptop", loop)
    finally:
        run("losetup", "--detach", loop)
    return path


def _windows(path: Path) -> Path:
    """Make an NTFS with the file that a hibernated Windows leaves."""
    mark = path.with_suffix(".mark")
    mark.write_bytes(b"hibr".ljust(4096, b"\0"))
    run(
        "mkntfs",
        "-F",
        "-Q",
        "-q",
        "-s",
        "512",
        "-p",
        "2048",
        "-L",
        "WINDOWS",
        _blank(path, 64 * MIB),
    )
    run("ntfscp", path, mark, "hiberfil.sys")
    return path


def _esp(path: Path) -> Path:
    run("mkfs.vfat", "-n", "SYSTEM", _blank(path, 40 * MIB))
    return path


def _disk(path: Path, parts: Sequence[tuple[Path, str]]) -> Path:
    """Put file systems into the partitions of a disk."""
    size = sum(part.stat().st_size for part, _ in parts) + 4 * MIB
    _blank(path, size)
    start, lines = MIB, ["label: gpt"]
    starts = []
    for part, kind in parts:
        length = part.stat().st_size
        lines.append(f"start={start // 512}, size={length // 512}, type={kind}")
        starts.append(start)
        start += length
    run("sfdisk", "-q", path, given="\n".join(lines))
    with path.open("r+b") as disk:
        for (part, _), offset in zip(parts, starts, strict=True):
            disk.seek(offset)
            disk.write(part.read_bytes())
    return path


def linux_disk(folder: Path) -> Path:
    """Make a disk with an ESP, an unclean ext4, swap, and a volume group."""
    folder.mkdir(parents=True)
    return _disk(
        folder / "linux.img",
        (
            (_esp(folder / "esp"), _ESP),
            (unclean_ext4(folder / "ext4"), _LINUX),
            (_swap(folder / "swap", suspended=False), _SWAP),
            (_volume_group(folder / "lvm"), _LVM),
        ),
    )


def windows_disk(folder: Path) -> Path:
    """Make a disk with a hibernated Windows, and a Linux that was suspended to its swap."""
    folder.mkdir(parents=True)
    return _disk(
        folder / "windows.img",
        ((_windows(folder / "ntfs"), _WINDOWS), (_swap(folder / "swap", suspended=True), _SWAP)),
    )


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
