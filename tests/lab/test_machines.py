"""Roles on real machines: first boot, configuration, database over TLS, site, certificate."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import boto3
import dns.query
import dns.tsigkeyring
import dns.update
import httpx
import pyrage
import pytest

from tests.lab.laboratory import Keys, Laboratory
from tests.unit.machine_jobs import machine_job
from wizard.engine.configure import ConfigureResult, configure
from wizard.engine.rotate import rotate_host_key
from wizard.engine.ssh import HostKeyError, connect, run, wait_for_ssh
from wizard.errors import InterruptedRunError
from wizard.events import Event
from wizard.machines.certificates import self_signed
from wizard.machines.first_boot import user_data
from wizard.machines.job import (
    BucketSettings,
    Connection,
    DatabaseSettings,
    MachineJob,
    Peer,
    Phase,
    TlsSettings,
)
from wizard.providers.base import Machine, MachineSpec
from wizard.rules import ANYONE, BUILD_MACHINE, Role, Rule, from_role
from wizard.secrets import Secret, generate

pytestmark = pytest.mark.lab

DEPLOYMENT = "machines"
SITE = "www.machines.test"
RULES = (
    Rule(Role.WEBSERVER, 1035, BUILD_MACHINE, "ssh"),
    Rule(Role.DATABASE, 1035, BUILD_MACHINE, "ssh"),
    Rule(Role.WEBSERVER, 80, ANYONE, "web"),
    Rule(Role.WEBSERVER, 443, ANYONE, "web"),
    Rule(Role.DATABASE, 2035, from_role(Role.WEBSERVER), "database"),
)


class Pair:
    """A webserver and a database machine, their keys, and jobs for them."""

    def __init__(self, laboratory: Laboratory) -> None:
        provider = laboratory.provider
        self.laboratory = laboratory
        self.client, self.first, self.final = _key(), {}, {}
        network = provider.ensure_network(DEPLOYMENT)
        provider.ensure_firewall(DEPLOYMENT, RULES, enabled=True)
        self.network = network
        self.machines: dict[str, Machine] = {}
        for name, role in (("web1", Role.WEBSERVER), ("db1", Role.DATABASE)):
            self.first[name], self.final[name] = _key(), _key()
            data = user_data(name, 1035, *self.first[name], self.client[1])
            self.machines[name] = provider.ensure_machine(
                MachineSpec(DEPLOYMENT, name, role, "medium", "debian-13", "here", network.id, data)
            )
        self.services = provider.services("machines.test")
        self.password, self.admin = generate(), generate()
        self.certificate, self.tls_key = self_signed(
            "database", (self.machines["db1"].private_address,)
        )
        identity = pyrage.x25519.Identity.generate()
        self.age = (Secret(str(identity)), str(identity.to_public()))
        storage = self.services.object_storage
        assert storage is not None
        s3 = boto3.client(
            "s3",
            endpoint_url=storage.build_endpoint,
            region_name=storage.region,
            aws_access_key_id=storage.access_key,
            aws_secret_access_key=storage.secret_key.reveal(),
        )
        s3.create_bucket(Bucket="machines-config")
        peers = [vars(peer) for peer in self.peers()]
        body = json.dumps({"version": 1, "deployment": DEPLOYMENT, "peers": peers})
        s3.put_object(Bucket="machines-config", Key="peers.json", Body=body.encode())

    def peers(self) -> tuple[Peer, ...]:
        return tuple(Peer(m.name, m.role, m.private_address) for m in self.machines.values())

    def at(self, name: str, key: str) -> Connection:
        return Connection(self.machines[name].access_address, 1035, self.client[0], key)

    def job(self, name: str, phase: Phase) -> MachineJob:
        machine, storage, acme = (
            self.machines[name],
            self.services.object_storage,
            self.services.acme,
        )
        assert storage is not None
        assert acme is not None
        rules = tuple(
            {
                "port": rule.port,
                "protocol": rule.protocol,
                "source": {
                    "kind": str(rule.source.kind),
                    "role": rule.source.role and str(rule.source.role),
                    "networks": list(rule.source.networks),
                },
                "why": rule.why,
            }
            for rule in RULES
            if rule.target is machine.role
        )
        return machine_job(
            deployment=DEPLOYMENT,
            name=name,
            role=machine.role,
            phase=phase,
            connection=self.at(name, self.final[name][1]),
            private_address=machine.private_address,
            network_cidr=self.network.cidr,
            build_machine=self.network.build_machine,
            rules=rules,
            peers=self.peers(),
            hosts=(SITE, self.machines["web1"].access_address),
            bucket=BucketSettings(
                "machines-config", storage.machine_endpoint, storage.region, storage.access_key
            ),
            database=DatabaseSettings(
                "mariadb",
                self.machines["db1"].private_address,
                2035,
                "machines",
                "machines",
                self.certificate,
            ),
            tls=TlsSettings(acme.directory, "admin@machines.test", acme.ca_bundle),
            age_recipients=(self.age[1],),
            secrets={
                "storage_secret_key": storage.secret_key,
                "age_identity": self.age[0],
                "database_password": self.password,
                "database_tls_key": self.tls_key,
                "admin_password": self.admin,
                "salts": Secret(json.dumps([f"salt-{n}" for n in range(8)])),
            },
        )

    def configure(self, name: str, phase: Phase) -> ConfigureResult:
        return configure(self.job(name, phase), lambda _event: None, "step")

    def base(self) -> list[ConfigureResult]:
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda n: self.configure(n, Phase.BASE), self.machines))

    def on(self, name: str, command: str) -> str:
        with connect(self.at(name, self.final[name][1])) as client:
            status, output, errors = run(client, ["sh", "-c", command], seconds=120)
        assert status == 0, (command, output, errors)
        return output

    def get(self, path: str, host: str = SITE) -> httpx.Response:
        # one connection a request, so that each meets the certificate of that moment
        with httpx.Client(verify=False, timeout=30) as browser:
            return browser.get(
                f"https://{self.machines['web1'].access_address}{path}",
                headers={"Host": host},
                extensions={"sni_hostname": host},
            )


def _key() -> tuple[Secret, str]:
    private, public = Keys._make()
    return Secret(private), public


@pytest.fixture(scope="module")
def pair(laboratory: Laboratory) -> Iterator[Pair]:
    """Two machines with their BASE and the application on them."""
    made = Pair(laboratory)
    for name in made.machines:
        rotate_host_key(made.at(name, made.first[name][1]), *made.final[name])
    made.base()
    made.configure("web1", Phase.APPLICATION)
    yield made
    laboratory.clear(DEPLOYMENT)


def test_first_boots_host_key_is_gone_from_the_machine(pair: Pair) -> None:
    private, public = pair.first["web1"]
    machine = pair.at("web1", pair.final["web1"][1])
    wait_for_ssh(machine.address, 1035, machine.host_key, machine.private_key, 10)
    with pytest.raises(HostKeyError):
        connect(pair.at("web1", public))
    line = private.reveal().splitlines()[2]
    found = pair.on("web1", f"grep -rlFs -e '{line}' /etc /var /run /root /tmp; true")
    assert found == ""
    # again, as after a kill
    rotate_host_key(pair.at("web1", public), *pair.final["web1"])


def test_a_second_run_changes_nothing_and_is_quick(pair: Pair) -> None:
    pair.base()
    started = time.monotonic()
    assert [result.changed for result in pair.base()] == [0, 0]
    assert time.monotonic() - started < 12
    assert pair.configure("web1", Phase.APPLICATION).changed == 0


def test_a_killed_run_is_completed_by_the_next(pair: Pair) -> None:
    # files are written, and the run ends before nginx is told
    pair.on("web1", "rm /etc/nginx/snippets/build-usb-headers.conf")
    cancelled = threading.Event()

    def stop(event: Event) -> None:
        if event.message == "nginx: files" and "changed" in event.data:
            cancelled.set()

    job = pair.job("web1", Phase.BASE)
    before = pair.on("web1", "systemctl show -p ActiveEnterTimestampMonotonic nginx; pgrep nginx")
    with pytest.raises(InterruptedRunError):
        configure(job, stop, "step", cancelled)
    pair.base()
    assert pair.on("web1", "ls /var/lib/build-usb/pending") == ""
    assert pair.on("web1", "pgrep nginx") not in before


def test_the_site_answers_by_name_and_address_and_nobody_else(pair: Pair) -> None:
    assert pair.get("/").status_code == 200
    assert pair.get("/").headers["x-page-cache"] == "HIT"
    with pytest.raises(httpx.RemoteProtocolError):
        pair.get("/", host="other.test")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/wp-content/uploads/probe.php", 403),
        ("/wp-content/uploads/probe.phtml", 403),
        ("/wp-content/uploads/probe.php/x", 403),
        ("/wp-content/uploads/.probe", 404),
        ("/.htaccess", 404),
        ("/wp-config.php", 404),
        ("/wp-admin/install.php", 404),
        ("/wp-includes/version.php", 404),
        ("/xmlrpc.php", 403),
        ("/wp-login.php", 200),
        ("/wp-includes/css/dashicons.min.css", 200),
    ],
)
def test_what_visitors_may_not_reach(pair: Pair, path: str, status: int) -> None:
    uploads = "/var/lib/wordpress/wp-content/uploads"
    pair.on("web1", f"cd {uploads} && echo '<?php echo 1;' | tee probe.php probe.phtml .probe")
    assert pair.get(path).status_code == status


def test_the_database_is_spoken_to_over_verified_tls_only(pair: Pair) -> None:
    address = pair.machines["db1"].private_address
    code = (
        "mysqli_report(MYSQLI_REPORT_OFF); $m = mysqli_init();"
        f"echo @mysqli_real_connect($m, '{address}', 'machines', trim(fgets(STDIN)), 'machines',"
        "2035, null, %s) ? 'in' : 'out';"
    )
    verified = "MYSQLI_CLIENT_SSL | MYSQLI_CLIENT_SSL_VERIFY_SERVER_CERT"
    with connect(pair.at("web1", pair.final["web1"][1])) as client:

        def attempt(flags: str, *options: str) -> str:
            argv = ["php", *options, "-r", code % flags]
            return run(client, argv, pair.password.reveal() + "\n")[1]

        assert attempt(verified) == "in"
        assert attempt("0") == "out"
        run(client, ["sh", "-c", "head -1 /dev/null > /tmp/empty.pem"])
        assert attempt(verified, "-d", "openssl.cafile=/tmp/empty.pem") == "out"


def test_the_shared_configuration_comes_back_when_lost(pair: Pair) -> None:
    lost = pair.on("web1", "pkill -KILL -x s3fs; sleep 0.2; pgrep -x s3fs; true")
    deadline = time.monotonic() + 20
    back = "mountpoint -q /srv/shared-config && cat /srv/shared-config/peers.json; true"
    while "peers" not in pair.on("web1", back):
        assert time.monotonic() < deadline, lost


def test_renewal_drops_no_request(pair: Pair) -> None:
    server = pair.services.dns
    assert server is not None
    update = dns.update.UpdateMessage(
        "machines.test",
        keyring=dns.tsigkeyring.from_text({server.key_name: server.key.reveal()}),
        keyalgorithm=server.algorithm,
    )
    update.replace("www", 60, "A", pair.machines["web1"].public_address)
    dns.query.tcp(update, server.address, port=server.port, timeout=10)

    assert pair.configure("web1", Phase.CERTIFICATE).changed == 1
    assert pair.configure("web1", Phase.CERTIFICATE).changed == 0
    serial = "openssl x509 -in /etc/build-usb/tls/current/fullchain.pem -noout -serial"
    before = pair.on("web1", serial)
    codes: list[int] = []
    running = threading.Event()
    running.set()

    def visit() -> None:
        while running.is_set():
            codes.append(pair.get("/").status_code)

    with ThreadPoolExecutor() as pool:
        visitors = [pool.submit(visit) for _ in range(4)]
        try:
            pair.on("web1", "build-usb-certificate renew --force")
        finally:
            running.clear()
        for visitor in visitors:
            visitor.result()
    assert pair.on("web1", serial) != before
    assert len(codes) > 20
    assert set(codes) == {200}
    # the other webservers get it from the shared configuration, readable by the machines only
    shared = pair.on("web1", f"cat /srv/shared-config/tls/{SITE}.age | head -c 30")
    assert shared.startswith("age-encryption.org/v1")
    pair.on("web1", "rm -rf /etc/build-usb/tls/* && build-usb-certificate fetch")
    assert pair.on("web1", serial) != before
