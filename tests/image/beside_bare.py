"""The image beside a bare Debian live image: size, seconds to its wizard or login, memory then.

`./build-image.sh --bare`, then `python -m tests.image.beside_bare dist/build-usb-*.iso
dist/bare-debian-amd64.iso`. Both start from the same emulated USB stick, without boot loaders:
an emulator is slow at them.
"""

from __future__ import annotations

import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.image.image import Image
from tests.image.internal_disks import run
from tests.image.machine import START, Computer, Direct, Machine


@dataclass(frozen=True)
class Figures:
    """Size in MB; seconds from power on, and of them those of a processor; memory in MB."""

    size: float
    seconds: float
    processor: float
    memory: float


def measure(image: Image, direct: Direct, ready: str) -> Figures:
    """Start an image until its serial line says that it is ready."""
    computer = Computer(image.stick(image.folder / "stick.img"), direct, shell=True)
    with Machine(image.folder / "computer", computer) as machine:
        machine.serial.wait(ready, START)
        seconds, processor = machine.seconds(), machine.processor_seconds()
        machine.await_shell()
        told = machine.run("grep -E '^Mem(Total|Available):' /proc/meminfo")
    total, available = (int(kib) for kib in re.findall(r"(\d+) kB", told))
    return Figures(image.iso.stat().st_size / 1e6, seconds, processor, (total - available) / 1000)


def bare_direct(image: Image) -> Direct:
    """Return a start of live-build's own image, as its menu does it."""
    live = image.folder / "live"
    run("xorriso", "-osirrox", "on:auto_chmod_on", "-indev", image.iso, "-extract", "/live", live)
    (kernel,), (initrd,) = live.glob("vmlinuz*"), live.glob("initrd*")
    # as much as ours says on the lines that an emulator is slow at
    return Direct(
        kernel, initrd, "boot=live components loglevel=5 console=tty0 console=ttyS0,115200"
    )


def main(ours: Path, bare: Path) -> None:
    """Measure both and print a table for docs/benchmarks.md."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        other = Image(bare.resolve(), Path(folder, "bare"))
        other.folder.mkdir()
        login = measure(other, bare_direct(other), "login:")
        image = Image(ours.resolve(), Path(folder, "ours"))
        image.folder.mkdir()
        wizard = measure(image, image.direct(), "^BUILDUSB: wizard")
    print("| | bare Debian live | ours | times |\n|---|---:|---:|---:|")
    for what, key in (
        ("MB", "size"),
        ("seconds", "seconds"),
        ("seconds of a processor", "processor"),
        ("MB of memory", "memory"),
    ):
        one, two = getattr(login, key), getattr(wizard, key)
        print(f"| {what} | {one:.0f} | {two:.0f} | {two / one:.2f} |")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
