"""Longer stories of the image: its encrypted volume over a power cut, firmware's variables."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.image.image import Image
from tests.image.machine import START, Computer, Firmware, Machine

pytestmark = [pytest.mark.image, pytest.mark.image_long]

PASSPHRASE = "correct horse battery staple"
HELPER = "runuser -u wizard -- sudo -n /usr/lib/build-usb/stick"
HOME = "/var/lib/build-usb/home"
# commits as the build home does: a file beside, written through, renamed; says what is committed
WRITER = """
import os, sys
home = sys.argv[1]
for number in range(1, 1_000_000):
    with open(f"{home}/state.new", "w") as file:
        file.write(f"{number} " * 5000)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{home}/state.new", f"{home}/state")
    folder = os.open(home, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    with open("/dev/ttyS1", "w") as line:
        print("COMMITTED", number, file=line, flush=True)
"""


def helper(machine: Machine, command: str, **secrets: str) -> dict[str, object]:
    """Run the helper as the wizard does; return its result."""
    machine.put("/run/secrets.json", json.dumps(secrets))
    said = machine.run(f"cat /run/secrets.json | {HELPER} {command}", 1200)
    answer = json.loads(said.splitlines()[-1])
    assert "result" in answer, answer
    found: dict[str, object] = answer["result"]
    return found


def test_volume_over_a_power_cut(image: Image, tmp_path: Path) -> None:
    """Made, written to, the power cut in the middle: the next start finds what was committed."""
    stick = image.stick(tmp_path / "stick.img")
    computer = Computer(stick, image.direct("w"), shell=True)
    with Machine(tmp_path / "first", computer) as machine:
        machine.await_shell()
        created = helper(machine, "create", passphrase=PASSPHRASE)
        assert re.fullmatch(r"[A-Z0-9-]{20,}", str(created["recovery"]))
        print(json.dumps({"seconds_to_volume": round(machine.seconds())}))
        machine.put("/run/writer.py", WRITER)
        machine.shell.write(f"python3 /run/writer.py {HOME}\n")
        machine.shell.wait("^COMMITTED 25$", 300)
        machine.pull()
        committed = max(map(int, re.findall(r"^COMMITTED (\d+)$", machine.shell.text(), re.M)))
    with Machine(tmp_path / "second", computer) as machine:
        machine.await_shell()
        helper(machine, "open", passphrase=PASSPHRASE)
        numbers = set(machine.run(f"cat {HOME}/state").split())
        # whole, and not older than what was said to be committed
        assert len(numbers) == 1
        assert int(numbers.pop()) in (committed, committed + 1)
        helper(machine, "close")
        machine.run("systemctl --no-block poweroff")
        machine.wait_off()


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


def test_no_firmware_variable_is_written(image: Image, tmp_path: Path) -> None:
    """Under Secure Boot, from the boot menu to the wizard and off: the variables stay as the
    firmware and its shim left them before the system started."""
    computer = Computer(image.stick(tmp_path / "stick.img"), firmware=Firmware.SECURE, shell=True)
    folder = tmp_path / "computer"
    with Machine(folder, computer) as machine:
        machine.serial.wait(r"in memory \(the stick", START)
        shutil.copy(folder / "variables.fd", tmp_path / "before.fd")
        machine.serial.wait("^BUILDUSB: wizard", START)
        machine.await_shell()
        mounted = machine.run("grep efivarfs /proc/mounts || true")
        assert not mounted or " ro," in mounted
        assert "[integrity]" in machine.run("cat /sys/kernel/security/lockdown")
        machine.run("systemctl --no-block poweroff")
        machine.wait_off()
    assert (folder / "variables.fd").read_bytes() == (tmp_path / "before.fd").read_bytes()
