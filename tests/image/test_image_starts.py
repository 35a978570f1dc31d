"""Starts of the image in a computer with two disks that must stay as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.image import initramfs, internal_disks
from tests.image.image import Image
from tests.image.internal_disks import digest, run
from tests.image.machine import START, Computer, Firmware, Machine
from tests.image.time_server import TimeServer

pytestmark = pytest.mark.image

MakeStick = Callable[[], Path]
KERNEL = r"^\[ +[0-9.]+\] Linux version 6"
MOUNTED = "Begin: Running /scripts/live-bottom"
"""Said by live-boot once it has looked at every disk and found its medium."""


@dataclass(frozen=True)
class Laptop:
    """Internal disks and what they were at the beginning."""

    nvme: Path
    sata: Path

    @property
    def digests(self) -> tuple[str, str]:
        """Return what is on both disks, as digests."""
        return digest(self.nvme), digest(self.sata)


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    """A laptop with an unclean Linux and a hibernated Windows, which are the same at the end."""
    made = Laptop(
        internal_disks.linux_disk(tmp_path / "linux"),
        internal_disks.windows_disk(tmp_path / "windows"),
    )
    before = made.digests
    yield made
    assert made.digests == before


def refuse_writes(machine: Machine) -> None:
    """Fail if an internal disk was written to, even with what it held already."""
    written = machine.writes()
    assert (written["nvme"], written["sata"]) == (0, 0), written


def test_start_to_the_wizard(
    image: Image, make_stick: MakeStick, laptop: Laptop, tmp_path: Path
) -> None:
    """By BIOS and boot menu, from a stick that calls itself fixed: what is promised of a running
    system."""
    stick = make_stick()
    computer = Computer(stick, nvme=laptop.nvme, sata=laptop.sata, removable=False, shell=True)
    with Machine(tmp_path / "computer", computer) as machine:
        choose(machine, "w", "panic=1")
        machine.serial.wait("Build USB [0-9.]+: starting", 120)
        machine.serial.wait("^BUILDUSB: boot", START)
        machine.serial.wait("^BUILDUSB: wizard", START)
        print(json.dumps({"seconds_to_wizard": round(machine.seconds())}))
        machine.await_shell()
        first = machine.await_console("Keyboard layout")
        machine.picture("wizard")
        assert "Time zone" in first
        _look_around(machine)
        _type_through(machine)
        _tell_the_time(machine)
        refuse_writes(machine)
    settings = json.loads(run("mtype", "-i", image.fat(stick, 3), "::/settings.json"))
    assert "de" in settings.values()


def _look_around(machine: Machine) -> None:
    """Assert what the running system keeps its hands off, and who may do what."""
    disks = set(machine.run("ls /sys/block").split())
    assert not [name for name in disks if not re.match(r"(sd|loop|sr|fd|ram|zram)", name)], disks
    assert len([name for name in disks if name.startswith("sd")]) == 1
    assert machine.run("tail -n +2 /proc/swaps") == ""
    kinds = {line.split()[2] for line in machine.run("cat /proc/mounts").splitlines()}
    assert not kinds & {"ext4", "ext3", "ext2", "xfs", "btrfs", "ntfs", "ntfs3", "fuseblk"}, kinds
    modules = {line.split()[0] for line in machine.run("cat /proc/modules").splitlines()}
    assert not modules & {"nvme", "ahci", "ext4", "jbd2", "dm_mod", "md_mod", "btrfs", "xfs"}
    # the address that DHCP answers to is all that may be heard on
    heard = [
        line.split()[4]
        for line in machine.run("ss --no-header --listening --tcp --udp --numeric").splitlines()
    ]
    beyond = [place for place in heard if not re.match(r"(127\.|\[::1\])", place)]
    assert all(re.search(r":(68|546)$", place) for place in beyond), heard
    # QEMU's card is 52:54:00:12:34:56
    machine.run("until ip -4 -brief address show scope global | grep -q UP; do sleep 1; done")
    sent = machine.run("ip -brief link show up | grep -v ^lo")
    assert "UP" in sent
    assert "52:54:00:12:34:56" not in sent
    chain = machine.run("nft list chain inet build-usb input")
    assert "policy drop" in chain
    assert machine.run("cat /proc/sys/kernel/core_pattern") == "|/bin/false"
    assert machine.run("ls /var/log/journal 2>/dev/null || true") == ""
    allowed = machine.run("runuser -u wizard -- sudo --non-interactive --list")
    assert re.findall(r"NOPASSWD: (.*)", allowed) == ["/usr/lib/build-usb/stick"]
    assert (
        machine.run("runuser -u wizard -- sudo -n true 2>/dev/null && echo may || echo no") == "no"
    )
    status = machine.run("runuser -u wizard -- sudo -n /usr/lib/build-usb/stick status")
    assert json.loads(status)["result"]["origin"] == "stick"
    assert machine.run("systemctl --failed --no-legend --plain") == ""


def _type_through(machine: Machine) -> None:
    """Choose another keyboard, and come to the question for the encrypted volume."""
    machine.enter("de", r"Keyboard layout\s+de(\s|$)")
    machine.go("f2", "Memory only")
    machine.enter("short", "5 of at least 12")
    machine.picture("volume")


def _tell_the_time(machine: Machine) -> None:
    """Set the clock over the network: the hardware clock stays. Without what keeps it, it does
    not, so that this test is known to see."""
    told = "/run/systemd/timesync/synchronized"
    ask = (
        f"rm -f {told}; systemctl restart systemd-timesyncd; until [ -e {told} ]; do sleep 1; done"
    )
    machine.run("mkdir -p /run/systemd/timesyncd.conf.d")
    machine.run("printf '[Time]\\nNTP=10.0.2.2\\n' > /run/systemd/timesyncd.conf.d/test.conf")
    before = int(machine.run("date +%s"))
    with TimeServer(ahead=3600):
        machine.run(ask)
        assert int(machine.run("date +%s")) - before > 3000
        # the kernel writes within a second of being told, if it does
        assert not machine.monitor.happened("RTC_CHANGE", 15)
        machine.run("rm /etc/adjtime")
        machine.run(ask)
        assert machine.monitor.happened("RTC_CHANGE", 120)


@pytest.mark.image_long
@pytest.mark.parametrize("layer", ["none", "drivers", "no file system with a journal", "read-only"])
def test_each_layer_alone(image: Image, make_stick: MakeStick, tmp_path: Path, layer: str) -> None:
    """Each of the three layers of isolation keeps a disk as it is; with none of them the same
    computer's disk is written to, so that these tests are known to see."""
    weak = tmp_path / "weak"
    weak.mkdir()
    modules = ["nvme"] if layer.startswith("no file") else ["nvme", "ext4"]
    direct = image.direct("w", less=() if layer == "drivers" else ("module_blacklist",))
    initrd = initramfs.weakened(
        direct.initrd,
        image.layer("filesystem"),
        weak,
        modules=modules,
        ruleless=layer != "read-only",
    )
    disk = internal_disks.linux_disk(tmp_path / "linux")
    before = digest(disk)
    computer = Computer(
        make_stick(), type(direct)(direct.kernel, initrd, direct.words), nvme=disk, removable=False
    )
    with Machine(tmp_path / "computer", computer) as machine:
        machine.serial.wait(MOUNTED, START)
        written = machine.writes()["nvme"]
    changed = digest(disk) != before
    print(json.dumps({"layer": layer, "writes": written, "changed": changed}))
    assert (written > 0, changed) == ((True, True) if layer == "none" else (False, False))


WRONG = """version: 1
name: Not A Name!
mode: development
provider: {name: nowhere, region: here}
application:
  kind: wordpress
  title: My first site
  admin: {user: editor, email: editor}
domain: {name: www.rehearsal.test}
dns: {provider: rfc2136, zone: rehearsal.test}
"""


@pytest.mark.image_long
def test_headless_with_wrong_answers(
    image: Image, make_stick: MakeStick, laptop: Laptop, tmp_path: Path
) -> None:
    """The report on the stick says what is wrong and where; then the computer switches off."""
    stick = make_stick()
    answers = tmp_path / "answers.yaml"
    answers.write_text(WRONG)
    place = image.fat(stick, 3)
    run("mcopy", "-i", place, answers, "::/answers.yaml")
    computer = Computer(
        stick,
        image.direct("h", "buildusb.after=poweroff"),
        nvme=laptop.nvme,
        sata=laptop.sata,
    )
    with Machine(tmp_path / "computer", computer) as machine:
        machine.serial.wait("^BUILDUSB: headless started", START)
        machine.serial.wait("^BUILDUSB: headless failed code=3", 300)
        machine.serial.wait("^BUILDUSB: headless after poweroff", 60)
        refuse_writes(machine)
        machine.wait_off()
    run("fsck.vfat", "-n", _cut(image, stick, tmp_path / "answers.img"))
    run("mcopy", "-n", "-s", "-i", place, "::/report", tmp_path)
    (folder,) = (tmp_path / "report").iterdir()
    result = json.loads((folder / "result.json").read_text())
    assert result["state"] == "failed"
    problems = "\n".join(result["problem"]["problems"])
    for line, key in ((2, "name"), (4, "provider.name"), (8, "application.admin.email")):
        assert re.search(rf"answers\.yaml:{line}: {key}", problems), problems
    assert "provider.name" in (folder / "report.md").read_text()


def _cut(image: Image, stick: Path, target: Path) -> Path:
    """Return the partition ANSWERS of a stick as a file of its own."""
    part = image.partitions[2]
    run("dd", f"if={stick}", f"of={target}", "bs=32768", f"skip={part.start}", f"count={part.size}",
        "iflag=skip_bytes,count_bytes", "status=none")  # fmt: skip
    return target


def choose(machine: Machine, key: str, *words: str) -> None:
    """Add words to the kernel's in the boot menu, and start the entry of that hotkey."""
    menu = r"in memory \(the stick"
    machine.serial.wait(menu, 600)
    machine.serial.slowly("c")
    machine.serial.wait("grub> ", 120)
    machine.serial.slowly(f'set consoles="$consoles {" ".join(words)}"\r')
    machine.serial.wait(r'"\s*grub> ', 120)
    seen = len(machine.serial.text())
    machine.serial.slowly("\x1b")
    machine.serial.wait(menu, 120, after=seen)
    machine.serial.slowly(key)


def test_secure_boot_to_locked_kernel(image: Image, make_stick: MakeStick, tmp_path: Path) -> None:
    computer = Computer(make_stick(), firmware=Firmware.SECURE)
    with Machine(tmp_path / "computer", computer) as machine:
        choose(machine, "w", "ignore_loglevel")
        machine.serial.wait(KERNEL, START)
        machine.serial.wait("secureboot: Secure boot enabled", 120)
        machine.serial.wait("Kernel is locked down from EFI Secure Boot", 120)


def test_secure_boot_refuses_an_altered_kernel(
    image: Image, make_stick: MakeStick, tmp_path: Path
) -> None:
    stick = make_stick()
    image.flip(stick, "/live/vmlinuz")
    with Machine(tmp_path / "computer", Computer(stick, firmware=Firmware.SECURE)) as machine:
        machine.serial.wait("bad shim signature", START)
        machine.serial.wait("need to load the kernel first", 120)
        assert "Linux version" not in machine.serial.text()
