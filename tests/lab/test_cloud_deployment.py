"""A whole deployment on the emulated DigitalOcean, Amazon and Cloudflare, with the lab behind them.

`build-usb` runs in the lab's network, where the emulators listen and droplets' addresses are
reachable, and knows nothing of the lab.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import pytest

from tests.emulators import openapi
from tests.emulators.address import AddressTeller
from tests.emulators.aws import TOKEN as AWS_KEYS
from tests.emulators.aws_rented import RentedAws
from tests.emulators.aws_storage import Storage
from tests.emulators.digitalocean import TOKEN, DigitalOceanEmulator
from tests.emulators.rented import Feed, RentedDigitalOcean, ServedCloudflare
from tests.emulators.route53 import Route53Emulator
from tests.lab.deployments import PASSPHRASE, quick_home
from tests.lab.laboratory import Laboratory
from wizard.agent.build_machine import NAMESPACE
from wizard.engine.state import State
from wizard.engine.state import load as load_state
from wizard.home import keys
from wizard.lab import addresses
from wizard.lab.namespaces import OtherNetwork
from wizard.machines.places import AGENT_PATH, SHARED_CONFIG
from wizard.providers.base import Machine, ResourceKind, Services

pytestmark = pytest.mark.lab

ZONE = "cloud.test"
CLOUDFLARE_TOKEN = "good-token-of-cloudflare"
ANSWERS = f"""
version: 1
name: demo
mode: development
provider: PROVIDER
application:
  kind: wordpress
  title: A site on a cloud
  admin: {{user: editor, email: editor@{ZONE}}}
domain: {{name: www.{ZONE}}}
dns: DNS
"""
# the others have it found out
NAMED = f"ssh: {{build_machine: {addresses.VISITOR}}}\n"
ELSEWHERE = "10.77.0.4", "10.77.0.6"


DIGITALOCEAN = """{name: digitalocean, region: fra1, credentials: {environment: DIGITALOCEAN}}
object_storage: {credentials: {environment: SPACES}}"""
# its machines reach their bucket by their role: no keys for it
AWS = "{name: aws, region: eu-central-1, credentials: {environment: AWS}}"
CASES = {
    "cloudflare": (DIGITALOCEAN, "cloudflare"),
    "digitalocean": (DIGITALOCEAN.replace("fra1", "fra1, ipv6: true"), "digitalocean"),
    "aws": (AWS, "route53"),
}
LOST = {
    "digitalocean": ("POST /v2/vpcs$", "POST /v2/droplets$", "POST /v2/firewalls$"),
    "aws": ("ec2:CreateVpc", "ec2:RunInstances", "ec2:CreateSecurityGroup", "iam:CreateRole"),
}
DNS = {
    "cloudflare": f"{{zone: {ZONE}, provider: cloudflare, credentials: {{environment: CLOUDFLARE}}"
    "}",
    # the cloud's own token
    "digitalocean": f"{{provider: digitalocean, zone: {ZONE}}}",
    "route53": f"{{provider: route53, zone: {ZONE}}}",
}


@dataclass
class Cloud:
    """The emulated vendors, and `build-usb` run where it reaches them."""

    name: str
    dns: DigitalOceanEmulator | ServedCloudflare | Route53Emulator
    api: RentedDigitalOcean | RentedAws
    cloudflare: ServedCloudflare
    laboratory: Laboratory
    folder: Path
    storage: Storage
    teller: AddressTeller
    environment: dict[str, str]

    @property
    def answers(self) -> Path:
        return self.folder / "answers.yaml"

    def run(self, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        network = f"--net=/proc/{self.laboratory.processes()[-1]}/ns/net"
        driver = [sys.executable, "-m", "tests.lab.cloud_driver"]
        done = subprocess.run(
            ["nsenter", network, "--", *driver, *map(str, words)],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"build-usb {' '.join(map(str, words))} ended with {done.returncode}\n"
                f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
            )
        return done

    def move(self, address: str) -> None:
        """Let this computer be at another address of the network that machines see it in."""
        routes = "".join(
            f"route replace {m.private_address}/32 dev $(ip -o route get {m.private_address} | "
            f"sed 's/.* dev \\([^ ]*\\).*/\\1/') src {address}\n"
            for m in self.laboratory.provider.machines("demo")
        )
        command = f"ip addr add {address}/32 dev lo; ip -batch - <<END\n{routes}END\n"
        network = f"--net=/proc/{self.laboratory.processes()[-1]}/ns/net"
        subprocess.run(["nsenter", network, "--", "sh", "-ec", command], check=True)
        self.teller.says = address

    def state(self) -> State:
        state = load_state(self.folder / "home" / "deployments" / "demo" / "state.json")
        assert state is not None
        return state


@pytest.fixture(params=CASES)
def cloud(
    laboratory: Laboratory, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Cloud]:
    with opened(laboratory, tmp_path, request.param) as made:
        yield made


@contextlib.contextmanager
def opened(laboratory: Laboratory, tmp_path: Path, case: str) -> Iterator[Cloud]:
    """Open the emulated vendors of one case."""
    services: Services = laboratory.provider.services(ZONE)
    assert services.acme
    assert services.dns
    assert services.object_storage
    storage = services.object_storage
    own, zone = CASES[case]
    quick_home(tmp_path / "home")
    (tmp_path / "authority.json").write_text(json.dumps(asdict(services.acme)))
    answers = ANSWERS.replace("DNS", DNS[zone]).replace("PROVIDER", own)
    (tmp_path / "answers.yaml").write_text(answers + (NAMED if zone == "cloudflare" else ""))
    with contextlib.ExitStack() as stack:
        descriptor = os.open(f"/proc/{laboratory.processes()[-1]}/ns/net", os.O_RDONLY)
        stack.callback(os.close, descriptor)
        inside = OtherNetwork(descriptor)

        def listener() -> socket.socket:
            # where machines reach it too
            return inside.run(lambda: socket.create_server((addresses.SERVICES, 0), backlog=64))

        digitalocean = RentedDigitalOcean(openapi.document("digitalocean"), listener())
        digitalocean.lab = laboratory.provider
        digitalocean.laboratory = laboratory
        aws = RentedAws(listener())
        aws.laboratory = laboratory
        cloudflare = ServedCloudflare(openapi.document("cloudflare"), listener())
        feed = Feed(services.dns, ZONE)
        aws.feed = feed
        cloudflare.feed = feed
        cloudflare.add_zone(ZONE)
        if zone == "digitalocean":
            digitalocean.feed = feed
            digitalocean.add_domain(ZONE)
        stack.enter_context(digitalocean)
        stack.enter_context(aws)
        stack.enter_context(cloudflare)
        route53 = Route53Emulator(listener(), keys=aws.keys, feed=feed.serve)
        route53.add_zone(ZONE, addresses.SERVICES)
        stack.enter_context(route53)
        teller = stack.enter_context(AddressTeller(addresses.VISITOR, listener()))
        behind = addresses.SERVICES, addresses.S3_PORT

        def connect() -> socket.socket:
            return inside.run(lambda: socket.create_connection(behind, 30))

        s3 = stack.enter_context(Storage(listener(), aws.keys, connect))
        # a test that fails leaves no machines for the next one to meet
        stack.callback(laboratory.clear, "demo")
        served = {"cloudflare": cloudflare, "digitalocean": digitalocean, "route53": route53}
        yield Cloud(
            "aws" if own == AWS else "digitalocean",
            served[zone],
            aws if own == AWS else digitalocean,
            cloudflare,
            laboratory,
            tmp_path,
            s3,
            teller,
            {
                "BUILD_USB_ADDRESS_URL": teller.url,
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "BUILD_USB_HOME": str(tmp_path / "home"),
                "BUILD_USB_PASSPHRASE": PASSPHRASE,
                "BUILD_USB_TEST_AUTHORITY": str(tmp_path / "authority.json"),
                "BUILD_USB_DIGITALOCEAN_URL": digitalocean.url,
                "BUILD_USB_DIGITALOCEAN_STORAGE_URL": storage.machine_endpoint,
                "BUILD_USB_AWS_URL": aws.url,
                "BUILD_USB_AWS_STORAGE_URL": s3.origin,
                "AWS": AWS_KEYS,
                "BUILD_USB_CLOUDFLARE_URL": cloudflare.url,
                "BUILD_USB_ROUTE53_URL": route53.url,
                "DIGITALOCEAN": TOKEN,
                "CLOUDFLARE": CLOUDFLARE_TOKEN,
                "SPACES": f"{storage.access_key}:{storage.secret_key.reveal()}",
            },
        )


def trusting(cloud: Cloud) -> httpx.Client:
    """Return a browser that trusts the site's certificate authority."""
    trust = ssl.create_default_context(cadata=cloud.state().authority_root)
    return httpx.Client(verify=trust, trust_env=False, timeout=30)


def page(cloud: Cloud, web: Machine, path: str = "/") -> httpx.Response:
    """Return what that webserver answers the site's visitors."""
    with trusting(cloud) as visitor:
        return visitor.get(
            f"https://{web.access_address}{path}",
            headers={"Host": f"www.{ZONE}"},
            extensions={"sni_hostname": f"www.{ZONE}"},
        )


def left(api: RentedDigitalOcean | RentedAws) -> dict[str, int]:
    if isinstance(api, RentedAws):
        return api.left()
    groups = ("vpcs", "firewalls", "tags", "keys", "storage_keys", "projects")
    names = ("droplets", "databases", "snapshots", *groups)
    return {name: len(getattr(api, name)) for name in names if getattr(api, name)}


def backups_of(cloud: Cloud) -> str:
    """Let the deployment make backups; return what opens them."""
    with cloud.answers.open("a") as answers:
        answers.write("backups: {periods: [daily]}\n")
    cloud.run("deploy", cloud.answers, "--json", "--yes")
    (first,) = json.loads(cloud.run("points", "--json").stdout)
    assert first["whole"]
    return cloud.run("secret", "backup_password").stdout


def changes(cloud: Cloud) -> int:
    """How often the vendors were asked to change something (to prove that one may is no change)."""
    what = "^(POST|PUT|DELETE)|^ec2:[^D]|^ec2:Del|^iam:(Create|Add|Del)"
    asked = [*cloud.api.calls(what), *cloud.cloudflare.calls("^POST")]
    batches = cloud.dns.accepted if isinstance(cloud.dns, Route53Emulator) else 0
    return batches + len([r for r in asked if not r.path.endswith("/records/0")])


def moved(cloud: Cloud, web: Machine) -> None:
    """Go to another network: nothing is let in from there, and every command says what to do."""
    cloud.move(ELSEWHERE[0])
    refused = cloud.run("points", check=False)
    assert refused.returncode == 2
    assert f"this computer is at {ELSEWHERE[0]} now" in refused.stderr
    assert "build-usb let-in demo" in refused.stderr
    shown = cloud.run("status", check=False)
    assert f"and the machines let in {addresses.VISITOR}: build-usb let-in demo" in shown.stdout
    # who can write into the bucket, but has not the key, is believed by nobody
    forged = json.dumps(
        {"version": 1, "deployment": "demo", "address": ELSEWHERE[0], "at": 1 << 40}
    )
    s3fs = f"cat > {SHARED_CONFIG}/build-machine.json"
    signature = keys.sign(keys.generate_ssh_key(), NAMESPACE, forged.encode())
    text = json.dumps({"text": forged, "signature": signature})
    cloud.laboratory.enter(web.id, "sh", "-c", s3fs, stdin=text)
    answer = cloud.laboratory.enter(web.id, "sh", "-c", f"{AGENT_PATH} firewall; true")
    assert "not signed by the key" in answer
    assert ELSEWHERE[0] not in cloud.laboratory.enter(web.id, "ufw", "status")


def test_a_site_on_a_cloud_comes_works_and_goes(cloud: Cloud) -> None:
    planned = cloud.run("plan", cloud.answers).stdout
    assert "USD" in planned
    assert left(cloud.api) == {}

    # answers get lost on the way: the run goes on and makes everything once
    for what in LOST[cloud.name]:
        cloud.api.fail(what, "lost")
    if isinstance(cloud.dns, Route53Emulator):
        # the first one asks whether records may be changed
        cloud.dns.fail("ChangeResourceRecordSets")
        cloud.dns.fail("ChangeResourceRecordSets", "lost")
    else:
        cloud.dns.fail("POST .*/(batch|records)$", "lost")
    cloud.run("deploy", cloud.answers, "--json", "--yes")
    made = left(cloud.api)
    assert made.get("droplets", made.get("instances")) == 2
    assert made["vpcs"] == 1
    assert not [fault for fault in cloud.api.faults if fault.times]

    state = cloud.state()
    machines = {m.name: m for m in cloud.laboratory.provider.machines("demo")}
    web, database = machines["web1"], machines["db1"]
    probe = cloud.laboratory.provider.probe
    addresses_of_both = [web.public_address, *filter(None, [web.ipv6])]
    assert cloud.dns.lookup(f"www.{ZONE}")[1] == addresses_of_both
    if web.ipv6:
        assert probe("visitor", web.ipv6, 443) == "open"
        assert probe(web.id, database.ipv6, 1035) == "filtered"
    assert state.url == f"https://www.{ZONE}/"
    # `build-usb` ran where the lab's visitor is; to it, the lab's own build machine is a stranger
    assert probe("build-machine", web.private_address, 443) == "open"
    assert probe("build-machine", web.private_address, 1035) == "filtered"
    assert probe("visitor", web.private_address, 1035) == "open"
    assert probe("visitor", database.private_address, 2035) == "filtered"
    assert probe(web.id, database.private_address, 2035) == "open"
    cloud.run("status")
    if isinstance(cloud.api, RentedAws):
        # no key lies on any machine: they are asked for where instances ask
        assert all(service.keys for service in cloud.api.metadata)
        for machine in (web, database):
            files = cloud.laboratory.enter(machine.id, "ls", "/etc/build-usb")
            assert "s3fs-password" not in files
    else:
        # no machine holds the user's own key: theirs opens the deployment's buckets alone
        (project,) = cloud.api.projects
        droplets = {f"do:droplet:{number}" for number in cloud.api.droplets}
        assert set(cloud.api.inside(project)) == {*droplets, f"do:space:{state.bucket}"}
        ((key, item),) = cloud.api.storage_keys.items()
        assert {grant["bucket"] for grant in item["grants"]} == {state.bucket}
        for machine in (web, database):
            held = cloud.laboratory.enter(machine.id, "cat", "/etc/build-usb/s3fs-password")
            assert held.partition(":")[0] == key

    # through the port that the lab publishes on loopback, as any visitor of the address
    shown = page(cloud, web)
    assert shown.status_code == 200
    assert "A site on a cloud" in shown.text

    before = changes(cloud)
    cloud.run("deploy", cloud.answers, "--json", "--yes")
    assert changes(cloud) == before

    follow_me = cloud.dns is cloud.api
    if follow_me:
        moved(cloud, web)
    kept = backups_of(cloud) if follow_me else ""
    if follow_me:
        assert probe("visitor", web.private_address, 1035) == "filtered"
        cloud.move(ELSEWHERE[1])
    destroyed = cloud.run("destroy", "--yes", "demo")
    assert left(cloud.api) == {}
    if kept:
        # what the backups are opened by outlives the deployment, as they do
        assert "its backups stay in" in destroyed.stderr
        assert cloud.run("secret", "backups-demo").stdout == kept
    assert cloud.dns.lookup(f"www.{ZONE}")[1] == []
    found = cloud.laboratory.provider.resources("demo")
    assert not [resource for resource in found if resource.kind is ResourceKind.MACHINE]
    assert cloud.api.violations == []
    assert cloud.cloudflare.violations == []
