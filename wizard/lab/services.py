"""What the lab offers beside machines: S3 (moto), DNS (knot), ACME (pebble), the way out (slirp).

All are children of the daemon and are started again when they die. The S3 server and the ACME
authority keep everything in memory: when the daemon ends, buckets and accounts are gone, and a
deploy fills them again.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import logging
import os
import re
import signal
import socket
import ssl
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from wizard.errors import ProviderError
from wizard.lab import addresses, files, namespaces

log = logging.getLogger(__name__)

TSIG_NAME = "rehearsal"
TSIG_ALGORITHM = "hmac-sha256"
_LONGEST_PAUSE = 10.0
_START_DEADLINE = 60.0
_ZONE = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9-]{1,63})+")


@dataclass
class Service:
    """A program that shall always run; `ports` on the services' address say when it is ready."""

    name: str
    command: list[str]
    ports: tuple[int, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None


class Services:
    """Starts and keeps the services; `folder` is where they write."""

    def __init__(self, folder: Path, base: Path, host_network: int) -> None:
        self._folder = folder
        self._base = base
        self._host_network = host_network
        self._services: dict[str, Service] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def _inside(self) -> Path:
        """The folder that knot and pebble see as /lab."""
        return self._folder / "root" / "lab"

    async def start(self, number: int, tsig_key: str, zones: list[str]) -> None:
        """Start all services; returns before they are ready."""
        await asyncio.to_thread(self._mount)
        self.write_zones(tsig_key, zones)
        self._write_acme(number)
        root = str(self._folder / "root")
        network = f"/proc/{os.getpid()}/ns/net"
        self._keep(
            Service(
                "slirp",
                [
                    "nsenter",
                    f"--net=/proc/{os.getpid()}/fd/{self._host_network}",
                    "slirp4netns",
                    "--configure",
                    "--mtu=65520",
                    "--disable-host-loopback",
                    "--netns-type=path",
                    network,
                    "tap0",
                ],
            )
        )
        self._keep(
            Service(
                "s3",
                [
                    sys.executable,
                    "-m",
                    "moto.server",
                    f"--host={addresses.SERVICES}",
                    f"--port={addresses.S3_PORT}",
                ],
                (addresses.S3_PORT,),
            )
        )
        self._keep(
            Service(
                "dns",
                ["chroot", root, "/usr/sbin/knotd", "--config", "/lab/knot.conf"],
                (addresses.DNS_PORT,),
            )
        )
        self._keep(
            Service(
                "acme",
                [
                    "chroot",
                    root,
                    "/usr/bin/pebble",
                    "-config",
                    "/lab/pebble.json",
                    "-dnsserver",
                    f"{addresses.ROUTER}:{addresses.DNS_PORT}",
                ],
                (addresses.ACME_PORT, addresses.ACME_MANAGEMENT_PORT),
                # validate at once and accept every nonce: a rehearsal tests us, not the client
                {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
            )
        )

    def write_zones(self, tsig_key: str, zones: list[str]) -> None:
        """Write the DNS server's configuration; existing zones keep their records."""
        storage = self._inside / "knot"
        storage.mkdir(parents=True, exist_ok=True, mode=0o700)
        listed = "".join(f"  - domain: {zone}\n" for zone in zones)
        files.write(
            self._inside / "knot.conf",
            f"""server:
    rundir: /lab/knot
    user: root:root
    listen: {addresses.SERVICES}@{addresses.DNS_PORT}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: notice
database:
    storage: /lab/knot
key:
  - id: {TSIG_NAME}
    algorithm: {TSIG_ALGORITHM}
    secret: {tsig_key}
acl:
  - id: owner
    key: {TSIG_NAME}
    action: [update, transfer]
template:
  - id: default
    storage: /lab/knot
    file: "%s.zone"
    acl: owner
    zonefile-sync: 0
"""
            + (f"zone:\n{listed}" if zones else ""),
        )
        for zone in zones:
            path = storage / f"{zone}.zone"
            if not path.exists():
                files.write(
                    path,
                    f"$ORIGIN {zone}.\n$TTL 60\n"
                    f"@ SOA ns1 hostmaster 1 3600 600 86400 60\n@ NS ns1\n"
                    f"ns1 A {addresses.SERVICES}\n",
                )

    def reload_dns(self) -> None:
        """Have the DNS server read its configuration again."""
        service = self._services["dns"]
        if service.process is not None and service.process.returncode is None:
            service.process.send_signal(signal.SIGHUP)

    def _write_acme(self, number: int) -> None:
        authority, certificate, key = _certificate(
            [addresses.SERVICES, addresses.services_address(number)]
        )
        files.write(self._folder / "acme-ca.pem", authority)
        files.write(self._inside / "acme.pem", certificate)
        files.write(self._inside / "acme.key", key)
        files.write_json(
            self._inside / "pebble.json",
            {
                "pebble": {
                    "listenAddress": f"{addresses.SERVICES}:{addresses.ACME_PORT}",
                    "managementListenAddress": (
                        f"{addresses.SERVICES}:{addresses.ACME_MANAGEMENT_PORT}"
                    ),
                    "certificate": "/lab/acme.pem",
                    "privateKey": "/lab/acme.key",
                    "httpPort": 80,
                    "tlsPort": 443,
                    "ocspResponderURL": "",
                    "externalAccountBindingRequired": False,
                }
            },
        )

    def acme_ca(self) -> str:
        """Return the certificate (PEM) that the ACME directory's own certificate chains to."""
        return (self._folder / "acme-ca.pem").read_text()

    async def acme_root(self) -> str:
        """Return the root (PEM) that certificates of the ACME authority chain to."""
        trust = ssl.create_default_context(cafile=str(self._folder / "acme-ca.pem"))
        address = f"https://{addresses.SERVICES}:{addresses.ACME_MANAGEMENT_PORT}/roots/0"
        async with aiohttp.ClientSession() as session, session.get(address, ssl=trust) as answer:
            answer.raise_for_status()
            return await answer.text()

    async def wait_until_ready(self) -> None:
        """Return once every service answers; ProviderError with its log's tail if one does not."""
        await asyncio.gather(*(self._wait(service) for service in self._services.values()))

    async def _wait(self, service: Service) -> None:
        end = time.monotonic() + _START_DEADLINE
        pause = 0.02
        while not await self._answers(service):
            if time.monotonic() > end:
                raise ProviderError(
                    f"the lab's {service.name} server does not start",
                    where=str(self._log(service)),
                    why=files.tail(self._log(service)),
                    cure="run the command again; if it persists, the log above says why",
                )
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.5)

    async def _answers(self, service: Service) -> bool:
        if not service.ports:
            return any(name == "tap0" for _, name in socket.if_nameindex())
        for port in service.ports:
            try:
                _, writer = await asyncio.open_connection(addresses.SERVICES, port)
            except OSError:
                return False
            writer.close()
        return True

    def _log(self, service: Service) -> Path:
        return self._folder / f"{service.name}.log"

    def _keep(self, service: Service) -> None:
        self._services[service.name] = service
        self._tasks.append(asyncio.get_running_loop().create_task(self._run(service)))

    async def _run(self, service: Service) -> None:
        pause = 0.1
        while True:
            started = time.monotonic()
            with self._log(service).open("ab") as output:
                service.process = await asyncio.create_subprocess_exec(
                    *service.command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, **service.environment},
                )
            status = await service.process.wait()
            if time.monotonic() - started > _LONGEST_PAUSE:
                pause = 0.1
            log.warning("%s ended with %s; starting it again", service.name, status)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _mount(self) -> None:
        for name in ("upper", "work", "root"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        namespaces.mount_overlay(self._folder, self._base)
        self._inside.mkdir(exist_ok=True, mode=0o700)
        # a killed DNS server's mark would keep the next one from starting
        (self._inside / "knot" / "knot.pid").unlink(missing_ok=True)
        root = self._folder / "root"
        namespaces.mount("proc", str(root / "proc"), "proc")
        namespaces.mount_bind("/dev", str(root / "dev"))


def check_zone(zone: str) -> str:
    """Return a zone's name in lower case; ProviderError if it is none."""
    zone = zone.lower().rstrip(".")
    if not _ZONE.fullmatch(zone):
        raise ProviderError(
            f"{zone!r} is no name of a DNS zone",
            cure="use letters, digits and hyphens with a dot between, such as rehearsal.test",
        )
    return zone


def _certificate(names: list[str]) -> tuple[bytes, bytes, bytes]:
    """Return a new authority (PEM), a certificate of it for IP addresses (PEM), and its key."""
    now = datetime.datetime.now(datetime.UTC)
    lifetime = datetime.timedelta(days=3650)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name(
        [x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "Rehearsal ACME directory")]
    )

    def builder(subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .issuer_name(authority_name)
            .subject_name(subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + lifetime)
        )

    authority = (
        builder(authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "acme")])
    listed = [x509.IPAddress(ipaddress.ip_address(name)) for name in names]
    certificate = (
        builder(subject, key.public_key())
        .add_extension(x509.SubjectAlternativeName(listed), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return (
        authority.public_bytes(pem),
        certificate.public_bytes(pem),
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
