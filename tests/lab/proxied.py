"""A deployment behind Cloudflare's proxies, emulated: its API, and in the lab a reverse proxy at
addresses inside the networks that the API names."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.emulators import openapi
from tests.emulators.digitalocean import TOKEN
from tests.emulators.rented import Feed, RentedDigitalOcean, ServedCloudflare
from tests.lab.deployments import PASSPHRASE
from tests.lab.laboratory import Laboratory
from wizard.dns.hosted import ADDRESSES
from wizard.lab import addresses
from wizard.lab.namespaces import OtherNetwork
from wizard.providers.base import Machine

ZONE = "proxied.test"
HOST = f"www.{ZONE}"
EDGE = "10.77.0.6"
EDGE_6 = addresses.ipv6_of(EDGE)
# to the deployment, which is made from the lab's visitor's address, this one is anybody
ANYBODY = addresses.BUILD_MACHINE
ANSWERS = f"""
version: 1
name: demo
mode: development
provider: {{name: digitalocean, region: fra1, credentials: {{environment: DIGITALOCEAN}}}}
application:
  kind: wordpress
  title: A site behind proxies
  admin: {{user: editor, email: editor@{ZONE}}}
domain: {{name: {HOST}}}
dns:
  provider: cloudflare
  zone: {ZONE}
  proxied: true
  credentials: {{environment: CLOUDFLARE}}
object_storage: {{credentials: {{environment: SPACES}}}}
ssh: {{build_machine: {addresses.VISITOR}}}
"""


def certificate(path: Path, name: str) -> None:
    """Write a self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(hours=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))


@dataclass
class Proxied:
    """The emulated vendors, the edge, and `build-usb` run where it reaches them."""

    digitalocean: RentedDigitalOcean
    cloudflare: ServedCloudflare
    laboratory: Laboratory
    folder: Path
    environment: dict[str, str]

    def inside(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program in the lab's network."""
        network = f"--net=/proc/{self.laboratory.processes()[-1]}/ns/net"
        words = ["nsenter", network, "--", *map(str, command)]
        return subprocess.run(
            words, env=self.environment, capture_output=True, text=True, check=False
        )

    def command(self, *words: str | Path) -> list[str | Path]:
        """Return the command line of `build-usb`."""
        return [sys.executable, "-m", "tests.lab.cloud_driver", *words]

    def run(self, *words: str | Path) -> str:
        done = self.inside(*self.command(*words))
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return done.stdout

    def ask(
        self, source: str, target: str, *options: str | Path, path: str = "/"
    ) -> tuple[int, str]:
        """Ask for a page of the site; returns its HTTP status (0: no answer) and text."""
        done = self.inside(
            *("curl", "-sS", "-m", "5", "--interface", source),
            *("--resolve", f"{HOST}:443:{target}", "-w", "\n%{http_code}", *options),
            f"https://{HOST}{path}",
        )
        text, _, status = done.stdout.rpartition("\n")
        return int(status or 0), text

    def agent(self, machine: Machine, *words: str) -> dict[str, object]:
        """Run the machine's agent; returns what it says, well or not."""
        shell = f"/usr/local/lib/build-usb/agent.pyz {' '.join(words)} || true"
        found: dict[str, object] = json.loads(self.laboratory.enter(machine.id, "sh", "-c", shell))
        return found


class Watched(ServedCloudflare):
    """Tells the proxy where the webservers are, and what is behind Zero Trust Access."""

    told: Path

    def dispatch(self, request: object) -> object:  # type: ignore[override]
        reply = super().dispatch(request)  # type: ignore[arg-type]
        with self.lock:
            origins = [
                record["content"]
                for records in self.records.values()
                for record in records.values()
                if record["type"] in ADDRESSES
            ]
            partial = self.told.with_name("origin.new")
            partial.write_text("\n".join(origins))
            partial.rename(self.told)
            self.told.with_name("access").write_text("\n".join(self.places()))
        return reply


@contextlib.contextmanager
def opened(laboratory: Laboratory, tmp_path: Path) -> Iterator[Proxied]:
    """Open the emulated vendors and the proxy."""
    services = laboratory.provider.services(ZONE)
    assert services.acme
    assert services.dns
    assert services.object_storage
    storage = services.object_storage
    (tmp_path / "authority.json").write_text(json.dumps(asdict(services.acme)))
    (tmp_path / "answers.yaml").write_text(ANSWERS)
    (tmp_path / "root.pem").write_text(services.acme.root)
    (tmp_path / "access").write_text("")
    certificate(tmp_path / "edge.pem", HOST)
    certificate(tmp_path / "client.pem", "the-edge")
    public = x509.load_pem_x509_certificate((tmp_path / "client.pem").read_bytes())
    authority = public.public_bytes(serialization.Encoding.PEM)
    (tmp_path / "client-ca.pem").write_bytes(authority)
    with contextlib.ExitStack() as stack:
        descriptor = os.open(f"/proc/{laboratory.processes()[-1]}/ns/net", os.O_RDONLY)
        stack.callback(os.close, descriptor)
        inside = OtherNetwork(descriptor)

        def listener(address: str) -> socket.socket:
            # where machines reach it too
            return inside.run(lambda: socket.create_server((address, 0), backlog=64))

        digitalocean = RentedDigitalOcean(
            openapi.document("digitalocean"), listener(addresses.SERVICES)
        )
        digitalocean.lab = laboratory.provider
        cloudflare = Watched(openapi.document("cloudflare"), listener(addresses.SERVICES))
        cloudflare.networks, cloudflare.proxies = [f"{EDGE}/31"], [EDGE]
        cloudflare.networks_6 = [f"{EDGE_6}/127"]
        cloudflare.told = tmp_path / "origin"
        cloudflare.feed = Feed(services.dns, ZONE)
        cloudflare.add_zone(ZONE)
        stack.enter_context(digitalocean)
        stack.enter_context(cloudflare)
        made = Proxied(
            digitalocean,
            cloudflare,
            laboratory,
            tmp_path,
            {
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "BUILD_USB_HOME": str(tmp_path / "home"),
                "BUILD_USB_PASSPHRASE": PASSPHRASE,
                "BUILD_USB_TEST_AUTHORITY": str(tmp_path / "authority.json"),
                "BUILD_USB_TEST_CLIENT_CA": str(tmp_path / "client-ca.pem"),
                "BUILD_USB_DIGITALOCEAN_URL": digitalocean.url,
                "BUILD_USB_DIGITALOCEAN_STORAGE_URL": storage.machine_endpoint,
                "BUILD_USB_CLOUDFLARE_URL": cloudflare.url,
                "DIGITALOCEAN": TOKEN,
                "CLOUDFLARE": "good-token-of-cloudflare",
                "SPACES": f"{storage.access_key}:{storage.secret_key.reveal()}",
            },
        )
        for address in (f"{EDGE}/32", f"{EDGE_6}/128"):
            made.inside("ip", "address", "add", address, "dev", "lo")
            stack.callback(made.inside, "ip", "address", "del", address, "dev", "lo")
        network = f"--net=/proc/{laboratory.processes()[-1]}/ns/net"
        words = ["nsenter", network, "--", sys.executable, "-m", "tests.lab.edge_proxy"]
        edge = subprocess.Popen([*words, tmp_path, EDGE, HOST, EDGE_6], stdout=subprocess.PIPE)
        stack.callback(edge.wait)
        stack.callback(edge.kill)
        assert edge.stdout
        stack.callback(edge.stdout.close)
        assert edge.stdout.readline() == b"listening\n"
        yield made
        laboratory.clear("demo")
