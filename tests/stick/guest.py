"""A small virtual machine that runs a Debian kernel on this computer's own files, read-only.

For what the kernel of a build machine may lack (dm-crypt, NFS) and no build machine may do: pulling
a stick out. The root file system is this computer's, shared over 9p below a tmpfs; what a test
changes is gone with the machine, but for its sticks, which are files of the test's.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
KEPT = Path(os.environ.get("BUILD_USB_TEST_KERNEL", "/var/tmp/build-usb-test-kernel"))
PROGRAMS = (
    "qemu-system-x86_64",
    "busybox",
    "modprobe",
    "cpio",
    "cryptsetup",
    "sfdisk",
    "mkfs.vfat",
)
_EARLY = ("virtio_pci", "9p", "9pnet_virtio", "overlay")
_STICKS = (
    "xhci-pci",
    "usb-storage",
    "sd_mod",
    "vfat",
    "isofs",
    "nls_cp437",
    "nls_ascii",
    "ext4",
    "dm-crypt",
    *("aesni-intel", "xts", "algif_skcipher", "crc32c_generic"),
)
# what the kernel itself asks for when something needs it
_MODPROBE = """#!/bin/busybox sh
exec /bin/busybox chroot /root /sbin/modprobe "$@"
"""
_INIT = """#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc; $B mount -t sysfs sys /sys; $B mount -t devtmpfs dev /dev
for m in /m/*.ko; do $B insmod $m; done
$B mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose host /lower
$B mount -t tmpfs rw /rw; $B mkdir /rw/u /rw/w
$B mount -t overlay -o lowerdir=/lower,upperdir=/rw/u,workdir=/rw/w root /root
for d in proc sys dev; do $B mount --move /$d /root/$d; done
$B mount -t tmpfs run /root/run
$B mkdir -p /root/lib/modules; $B mount --bind /root@KEPT@/lib/modules /root/lib/modules
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
for m in @LATE@; do $B chroot /root /sbin/modprobe $m; done
$B chroot /root @PROGRAM@ > /root/dev/ttyS0 2>&1 < /root/dev/null
echo "GUEST ENDED $?" > /root/dev/ttyS0
$B poweroff -f
"""


@dataclass(frozen=True)
class System:
    """What runs in it and what it needs: kernel modules, words for QEMU."""

    program: tuple[str, ...]
    modules: tuple[str, ...]
    qemu: tuple[str, ...]


STICKS = System(
    (str(ROOT / ".venv/bin/python"), "-u", str(Path(__file__).with_name("inside.py"))),
    _STICKS,
    # no more than one processor: two make QEMU's emulation trip over the kernel's code patching
    ("-smp", "1", "-m", "2048", "-nic", "none"),
)


def missing() -> list[str]:
    """Return the programs that are needed and not here."""
    return [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/sbin")]


def prepare() -> None:
    """Fetch a Debian kernel from this computer's package sources and unpack it, once."""
    if (KEPT / "ready").exists():
        return
    shutil.rmtree(KEPT, ignore_errors=True)
    KEPT.mkdir(parents=True)
    package = next(
        found[1]
        for name in ("linux-image-6.12-amd64", "linux-image-amd64")
        if (found := re.search(r"Depends: (linux-image\S+)", _said("apt-cache", "depends", name)))
    )
    subprocess.run(["apt-get", "download", "-qq", package], cwd=KEPT, check=True)
    (archive,) = KEPT.glob("*.deb")
    subprocess.run(["dpkg", "--extract", archive, KEPT], check=True)
    archive.unlink()
    subprocess.run(["depmod", "--basedir", KEPT, _version()], check=True)
    (KEPT / "ready").touch()


def _said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def _version() -> str:
    (folder,) = (KEPT / "lib/modules").iterdir()
    return folder.name


def _initrd(folder: Path, system: System, words: Sequence[str]) -> Path:
    tree = folder / "initrd"
    shutil.rmtree(tree, ignore_errors=True)
    for name in ("bin", "sbin", "m", "lower", "rw", "root", "proc", "sys", "dev"):
        (tree / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox
    shutil.copy(busybox, tree / "bin/busybox")
    modules: list[str] = []
    for name in _EARLY:
        listed = subprocess.run(
            ["modprobe", "--dirname", KEPT, "--set-version", _version(), "--show-depends", name],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        modules += [line.split()[1] for line in listed.splitlines() if line.startswith("insmod")]
    for number, module in enumerate(dict.fromkeys(modules)):
        target = tree / "m" / f"{number:02d}.ko"
        unpack = ["xz", "-dc"] if module.endswith(".xz") else ["cat"]
        with target.open("wb") as file:
            subprocess.run([*unpack, module], stdout=file, check=True)
    values = {
        "KEPT": str(KEPT),
        "LATE": " ".join(system.modules),
        "PROGRAM": shlex.join([*system.program, *words]),
    }
    init = re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], _INIT)
    for name, text in (("init", init), ("sbin/modprobe", _MODPROBE)):
        (tree / name).write_text(text)
        (tree / name).chmod(0o755)
    names = "\n".join(str(path.relative_to(tree)) for path in tree.rglob("*"))
    packed = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc"],
        cwd=tree,
        input=names.encode(),
        capture_output=True,
        check=True,
    ).stdout
    target = folder / "initrd.cpio"
    target.write_bytes(packed)
    return target


class Guest:
    """A running machine with USB sticks; runs its system's program (`inside.py`) with the words,
    and powers off."""

    def __init__(
        self,
        folder: Path,
        sticks: Sequence[Path],
        *words: str,
        more: str = "",
        system: System = STICKS,
    ) -> None:
        prepare()
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        (kernel,) = (KEPT / "boot").glob("vmlinuz-*")
        drives: list[str] = ["-device", "qemu-xhci,p2=15,p3=15"]
        for number, stick in enumerate(sticks):
            drives += ["-drive", f"if=none,id=d{number},format=raw,file={stick}{more}"]
            drives += ["-device", f"usb-storage,drive=d{number},serial=STICK{number},removable=on"]
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg"),
                # as in tests/image/machine.py
                *("-cpu", "max,-erms,-fsrm", "-display", "none", "-no-reboot", *system.qemu),
                *("-kernel", str(kernel), "-initrd", str(_initrd(folder, system, words))),
                # guarding an emulated processor's caches costs a lot and is good for nothing
                *("-append", "console=ttyS0 quiet panic=1 loglevel=3 mitigations=off"),
                *("-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,"
                  "multidevs=remap"),
                *("-serial", "stdio", "-qmp", f"unix:{folder}/qmp,server=on,wait=off"),
                *drives,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.pull()
        if kind is not None:
            print(self.text())

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with self._changed:
                self.lines.append(line.decode(errors="replace").strip())
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def text(self) -> str:
        """Return what the machine said so far."""
        return "\n".join(self.lines)

    def wait(self, beginning: str, seconds: float = 300) -> str:
        """Return the first line that begins so, waiting for it."""
        ends = time.monotonic() + seconds
        with self._changed:
            while True:
                found = next((line for line in self.lines if line.startswith(beginning)), None)
                if found is not None:
                    return found
                left = ends - time.monotonic()
                if left <= 0 or (self._process.poll() is not None and not self._reader.is_alive()):
                    raise AssertionError(f"no {beginning!r} in:\n" + "\n".join(self.lines[-60:]))
                self._changed.wait(min(left, 1))

    def end(self, seconds: float = 400) -> None:
        """Wait until it powered off; fails if a scenario failed."""
        line = self.wait("GUEST ENDED", seconds)
        self._process.wait(timeout=60)
        assert line == "GUEST ENDED 0", "\n".join(self.lines[-80:])

    def last(self, beginning: str) -> str:
        """Return the last line that begins so, empty if there is none."""
        found = [line for line in list(self.lines) if line.startswith(beginning)]
        return found[-1].removeprefix(beginning).strip() if found else ""

    def pull(self) -> None:
        """Cut the power."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout
        self._process.stdout.close()

    def copy(self, stick: Path, target: Path) -> None:
        """Copy a stick as it is at this moment, the machine standing still meanwhile."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"{self._folder}/qmp")
            stream = connection.makefile("rw")

            def tell(command: str) -> dict[str, Any]:
                stream.write(json.dumps({"execute": command}) + "\n")
                stream.flush()
                while True:
                    answer: dict[str, Any] = json.loads(stream.readline())
                    if "return" in answer or "error" in answer:
                        return answer

            stream.readline()
            tell("qmp_capabilities")
            tell("stop")
            subprocess.run(["cp", "--sparse=always", stick, target], check=True)
            tell("cont")
