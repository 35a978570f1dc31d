"""The encrypted volume on an emulated USB stick, under a real kernel: every state it can be in."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

from tests.stick import guest
from tests.stick.guest import Guest

pytestmark = [
    pytest.mark.lab,
    pytest.mark.image_long,
    pytest.mark.skipif(bool(guest.missing()), reason=f"needs {', '.join(guest.missing())}"),
]
MIB = 2**20
IMAGE = 128 * MIB


def stick(path: Path, size: int = 450 * MIB) -> Path:
    """Make a stick as the image makes one: its table ends where the image does."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(IMAGE)
    layout = (
        "label: gpt\nfirst-lba: 64\n"
        "start=64, size=81856, type=L, name=ISO9660\n"
        "start=81920, size=16384, type=U, name=Appended2\n"
        'start=98304, size=131072, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="Appended3"\n'
        "start=229376, size=600, type=L, name=Gap1\n"
    )
    subprocess.run(["sfdisk", "--quiet", path], input=layout.encode(), check=True)
    for offset, blocks, label in ((64 * 512, 40000, "BUILDUSB"), (48 * MIB, 65536, "ANSWERS")):
        words = ["mkfs.vfat", "--invariant", "--offset", str(offset // 512), "-n", label, path]
        subprocess.run([*words, str(blocks)], check=True, capture_output=True)
    with path.open("r+b") as file:
        file.truncate(size)
    return path


def test_life_of_a_volume(tmp_path: Path) -> None:
    path = stick(tmp_path / "stick.img")
    with Guest(tmp_path / "vm", [path], "volume_life") as machine:
        machine.end()
        print(machine.last("FIGURE"))


def test_pulled_while_the_volume_is_made(tmp_path: Path) -> None:
    """At ten random moments: the next start has no volume or a whole one, and can make one."""
    path = stick(tmp_path / "stick.img")
    copies = []
    with Guest(tmp_path / "vm", [path], "create") as machine:
        machine.wait("BEGIN")
        while not machine.last("CREATED") and len(copies) < 10:
            time.sleep(random.uniform(0, 5))
            copies.append(tmp_path / f"pulled{len(copies)}.img")
            machine.copy(path, copies[-1])
    assert len(copies) >= 3
    with Guest(tmp_path / "vm", copies, "check", str(len(copies))) as machine:
        machine.end(1200)
        found = [line.split()[2] for line in machine.lines if line.startswith("FOUND")]
    assert len(found) == len(copies)


def test_pulled_while_the_home_is_written(tmp_path: Path) -> None:
    """At ten random moments: what was committed is there, whole."""
    path = stick(tmp_path / "stick.img")
    copies: dict[Path, int] = {}
    with Guest(tmp_path / "vm", [path], "write") as machine:
        machine.wait("COMMITTED 0")
        while len(copies) < 10:
            time.sleep(random.uniform(0, 2))
            copy = tmp_path / f"pulled{len(copies)}.img"
            committed = int(machine.last("COMMITTED"))
            machine.copy(path, copy)
            copies[copy] = committed
    with Guest(tmp_path / "vm", list(copies), "check", str(len(copies))) as machine:
        machine.end(1200)
        found = [line.split() for line in machine.lines if line.startswith("FOUND")]
    assert len(found) == len(copies)
    for (_, _, phase, number), committed in zip(found, copies.values(), strict=True):
        assert phase == "locked"
        assert int(number) >= committed


def test_copied_to_a_second_stick(tmp_path: Path) -> None:
    first, second = stick(tmp_path / "a.img"), tmp_path / "b.img"
    with second.open("wb") as file:
        file.truncate(500 * MIB)
    with Guest(tmp_path / "vm", [first, second], "clone") as machine:
        machine.end(600)


def test_sticks_that_cannot_hold_a_volume(tmp_path: Path) -> None:
    small = stick(tmp_path / "small.img", 200 * MIB)
    with Guest(tmp_path / "vm", [small], "too_small") as machine:
        machine.end()
    protected = stick(tmp_path / "protected.img")
    with Guest(tmp_path / "vm", [protected], "protected", more=",readonly=on") as machine:
        machine.end()


def test_the_helper(tmp_path: Path) -> None:
    """As the wizard calls it: JSON both ways, at its full cost, and killed while it works."""
    path = stick(tmp_path / "stick.img")
    with Guest(tmp_path / "vm", [path], "helper") as machine:
        machine.end(1500)
