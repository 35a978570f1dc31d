"""The lab's walls: namespaces, mounts and cgroup of the daemon, so that nothing outside changes.

Three processes: the keeper (outside; cleans up after the rest), the init (process 1 inside; its
death ends every process of the lab) and the daemon itself. Linux only, root only.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from wizard.errors import ProviderError

log = logging.getLogger(__name__)

# linux/sched.h, linux/prctl.h, sys/mount.h; Python has these only from 3.12 on, or not at all
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_MS_BIND = 0x1000
_MS_NOSUID_NODEV_NOEXEC = 2 | 4 | 8
_MS_PRIVATE_RECURSIVE = (1 << 18) | 0x4000
_MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)
_Result = TypeVar("_Result")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags` for new ones."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """Mount; OSError with the kernel's reason."""
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()
    )
    _check(result, f"mount {kind} on {target}")


def mount_bind(source: str, target: str) -> None:
    """Show a folder at a second place."""
    mount(source, target, "", _MS_BIND)


def mount_overlay(folder: Path, base: Path, *options: str) -> None:
    """Mount `folder`/root: the base tree below, what is written in `folder`/upper."""
    before = os.open(".", os.O_RDONLY)
    below = os.open(base, os.O_PATH | os.O_DIRECTORY)
    try:
        # short names: options are limited to one page, and a colon or comma would end a path
        os.chdir(folder)
        lower = f"lowerdir=/proc/self/fd/{below}"
        words = [lower, "upperdir=upper", "workdir=work", *options]
        mount("overlay", "root", "overlay", 0, ",".join(words))
    finally:
        os.fchdir(before)
        os.close(before)
        os.close(below)


def unmount(target: str) -> None:
    """Unmount lazily; what is not mounted is no error."""
    _libc.umount2(target.encode(), _MNT_DETACH)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")


def enter_network(descriptor: int) -> None:
    """Move the calling thread into the network namespace that `descriptor` is open on."""
    _check(_libc.setns(descriptor, CLONE_NEWNET), "setns")


class OtherNetwork:
    """Runs functions in another network namespace, in a thread that lives there: a socket
    made there stays there, whoever uses it later."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._thread = ThreadPoolExecutor(
            1, "other-network", initializer=enter_network, initargs=(descriptor,)
        )

    def run(self, function: Callable[[], _Result]) -> _Result:
        """Return what `function` returns there; its errors pass through."""
        return self._thread.submit(function).result()


def cgroup2_mount() -> Path:
    """Return where the unified cgroup hierarchy is mounted (also on hybrid hosts)."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, target, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(target)
    raise ProviderError(
        "this computer has no cgroup2 hierarchy mounted",
        why="machines of a rehearsal run systemd, which needs one",
        cure="mount it: mkdir -p /sys/fs/cgroup/unified && "
        "mount -t cgroup2 none /sys/fs/cgroup/unified",
    )


def remove_cgroup(path: Path, deadline: float = 5) -> None:
    """Kill what is left in a cgroup, then remove it with all below it."""
    if not path.is_dir():
        return
    with contextlib.suppress(OSError):
        (path / "cgroup.kill").write_text("1")
    end = time.monotonic() + deadline
    pause = 0.002
    while path.is_dir():
        for folder, _, _ in os.walk(path, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
        if time.monotonic() > end:
            return
        if path.is_dir():
            # the kernel empties a killed cgroup a moment later and offers no blocking wait
            time.sleep(pause)
            pause = min(pause * 2, 0.1)


def _wait_for(pid: int) -> int:
    """Reap every child until `pid` ends; return its exit status."""
    while True:
        ended, status = os.wait()
        if ended == pid:
            return os.waitstatus_to_exitcode(status)


def _build_walls(host_root: Path) -> None:
    mount("none", "/", "", _MS_PRIVATE_RECURSIVE)
    mount("proc", "/proc", "proc", _MS_NOSUID_NODEV_NOEXEC)
    # a view of our own of /run: nspawn asks for /run/systemd/system and keeps its locks there,
    # `ip netns` its handles; none of that may appear on the host
    mount("tmpfs", str(host_root), "tmpfs", 0, "mode=0700")
    for name in ("upper", "work"):
        (host_root / name).mkdir()
    os.chdir(host_root)
    mount("overlay", "/run", "overlay", 0, "lowerdir=/run,upperdir=upper,workdir=work")
    os.chdir("/")
    Path("/run/systemd/system").mkdir(parents=True, exist_ok=True)
    Path("/run/netns").mkdir(exist_ok=True)
    # only the unified hierarchy, and of it only our own part (the cgroup namespace's root)
    while os.path.ismount("/sys/fs/cgroup"):
        unmount("/sys/fs/cgroup")
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", _MS_NOSUID_NODEV_NOEXEC)


def run_inside(daemon: Callable[[int], None], scratch: Path, cgroup_name: str) -> int:
    """Run `daemon(host network's descriptor)` behind walls; return its exit status.

    Called by the keeper: when this returns, no process, mount, namespace or cgroup of the lab
    is left. `scratch` is an empty folder used as a mount point.
    """
    host_network = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    cgroup = cgroup2_mount() / cgroup_name
    remove_cgroup(cgroup)
    cgroup.mkdir()
    try:
        unshare(CLONE_NEWPID)
        init = os.fork()
        if init == 0:
            os._exit(_be_init(daemon, scratch, cgroup, host_network))
        return _wait_for(init)
    finally:
        remove_cgroup(cgroup)


def _be_init(daemon: Callable[[int], None], scratch: Path, cgroup: Path, host_network: int) -> int:
    die_with_parent()
    (cgroup / "cgroup.procs").write_text("0")
    unshare(CLONE_NEWCGROUP | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC)
    _build_walls(scratch)
    # processes live in leaves only, so that controllers can be switched on for machines
    leaf = Path("/sys/fs/cgroup/daemon")
    leaf.mkdir()
    (leaf / "cgroup.procs").write_text("0")
    with contextlib.suppress(OSError):
        Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory +pids")
    child = os.fork()
    if child == 0:
        die_with_parent()
        try:
            daemon(host_network)
        except BaseException:
            log.exception("the lab's daemon failed")
            os._exit(1)
        os._exit(0)
    return _wait_for(child)
