"""Production mode on the emulated DigitalOcean and Amazon, with the lab behind them: autoscalers
rent, end and publish webservers with a token or a role of their own, which may do nothing else.
Beside them a managed database: MySQL of WordPress, PostgreSQL of own PHP."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from tests.emulators.aws import TOKEN as AWS_KEYS
from tests.emulators.aws_rented import RentedAws
from tests.emulators.git_server import GitServer
from tests.emulators.rented import RentedDigitalOcean
from tests.emulators.rented_database import RentedDatabase
from tests.emulators.route53 import Route53Emulator
from tests.emulators.server import Request
from tests.lab.laboratory import Laboratory
from tests.lab.test_cloud_deployment import TOKEN, ZONE, Cloud, left, opened, page
from tests.lab.test_postgresql import PSQL, SETTINGS, TRIED
from tests.lab.test_production_postgresql import INDEX
from wizard.lab.namespaces import OtherNetwork
from wizard.providers.base import Resource, ResourceKind

pytestmark = pytest.mark.lab

OWN_TOKEN = "dop_v1_of_autoscalers"
CAN = {
    "actions": ("read",),
    "droplet": ("read", "create", "update", "delete"),
    "snapshot": ("read", "delete"),
    "ssh_key": ("read",),
    "domain": ("read", "create", "update", "delete"),
}
SCOPES = frozenset(f"{what}:{verb}" for what, verbs in CAN.items() for verb in verbs)
PRODUCTION = """
webserver: {count: 2}
scaling:
  minimum: 1
  maximum: 3
  health: {interval: 5, timeout: 3, failures: 2}
"""
MANAGED = "database: {engine: mysql, managed: true}\n"
POSTGRESQL = """database: {engine: postgresql, managed: true}
backups: {periods: [daily]}
"""
REPOSITORY = "token-of-the-repository-4711"
WITH_TOKEN = "  credentials: {provider: {environment: AUTOSCALER}}\n"
AUTOSCALER_LOG = "/var/log/build-usb/autoscaler.log"
# what a role may do of what tests.lab.role_tries tries
IN_BUCKET = {"list its bucket", "write into its bucket", "take that back"}


def fleet(cloud: Cloud) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cloud.run("status", "--json", check=False).stdout)["fleet"]
    return found


def serving(cloud: Cloud) -> set[str]:
    return {
        w["name"] for w in fleet(cloud)["webservers"] if w["phase"] == "serving" and w["published"]
    }


def logged(cloud: Cloud) -> str:
    (scaler,) = (m for m in cloud.laboratory.provider.machines("demo") if m.name == "scaler1")
    return cloud.laboratory.enter(scaler.id, "tail", "-n", "60", AUTOSCALER_LOG)


def until(cloud: Cloud, what: str, true: Callable[[], bool], seconds: float) -> None:
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < seconds, (what, fleet(cloud), logged(cloud))
        time.sleep(3)  # each look takes seconds of a processor
    print(f"{what}: {time.monotonic() - started:.0f} s")


def in_production(cloud: Cloud, section: str, dns: str = "ttl: 30") -> None:
    text = cloud.answers.read_text().replace("mode: development", "mode: production")
    cloud.answers.write_text(text.replace(f"zone: {ZONE}}}", f"zone: {ZONE}, {dns}}}") + section)


def test_autoscalers_at_a_cloud_work_with_their_own_token(
    laboratory: Laboratory, tmp_path: Path
) -> None:
    with opened(laboratory, tmp_path, "digitalocean") as cloud:
        api = cloud.api
        assert isinstance(api, RentedDigitalOcean)
        in_production(cloud, PRODUCTION + WITH_TOKEN + MANAGED)

        # a token that may not do it, or that is the build machine's, is refused before all
        cloud.environment["AUTOSCALER"] = TOKEN
        refused = cloud.run("deploy", cloud.answers, "--json", "--yes", check=False)
        assert "the build machine's, from another source" in refused.stderr
        cloud.environment["AUTOSCALER"] = OWN_TOKEN
        api.tokens[OWN_TOKEN] = SCOPES - {"droplet:create"}
        refused = cloud.run("deploy", cloud.answers, "--json", "--yes", check=False)
        assert "it lacks droplet:create" in refused.stderr
        assert left(api) == {}

        api.tokens[OWN_TOKEN] = SCOPES
        cloud.run("deploy", cloud.answers, "--json", "--yes")
        until(cloud, "an autoscaler leads", lambda: bool(fleet(cloud)["leader"]), 120)
        scaler = next(m for m in laboratory.provider.machines("demo") if m.name == "scaler1")
        station = laboratory.enter(scaler.id, "cat", "/etc/build-usb/station.json")
        assert OWN_TOKEN in station
        assert TOKEN not in station

        # from now on the build machine only wishes and looks
        (before,) = [m for m in laboratory.provider.machines("demo") if m.name == "web2"]
        gone = Resource(ResourceKind.MACHINE, before.id, "web2", "demo")
        lost = next(d for d in api.droplets.values() if d["name"] == "web2")
        laboratory.provider.delete(gone)
        del api.droplets[lost["id"]]
        until(
            cloud,
            "a webserver is replaced",
            lambda: len(serving(cloud) - {"web2"}) == 2,
            240,
        )
        cloud.run("scale", "1")
        until(
            cloud,
            "the other one is gone",
            lambda: len([d for d in api.droplets.values() if d["name"].startswith("web")]) == 1,
            240,
        )
        (kept,) = serving(cloud)
        machine = next(m for m in laboratory.provider.machines("demo") if m.name == kept)
        assert api.lookup(f"www.{ZONE}")[1] == [machine.public_address, machine.ipv6]
        # whoever made it, it serves from the managed database
        shown = page(cloud, machine)
        assert (shown.status_code, "A site on a cloud" in shown.text) == (200, True)
        assert api.server
        probe = laboratory.provider.probe
        assert probe(machine.id, api.server.address, 25060) == "open"
        assert probe("visitor", api.server.address, 25060) == "filtered"

        def asked_with(token: str, match: str) -> list[str]:
            return [
                r.line
                for r in api.calls(match)
                if r.headers.get("authorization") == f"Bearer {token}"
            ]

        assert asked_with(OWN_TOKEN, "POST /v2/droplets$")
        assert asked_with(OWN_TOKEN, r"DELETE /v2/droplets/[1-9]")
        assert not asked_with(OWN_TOKEN, "(databases|firewalls|vpcs|tags|sizes|images|regions)")

        cloud.run("destroy", "--yes", "demo")
        assert left(api) == {}
        assert api.lookup(f"www.{ZONE}")[1] == []
        assert api.violations == []


def tried(cloud: Cloud, api: RentedAws, name: str) -> dict[str, str]:
    """Return how it ends what whoever takes that machine over may try."""
    assert isinstance(cloud.dns, Route53Emulator)
    machines = {m.name: m.id for m in cloud.laboratory.provider.machines("demo")}
    (database,) = [i for i, machine in api.machines.items() if machine == machines["db1"]]
    given = {
        "api": api.url,
        "dns": cloud.dns.url,
        "storage": cloud.storage.origin,
        "bucket": cloud.state().bucket,
        "database": database,
        "role": "build-usb.demo.eu-central-1.autoscaler",
        "zone": next(iter(cloud.dns.backend.zones)),
        "names": {"site": f"www.{ZONE}", "other": f"mail.{ZONE}"},
    }
    network = f"--net=/proc/{cloud.laboratory.leader(machines[name])}/ns/net"
    command = ["nsenter", network, "--", sys.executable, "-m", "tests.lab.role_tries"]
    done = subprocess.run(
        [*command, json.dumps(given)],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@contextlib.contextmanager
def own_code(cloud: Cloud) -> Iterator[None]:
    """Let the answers deploy own PHP from a git server where `build-usb` reaches it."""
    served = cloud.folder / "served"
    served.mkdir()
    descriptor = os.open(f"/proc/{cloud.laboratory.processes()[-1]}/ns/net", os.O_RDONLY)
    try:
        made = OtherNetwork(descriptor).run(lambda: GitServer(served, REPOSITORY))
    finally:
        os.close(descriptor)
    with made as server:
        server.commit("site", {"public/index.php": INDEX, "env.example": SETTINGS}, "one")
        source = f"{{kind: repository, url: {server.url}/site.git, docroot: public, "
        source += "environment_template: env.example, credentials: {environment: REPOSITORY}}"
        text = cloud.answers.read_text().replace("kind: wordpress", "kind: php")
        cloud.answers.write_text(text.replace("domain:", f"  source: {source}\ndomain:", 1))
        trusted = {"GIT_SSL_CAINFO": str(server.certificate), "REPOSITORY": REPOSITORY}
        cloud.environment.update(trusted)
        yield


def administered(laboratory: Laboratory, machine: str, server: RentedDatabase) -> None:
    """Check who administers a managed PostgreSQL, and how, on the machine that prepares it."""

    def asked(how: str) -> str:
        ask = PSQL.replace("dbname=php", how)
        command = f"{TRIED} {ask} --command='SELECT rolsuper FROM pg_roles WHERE rolname = USER'"
        return laboratory.enter(machine, "sh", "-c", f"{command} 2>&1 || true").strip()

    assert asked("") == "f"
    # by rds.force_ssl
    assert "no encryption" in asked("sslmode=disable")
    # the right server by another name: what a thief of its address would look like
    assert "does not match host name" in asked(f"host={server.address}")
    rights = "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = 'php'"
    assert server.sql(rights).strip() == "f|f|f"


def test_autoscalers_at_amazon_work_with_their_role(laboratory: Laboratory, tmp_path: Path) -> None:
    with opened(laboratory, tmp_path, "aws") as cloud, own_code(cloud):
        api = cloud.api
        assert isinstance(api, RentedAws)
        in_production(cloud, PRODUCTION + POSTGRESQL, "ttl: 30, health_checked: true")
        cloud.run("deploy", cloud.answers, "--json", "--yes")
        until(cloud, "an autoscaler leads", lambda: bool(fleet(cloud)["leader"]), 300)
        machines = {m.name: m for m in laboratory.provider.machines("demo")}
        name = f"www.{ZONE}"
        public = {machines[web].public_address for web in ("web1", "web2")}
        until(cloud, "DNS has both", lambda: set(cloud.dns.lookup(name)[1]) == public, 60)
        assert page(cloud, machines["web1"], "/").text == "TLSv1.3</html>"
        page(cloud, machines["web1"], "/?write=kept")
        assert page(cloud, machines["web2"], "/?read").text == "kept"
        assert api.server
        administered(laboratory, machines["db1"].id, api.server)
        probe = laboratory.provider.probe
        assert probe(machines["web2"].id, api.server.address, 5432) == "open"
        assert probe("visitor", api.server.address, 5432) == "filtered"

        # no key lies on any machine, and what the instance tells opens little
        secret_key = AWS_KEYS.partition(":")[2]
        for machine in machines.values():
            search = f"grep -rlsF {secret_key} /etc /root || true"
            assert laboratory.enter(machine.id, "sh", "-c", search) == ""
        for machine_name, allowed in (
            ("web1", IN_BUCKET),
            ("scaler1", {*IN_BUCKET, "forge what autoscalers agree on", "list machines"}),
        ):
            ended = tried(cloud, api, machine_name)
            assert {what for what, code in ended.items() if not code} == allowed
            refused = {code for code in ended.values() if code}
            assert refused == {"AccessDenied", "UnauthorizedOperation"}

        # from now on the build machine only wishes and looks
        until(cloud, "an AMI is made", lambda: bool(fleet(cloud)["snapshot"]["id"]), 300)
        golden = fleet(cloud)["snapshot"]["id"]
        assert golden in api.copies
        lost = next(i for i in api.instances() if api.machines[i.id] == machines["web2"].id)
        api.end_instance(lost)
        api.ec2().terminate_instances([lost.id])
        until(cloud, "a webserver is replaced", lambda: len(serving(cloud) - {"web2"}) == 2, 600)
        asked = [r for r in api.calls("^ec2:(Run|Terminate)Instances") if _by_role(r)]
        # the first was tried by who took a machine over
        assert [_form(r)["ImageId"] for r in asked if r.line == "ec2:RunInstances"][-1] == golden
        # whoever made it, it serves from the managed database; so does what a backup puts back
        machines = {m.name: m for m in laboratory.provider.machines("demo")}
        (web,) = (machines[name] for name in serving(cloud) - {"web1", "web2"})
        assert page(cloud, web, "/?read").text == "kept"
        cloud.run("backup")
        point = json.loads(cloud.run("points", "--json").stdout)[-1]
        page(cloud, web, "/?write=late")
        assert page(cloud, web, "/?read").text == "kept late"
        cloud.run("restore", "--yes", point["name"])
        assert page(cloud, web, "/?read").text == "kept"
        owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'words'"
        assert api.server.sql(owner, "php").strip() == "php"

        cloud.run("destroy", "--yes", "demo")
        assert left(api) == {}
        assert cloud.dns.lookup(name)[1] == []
        assert api.violations == []


def _by_role(request: Request) -> bool:
    return "Credential=ASIA" in request.headers["authorization"]


def _form(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.raw.decode()))
