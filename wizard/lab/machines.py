"""Machines: overlayfs on the base tree, booted by systemd-nspawn. Runs inside the lab.

A machine is its folder: what is there after a power failure (the daemon killed) is booted again
when the lab starts. It appears by one rename and disappears by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from wizard.errors import ProviderError
from wizard.lab import addresses, files, namespaces, network
from wizard.lab.firewall import Member

log = logging.getLogger(__name__)

# systemd-nspawn(1), "Exit status": the container asked for a reboot
_REBOOT = 133
_TRIES = 3
_BORN = 2.0
"""Seconds: nspawn that fails earlier has not begun. It can trip over another that begins or ends at
the same moment (in /run/systemd/nspawn/propagate), and is started again."""
_CGROUPS = Path("/sys/fs/cgroup")
# what a configured machine has written, measured: a webserver 10 MiB, a database 197 MiB
_NEEDED_SPACE = 300 << 20
# what systemd and its services hold in a machine, measured: 6; the kernel counts them by user for
# the whole computer, and a machine that gets none does not start, or never answers
_NEEDED_WATCHES = 8
_SETTLED = 60.0
"""Seconds after which a machine has all that it takes of the computer."""


@dataclass(frozen=True)
class Record:
    """What is written down about a machine; `base` is the tree it stands on, `memory` in MiB."""

    id: str
    deployment: str
    name: str
    role: str
    size: str
    memory: int
    image: str
    octet: int
    base: str
    stopped: bool = False
    has_ipv6: bool = False

    @property
    def address(self) -> str:
        """Its address in the lab."""
        return addresses.machine_address(self.octet)

    @property
    def ipv6(self) -> str:
        """Its other address there, empty if it has none."""
        return addresses.ipv6_of(self.address) if self.has_ipv6 else ""

    def member(self) -> Member:
        """Return the machine as the firewall sees it."""
        cable = network.interface(self.id)
        return Member(self.deployment, self.role, self.address, cable, self.ipv6)


class Machine:
    """One machine: its folder, and the process that runs it."""

    def __init__(self, folder: Path, record: Record) -> None:
        self.folder = folder
        self.record = record
        self.state = "stopped" if record.stopped else "starting"
        self._known = time.monotonic()
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_beginning(self) -> bool:
        """Whether it may take more of the computer yet."""
        return time.monotonic() - self._known < _SETTLED

    @property
    def cgroup(self) -> Path:
        """The control group that all its processes are in, as the daemon sees it."""
        return _CGROUPS / self.record.id

    def start(self) -> None:
        """Boot the machine, and again whenever it reboots itself; returns at once."""
        if self._task is None or self._task.done():
            self._write(stopped=False)
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Cut the machine's power and take its mount, network and control group away."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await asyncio.to_thread(namespaces.remove_cgroup, self.cgroup)
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        namespaces.unmount(str(self.folder / "root"))
        await network.disconnect(self.record.id)
        self.state = "stopped"

    async def remove(self) -> None:
        """Stop the machine and remove its folder."""
        await self.stop()
        gone = self.folder.with_name(f"{self.record.id}.deleted")
        with contextlib.suppress(FileNotFoundError):
            self.folder.rename(gone)
        await asyncio.to_thread(shutil.rmtree, gone, ignore_errors=True)

    def console(self) -> str:
        """Return the last lines the machine wrote on its console."""
        return files.tail(self.folder / "console.log")

    def _write(self, *, stopped: bool) -> None:
        if self.record.stopped != stopped:
            self.record = replace(self.record, stopped=stopped)
            files.write_json(self.folder / "machine.json", asdict(self.record))

    async def _run(self) -> None:
        status, unborn = _REBOOT, 0
        try:
            while status == _REBOOT or 0 < unborn < _TRIES:
                self._mount()
                await network.connect(self.record.id, self.record.address, self.record.ipv6)
                self.state = "running"
                began = time.monotonic()
                status = await self._boot()
                log.info("%s (%s) ended with %s", self.record.name, self.record.id, status)
                failed = status > 0 and status != _REBOOT
                unborn = unborn + 1 if failed and time.monotonic() - began < _BORN else 0
        except (OSError, ProviderError):
            log.exception("%s (%s) cannot run", self.record.name, self.record.id)
            status = -1
        self.state = "stopped" if status == 0 else "failed"
        self._write(stopped=True)

    def _mount(self) -> None:
        root = self.folder / "root"
        if os.path.ismount(root):
            return
        # the mark of an unclean end that a volatile overlay leaves; a killed daemon loses
        # nothing of it, the files are in the host's page cache
        shutil.rmtree(self.folder / "work" / "work" / "incompat", ignore_errors=True)
        namespaces.mount_overlay(self.folder, Path(self.record.base), "volatile")

    async def _boot(self) -> int:
        self.cgroup.mkdir(exist_ok=True)
        with contextlib.suppress(OSError):
            (self.cgroup / "memory.max").write_text(str(self.record.memory * 1024 * 1024))
        with (self.folder / "console.log").open("wb") as console:
            self._process = await asyncio.create_subprocess_exec(
                "systemd-nspawn",
                "--quiet",
                "--boot",
                "--register=no",
                "--keep-unit",
                f"--directory={self.folder / 'root'}",
                f"--machine={self.record.id}",
                f"--hostname={self.record.name}",
                f"--network-namespace-path={network.namespace(self.record.id)}",
                "--link-journal=no",
                "--resolv-conf=off",
                "--timezone=off",
                "--console=pipe",
                "--capability=CAP_NET_ADMIN,CAP_SYS_ADMIN",
                "--bind=/dev/fuse",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                # ufw sets kernel parameters of the machine's own network
                env={**os.environ, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"},
                preexec_fn=_mover(self.cgroup),
            )
        return await self._process.wait()


def _mover(cgroup: Path) -> Callable[[], None]:
    def move() -> None:
        (cgroup / "cgroup.procs").write_text("0")

    return move


def create(folder: Path, record: Record, user_data: str, image_upper: Path | None) -> Machine:
    """Make a machine's folder, whole or not at all. `image_upper` is a snapshot's layer."""
    free = shutil.disk_usage(folder.parent).free
    if free < _NEEDED_SPACE:
        megabytes = f"a machine writes {_NEEDED_SPACE >> 20} MiB, {free >> 20} MiB are free"
        raise no_space(str(folder.parent), megabytes)
    partial = folder.with_name(f"{record.id}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "work").mkdir(parents=True)
    (partial / "root").mkdir()
    upper = partial / "upper"
    if image_upper is not None:
        copy_layer(image_upper, upper)
    else:
        upper.mkdir(mode=0o755)
    _personalise(upper, record, user_data)
    files.write_json(partial / "machine.json", asdict(record))
    partial.rename(folder)
    return Machine(folder, record)


def no_space(where: str, why: str) -> ProviderError:
    """Return the error of a full disk."""
    return ProviderError(
        "the disk has no room for the rehearsal",
        where=where,
        why=why,
        cure="free some space there, then run the same command again: it continues",
        code="disk-full",
    )


def refuse_without_watches(count: int) -> None:
    """Raise ProviderError unless the kernel lets `count` machines more watch files (inotify)."""
    wanted = count * _NEEDED_WATCHES
    watch = ctypes.CDLL(None, use_errno=True).inotify_init1
    held = [number for _ in range(wanted) if (number := watch(os.O_CLOEXEC)) >= 0]
    for number in held:
        os.close(number)
    if len(held) < wanted:
        limit = "fs.inotify.max_user_instances"
        raise ProviderError(
            "this computer cannot run another machine",
            where=limit,
            why=f"{len(held)} of it are left, and {count} machines that begin take {wanted}",
            cure=f"raise it (sudo sysctl {limit}=1024, until the computer is started again), or "
            "destroy another rehearsal; then run the same command again",
            code="watches",
        )


def load(folder: Path) -> Machine:
    """Return the machine of an existing folder."""
    return Machine(folder, Record(**files.read_json(folder / "machine.json")))


def copy_layer(source: Path, target: Path) -> None:
    """Copy an overlay's layer with all its marks; shares blocks where the disk can."""
    result = subprocess.run(
        ["cp", "-a", "--reflink=auto", str(source), str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise ProviderError(
            "a machine's disk cannot be copied", where=str(source), why=result.stderr[-1000:]
        )


def _personalise(upper: Path, record: Record, user_data: str) -> None:
    """Write into a new machine's layer what makes it this one."""
    seed = "var/lib/cloud/seed/nocloud"
    wanted = {
        "etc/hostname": (f"{record.name}\n", 0o644),
        "etc/hosts": (f"127.0.0.1 localhost\n{record.address} {record.name}\n", 0o644),
        "etc/resolv.conf": (f"nameserver {addresses.ROUTER}\n", 0o644),
        # given, or systemd would take this for a first boot and enable every unit there is
        "etc/machine-id": (f"{uuid.uuid4().hex}\n", 0o444),
        f"{seed}/user-data": (user_data, 0o600),
        f"{seed}/meta-data": (
            f"instance-id: {record.id}-{uuid.uuid4().hex[:8]}\nlocal-hostname: {record.name}\n",
            0o600,
        ),
    }
    for name, (content, mode) in wanted.items():
        path = upper / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        files.write(path, content, mode)
