"""The lab's daemon as the `local` provider sees it: is it there, start it, ask it.

Starting it needs root, so sudo may ask for a password on the terminal.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

import wizard
from wizard.errors import ProviderError, TransientError
from wizard.events import Progress, silent
from wizard.lab import basetree, files
from wizard.providers.base import Door

# program -> Debian package, all that a rehearsal runs
PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "slirp4netns": "slirp4netns",
    "nft": "nftables",
    "ip": "iproute2",
    "nsenter": "util-linux",
}
_SBIN = ("/usr/sbin", "/sbin")
_TIMEOUT = httpx.Timeout(120, connect=5)
_END_DEADLINE = 30.0


def ask(
    lab_dir: Path, door: Door | None, method: str, path: str, body: dict[str, Any] | None = None
) -> Any:
    """Ask the daemon, through the `door` from inside; it is started if it does not run."""
    if door is None and not _listens(lab_dir):
        ensure_running(lab_dir)
    try:
        with _client(lab_dir) if door is None else _inside(door) as client:
            response = client.request(method, path, json=body)
    except httpx.TransportError as error:
        raise TransientError(
            "the lab's daemon does not answer",
            where=str(lab_dir / "lab.log"),
            why=f"{error!r}\n{files.tail(lab_dir / 'lab.log', 5)}",
            cure="run the command again: it starts the daemon",
        ) from error
    answer = response.json()
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        raise TransientError(answer["what"], cure="run the command again")
    if response.is_error:
        raise _error(answer)
    return answer


def wait_for_end(lab_dir: Path) -> None:
    """Return once the keeper has let go of its lock: then nothing of the lab is left."""
    end = time.monotonic() + _END_DEADLINE
    pause = 0.005
    while time.monotonic() < end:
        try:
            with (lab_dir / "lab.lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return
        except FileNotFoundError:
            return
        except BlockingIOError:
            time.sleep(pause)
            pause = min(pause * 1.5, 0.1)
    raise ProviderError(
        "the lab does not end",
        where=str(lab_dir / "lab.log"),
        why=files.tail(lab_dir / "lab.log"),
        cure="run the command again",
    )


def check_programs() -> None:
    """Raise ProviderError naming the Debian packages that a rehearsal needs and are missing."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *_SBIN])
    missing = sorted({package for name, package in PROGRAMS.items() if not _which(name, path)})
    if missing:
        raise ProviderError(
            "programs that a rehearsal needs are not installed",
            why=f"missing Debian packages: {', '.join(missing)}",
            cure=f"install them: apt-get install {' '.join(missing)}",
            code="missing-programs",
        )


def ensure_running(lab_dir: Path) -> None:
    """Start the lab's daemon if it does not answer; machines that ran before are booted again.

    Needs root: uses sudo otherwise. ProviderError with the log's tail if it does not start.
    """
    if answers(lab_dir):
        return
    base = basetree.location(lab_dir)
    if not base.is_dir():
        build_base(base, silent)
    check_root()
    owner = f"{os.getuid()}:{os.getgid()}"
    command = _as_root(
        "-m", "wizard.lab", "--dir", str(lab_dir.absolute()), "--base", str(base.absolute())
    )
    started = subprocess.run(
        [*command, "--owner", owner],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        cwd=Path(wizard.__file__).parent.parent,
    )
    if started.returncode != 0:
        try:
            raise _error(json.loads(started.stdout))
        except ValueError:
            raise ProviderError(
                "the lab's daemon does not start",
                where=str(lab_dir / "lab.log"),
                why=started.stdout[-2000:] or files.tail(lab_dir / "lab.log"),
                cure="read the log, then run the command again",
            ) from None


def _which(name: str, path: str) -> str | None:
    return shutil.which(name, path=path)


def _as_root(*arguments: str) -> list[str]:
    """Return a command that runs our Python as root."""
    if os.geteuid() == 0:
        return [sys.executable, *arguments]
    if shutil.which("sudo") is None:
        raise ProviderError(
            "a rehearsal needs root",
            why="machines are made of namespaces, mounts and network devices; there is no sudo",
            cure="run the command as root, or install sudo",
            code="not-root",
        )
    return [
        "sudo",
        "--prompt=The rehearsal's machines need root. Password of %u: ",
        "--",
        sys.executable,
        *arguments,
    ]


def asks_for_password(lab_dir: Path) -> bool:
    """Say whether sudo would ask on the terminal before the lab can be started."""
    if os.geteuid() == 0 or answers(lab_dir) or shutil.which("sudo") is None:
        return False
    tried = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False)
    return tried.returncode != 0


def check_root() -> None:
    """Raise ProviderError if we are not root and sudo does not make us; asks on the terminal."""
    if os.geteuid() == 0:
        return
    tried = subprocess.run(
        _as_root("-c", ""),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if tried.returncode != 0:
        raise ProviderError(
            "a rehearsal needs root, and sudo does not give it",
            why=tried.stderr.strip() or f"sudo ended with status {tried.returncode}",
            cure="run the command on a terminal as a user who may use sudo, or as root",
            code="not-root",
        )


def build_base(target: Path, progress: Progress) -> None:
    """Build the base tree if it is missing; takes minutes."""
    if target.is_dir():
        return
    check_root()
    command = _as_root("-m", "wizard.lab.basetree", str(target.absolute()))
    root = Path(wizard.__file__).parent.parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout
        for line in process.stdout:
            report = json.loads(line)
            if "error" in report:
                raise ProviderError(**report["error"])
            progress(report["what"], report["done"], report["total"])
    if process.returncode != 0:
        raise ProviderError(
            "the base tree was not built",
            where=str(target),
            why=f"the build ended with status {process.returncode}",
            cure="run the command again; a half-built tree is removed first",
        )


@contextmanager
def _folder(lab_dir: Path) -> Iterator[str]:
    """A short name of the lab's folder: a socket's address holds 107 bytes, less than a path."""
    descriptor = os.open(lab_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


@contextmanager
def _client(lab_dir: Path) -> Iterator[httpx.Client]:
    with _folder(lab_dir) as folder:
        # a context without authorities: none is needed, and loading them takes 50 ms
        plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        transport = httpx.HTTPTransport(uds=f"{folder}/lab.sock", verify=plain)
        with httpx.Client(transport=transport, base_url="http://lab", timeout=_TIMEOUT) as client:
            yield client


def _inside(door: Door) -> httpx.Client:
    headers = {"Authorization": f"Bearer {door.token.reveal()}"}
    return httpx.Client(base_url=door.url, headers=headers, timeout=_TIMEOUT, trust_env=False)


def _listens(lab_dir: Path) -> bool:
    """Say whether a daemon has the lab's socket open (one that was killed leaves the file)."""
    try:
        with _folder(lab_dir) as folder, socket.socket(socket.AF_UNIX) as probe:
            probe.connect(f"{folder}/lab.sock")
    except OSError:
        return False
    return True


def answers(lab_dir: Path) -> bool:
    """Say whether the lab's daemon runs and answers."""
    if not _listens(lab_dir):
        return False
    try:
        with _client(lab_dir) as client:
            return client.get("/", timeout=5).is_success
    except httpx.TransportError:
        return False


def _error(body: dict[str, str]) -> ProviderError:
    keys = ("what", "where", "why", "cure", "code")
    values = {key: body.get(key, "") for key in keys}
    if values["code"] == "port-in-use":
        values["why"] = _listener(values["where"].rpartition(":")[2]) or values["why"]
    return ProviderError(**values)


def _listener(port: str) -> str:
    """Return who listens on a TCP port of this computer, as far as we may see it."""
    listed = subprocess.run(
        ["ss", "-ltnpH", f"sport = :{port}"], capture_output=True, text=True, check=False
    ).stdout
    lines = [line.split() for line in listed.splitlines()]
    return "\n".join(f"{words[3]} is listened on by {words[-1]}" for words in lines if words)
