"""A whole deployment behind Cloudflare's proxies, emulated: its API, and in the lab a reverse proxy
at an address inside the networks that the API names."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.emulators import openapi
from tests.emulators.digitalocean import TOKEN
from tests.emulators.rented import Feed, RentedDigitalOcean, ServedCloudflare
from tests.lab.deployments import PASSPHRASE
from tests.lab.laboratory import Laboratory
from wizard.lab import addresses
from wizard.lab.namespaces import OtherNetwork
from wizard.providers.base import Machine, ResourceKind

pytestmark = pytest.mark.lab

ZONE = "proxied.test"
HOST = f"www.{ZONE}"
EDGE = "10.77.0.6"
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
MORE = f"""
tls: {{authority: cloudflare-origin}}
gateway: {{enabled: true, users: [{{name: editor, email: editor@{ZONE}}}]}}
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

    def run(self, *words: str | Path) -> str:
        done = self.inside(sys.executable, "-m", "tests.lab.cloud_driver", *words)
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
    """Tells the proxy where the webserver is, and what is behind Zero Trust Access."""

    told: Path

    def dispatch(self, request: object) -> object:  # type: ignore[override]
        reply = super().dispatch(request)  # type: ignore[arg-type]
        with self.lock:
            for records in self.records.values():
                for record in records.values():
                    if record["type"] == "A":
                        self.told.write_text(record["content"])
            self.told.with_name("access").write_text("\n".join(self.places()))
        return reply


@pytest.fixture
def proxied(laboratory: Laboratory, tmp_path: Path) -> Iterator[Proxied]:
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
            return inside.run(lambda: socket.create_server((address, 0), backlog=64))

        digitalocean = RentedDigitalOcean(openapi.document("digitalocean"), listener("127.0.0.1"))
        digitalocean.lab = laboratory.provider
        # machines ask it too
        cloudflare = Watched(openapi.document("cloudflare"), listener(addresses.SERVICES))
        cloudflare.networks, cloudflare.proxies = [f"{EDGE}/31"], [EDGE]
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
        made.inside("ip", "address", "add", f"{EDGE}/32", "dev", "lo")
        stack.callback(made.inside, "ip", "address", "del", f"{EDGE}/32", "dev", "lo")
        network = f"--net=/proc/{laboratory.processes()[-1]}/ns/net"
        words = ["nsenter", network, "--", sys.executable, "-m", "tests.lab.edge_proxy"]
        edge = subprocess.Popen([*words, tmp_path, EDGE, HOST], stdout=subprocess.PIPE)
        stack.callback(edge.wait)
        stack.callback(edge.kill)
        assert edge.stdout
        stack.callback(edge.stdout.close)
        assert edge.stdout.readline() == b"listening\n"
        yield made
        laboratory.clear("demo")


def visitors(proxied: Proxied, machine: Machine, wanted: str) -> list[str]:
    """The addresses in the access log, once one asked for `wanted` is there."""
    end = time.monotonic() + 15
    while True:
        log = proxied.laboratory.enter(machine.id, "cat", "/var/log/nginx/access.log")
        if wanted in log:
            return [line.split()[0] for line in log.splitlines() if wanted in line]
        assert time.monotonic() < end, log
        time.sleep(0.5)


def test_a_site_behind_proxies_answers_through_them_only(proxied: Proxied) -> None:
    proxied.cloudflare.settings["ssl"] = "flexible"
    assert "must be 'strict'" in proxied.run("plan", proxied.folder / "answers.yaml")
    refused = proxied.inside(
        *(sys.executable, "-m", "tests.lab.cloud_driver", "deploy"),
        *(proxied.folder / "answers.yaml", "--json", "--yes"),
    )
    assert "not set up for proxied names" in refused.stderr
    assert proxied.digitalocean.vpcs == {}
    proxied.cloudflare.settings["ssl"] = "strict"
    planned = proxied.run("plan", proxied.folder / "answers.yaml")
    assert "behind Cloudflare" in planned
    proxied.run("deploy", proxied.folder / "answers.yaml", "--json", "--yes")

    provider = proxied.laboratory.provider
    web = next(m for m in provider.machines("demo") if m.name == "web1")
    origin = web.private_address
    assert proxied.cloudflare.lookup(HOST)[1] == [EDGE]
    trust = ("--cacert", proxied.folder / "edge.pem")
    status, text = proxied.ask(ANYBODY, EDGE, *trust, "-A", "through-the-edge")
    assert (status, "A site behind proxies" in text) == (200, True), text
    # the visitor's own address, for nginx and all that it tells
    assert set(visitors(proxied, web, "through-the-edge")) == {ANYBODY}

    # nobody else, at either layer
    assert provider.probe("build-machine", origin, 443) == "filtered"
    assert provider.probe("build-machine", origin, 80) == "filtered"
    provider.ensure_firewall("demo", (), enabled=False)
    assert provider.probe("build-machine", origin, 443) == "filtered"
    assert provider.probe("build-machine", origin, 80) == "filtered"
    proxied.digitalocean.firewalls_changed()

    # from a proxy's address, but without Cloudflare's certificate
    root = ("--cacert", proxied.folder / "root.pem")
    client = ("--cert", proxied.folder / "client.pem")
    assert proxied.ask(EDGE, origin, *root)[0] == 403
    assert proxied.ask(EDGE, origin, *root, *client)[0] == 200
    # the build machine asks directly; whom it says to be does not count
    forged = ("-H", "CF-Connecting-IP: 192.0.2.66", "-A", "forged")
    assert proxied.ask(addresses.VISITOR, origin, *root, *forged)[0] == 200
    assert set(visitors(proxied, web, "forged")) == {addresses.VISITOR}

    # a day later Cloudflare has another network, and then something answers in its place
    proxied.cloudflare.networks = [f"{EDGE}/31", "10.77.0.8/31"]
    a_day_ago = r's/"asked": [0-9.]*/"asked": 0/'
    later = ("sed", "-i", a_day_ago, "/var/lib/build-usb/edge.json")
    proxied.laboratory.enter(web.id, *later)
    assert proxied.agent(web, "run", "--wait", "60")["ok"] is True
    assert "10.77.0.8/31" in proxied.laboratory.enter(web.id, "ufw", "status")
    assert "10.77.0.8/31" in proxied.laboratory.enter(web.id, "nginx", "-T")
    proxied.cloudflare.networks = ["0.0.0.0/0"]
    proxied.laboratory.enter(web.id, *later)
    assert proxied.agent(web, "run", "--wait", "60")["ok"] is False
    assert "going by the last good one" in str(proxied.agent(web, "status")["problems"])
    assert "10.77.0.8/31" in proxied.laboratory.enter(web.id, "ufw", "status")
    assert proxied.ask(ANYBODY, EDGE, *trust)[0] == 200

    proxied.cloudflare.networks = [f"{EDGE}/31", "10.77.0.8/31"]
    proxied.laboratory.enter(web.id, *later)
    assert proxied.agent(web, "run", "--wait", "60")["ok"] is True

    # from now on a certificate that the proxies trust and nobody else, and a gate
    assert proxied.cloudflare.certificates == {}
    assert proxied.ask(ANYBODY, EDGE, *trust, path="/wp-login.php")[0] == 200
    (proxied.folder / "answers.yaml").write_text(ANSWERS + MORE)
    proxied.run("deploy", proxied.folder / "answers.yaml", "--json", "--yes")
    assert proxied.ask(ANYBODY, EDGE, *trust)[0] == 500, "the edge trusts the old authority only"
    (proxied.folder / "root.pem").rename(proxied.folder / "public.pem")
    (proxied.folder / "root.pem").write_text(proxied.cloudflare.authority.root)
    assert proxied.ask(ANYBODY, EDGE, *trust)[0] == 200
    assert proxied.ask(addresses.VISITOR, origin, *root)[0] == 200
    assert proxied.ask(addresses.VISITOR, origin, "--cacert", proxied.folder / "public.pem")[0] == 0
    (shown,) = proxied.cloudflare.certificates.values()
    assert shown["hostnames"] == [HOST]
    proxied.run("deploy", proxied.folder / "answers.yaml", "--json", "--yes")
    assert list(proxied.cloudflare.certificates.values()) == [shown]

    # the edge asks who it is before the login form; the site is as open as ever
    for path in ("/wp-login.php", "/wp-admin/", "/wp-admin/users.php"):
        assert proxied.ask(ANYBODY, EDGE, *trust, path=path)[0] == 302
    known = ("-H", "Cookie: CF_Authorization=somebody")
    assert proxied.ask(ANYBODY, EDGE, *trust, *known, path="/wp-login.php")[0] == 200
    assert proxied.ask(ANYBODY, EDGE, *trust)[0] == 200

    proxied.run("destroy", "--yes", "demo")
    assert proxied.cloudflare.certificates == {}
    assert (proxied.cloudflare.applications, proxied.cloudflare.policies) == ({}, {})
    assert proxied.cloudflare.lookup(HOST)[1] == []
    found = provider.resources("demo")
    assert not [resource for resource in found if resource.kind is ResourceKind.MACHINE]
    assert proxied.digitalocean.violations == []
    assert proxied.cloudflare.violations == []
