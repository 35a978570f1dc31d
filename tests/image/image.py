"""The image as a file: its partitions, what is on its medium, and its boot menu."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.image.internal_disks import run
from tests.image.machine import Direct

SECTOR = 512


@dataclass(frozen=True)
class Partition:
    """Bytes `start` to `start + size` of the image."""

    start: int
    size: int
    kind: str
    name: str


@dataclass(frozen=True)
class Image:
    """An image, and a folder for what is taken out of it."""

    iso: Path
    folder: Path

    @cached_property
    def partitions(self) -> list[Partition]:
        """Return what the partition table says, in order."""
        table = json.loads(run("sfdisk", "--json", self.iso))["partitiontable"]
        assert (table["label"], table["sectorsize"]) == ("gpt", SECTOR)
        return [
            Partition(part["start"] * SECTOR, part["size"] * SECTOR, part["type"], part["name"])
            for part in table["partitions"]
        ]

    @cached_property
    def medium(self) -> Path:
        """Return the first partition's files, unpacked."""
        folder = self.folder / "medium"
        run("xorriso", "-osirrox", "on:auto_chmod_on", "-indev", self.iso, "-extract", "/", folder)
        return folder

    @cached_property
    def menu(self) -> str:
        """Return the boot menu."""
        return (self.medium / "boot/grub/grub.cfg").read_text()

    @cached_property
    def entries(self) -> dict[str, list[str]]:
        """Return each menu entry's words for the kernel, by the beginning of its title."""
        values = dict(re.findall(r'^set (common|consoles)="([^"]*)"$', self.menu, re.MULTILINE))
        found = {}
        for title, key, body in re.findall(
            r'menuentry "([^"]*)" --hotkey=(.) \{\n(.*?)\n\s*\}', self.menu, re.DOTALL
        ):
            if command := re.fullmatch(r"\s*start (.*)", body):
                words = command[1].replace("$consoles", values["consoles"])
                found[key] = shlex.split(f"{values['common']} {words}")
            else:
                assert body.strip() == "fwsetup", title
        return found

    def direct(self, key: str = "w", *more: str, less: tuple[str, ...] = ()) -> Direct:
        """Return a start of a menu entry without the boot loader, words added or taken away.

        The kernel's messages go to the serial line, so that a failure can be understood."""
        words = [
            word
            for word in self.entries[key]
            if word.split("=")[0] not in (*less, "quiet", "loglevel", "console")
        ]
        words += ["console=tty0", "console=ttyS0,115200", "loglevel=5", *more]
        live = self.medium / "live"
        return Direct(live / "vmlinuz", live / "initrd.img", " ".join(words))

    def place_of(self, file: str) -> tuple[int, int]:
        """Return where a file of the medium begins in the image, and how long it is, in bytes."""
        listed = run("xorriso", "-indev", self.iso, "-find", file, "-exec", "report_lba")
        block, size = re.findall(r"File data lba: +0 , +(\d+) , +\d+ , +(\d+)", listed)[0]
        return int(block) * 2048, int(size)

    def flip(self, stick: Path, file: str) -> None:
        """Change one bit in the middle of a file of the medium on a stick."""
        start, size = self.place_of(file)
        with stick.open("r+b") as opened:
            opened.seek(start + size // 2)
            byte = opened.read(1)[0]
            opened.seek(-1, 1)
            opened.write(bytes([byte ^ 1]))

    def stick(self, path: Path, size: int = 2 * 10**9) -> Path:
        """Write the image to a new stick of that many bytes, a sparse file."""
        run("cp", "--sparse=always", self.iso, path)
        run("truncate", "--size", str(size), path)
        return path

    def fat(self, path: Path, number: int) -> str:
        """Return how mtools call the FAT partition of that number on an image or stick."""
        return f"{path}@@{self.partitions[number - 1].start}"

    def layer(self, name: str) -> Path:
        """Return a layer of the root file system, unpacked with owners and modes."""
        folder = self.folder / name
        if not folder.exists():
            run("unsquashfs", "-q", "-n", "-no-xattrs", "-d", folder,
                self.medium / f"live/{name}.squashfs")  # fmt: skip
        return folder
