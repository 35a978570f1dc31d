"""The initramfs as a file: what is in it, and variants with layers of isolation taken off."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.image.internal_disks import run

RULE = "usr/lib/udev/rules.d/01-build-usb-read-only.rules"
_HEADER, _MAGIC, _END = 110, b"070701", "TRAILER!!!"


def files(initrd: Path) -> dict[str, bytes]:
    """Return every file of an initramfs: its archives may be plain or compressed, in a row."""
    found: dict[str, bytes] = {}
    data = initrd.read_bytes()
    while data := data.lstrip(b"\0"):
        if not data.startswith(_MAGIC):
            data = subprocess.run(
                ["zstd", "-dcq"], input=data, capture_output=True, check=True
            ).stdout
        used = 0
        for name, content, end in _entries(data):
            found[name.removeprefix("./")] = content
            used = end
        data = data[used:]
    return found


def _entries(data: bytes) -> Iterator[tuple[str, bytes, int]]:
    """Yield name, content and end of each file up to the end of one archive."""
    position = 0
    while True:
        header = data[position : position + _HEADER]
        assert header.startswith(_MAGIC)
        fields = [int(header[6 + 8 * n : 14 + 8 * n], 16) for n in range(13)]
        size, length = fields[6], fields[11]
        begin = position + _HEADER
        name = data[begin : begin + length - 1].decode()
        start = -(-(begin + length) // 4) * 4
        position = -(-(start + size) // 4) * 4
        yield name, data[start : start + size], position
        if name == _END:
            return


def weakened(
    initrd: Path, root: Path, folder: Path, *, modules: Sequence[str] = (), ruleless: bool = False
) -> Path:
    """Return a variant with more kernel modules (taken from the image's root file system), or
    without the rule that sets disks read-only: a later archive's files replace earlier ones."""
    tree = folder / "tree"
    (version,) = (path.name for path in (root / "usr/lib/modules").iterdir())
    base = f"usr/lib/modules/{version}"
    present = {
        name for name in files(initrd) if name.startswith(f"{base}/kernel/") and ".ko" in name
    }
    wanted = set()
    for module in modules:
        shown = run(
            "modprobe", "--dirname", root, "--set-version", version, "--show-depends", module
        )
        wanted |= {
            f"{base}/kernel/{line.split()[1].split('/kernel/', 1)[1]}"
            for line in shown.splitlines()
            if line.startswith("insmod")
        }
    if modules:
        for name in present | wanted:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, tree / name)
        for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
            shutil.copy(root / base / name, tree / base / name)
        (tree / "lib").symlink_to("usr/lib")
        run("depmod", "--basedir", tree, version)
        (tree / "lib").unlink()
        for name in present - wanted:
            (tree / name).unlink()
    if ruleless:
        (tree / RULE).parent.mkdir(parents=True, exist_ok=True)
        (tree / RULE).write_text("")
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    packed = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"],
        cwd=tree, input=names.encode(), capture_output=True, check=True,
    ).stdout  # fmt: skip
    data = initrd.read_bytes()
    target = folder / "initrd.img"
    # archives begin at multiples of four bytes
    target.write_bytes(data + b"\0" * (-len(data) % 4) + packed)
    return target
