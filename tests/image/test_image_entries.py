"""The boot menu's other entries, the rescue menu, and `./build-image.sh --try`."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pytest

from tests.image.image import Image
from tests.image.internal_disks import digest
from tests.image.machine import START, Computer, Firmware, Machine
from tests.image.serial_line import Line

pytestmark = [pytest.mark.image, pytest.mark.image_long]

ROOT = Path(__file__).parents[2]
MENU = r"in memory \(the stick"
WIZARD = "build-usb-wizard.service"


def test_in_memory_with_large_type(image: Image, tmp_path: Path) -> None:
    """The stick can be pulled out, and type is twice as large."""
    computer = Computer(
        image.stick(tmp_path / "stick.img"),
        image.direct("m", "buildusb.type=large"),
        memory=2048,
        shell=True,
    )
    with Machine(tmp_path / "computer", computer) as machine:
        machine.serial.wait("^BUILDUSB: wizard", START)
        machine.await_shell()
        shown = machine.await_console("Keyboard layout")
        machine.picture("large-type")
        rows = machine.run("stty size < /dev/tty1").split()
        print(json.dumps({"large type": rows, "seconds_to_wizard": round(machine.seconds())}))
        # 1280x800 of pixels, or the 720x400 of a text screen, by 16x32 a letter
        assert shown.count("\n") + 1 == int(rows[0]) <= 25

        machine.monitor.tell("device_del", id="port")
        assert machine.monitor.happened("DEVICE_DELETED", 60)
        status = machine.run("runuser -u wizard -- sudo -n /usr/lib/build-usb/stick status")
        assert json.loads(status)["result"]["origin"] == "memory"
        # every file can still be read: nothing of it was on the stick
        machine.run("find /opt /usr/bin /usr/lib/python3* -type f -exec cat {} + > /dev/null", 1200)
        machine.go("f2", "memory")
        machine.picture("stick-pulled")


def test_speech_with_safe_graphics(image: Image, tmp_path: Path) -> None:
    """Line prompts on the first console, and a voice that reads them, out of the sound card."""
    heard = tmp_path / "heard.wav"
    computer = Computer(
        image.stick(tmp_path / "stick.img"), image.direct("s", "nomodeset"), sound=heard, shell=True
    )
    with Machine(tmp_path / "computer", computer) as machine:
        machine.serial.wait("^BUILDUSB: wizard", START)
        machine.await_shell()
        machine.await_console("Keyboard layout [us]:")
        machine.run("until systemctl is-active -q espeakup; do sleep 1; done", 600)
        machine.enter("de", r"Keyboard layout \[us\]: de$")
        machine.go("ret", "Time zone [Etc/UTC]:")
        machine.picture("speech")
        machine.run("sleep 20")
        assert machine.run("cat /sys/accessibility/speakup/synth") == "soft"
        assert "nomodeset" in machine.run("cat /proc/cmdline")
        assert machine.run("systemctl --failed --no-legend --plain") == ""
    assert loudest(heard) > 1000


def loudest(path: Path) -> int:
    """Return the largest sample of a recording of 16 bits that may lack its end."""
    samples = path.read_bytes()[44:]
    return max(memoryview(samples[: len(samples) // 2 * 2]).cast("h"), default=0)


def test_rescue(image: Image, tmp_path: Path) -> None:
    """A wizard that keeps ending gives way to a menu with its reason, and comes back from it."""
    computer = Computer(
        image.stick(tmp_path / "stick.img"),
        image.direct("w"),
        shell=True,
        # an emulator takes longer than a minute for three starts
        credentials={f"systemd.unit-dropin.{WIZARD}": "[Unit]\nStartLimitIntervalSec=3600\n"},
    )
    with Machine(tmp_path / "computer", computer) as machine:
        machine.serial.wait("^BUILDUSB: wizard", START)
        machine.await_shell()
        ended = "0"
        for _ in range(3):
            # by number: a start that is quick would be taken for the one that was ended
            ended = machine.run(
                f"until p=$(systemctl show -P MainPID {WIZARD}); [ $p != 0 ] && [ $p != {ended} ];"
                f" do sleep 0.2; done; systemctl kill -s KILL {WIZARD}; echo $p"
            )
        machine.serial.wait("^BUILDUSB: rescue", 120)
        shown = machine.await_console("Choose 1 to 5")
        machine.picture("rescue")
        assert "status=9/KILL" in shown
        machine.enter("4", "Choose 1 to 5: 4$")
        machine.go("ret", "Linux version")
        machine.go("q", "Choose 1 to 5")
        machine.enter("1", "Choose 1 to 5: 1$")
        machine.go("ret", "Keyboard layout")


def test_firmware_settings(image: Image, tmp_path: Path) -> None:
    """The entry restarts the computer into its firmware's screens; no kernel is started."""
    computer = Computer(image.stick(tmp_path / "stick.img"), firmware=Firmware.UEFI, restarts=True)
    with Machine(tmp_path / "computer", computer) as machine:
        machine.serial.wait("Firmware settings", START)
        machine.picture("menu")
        machine.serial.slowly("f")
        machine.serial.wait("Boot Manager", 300)
        machine.picture("firmware")
        assert "starting ..." not in machine.serial.text()


def test_try(image: Image, tmp_path: Path) -> None:
    """`--try` starts the image where it is called, whatever this computer's virtualisation can do;
    what is written to the stick is forgotten."""
    before = digest(image.iso)
    here, there = socket.socketpair()
    with subprocess.Popen(
        ["bash", ROOT / "image/try.sh", image.iso, "bios"], stdin=there, stdout=there, stderr=there
    ) as process:
        there.close()
        line = Line(here, tmp_path / "try.log", lambda: process.poll() is None)
        try:
            line.wait(MENU, 600)
            line.slowly("w")
            line.wait("Build USB [0-9.]+: starting", 120)
            line.wait("^BUILDUSB: boot", START)
            line.slowly("\x01x")
            assert process.wait(60) == 0
        finally:
            process.terminate()
        line.close()
    assert digest(image.iso) == before
