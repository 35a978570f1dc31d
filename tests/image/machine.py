"""A virtual computer that a stick is put into: QEMU, without KVM, so that it is the same anywhere.

Serial line 0 is the image's. With `shell`, a root shell waits on serial line 1: it is made of
systemd credentials that the computer's firmware tables hold, so that nothing of the image knows
of it, and no boot parameter changes.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.image.internal_disks import run
from tests.image.monitor import Monitor
from tests.image.serial_line import Line

START = 1500.0
"""Seconds that a start may take; about 240 on two quiet cores, several times that on busy ones."""
_OVMF = Path("/usr/share/OVMF")
_SHELL = """[Unit]
DefaultDependencies=no
After=build-usb-boot.service
[Service]
TTYPath=/dev/ttyS1
StandardInput=tty-force
StandardOutput=tty
StandardError=tty
Environment=TERM=dumb SYSTEMD_PAGER= SYSTEMD_COLORS=0
ExecStart=/bin/sh -c 'stty -echo -onlcr; echo SHELL READY; exec bash 2>/dev/null'
"""
_KEYS = {" ": "spc", ".": "dot", "-": "minus", "/": "slash", ",": "comma", "\n": "ret"}


class Firmware(Enum):
    """What starts the computer: code and variables, or nothing for a BIOS."""

    BIOS = ("", "")
    UEFI = ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd")
    SECURE = ("OVMF_CODE_4M.ms.fd", "OVMF_VARS_4M.ms.fd")


@dataclass(frozen=True)
class Direct:
    """A kernel started without firmware and boot loader, which take minutes in an emulator."""

    kernel: Path
    initrd: Path
    words: str


@dataclass(frozen=True)
class Computer:
    """What is in it. `nvme` and `sata`: internal disks. `removable`: what the stick says it is.
    `protected`: it cannot be written to. `keys`: a second stick. `memory`: MiB.
    `sound`: a file that a sound card's output goes into. `restarts`: after a reset it starts again,
    where else it ends. `tpm`: a folder with a TPM's state. `network`: the namespace (a file of
    /proc) that it reaches the world from, else this one."""

    stick: Path
    direct: Direct | None = None
    firmware: Firmware = Firmware.BIOS
    nvme: Path | None = None
    sata: Path | None = None
    removable: bool = True
    protected: bool = False
    shell: bool = False
    keys: Path | None = None
    memory: int = 1536
    sound: Path | None = None
    restarts: bool = False
    tpm: Path | None = None
    network: Path | None = None
    credentials: Mapping[str, str] = field(default_factory=dict)

    def words(self, folder: Path) -> list[str]:
        """Return QEMU's arguments."""
        secure = self.firmware is Firmware.SECURE
        words = [
            *(("nsenter", f"--net={self.network}", "--") if self.network else ()),
            "qemu-system-x86_64",
            *("-machine", "q35,smm=on" if secure else "q35", "-accel", "tcg"),
            # the kernel clears memory by an instruction that QEMU carries out byte by byte, if told
            # that it is fast
            *("-cpu", "max,-erms,-fsrm"),
            # two processors make QEMU's emulation trip over the kernel's code patching
            *("-smp", "1", "-m", str(self.memory), "-vga", "std", "-display", "none"),
            *(() if self.restarts else ("-no-reboot",)),
            *("-nic", "user,id=cable", "-device", "qemu-xhci", "-device", "usb-kbd"),
            *("-qmp", f"unix:{folder}/qmp,server=on,wait=off"),
            *_drive("stick", self.stick, ",readonly=on" if self.protected else ""),
            *("-device", "usb-storage,id=port,drive=stick,serial=STICK,bootindex=1,"
              f"removable={'on' if self.removable else 'off'}"),
        ]  # fmt: skip
        for number in (0, 1):
            words += ["-chardev", f"socket,id=s{number},path={folder}/s{number},server=on,wait=off"]
            words += ["-serial", f"chardev:s{number}"]
        if self.keys:
            words += [*_drive("keys", self.keys), "-device", "usb-storage,drive=keys,serial=KEYS"]
        if self.sound:
            words += ["-audiodev", f"wav,id=sound,path={self.sound}"]
            words += ["-device", "intel-hda", "-device", "hda-output,audiodev=sound"]
        if self.nvme:
            words += [*_drive("nvme", self.nvme), "-device", "nvme,serial=NVME,drive=nvme"]
        if self.sata:
            words += [*_drive("sata", self.sata), "-device", "ide-hd,serial=SATA,drive=sata"]
        if self.firmware is not Firmware.BIOS:
            code, variables = self.firmware.value
            shutil.copy(_OVMF / variables, folder / "variables.fd")
            words += ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={_OVMF / code}"]
            words += ["-drive", f"if=pflash,format=raw,unit=1,file={folder}/variables.fd"]
        if secure:
            words += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
        if self.tpm:
            words += ["-chardev", f"socket,id=tpm,path={folder}/tpm"]
            words += ["-tpmdev", "emulator,id=chip,chardev=tpm", "-device", "tpm-tis,tpmdev=chip"]
        if self.direct:
            words += ["-kernel", str(self.direct.kernel), "-initrd", str(self.direct.initrd)]
            words += ["-append", self.direct.words]
        credentials = dict(self.credentials)
        if self.shell:
            credentials["systemd.extra-unit.test-shell.service"] = _SHELL
            credentials["systemd.unit-dropin.multi-user.target"] = (
                "[Unit]\nWants=test-shell.service\n"
            )
        for name, value in credentials.items():
            coded = base64.b64encode(value.encode()).decode()
            words += ["-smbios", f"type=11,value=io.systemd.credential.binary:{name}={coded}"]
        return words


def _drive(name: str, path: Path, more: str = "") -> list[str]:
    return ["-drive", f"if=none,id={name},format=raw,file={path}{more}"]


class Machine:
    """A running computer. Its screen at the end, and both serial lines, stay in `folder`."""

    def __init__(self, folder: Path, computer: Computer) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._numbers = itertools.count()
        if computer.tpm:
            # ends with the computer
            run("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={computer.tpm}", "--terminate",
                "--ctrl", f"type=unixio,path={folder}/tpm", "--daemon")  # fmt: skip
        self.started = time.monotonic()
        self._process = subprocess.Popen(computer.words(folder), stdin=subprocess.DEVNULL)
        try:
            self._await_sockets()
            self.monitor = Monitor(folder / "qmp")
            self.serial = Line.at(folder / "s0", folder / "serial.log", self.runs)
            self.shell = Line.at(folder / "s1", folder / "shell.log", self.runs)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def _await_sockets(self) -> None:
        ends = time.monotonic() + 60
        while not all((self._folder / name).is_socket() for name in ("qmp", "s0", "s1")):
            assert self.runs(), "QEMU ended at once; its words are above"
            assert time.monotonic() < ends
            time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self.runs():
            self.picture("end")
        self.pull()
        if kind is not None:
            print(f"serial lines and screen: {self._folder}\n{self.serial.text()[-4000:]}")

    def runs(self) -> bool:
        """Say whether it is on."""
        return self._process.poll() is None

    def seconds(self) -> float:
        """Return how long it has been on."""
        return time.monotonic() - self.started

    def processor_seconds(self) -> float:
        """Return how long a processor of this computer worked for it: other work does not count."""
        words = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def pull(self) -> None:
        """Cut the power."""
        if self.runs():
            self._process.kill()
        self._process.wait()
        for part in (self.serial, self.shell, self.monitor):
            part.close()

    def copy(self, stick: Path, target: Path) -> None:
        """Copy a stick as it is at this moment, as if it were pulled out: what the computer has
        not written yet is not there. The machine stands still meanwhile."""
        self.monitor.tell("stop")
        run("cp", "--sparse=always", stick, target)
        self.monitor.tell("cont")

    def switch_off(self) -> None:
        """Have it switch itself off. Its shell may end before it can say how that went."""
        self.shell.write("systemctl --no-block poweroff\n")
        self.wait_off()

    def wait_off(self, seconds: float = 900) -> None:
        """Wait until it switched itself off."""
        self._process.wait(timeout=seconds)

    def picture(self, name: str) -> Path:
        """Keep what the screen shows as a PNG; in the folder BUILD_USB_PICTURES too."""
        path = self._folder / f"{name}.png"
        self.monitor.tell("screendump", filename=str(path), format="png")
        if kept := os.environ.get("BUILD_USB_PICTURES"):
            Path(kept).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, Path(kept, f"{self._folder.parent.name}-{name}.png"))
        return path

    def press(self, *keys: str) -> None:
        """Press keys of the keyboard one after the other; `shift-tab` is two at once."""
        for key in keys:
            held = [{"type": "qcode", "data": part} for part in key.split("-")]
            self.monitor.tell("send-key", keys=held, **{"hold-time": 100})
            time.sleep(0.3)  # a keyboard that is typed on faster loses keys in an emulator

    def type(self, text: str) -> None:
        """Type on the keyboard: small letters, digits and a few signs."""
        self.press(*(_KEYS.get(letter, letter) for letter in text))

    def enter(self, text: str, shows: str) -> None:
        """Type up to 16 letters in place of what is there, until the first console shows what the
        regular expression says: on a busy computer an emulated keyboard loses keys."""
        for _ in range(5):
            self.press(*["backspace"] * 16)
            self.type(text)
            if self._shown(shows, 60):
                return
        raise AssertionError(f"{text!r} cannot be typed, {shows!r} is not on:\n{self.console()}")

    def go(self, key: str, words: str) -> str:
        """Press a key that leads on, and return the first console's text once it shows `words`;
        pressed again where nothing happens for minutes."""
        for _ in range(3):
            self.press(key)
            if text := self._shown(re.escape(words), 150):
                return text
        raise AssertionError(f"{key} does not lead to {words!r}:\n{self.console()}")

    def writes(self) -> dict[str, int]:
        """Return how many times each disk was written to, flushes included, by QEMU's count."""
        return {
            block["device"]: sum(block["stats"][f"{kind}_operations"] for kind in ("wr", "unmap"))
            for block in self.monitor.tell("query-blockstats")
            if block.get("device")
        }

    def await_shell(self, seconds: float = START) -> None:
        """Wait for the test's own root shell."""
        self.shell.wait("^SHELL READY", seconds)

    def run(self, command: str, seconds: float = 300) -> str:
        """Return what a command of the root shell printed; it must end well."""
        number = next(self._numbers)
        begun = len(self.shell.text())
        self.shell.write(f"{{ {command}\n}} </dev/null 2>&1; echo; echo ENDED {number} $?\n")
        ended = self.shell.wait(rf"^ENDED {number} (\d+)$", seconds, after=begun)
        said = self.shell.text()[begun : ended.start()].strip("\n")
        assert ended[1] == "0", f"{command}: {ended[1]}\n{said}"
        return said

    def put(self, path: str, content: str) -> None:
        """Write a file in it."""
        coded = base64.b64encode(content.encode()).decode()
        self.run(f"rm -f {path}.b64")
        for start in range(0, len(coded), 2000):
            self.run(f"echo {coded[start : start + 2000]} >> {path}.b64")
        self.run(f"base64 -d {path}.b64 > {path}; rm {path}.b64")

    def console(self, number: int = 1) -> str:
        """Return the text on a virtual console, a line a row."""
        coded = self.run(
            f"head -c 4 /dev/vcsa{number} | base64; gzip -c /dev/vcsu{number} | base64"
        )
        first, _, rest = coded.partition("\n")
        _, columns, *_ = base64.b64decode(first)
        text = gzip.decompress(base64.b64decode(rest)).decode("utf-32-le", errors="replace")
        rows = [text[start : start + columns] for start in range(0, len(text), columns)]
        return "\n".join(row.rstrip() for row in rows)

    def await_console(self, words: str, seconds: float = 300) -> str:
        """Return the first console's text once it shows `words`."""
        text = self._shown(re.escape(words), seconds)
        assert text, f"{words!r} is not on the console:\n{self.console()}"
        return text

    def _shown(self, pattern: str, seconds: float) -> str:
        """Return the first console's text once it matches, "" when it does not in time."""
        ends = time.monotonic() + seconds
        pause = 0.5
        while not re.search(pattern, text := self.console(), re.MULTILINE):
            if time.monotonic() > ends:
                return ""
            time.sleep(pause)
            pause = min(pause * 1.5, 5)
        return text
