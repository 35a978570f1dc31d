"""A real DNS server on loopback, knot, with a zone that takes updates signed with our key."""

from __future__ import annotations

import base64
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dns.flags
import dns.message
import dns.query
import dns.tsig
import dns.update
import pytest

from wizard.providers.base import DnsServer
from wizard.secrets import Secret

ZONE = "contract.test"
KEY = Secret(base64.b64encode(b"0123456789abcdef0123456789abcdef").decode())

CONFIG = """
server:
    rundir: {folder}/run
    listen: 127.0.0.1@{port}
    udp-workers: 1
    tcp-workers: 2
    background-workers: 1
log:
  - target: stderr
    any: warning
database:
    storage: {folder}/db
key:
  - id: ours
    algorithm: hmac-sha256
    secret: {key}
  - id: reader
    algorithm: hmac-sha256
    secret: {key}
acl:
  - id: ours
    key: ours
    action: [update, transfer]
zone:
  - domain: {zone}
    storage: {folder}
    file: zone
    acl: ours
    zonefile-sync: -1
    journal-content: changes
"""
CONTENT = f"""
$ORIGIN {ZONE}.
@ 60 SOA ns.{ZONE}. root.{ZONE}. 1 60 60 60 1
@ 60 NS ns
ns 60 A 127.0.0.1
foreign 60 A 192.0.2.99
six 60 AAAA 2001:db8::1
alias 60 CNAME foreign
_build-usb.other 60 TXT "deployment=another"
other 60 A 192.0.2.98
_build-usb.odd 60 TXT "something else"
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(port: int, name: str, kind: str) -> list[str]:
    """Ask without any of the code under test."""
    query = dns.message.make_query(name, kind)
    query.flags &= ~dns.flags.RD
    reply = dns.query.udp(query, "127.0.0.1", 0.2, port)
    return sorted(item.to_text() for rrset in reply.answer for item in rrset)


@dataclass
class Knot:
    server: DnsServer
    process: subprocess.Popen[bytes]
    sent: int = 0

    def change(self, change: Callable[[dns.update.UpdateMessage], None]) -> None:
        """Change the zone as someone else would."""
        key = dns.tsig.Key("ours", KEY.reveal(), dns.tsig.HMAC_SHA256)
        update = dns.update.UpdateMessage(ZONE)
        update.use_tsig(key)
        change(update)
        reply = dns.query.tcp(update, "127.0.0.1", 2, self.server.port)
        assert reply.rcode() == 0

    def ask(self, name: str, kind: str = "A") -> list[str]:
        return answers(self.server.port, name, kind)


@contextmanager
def served(tmp_path: Path) -> Iterator[Knot]:
    """Run knot in a folder of the test's own."""
    program = shutil.which("knotd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if program is None:
        pytest.fail("these tests need knotd: apt install knot")
    for folder in ("run", "db"):
        (tmp_path / folder).mkdir()
    port = free_port()
    (tmp_path / "zone").write_text(CONTENT)
    config = CONFIG.format(folder=tmp_path, port=port, key=KEY.reveal(), zone=ZONE)
    (tmp_path / "knot.conf").write_text(config)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-c", str(tmp_path / "knot.conf")], stdout=log, stderr=log
        )
    try:
        end = time.monotonic() + 20
        while True:
            try:
                if answers(port, ZONE, "SOA"):
                    break
            except (OSError, dns.exception.Timeout):
                pass
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.02)
        yield Knot(DnsServer("127.0.0.1", port, "ours", "hmac-sha256", KEY), process)
    finally:
        process.kill()
        process.wait()
