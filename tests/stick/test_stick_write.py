"""Writing a stick: what is refused and why, on pictures of /sys; the writing on a loop device."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wizard.stick import write
from wizard.stick.write import Computer, Refused

MIB = 2**20
NEEDED = 9 * MIB


def disk(root: Path, name: str, place: str, **values: str) -> Path:
    """Draw a disk at a place below /sys/devices."""
    folder = root / "sys/devices" / place / "block" / name
    given = {"size": str(64 * MIB // 512), "removable": "1", "ro": "0", "dev": "8:0", **values}
    for key, value in given.items():
        path = folder / key.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    (root / "sys/block").mkdir(parents=True, exist_ok=True)
    (root / "sys/block" / name).symlink_to(folder)
    return folder


def part(folder: Path, number: int, dev: str) -> Path:
    path = folder / f"{folder.name}{number}"
    path.mkdir()
    (path / "partition").write_text(f"{number}\n")
    (path / "dev").write_text(f"{dev}\n")
    return path


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text("")
    return Computer(tmp_path / "sys", tmp_path / "proc")


def mount(computer: Computer, dev: str, where: str, source: str = "/dev/x") -> None:
    path = computer.proc / "self/mountinfo"
    with path.open("a") as file:
        file.write(f"30 1 {dev} / {where} rw - ext4 {source} rw\n")


USB = "pci0/usb1/1-1/host0"


def test_a_plain_stick_is_offered(tmp_path: Path, computer: Computer) -> None:
    disk(tmp_path, "sda", USB, device__vendor="Acme   ", device__model="Flash Disk  ")
    usb = tmp_path / "sys/devices/pci0/usb1/1-1"
    (usb / "idVendor").write_text("0781\n")
    (usb / "serial").write_text("AA11\n")
    (found,) = write.disks(computer)
    assert write.problems(found, NEEDED, computer) == []
    assert write.describe(found) == "/dev/sda: Acme Flash Disk, 0.1 GB, USB, serial number AA11"
    assert found.confirmation == "Acme Flash Disk 0.1 GB"


def test_fixed_bit_of_a_usb_stick_is_no_reason(tmp_path: Path, computer: Computer) -> None:
    disk(tmp_path, "sda", USB, removable="0")
    assert write.problems(write.disks(computer)[0], NEEDED, computer) == []


@pytest.mark.parametrize(
    ("place", "values", "reason"),
    [
        ("pci0/ata1", {"removable": "0"}, "neither a USB disk nor removable"),
        (USB, {"ro": "1"}, "write-protected"),
        (USB, {"size": "100"}, "too small: 51200 bytes"),
    ],
)
def test_refused_by_what_it_is(
    tmp_path: Path, computer: Computer, place: str, values: dict[str, str], reason: str
) -> None:
    disk(tmp_path, "sda", place, **values)
    (problem,) = write.problems(write.disks(computer)[0], NEEDED, computer)
    assert reason in problem


def test_refused_when_mounted(tmp_path: Path, computer: Computer) -> None:
    part(disk(tmp_path, "sda", USB), 1, "8:1")
    mount(computer, "8:1", "/media/stick")
    assert write.uses(write.disks(computer)[0], computer) == ["sda1 is mounted on /media/stick"]


def test_refused_when_btrfs_gives_another_number(tmp_path: Path, computer: Computer) -> None:
    part(disk(tmp_path, "sda", USB), 2, "8:2")
    mount(computer, "0:31", "/", "/dev/sda2")
    (problem,) = write.uses(write.disks(computer)[0], computer)
    assert problem == "it holds the running system: sda2 is mounted on /"


def test_refused_when_it_holds_the_system_through_layers(
    tmp_path: Path, computer: Computer
) -> None:
    """Partition > LUKS > LVM > the root file system."""
    first = part(disk(tmp_path, "sda", USB), 3, "8:3")
    below = first
    for name, dev in (("dm-0", "254:0"), ("dm-1", "254:1")):
        above = disk(tmp_path, name, "virtual", dev=dev)
        (below / "holders").mkdir()
        (below / "holders" / name).symlink_to(above)
        below = above
    mount(computer, "254:1", "/", "/dev/mapper/vg-root")
    stick = next(d for d in write.disks(computer) if d.name == "sda")
    assert write.uses(stick, computer) == [
        "it holds the running system: dm-1 is mounted on /",
        "dm-0 is built on it (LVM, RAID or encryption)",
    ]


def test_refused_when_swapped_on(tmp_path: Path, computer: Computer) -> None:
    part(disk(tmp_path, "sda", USB), 1, "8:1")
    (computer.proc / "swaps").write_text("Filename Type Size\n/dev/sda1 partition 1 0 -2\n")
    assert write.uses(write.disks(computer)[0], computer) == ["sda1 is in use as swap"]


def test_not_a_disk(tmp_path: Path, computer: Computer) -> None:
    disk(tmp_path, "sda", USB)
    for path in (tmp_path / "nothing", tmp_path, Path("/dev/null")):
        with pytest.raises(Refused):
            write.find(path, computer)


def image(path: Path, size: int = NEEDED) -> Path:
    data = bytearray(os.urandom(size))
    data[0x8001:0x8006] = b"CD001"
    path.write_bytes(data)
    return path


def test_images_are_checked(tmp_path: Path) -> None:
    good = image(tmp_path / "a.iso")
    assert write.check_image(good) == NEEDED
    digest = hashlib.sha256(good.read_bytes()).hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  a.iso\n")
    assert write.check_image(good) == NEEDED
    with good.open("r+b") as file:
        file.seek(MIB)
        file.write(b"flipped")
    with pytest.raises(Refused, match="damaged"):
        write.check_image(good)
    (tmp_path / "b.iso").write_bytes(b"no image")
    with pytest.raises(Refused, match="not an image"):
        write.check_image(tmp_path / "b.iso")


# -- on a loop device ----------------------------------------------------------------------------


@pytest.fixture
def loop(tmp_path: Path, computer: Computer) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs root for a loop device")
    backing = tmp_path / "stick.img"
    with backing.open("wb") as file:
        file.truncate(64 * MIB)
    made = subprocess.run(
        ["losetup", "--find", "--show", backing], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no loop device: {made.stderr}")
    device = Path(made.stdout.strip())
    number = device.stat().st_rdev
    disk(
        tmp_path,
        device.name,
        USB,
        device__model="Test Stick",
        dev=f"{os.major(number)}:{os.minor(number)}",
    )
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


def test_written_and_read_back(tmp_path: Path, computer: Computer, loop: Path) -> None:
    source = image(tmp_path / "a.iso")
    asked: list[str] = []

    def ask(text: str) -> str:
        asked.append(text)
        return "Test Stick 0.1 GB"

    said = write.run(source, loop, computer, ask)
    assert hashlib.sha256(source.read_bytes()).hexdigest() in said
    assert (tmp_path / "stick.img").read_bytes()[:NEEDED] == source.read_bytes()
    assert "Everything on it is lost" in asked[0]
    assert "Test Stick" in write.run(source, None, computer, ask)


def test_nothing_is_written_without_the_right_words(
    tmp_path: Path, computer: Computer, loop: Path
) -> None:
    source = image(tmp_path / "a.iso")
    for typed in ("", "yes", "Test Stick", "0.1 GB", "test stick 0.1 gb"):
        with pytest.raises(Refused, match="nothing was written"):
            write.run(source, loop, computer, lambda _text, typed=typed: typed)
    assert not any((tmp_path / "stick.img").read_bytes())


def test_mounted_while_the_person_types(tmp_path: Path, computer: Computer, loop: Path) -> None:
    source = image(tmp_path / "a.iso")
    number = loop.stat().st_rdev

    def ask(_text: str) -> str:
        mount(computer, f"{os.major(number)}:{os.minor(number)}", "/media/now")
        return "Test Stick 0.1 GB"

    with pytest.raises(Refused, match="changed meanwhile"):
        write.run(source, loop, computer, ask)
    assert not any((tmp_path / "stick.img").read_bytes())


def test_a_stick_that_does_not_keep_what_is_written(
    tmp_path: Path, computer: Computer, loop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its contents are changed behind the kernel's back, where a faulty stick would."""
    source = image(tmp_path / "a.iso")
    real = write.forget

    def forget(target: int) -> None:
        real(target)
        with (tmp_path / "stick.img").open("r+b") as file:
            file.seek(5 * MIB)
            file.write(b"\0" * 512)
            os.fsync(file.fileno())

    monkeypatch.setattr(write, "forget", forget)
    with pytest.raises(Refused, match=f"between bytes {4 * MIB} and {8 * MIB}"):
        write.run(source, loop, computer, lambda _text: "Test Stick 0.1 GB")


def test_killed_halfway_leaves_nothing_that_starts(
    tmp_path: Path, computer: Computer, loop: Path
) -> None:
    source = image(tmp_path / "a.iso", 40 * MIB)

    def stop(what: str, done: int, size: int) -> None:
        if done > size // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write.write(source, loop, stop)
    assert not any((tmp_path / "stick.img").read_bytes()[: 4 * MIB])


def test_runs_alone_before_anything_is_installed(tmp_path: Path) -> None:
    words = [sys.executable, "-I", "-S", write.__file__]
    ended = subprocess.run([*words, tmp_path / "no.iso"], capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: ")
    ended = subprocess.run([*words, image(tmp_path / "a.iso"), "/dev/null"], capture_output=True)
    assert ended.returncode == 1
    assert b"is not a disk" in ended.stderr
