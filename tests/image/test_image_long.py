"""Longer stories of the image: its encrypted volume over a power cut, firmware's variables."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import time
from pathlib import Path

import pytest

from tests.image.image import Image
from tests.image.internal_disks import digest, run
from tests.image.machine import START, Computer, Firmware, Machine
from tests.stick.guest import Guest, missing
from wizard.stick import kept, write

pytestmark = [pytest.mark.image, pytest.mark.image_long]

PASSPHRASE = "correct horse battery staple"
HELPER = "runuser -u wizard -- sudo -n /usr/lib/build-usb/stick"
HOME = "/var/lib/build-usb/home"
# commits as the build home does, and says what is committed
WRITER = """
import sys
from pathlib import Path
from wizard.home.files import write_json
for number in range(1, 1_000_000):
    ballast = "x" * (number * 7919 % 200_000)
    write_json(Path(sys.argv[1], "state.json"), {"n": number, "ballast": ballast})
    with open("/dev/ttyS1", "w") as line:
        print("COMMITTED", number, file=line, flush=True)
"""
FILL = """
import os, sys
from pathlib import Path
from wizard.home.files import write_json
from wizard.errors import HomeError
home = Path(sys.argv[1])
with (home / "ballast").open("wb") as file:
    free = os.statvfs(home)
    os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize * 99 // 100)
try:
    for number in range(1000):
        write_json(home / f"big{number}.json", "x" * 2**20)
except HomeError as error:
    print(error)
"""
PYTHON = "/opt/build-usb/bin/python"


def answer(machine: Machine, command: str, **secrets: str) -> dict[str, dict[str, object]]:
    """Run the helper as the wizard does; return what it said."""
    machine.put("/run/secrets.json", json.dumps(secrets))
    said = machine.run(f"cat /run/secrets.json | {HELPER} {command} || true", 3600)
    found: dict[str, dict[str, object]] = json.loads(said.splitlines()[-1])
    return found


def helper(machine: Machine, command: str, **secrets: str) -> dict[str, object]:
    """Run the helper as the wizard does; return its result."""
    found = answer(machine, command, **secrets)
    assert "result" in found, found
    return found["result"]


def committed(machine: Machine) -> int:
    """Return the newest number that was said to be committed."""
    return max(map(int, re.findall(r"^COMMITTED (\d+)$", machine.shell.text(), re.M)))


def test_volume_over_power_cuts(image: Image, tmp_path: Path) -> None:
    """Made, written to, the power cut ten times in the middle: it always opens, and what was
    committed is there, on a stick that another image was written to as well. Another passphrase
    does not open it; full, it says so and stays whole. Settings are those of the first start."""
    stick = image.stick(tmp_path / "stick.img", 900 * 10**6)
    computer = Computer(stick, image.direct("w"), shell=True)
    copies: dict[Path, int] = {}
    with Machine(tmp_path / "first", computer) as machine:
        machine.await_shell()
        begun = machine.seconds()
        created = helper(machine, "create", passphrase=PASSPHRASE)
        helper(machine, "remember de Europe/Berlin C.UTF-8")
        assert re.fullmatch(r"[A-Z0-9-]{20,}", str(created["recovery"]))
        print(json.dumps({"seconds_to_make_a_volume": round(machine.seconds() - begun)}))
        machine.put("/run/writer.py", WRITER)
        machine.shell.write(f"{PYTHON} /run/writer.py {HOME}\n")
        machine.shell.wait("^COMMITTED 5$", 300)
        for number in range(9):
            time.sleep(random.uniform(0, 2))
            copy = tmp_path / f"pulled{number}.img"
            before = committed(machine)
            machine.copy(stick, copy)
            copies[copy] = before
        last = committed(machine)
        machine.pull()
    with Machine(tmp_path / "second", computer) as machine:
        machine.await_shell()
        # keyboard, time zone and language are not asked for again
        machine.await_console("Its passphrase opens it", START)
        assert machine.run("cat /etc/timezone") == "Europe/Berlin"
        assert 'XKBLAYOUT="de"' in machine.run("cat /etc/default/keyboard")
        assert machine.run("dumpkeys | grep 'keycode  21 = +z'")
        refused = answer(machine, "open", passphrase="correct horse battery stable")["error"]
        assert "wrong passphrase" in str(refused["what"])
        helper(machine, "open", passphrase=PASSPHRASE)
        state = json.loads(machine.run(f"cat {HOME}/state.json"))
        assert state["n"] >= last
        machine.put("/run/fill.py", FILL)
        assert "no space left" in machine.run(f"{PYTHON} /run/fill.py {HOME}").lower()
        assert json.loads(machine.run(f"cat {HOME}/state.json")) == state
        helper(machine, "close")
        machine.switch_off()
    if missing():
        pytest.skip(f"the copies are not opened: needs {', '.join(missing())}")
    write_newer(image, next(iter(copies)))
    words = ("check", str(len(copies)), str(created["recovery"]))
    with Guest(tmp_path / "vm", list(copies), *words) as guest:
        guest.end(2400)
        found = [line.split() for line in guest.lines if line.startswith("FOUND")]
    print(json.dumps({"committed": list(copies.values()), "found": [int(f[3]) for f in found]}))
    assert len(found) == len(copies)
    for (_, _, phase, number), least in zip(found, copies.values(), strict=True):
        assert phase == "locked"
        assert int(number) >= least


def write_newer(image: Image, stick: Path) -> None:
    """Write the image to a stick that has a volume and another system, as `--write` does."""
    system = image.partitions[0]
    run("dd", "if=/dev/zero", f"of={stick}", "bs=1M", f"seek={system.start // 2**20 + 1}",
        f"count={system.size // 2**20 - 1}", "conv=notrunc", "status=none")  # fmt: skip
    device = Path(run("losetup", "--find", "--show", stick).strip())
    try:
        keep = kept.find(device, image.iso)
        assert keep is not None
        write.write(image.iso, device, lambda *_: None, keep)
        place = ("bs=1M", "iflag=skip_bytes,count_bytes", "status=none")
        words = [f"skip={system.start}", f"count={system.size}", *place]
        there, wanted = (stick.with_suffix(end) for end in (".there", ".wanted"))
        run("dd", f"if={device}", f"of={there}", *words)
        run("dd", f"if={image.iso}", f"of={wanted}", *words)
        assert digest(there) == digest(wanted)
        there.unlink()
        wanted.unlink()
    finally:
        run("losetup", "--detach", device)


def test_a_write_protected_stick(image: Image, tmp_path: Path) -> None:
    """It starts, says that it cannot keep anything and why, and offers no volume; answers on it
    are offered."""
    stick = image.stick(tmp_path / "stick.img")
    answers = tmp_path / "answers.yaml"
    answers.write_text("version: 1\n")
    run("mcopy", "-i", image.fat(stick, 3), answers, "::/answers.yaml")
    computer = Computer(stick, image.direct("w"), protected=True, shell=True)
    with Machine(tmp_path / "computer", computer) as machine:
        machine.serial.wait("^BUILDUSB: wizard", START)
        machine.await_shell()
        machine.await_console("Keyboard layout")
        found = helper(machine, "status")["volume"]
        assert isinstance(found, dict)
        assert (found["phase"], found["protected"]) == ("absent", True)
        refused = answer(machine, "create", passphrase=PASSPHRASE)["error"]
        assert "write-protected" in json.dumps(refused)
        # the answers are not remembered then, and the wizard goes on
        shown = machine.go("f2", "No encrypted volume can be made")
        assert "all of it is lost" in " ".join(shown.split())
        machine.picture("protected")
        machine.go("f2", "Open the answers found on this stick")


@pytest.mark.parametrize("harm", ["none", "a flipped bit", "cut short"])
def test_check_this_medium(image: Image, tmp_path: Path, harm: str) -> None:
    """The menu entry says in words whether the stick holds what it should, and uses none of it."""
    stick = image.stick(tmp_path / "stick.img")
    file = "/live/product.squashfs"
    if harm == "a flipped bit":
        image.flip(stick, file)
    elif harm == "cut short":
        start, size = image.place_of(file)
        os.truncate(stick, start + size // 2)
    with Machine(tmp_path / "computer", Computer(stick, image.direct("c"))) as machine:
        machine.serial.wait("^BUILDUSB: medium (good|damaged)", START)
        print(json.dumps({"harm": harm, "seconds_to_verdict": round(machine.seconds())}))
        machine.serial.wait("it restarts by itself in two minutes", 60)
        machine.picture("verdict")
        said = machine.serial.text()
        machine.serial.write("\r")
        machine.wait_off()
    if harm == "none":
        assert "This medium is good: all" in said
    else:
        assert "This medium is DAMAGED. Do not use it" in said
    if harm == "a flipped bit":
        assert re.findall(r"^(\S+): FAILED", said, re.M) == [f".{file}"]
    if harm == "cut short":
        # the list of checksums is at the end
        assert "sha256sum.txt: no checksum lines found" in said
    assert "Mounting" not in said.split("checking this medium")[1]


@pytest.mark.parametrize("firmware", [Firmware.UEFI, Firmware.SECURE], ids=lambda f: f.name)
def test_no_firmware_variable_is_written(image: Image, tmp_path: Path, firmware: Firmware) -> None:
    """With Secure Boot and without, from the boot menu to the wizard and off: the variables stay as
    the firmware and its shim left them before the system started."""
    computer = Computer(image.stick(tmp_path / "stick.img"), firmware=firmware, shell=True)
    folder = tmp_path / "computer"
    with Machine(folder, computer) as machine:
        machine.serial.wait(r"in memory \(the stick", START)
        shutil.copy(folder / "variables.fd", tmp_path / "before.fd")
        machine.serial.wait("^BUILDUSB: wizard", START)
        machine.await_shell()
        mounted = machine.run("grep efivarfs /proc/mounts || true")
        assert not mounted or " ro," in mounted
        locked = "[integrity]" in machine.run("cat /sys/kernel/security/lockdown")
        assert locked == (firmware is Firmware.SECURE)
        machine.await_console("Keyboard layout")
        machine.picture("wizard")
        machine.switch_off()
    assert (folder / "variables.fd").read_bytes() == (tmp_path / "before.fd").read_bytes()
