"""A production deployment under a steady load, and ways to break it behind everybody's back."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tests.lab import leftovers
from tests.lab.deployments import NAME, PASSPHRASE, Rehearsal
from tests.lab.visitors import Tally, Visitors
from wizard.home.home import Home
from wizard.lab import addresses
from wizard.lab.namespaces import OtherNetwork
from wizard.operations import scaling
from wizard.operations.session import Session
from wizard.paths import config_templates
from wizard.providers.base import Resource, ResourceKind
from wizard.secrets import Secret

ANSWERS = config_templates() / "answers" / "rehearsal-production.yaml"
TTL = 30
_WRITTEN = ("/var/cache/nginx-pages", "/var/log/nginx", "/var/lib/nginx", "/tmp")
RECOVERED = 60 + TTL
"""Seconds within which an unplanned fault must be over."""


BUSY = 3
"""How much longer things take on a busy computer."""


class Site:
    """The deployment, its visitors, and ways to break it behind everybody's back."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self.rehearsal = rehearsal
        self.laboratory = rehearsal.laboratory
        state = rehearsal.state()
        lab = int(state.url.split("//")[1].split(".")[2])
        self.root = state.authority_root
        self.host = state.hosts[0]
        self.visitors = Visitors(
            state.hosts[0], state.authority_root, addresses.services_address(lab)
        )

    @cached_property
    def session(self) -> Session:
        """The build home, opened once: that takes seconds of a processor, on purpose."""
        home = Home.open(self.rehearsal.home)
        return Session(home, home.unlock(Secret(PASSPHRASE)))

    def fleet(self) -> dict[str, Any]:
        """Return the autoscalers' account, as `build-usb status --json` shows it."""
        found = scaling.refresh(self.session, self.session.home.deployment(NAME))
        assert found is not None
        return found.to_plain()

    def serving(self) -> list[str]:
        return [
            w["name"]
            for w in self.fleet()["webservers"]
            if w["phase"] == "serving" and w["published"]
        ]

    def until(self, what: str, true: Callable[[], bool], seconds: float) -> float:
        """Wait for something; return the seconds it took. `seconds`: what it may take on a computer
        that has nothing else to do."""
        started = time.monotonic()
        while not true():
            assert time.monotonic() - started < BUSY * seconds, (what, self.fleet())
            time.sleep(1)
        return time.monotonic() - started

    def machine_id(self, name: str) -> str:
        machines = self.laboratory.provider.machines(NAME)
        return next(m.id for m in machines if m.name == name)

    def destroy(self, name: str) -> None:
        """Delete a machine at the provider, as somebody in its console would."""
        resource = Resource(ResourceKind.MACHINE, self.machine_id(name), name, NAME)
        self.laboratory.provider.delete(resource)

    def image(self, name: str) -> str:
        """Return what a machine was built from: the base image's name, or a snapshot's id."""
        folder = self.rehearsal.home / "lab" / "machines" / self.machine_id(name)
        return str(json.loads((folder / "machine.json").read_text())["image"])

    def snapshot(self) -> Path | None:
        """Return the folder of the snapshot that new webservers are built from, if it is there."""
        found = self.fleet()["snapshot"]["id"]
        return self.rehearsal.home / "lab" / "snapshots" / found / "upper" if found else None

    def rolled(self, number: int) -> bool:
        """Say whether the how manieth work is done; it must not have stopped."""
        roll = self.fleet()["roll"]
        if roll is None or roll["number"] < number:
            return False
        assert not roll["stopped"], roll
        return not roll["left"]

    def cut_off(self, name: str) -> None:
        """Let no packet to or from a machine pass, not even to the store or the lab itself."""
        address = self.address(name)
        hooks = "".join(
            f"chain {hook} {{ type filter hook {hook} priority -300; policy accept; "
            f"ip saddr {address} drop; ip daddr {address} drop; }}\n"
            for hook in ("input", "output", "forward")
        )
        self._nft("-f", "-", stdin=f"table ip cut-{name} {{\n{hooks}}}\n")

    def join_again(self, name: str) -> None:
        """Undo `cut_off`."""
        self._nft("delete", "table", "ip", f"cut-{name}")

    def _nft(self, *words: str, stdin: str = "") -> None:
        daemon = self.laboratory.processes()[-1]
        command = ["nsenter", f"--net=/proc/{daemon}/ns/net", "nft", *words]
        subprocess.run(command, input=stdin, text=True, check=True)

    def listen(self, port: int) -> socket.socket:
        """Return a socket that machines reach at the address of the lab's services."""
        with Path(f"/proc/{self.laboratory.processes()[-1]}/ns/net").open() as handle:
            place = (addresses.SERVICES, port)
            return OtherNetwork(handle.fileno()).run(lambda: socket.create_server(place))

    def fill(self, name: str) -> None:
        """Leave no room in the folders that a webserver's programs write to. (All machines of a lab
        share this computer's disk: full file systems of their own are put over them.)"""
        for folder in _WRITTEN:
            self.rehearsal.on(
                name,
                f"mount -t tmpfs -o size=64k,mode=1777 full {folder}; "
                f"head -c 1M /dev/zero > {folder}/full 2>/dev/null; true",
            )

    def empty(self, name: str) -> None:
        """Undo `fill`."""
        self.rehearsal.on(name, f"umount --lazy {' '.join(_WRITTEN)}")

    def freeze(self, name: str) -> None:
        """Stop all processes of a machine where they are."""
        group = self.laboratory.cgroup() / self.machine_id(name)
        (group / "cgroup.freeze").write_text("1")

    def address(self, name: str) -> str:
        """Return a machine's address in the lab."""
        machines = self.laboratory.provider.machines(NAME)
        return next(m.public_address for m in machines if m.name == name)


class Download(threading.Thread):
    """A visitor with a slow line: reads `path` from one webserver, some MB a second."""

    def __init__(self, site: Site, name: str, path: str, rate: float) -> None:
        super().__init__(daemon=True)
        self.address, self.host, self.path, self.rate = site.address(name), site.host, path, rate
        # inside the lab, for what publishes it on this computer would take a part at once
        with Path(f"/proc/{site.laboratory.processes()[-1]}/ns/net").open() as handle:
            self.line = OtherNetwork(handle.fileno()).run(socket.socket)
        self.line.bind((addresses.VISITOR, 0))
        self.trust = ssl.create_default_context(cadata=site.root)
        self.got = 0
        self.ended = 0.0

    def run(self) -> None:
        # a small window: what is not read yet has not been sent yet
        self.line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
        self.line.connect((self.address, 443))
        with self.trust.wrap_socket(self.line, server_hostname=self.host) as line:
            ask = f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n\r\n"
            line.sendall(ask.encode())
            started = time.monotonic()
            while chunk := line.recv(1 << 16):
                self.got += len(chunk)
                ahead = self.got / self.rate - (time.monotonic() - started)
                time.sleep(max(0.0, ahead))
        self.ended = time.monotonic()


@contextmanager
def begun(site: Site, folder: Path, values: dict[str, Any], **environ: str) -> Iterator[Copy]:
    """Deploy `copy` beside it, which begins with its last restore point, and take it away in the
    end. `values`: its answers but for name and domain, with what else their source says."""
    site.rehearsal.run("backup", "demo")
    backup = {"kind": "backup", "period": "manual", "deployment": NAME}
    with _begun(site, folder, values, backup, **environ) as copy:
        yield copy


@contextmanager
def shared(site: Site, folder: Path, values: dict[str, Any], **environ: str) -> Iterator[Copy]:
    """Deploy `copy` beside it, which begins with a baseline of it; else as `begun`."""
    repository = folder / "baseline.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", repository], check=True)
    site.rehearsal.run("baseline", "create", NAME)
    site.rehearsal.run("baseline", "publish", NAME, "--to", repository)
    baseline = {"kind": "baseline", "repository": str(repository)}
    with _begun(site, folder, values, baseline, **environ) as copy:
        yield copy


@contextmanager
def _begun(
    site: Site, folder: Path, values: dict[str, Any], source: dict[str, Any], **environ: str
) -> Iterator[Copy]:
    application = {**values["application"], "source": {**values["application"]["source"], **source}}
    copy = {"name": "copy", "domain": {"name": "copy.rehearsal.test"}, "application": application}
    answers = folder / "copy.yaml"
    answers.write_text(yaml.safe_dump({**values, **copy}))
    try:
        site.rehearsal.run("deploy", answers, "--json", **environ)
        yield Copy(site)
    finally:
        site.rehearsal.run("destroy", "--yes", "copy")


class Copy:
    """The deployment `copy`, which began with what the other one holds."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def ask(self, name: str, path: str, more: str = "") -> str:
        """Return what one of its webservers answers; `more`: options of curl."""
        url = f"--resolve copy.rehearsal.test:443:127.0.0.1 'https://copy.rehearsal.test{path}'"
        return self.site.rehearsal.on(name, f"curl -sk {more} {url}", deployment="copy")

    def until_serving(self, page: str, names: list[str]) -> None:
        """Wait until each of these webservers answers with this front page."""
        ends = time.monotonic() + 60 * BUSY
        while (found := {name: self.ask(name, "/", "-i") for name in names}) and any(
            not answer.endswith(page) for answer in found.values()
        ):
            assert time.monotonic() < ends, (found, {n: self._said(n) for n in names})
            time.sleep(1)

    def _said(self, name: str) -> str:
        logs = "tail -n 20 /var/log/nginx/*error* /var/log/php*; journalctl -n 40 -u 'php*' -o cat"
        return self.site.rehearsal.on(name, f"{logs}; true", deployment="copy")

    def status(self) -> dict[str, Any]:
        """Return what `build-usb status --json` says of it."""
        found = self.site.rehearsal.run("status", "copy", "--json", check=False)
        return dict(json.loads(found.stdout))


@contextmanager
def deployed(
    folder: Path, answers: Path = ANSWERS, secrets: dict[str, str] | None = None, **environ: str
) -> Iterator[Site]:
    """Deploy with these secrets in the home, let visitors come, and take all away in the end."""
    folder.chmod(0o700)
    user = folder / "user"
    user.mkdir()
    rehearsal = Rehearsal(folder / "home", user)
    for name, secret in (secrets or {}).items():
        rehearsal.run("secret", "set", name, stdin=secret)
    rehearsal.run("deploy", answers, "--json", **environ)
    made = Site(rehearsal)
    made.until("an autoscaler leads", lambda: bool(made.fleet()["leader"]), 90)
    made.visitors.start()
    try:
        yield made
    finally:
        made.visitors.stop()
        rehearsal.run("destroy", "--yes")
    assert leftovers.of(rehearsal.home) == {}


def told(what: str, tally: Tally, **seconds: float) -> None:
    """Print what visitors saw meanwhile, and how long things took."""
    took = ", ".join(f"{name.replace('_', ' ')} {value:.0f} s" for name, value in seconds.items())
    print(f"{what}: {tally}; {took}", flush=True)
