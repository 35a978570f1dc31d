"""The `local` provider: machines on this computer, rented from the lab's daemon.

What is made here stays in the lab's folder; the daemon ends when nothing is rented any more.
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
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

import wizard
from wizard.errors import NotSupportedError, ProviderError, TransientError
from wizard.events import Progress, silent
from wizard.lab import addresses, basetree, files
from wizard.providers.base import (
    AcmeAuthority,
    DatabaseSpec,
    DnsServer,
    Door,
    Machine,
    MachineSpec,
    ManagedDatabase,
    Network,
    ObjectStorage,
    ProviderFacts,
    Resource,
    ResourceKind,
    Services,
    Size,
    Standing,
)
from wizard.rules import Role, Rule
from wizard.secrets import Secret

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
_FREE = Decimal(0)
_SIZES = (
    Size("small", 1, 1024, 10, _FREE),
    Size("medium", 2, 2048, 10, _FREE),
    Size("large", 2, 4096, 10, _FREE),
)
_TIMEOUT = httpx.Timeout(120, connect=5)
_END_DEADLINE = 30.0


class LocalProvider:
    """Rents machines from the lab in `lab_dir` (one lab a build home); given a `door`, from inside
    that lab, which runs then and is neither started nor ended."""

    name = "local"

    def __init__(self, lab_dir: Path, door: Door | None = None) -> None:
        self._dir = lab_dir
        self._door = door

    def facts(self) -> ProviderFacts:
        """Return what the lab offers; nothing of it costs anything."""
        return ProviderFacts(
            regions=("here",),
            images=("debian-13",),
            sizes=_SIZES,
            currency="EUR",
            default_size={
                Role.WEBSERVER: "medium",
                Role.DATABASE: "medium",
                Role.AUTOSCALER: "small",
            },
            bucket_monthly_price=_FREE,
        )

    def standing(self, progress: Progress) -> Standing:
        """Return nothing: a rehearsal has no account."""
        return Standing("")

    def check(self) -> None:
        """Refuse what cannot work; asks for sudo's password if the lab is yet to be started."""
        if self._door is not None:
            return
        check_programs()
        if not _answers(self._dir):
            _check_root()

    def prepare(self, progress: Progress) -> None:
        """Build the base tree if it is missing (minutes), then start the lab (a second). A lab
        that runs is used as it is, with the base tree it was started with."""
        if self._door is not None or _answers(self._dir):
            return
        check_programs()
        _build_base(basetree.location(self._dir), progress)
        progress("starting the lab", 0, 1)
        ensure_running(self._dir)
        progress("the lab is running", 1, 1)

    def services(self, zone: str) -> Services:
        """Return the lab's S3, ACME and DNS servers, the last serving `zone` from now on."""
        told = self._call("POST", "/services", {"zone": zone})
        address = told["address"] if self._door is None else addresses.SERVICES
        return Services(
            object_storage=ObjectStorage(
                build_endpoint=f"http://{address}:{addresses.S3_PORT}",
                machine_endpoint=f"http://{addresses.SERVICES}:{addresses.S3_PORT}",
                region="us-east-1",
                access_key="rehearsal",
                secret_key=Secret(told["storage_secret"]),
            ),
            acme=AcmeAuthority(
                directory=f"https://{addresses.SERVICES}:{addresses.ACME_PORT}/dir",
                ca_bundle=told["acme_ca"],
                root=told["acme_root"],
            ),
            dns=DnsServer(
                address=address,
                port=addresses.DNS_PORT,
                key_name="rehearsal",
                algorithm="hmac-sha256",
                key=Secret(told["tsig_key"]),
            ),
            door=Door(f"http://{addresses.ROUTER}:{addresses.API_PORT}", Secret(told["token"])),
        )

    def resources(self, deployment: str) -> list[Resource]:
        """Return the deployment's resources; a lab that was never started has none."""
        if not self._exists():
            return []
        return [
            Resource(ResourceKind(item["kind"]), item["id"], item["name"], deployment)
            for item in self._call("GET", f"/deployments/{deployment}/resources")
        ]

    def machines(self, deployment: str) -> list[Machine]:
        """Return the deployment's machines as they are now."""
        if not self._exists():
            return []
        return [_machine(item) for item in self._call("GET", f"/deployments/{deployment}/machines")]

    def ensure_network(self, deployment: str) -> Network:
        """Return the deployment's network: all machines of the lab share one range of addresses,
        the firewall keeps deployments apart."""
        return Network(**self._call("PUT", f"/deployments/{deployment}/network", {}))

    def ensure_firewall(self, deployment: str, rules: tuple[Rule, ...], *, enabled: bool) -> None:
        """Make the lab's firewall and the ports published on loopback follow `rules`."""
        body = {"rules": [asdict(rule) for rule in rules], "enabled": enabled}
        self._call("PUT", f"/deployments/{deployment}/firewall", body)

    def ensure_machine(self, spec: MachineSpec) -> Machine:
        """Return the machine of that name, made and booting if missing."""
        sizes = {size.name: size for size in _SIZES}
        if spec.size not in sizes:
            raise ProviderError(
                f"there is no size {spec.size!r}", cure=f"use one of {', '.join(sizes)}"
            )
        body = {
            "role": spec.role,
            "size": spec.size,
            "memory": sizes[spec.size].memory,
            "image": spec.image,
            "user_data": spec.user_data.reveal(),
        }
        path = f"/deployments/{spec.deployment}/machines/{spec.name}"
        return _machine(self._call("PUT", path, body))

    def snapshot(self, machine_id: str, name: str) -> Resource:
        """Keep a copy of a machine's disk; its id can be a MachineSpec's `image`."""
        made = self._call("POST", f"/machines/{machine_id}/snapshots/{name}", {})
        return Resource(ResourceKind.SNAPSHOT, made["id"], made["name"], made["deployment"])

    def ensure_database(self, spec: DatabaseSpec, progress: Progress) -> ManagedDatabase:
        """Refuse: databases of a rehearsal run on its machines."""
        raise NotSupportedError(
            "a rehearsal rents no managed databases",
            where="database.managed",
            cure="set it to false, or choose another provider",
        )

    def delete(self, resource: Resource, *, last_copy: bool = True) -> str:
        """Delete a resource; with the last one of all deployments the lab itself ends."""
        if not self._exists():
            return ""
        answer = self._call("DELETE", f"/resources/{resource.kind}/{resource.id}")
        if answer["ending"]:
            self._wait_for_end()
        return ""

    def end_if_unused(self) -> None:
        """End the lab if no deployment has a resource in it (a deploy may have been killed
        before it made one); nothing happens if one has, or if the lab does not run."""
        if self._door is not None or not _answers(self._dir):
            return
        if self._call("POST", "/end-if-unused", {})["ending"]:
            self._wait_for_end()

    def probe(self, source: str, address: str, port: int, timeout: float = 1.0) -> str:
        """Say whether a TCP port in the lab is "open", "closed" or "filtered", as tried from
        "build-machine", "visitor", or inside the machine of that id; `timeout` in seconds."""
        body = {"source": source, "address": address, "port": port, "timeout": timeout}
        return str(self._call("POST", "/probe", body)["result"])

    def _exists(self) -> bool:
        return self._door is not None or (self._dir / "lab.json").exists()

    def _wait_for_end(self) -> None:
        """Return once the keeper has let go of its lock: then nothing of the lab is left."""
        end = time.monotonic() + _END_DEADLINE
        pause = 0.005
        while time.monotonic() < end:
            try:
                with (self._dir / "lab.lock").open() as lock:
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    return
            except FileNotFoundError:
                return
            except BlockingIOError:
                time.sleep(pause)
                pause = min(pause * 1.5, 0.1)
        raise ProviderError(
            "the lab does not end",
            where=str(self._dir / "lab.log"),
            why=files.tail(self._dir / "lab.log"),
            cure="run the command again",
        )

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the daemon, which is started if it does not run."""
        if self._door is None and not _listens(self._dir):
            ensure_running(self._dir)
        try:
            with _client(self._dir) if self._door is None else _inside(self._door) as client:
                response = client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise TransientError(
                "the lab's daemon does not answer",
                where=str(self._dir / "lab.log"),
                why=f"{error!r}\n{files.tail(self._dir / 'lab.log', 5)}",
                cure="run the command again: it starts the daemon",
            ) from error
        answer = response.json()
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise TransientError(answer["what"], cure="run the command again")
        if response.is_error:
            raise _error(answer)
        return answer


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
    if _answers(lab_dir):
        return
    base = basetree.location(lab_dir)
    if not base.is_dir():
        _build_base(base, silent)
    _check_root()
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
    if os.geteuid() == 0 or _answers(lab_dir) or shutil.which("sudo") is None:
        return False
    tried = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False)
    return tried.returncode != 0


def _check_root() -> None:
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


def _build_base(target: Path, progress: Progress) -> None:
    if target.is_dir():
        return
    _check_root()
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


def _answers(lab_dir: Path) -> bool:
    if not _listens(lab_dir):
        return False
    try:
        with _client(lab_dir) as client:
            return client.get("/", timeout=5).is_success
    except httpx.TransportError:
        return False


def _machine(item: dict[str, Any]) -> Machine:
    return Machine(
        id=item["id"],
        name=item["name"],
        role=Role(item["role"]),
        state=item["state"],
        private_address=item["address"],
        public_address=item["address"],
        access_address=item["access_address"],
    )


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
