"""Writing a stick: what is refused and why, on pictures of /sys; the writing on a loop device."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wizard.stick import disks, kept, write
from wizard.stick.disks import Computer, Refused

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
    (found,) = disks.disks(computer)
    assert disks.problems(found, NEEDED, computer) == []
    assert disks.describe(found) == "/dev/sda: Acme Flash Disk, 0.1 GB, USB, serial number AA11"
    assert found.confirmation == "Acme Flash Disk 0.1 GB"


def test_fixed_bit_of_a_usb_stick_is_no_reason(tmp_path: Path, computer: Computer) -> None:
    disk(tmp_path, "sda", USB, removable="0")
    assert disks.problems(disks.disks(computer)[0], NEEDED, computer) == []


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
    (problem,) = disks.problems(disks.disks(computer)[0], NEEDED, computer)
    assert reason in problem


def test_refused_when_mounted(tmp_path: Path, computer: Computer) -> None:
    part(disk(tmp_path, "sda", USB), 1, "8:1")
    mount(computer, "8:1", "/media/stick")
    assert disks.uses(disks.disks(computer)[0], computer) == ["sda1 is mounted on /media/stick"]


def test_refused_when_btrfs_gives_another_number(tmp_path: Path, computer: Computer) -> None:
    part(disk(tmp_path, "sda", USB), 2, "8:2")
    mount(computer, "0:31", "/", "/dev/sda2")
    (problem,) = disks.uses(disks.disks(computer)[0], computer)
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
    stick = next(d for d in disks.disks(computer) if d.name == "sda")
    assert disks.uses(stick, computer) == [
        "it holds the running system: dm-1 is mounted on /",
        "dm-0 is built on it (LVM, RAID or encryption)",
    ]


def test_refused_when_swapped_on(tmp_path: Path, computer: Computer) -> None:
    part(disk(tmp_path, "sda", USB), 1, "8:1")
    (computer.proc / "swaps").write_text("Filename Type Size\n/dev/sda1 partition 1 0 -2\n")
    assert disks.uses(disks.disks(computer)[0], computer) == ["sda1 is in use as swap"]


def test_not_a_disk(tmp_path: Path, computer: Computer) -> None:
    disk(tmp_path, "sda", USB)
    for path in (tmp_path / "nothing", tmp_path, Path("/dev/null")):
        with pytest.raises(Refused):
            disks.find(path, computer)


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


# -- a newer image, and what the stick keeps -----------------------------------------------------

VOLUME_AT, VOLUME_SIZE = 24 * MIB, 30 * MIB


def bootable(path: Path, size: int, answers: bytes) -> Path:
    """Make an image with three partitions, the third a FAT one called ANSWERS."""
    image(path, size)
    start = size - 4 * MIB
    with path.open("r+b") as file:
        file.truncate(size)
    parts = [(64, 2000), (4096, 2048), (start // 512, 4096)]
    lines = [f"start={begin}, size={sectors}" for begin, sectors in parts]
    subprocess.run(
        ["sfdisk", "--quiet", path],
        input="\n".join(["label: gpt", "first-lba: 64", *lines, ""]).encode(),
        check=True,
    )
    with path.open("r+b") as file:
        file.seek(start)
        file.write((b"FAT" + b"ANSWERS    " + answers).ljust(2 * MIB, b"."))
    return path


def layout(device: Path) -> list[dict[str, object]]:
    said = subprocess.run(["sfdisk", "--json", device], capture_output=True, check=True).stdout
    parts: list[dict[str, object]] = json.loads(said)["partitiontable"]["partitions"]
    return parts


@pytest.fixture
def old_stick(tmp_path: Path, computer: Computer, loop: Path) -> Path:
    """A stick with an image, a volume behind it and something on ANSWERS."""
    first = bootable(tmp_path / "old.iso", 9 * MIB, b"mine")
    write.write(first, loop, lambda *_: None)
    options = ["--quiet", "--no-reread", "--no-tell-kernel"]
    subprocess.run(["sfdisk", *options, "--relocate", "gpt-bak-std", loop], check=True)
    line = f"start={VOLUME_AT // 512}, size={VOLUME_SIZE // 512}, name=BUILDUSB-DATA"
    subprocess.run(["sfdisk", *options, "--append", loop], input=line.encode(), check=True)
    with loop.open("r+b") as file:
        file.seek(VOLUME_AT)
        file.write(b"secret" * (VOLUME_SIZE // 6))
        os.fsync(file.fileno())
    return loop


def volume_of(stick: Path) -> bytes:
    with stick.open("rb") as file:
        file.seek(VOLUME_AT)
        return file.read(VOLUME_SIZE)


def test_a_newer_image_leaves_volume_and_answers(
    tmp_path: Path, computer: Computer, old_stick: Path
) -> None:
    before, volume = layout(old_stick), volume_of(old_stick)
    newer = bootable(tmp_path / "new.iso", 20 * MIB, b"empty")
    asked: list[str] = []

    def ask(text: str) -> str:
        asked.append(text)
        return "Test Stick 0.1 GB"

    assert "found identical" in write.run(newer, old_stick, computer, ask)
    assert "Its encrypted volume and its partition ANSWERS are kept" in asked[0]
    after = layout(old_stick)
    assert after[-1] == before[-1]
    places = [(part["start"], part["size"], part["type"]) for part in layout(newer)]
    assert [(part["start"], part["size"], part["type"]) for part in after[:-1]] == places
    assert volume_of(old_stick) == volume
    said = subprocess.run(["sfdisk", "--verify", old_stick], capture_output=True, check=True)
    assert b"No errors detected" in said.stdout
    with old_stick.open("rb") as stick, newer.open("rb") as source:
        written, wanted = stick.read(20 * MIB), source.read()
    # boot sector and system are the image's; ANSWERS is the stick's
    assert written[:512] == wanted[:512]
    assert written[64 * 512 : 16 * MIB] == wanted[64 * 512 : 16 * MIB]
    assert written[16 * MIB :].startswith(b"FATANSWERS    mine")
    assert written[18 * MIB :] == wanted[18 * MIB :]


def test_interrupted_while_a_newer_image_is_written(
    tmp_path: Path, computer: Computer, old_stick: Path
) -> None:
    """At every step the volume is still known, and the next run keeps it."""
    before, volume = layout(old_stick), volume_of(old_stick)
    newer = bootable(tmp_path / "new.iso", 20 * MIB, b"empty")
    for stops in range(1, 11):
        keep = kept.find(old_stick, newer)
        assert keep is not None, stops

        def stop(what: str, done: int, size: int, stops: int = stops) -> None:
            if done >= size * (stops % 5 + 1) // 5 and (what == "writing") == (stops <= 5):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write.write(newer, old_stick, stop, keep)
    write.run(newer, old_stick, computer, lambda _text: "Test Stick 0.1 GB")
    assert layout(old_stick)[-1] == before[-1]
    assert volume_of(old_stick) == volume


def test_an_image_that_has_no_room_before_the_volume(
    tmp_path: Path, computer: Computer, old_stick: Path
) -> None:
    volume = volume_of(old_stick)
    larger = bootable(tmp_path / "new.iso", 26 * MIB, b"empty")
    with pytest.raises(Refused, match="larger than the room before the encrypted volume"):
        write.run(larger, old_stick, computer, lambda _text: "Test Stick 0.1 GB")
    assert volume_of(old_stick) == volume
    asked: list[str] = []

    def ask(text: str) -> str:
        asked.append(text)
        return "Test Stick 0.1 GB"

    write.run(bootable(tmp_path / "b.iso", 20 * MIB, b""), old_stick, computer, ask, anew=True)
    assert "its encrypted volume too" in asked[0]
    assert len(layout(old_stick)) == 3


def test_runs_alone_before_anything_is_installed(tmp_path: Path) -> None:
    words = [sys.executable, "-E", "-s", "-S", "-m", "wizard.stick.write"]
    root = Path(write.__file__).parents[2]
    ended = subprocess.run([*words, tmp_path / "no.iso"], capture_output=True, text=True, cwd=root)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: ")
    ended = subprocess.run(
        [*words, image(tmp_path / "a.iso"), "/dev/null"], capture_output=True, cwd=root
    )
    assert ended.returncode == 1
    assert b"is not a disk" in ended.stderr
    ended = subprocess.run([*words, "--examine", "/dev/null"], capture_output=True, cwd=root)
    assert (ended.returncode, ended.stderr) == (1, b"error: /dev/null is not a disk\n")
