"""The lab with real machines: boot, firewall, services, power failure, and nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import boto3
import dns.query
import dns.tsigkeyring
import dns.update
import httpx
import pytest
from botocore.exceptions import ClientError

from tests.lab.laboratory import Laboratory, traces
from wizard.errors import ProviderError
from wizard.providers.base import Machine, Resource, ResourceKind
from wizard.rules import ANYONE, BUILD_MACHINE, Role, Rule, from_networks, from_role

pytestmark = pytest.mark.lab

WEB, DATABASE = Role.WEBSERVER, Role.DATABASE
RULES = (
    Rule(WEB, 22, BUILD_MACHINE, "configuration"),
    Rule(DATABASE, 22, BUILD_MACHINE, "configuration"),
    Rule(DATABASE, 22, from_role(WEB), "between machines"),
    Rule(WEB, 443, ANYONE, "the site"),
    Rule(WEB, 80, from_networks("10.77.0.3/32", "10.77.0.0/30"), "a proxy's networks"),
    Rule(DATABASE, 2035, from_role(WEB), "the database"),
)
PORTS = (22, 80, 443, 2035)


@pytest.fixture(scope="module")
def pair(laboratory: Laboratory) -> Iterator[dict[str, Machine]]:
    laboratory.provider.ensure_firewall("pair", RULES, enabled=True)
    web = laboratory.machine("pair", "web1", WEB)
    database = laboratory.machine("pair", "db1", DATABASE)
    yield {"web1": web, "db1": database}
    laboratory.clear("pair")


def test_machines_answer_over_ssh_within_seconds(
    laboratory: Laboratory, pair: dict[str, Machine]
) -> None:
    for machine in pair.values():
        assert machine.access_address.startswith("127.77.")
        assert laboratory.run(machine, "hostname").strip() == machine.name
        assert laboratory.run(machine, "cloud-init status --wait").strip() == "status: done"
        assert laboratory.run(machine, "systemctl --failed --no-legend").strip() == ""
        assert laboratory.enter(machine.id, "cat", "/etc/hostname").strip() == machine.name


def test_creating_again_finds_the_same_machine(
    laboratory: Laboratory, pair: dict[str, Machine]
) -> None:
    again = laboratory.machine("pair", "web1", WEB)
    assert again.id == pair["web1"].id
    assert {machine.id for machine in laboratory.provider.machines("pair")} == {
        machine.id for machine in pair.values()
    }


def test_firewall_lets_in_what_is_listed_and_nothing_else(
    laboratory: Laboratory, pair: dict[str, Machine]
) -> None:
    stranger = laboratory.machine("other", "web1", WEB)
    laboratory.provider.ensure_firewall("other", RULES, enabled=True)
    web, database = pair["web1"], pair["db1"]
    sources = ["build-machine", "visitor", web.id, database.id, stranger.id]
    expected = {
        ("build-machine", "web1", 22),
        ("build-machine", "db1", 22),
        (web.id, "db1", 22),
        (web.id, "db1", 2035),
        *((source, "web1", 443) for source in ("build-machine", "visitor", database.id)),
        # the networks hold the addresses of both
        *((source, "web1", 80) for source in ("build-machine", "visitor")),
    }
    cells = [
        (source, machine, port)
        for source in sources
        for machine in pair.values()
        for port in PORTS
        if source != machine.id
    ]

    def passes(cell: tuple[str, Machine, int]) -> bool:
        source, machine, port = cell
        # refused by the machine itself is: let in by the firewall
        answer = laboratory.provider.probe(source, machine.private_address, port, 0.6)
        return answer in {"open", "closed"}

    try:
        with ThreadPoolExecutor(12) as pool:
            passed = list(pool.map(passes, cells))
    finally:
        laboratory.clear("other")
    reached = {
        (source, machine.name, port)
        for (source, machine, port), through in zip(cells, passed, strict=True)
        if through
    }
    assert reached == expected


def test_firewall_switched_off_lets_everything_of_the_deployment_in(
    laboratory: Laboratory, pair: dict[str, Machine]
) -> None:
    address = pair["db1"].private_address
    laboratory.provider.ensure_firewall("pair", RULES, enabled=False)
    try:
        for source in ("visitor", "build-machine", pair["web1"].id):
            assert laboratory.provider.probe(source, address, 2035) == "closed"
    finally:
        laboratory.provider.ensure_firewall("pair", RULES, enabled=True)
    assert laboratory.provider.probe("visitor", address, 2035) == "filtered"


def test_published_ports_follow_the_rules(laboratory: Laboratory, pair: dict[str, Machine]) -> None:
    address = pair["db1"].access_address
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, 2035), timeout=2)
    opened = (*RULES, Rule(DATABASE, 2035, BUILD_MACHINE, "for this test"))
    laboratory.provider.ensure_firewall("pair", opened, enabled=True)
    try:
        socket.create_connection((address, 2035), timeout=2).close()
    finally:
        laboratory.provider.ensure_firewall("pair", RULES, enabled=True)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, 2035), timeout=2)


def test_services_answer_from_both_sides(laboratory: Laboratory, pair: dict[str, Machine]) -> None:
    services = laboratory.provider.services("rehearsal.test")
    assert services.object_storage
    assert services.dns
    assert services.acme
    storage = boto3.client(
        "s3",
        endpoint_url=services.object_storage.build_endpoint,
        region_name=services.object_storage.region,
        aws_access_key_id=services.object_storage.access_key,
        aws_secret_access_key=services.object_storage.secret_key.reveal(),
    )
    storage.create_bucket(Bucket="probe", ACL="public-read-write")
    storage.put_object(Bucket="probe", Key="one", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        storage.put_object(Bucket="probe", Key="one", Body=b"2", IfNoneMatch="*")
    read = laboratory.run(
        pair["web1"], f"curl -sS {services.object_storage.machine_endpoint}/probe/one"
    )
    assert "1" in read or "AccessDenied" in read

    keys = dns.tsigkeyring.from_text({services.dns.key_name: services.dns.key.reveal()})
    update = dns.update.Update(
        "rehearsal.test", keyring=keys, keyalgorithm=f"{services.dns.algorithm}."
    )
    update.replace("www", 60, "A", pair["web1"].private_address)
    answer = dns.query.tcp(update, services.dns.address, port=services.dns.port, timeout=5)
    assert answer.rcode() == 0
    found = laboratory.run(pair["db1"], "getent ahostsv4 www.rehearsal.test")
    assert pair["web1"].private_address in found

    bundle = services.acme.ca_bundle.encode().hex()
    directory = laboratory.run(
        pair["web1"],
        f"python3 -c \"open('/root/ca.pem','wb').write(bytes.fromhex('{bundle}'))\" && "
        f"curl -sS --cacert /root/ca.pem {services.acme.directory}",
    )
    assert "newOrder" in directory
    assert "BEGIN CERTIFICATE" in services.acme.root


def test_unsigned_dns_update_is_refused(laboratory: Laboratory) -> None:
    services = laboratory.provider.services("rehearsal.test")
    assert services.dns
    update = dns.update.Update("rehearsal.test")
    update.replace("www", 60, "A", "10.77.0.99")
    answer = dns.query.tcp(update, services.dns.address, port=services.dns.port, timeout=5)
    assert answer.rcode() != 0


def test_zone_name_that_is_none_is_refused(laboratory: Laboratory) -> None:
    with pytest.raises(ProviderError, match="no name of a DNS zone"):
        laboratory.provider.services("a.test\nacl: x")


def test_machine_comes_back_after_its_own_reboot(
    laboratory: Laboratory, pair: dict[str, Machine]
) -> None:
    before = laboratory.run(pair["db1"], "cat /proc/1/stat | cut -d' ' -f22; touch /root/kept")
    laboratory.run(
        pair["db1"],
        "systemd-run --on-active=0.2 --timer-property=AccuracySec=10ms systemctl reboot",
    )
    end = time.monotonic() + 40
    while laboratory.run(pair["db1"], "cat /proc/1/stat | cut -d' ' -f22") == before:
        assert time.monotonic() < end
        time.sleep(0.2)
    laboratory.run(pair["db1"], "test -e /root/kept")


def test_snapshot_becomes_a_machine(laboratory: Laboratory, pair: dict[str, Machine]) -> None:
    laboratory.run(pair["db1"], "echo kept > /root/mark")
    snapshot = laboratory.provider.snapshot(pair["db1"].id, "before-change")
    assert laboratory.provider.snapshot(pair["db1"].id, "before-change") == snapshot
    copy = laboratory.machine("pair", "db2", DATABASE, image=snapshot.id)
    assert laboratory.run(copy, "cat /root/mark /etc/hostname").split() == ["kept", "db2"]
    assert snapshot in laboratory.provider.resources("pair")
    laboratory.provider.delete(snapshot)
    laboratory.provider.delete(Resource(ResourceKind.MACHINE, copy.id, "db2", "pair"))
    names = {resource.name for resource in laboratory.provider.resources("pair")}
    assert names == {"web1", "db1", "pair"}


def test_killed_daemon_is_a_power_failure(make_lab: Callable[[str], Laboratory]) -> None:
    lab = make_lab("lab")
    lab.provider.ensure_firewall("demo", RULES, enabled=True)
    machine = lab.machine("demo", "web1", WEB)
    lab.run(machine, "echo written > /root/mark; sync")
    keeper, init, daemon = lab.processes()
    assert keeper < init < daemon
    os.kill(daemon, signal.SIGKILL)
    end = time.monotonic() + 10
    while lab.processes() or lab.cgroup().exists():
        assert time.monotonic() < end, "processes or cgroups outlive the daemon"
        time.sleep(0.02)
    # a machine that was being made when the power went
    partial = lab.folder / "machines" / "m99-000000.partial"
    partial.mkdir()
    assert [found.id for found in lab.provider.machines("demo")] == [machine.id]
    assert not partial.exists()
    assert lab.run(machine, "cat /root/mark").strip() == "written"


def test_last_resource_takes_everything_with_it(
    make_lab: Callable[[str], Laboratory],
) -> None:
    before = traces()
    lab = make_lab("lab")
    lab.provider.ensure_firewall("demo", RULES, enabled=True)
    machine = lab.machine("demo", "web1", WEB)
    lab.ssh(machine).close()
    started = time.monotonic()
    lab.clear("demo")
    took = time.monotonic() - started
    assert lab.provider.resources("demo") == []
    assert lab.processes() == []
    assert traces() == before
    assert {entry.name for entry in lab.folder.iterdir()} <= {"base", "lab.log"}
    assert took < 5


def test_two_labs_live_side_by_side(
    laboratory: Laboratory, pair: dict[str, Machine], make_lab: Callable[[str], Laboratory]
) -> None:
    lab = make_lab("a-folder-with-a-name-so-long-that-no-unix-socket-could-be-bound-in-it" * 3)
    lab.provider.ensure_firewall("demo", RULES, enabled=True)
    machine = lab.machine("demo", "web1", WEB)
    assert machine.access_address != pair["web1"].access_address
    assert lab.run(machine, "hostname").strip() == "web1"
    lab.clear("demo")
    assert laboratory.run(pair["web1"], "hostname").strip() == "web1"


def test_port_in_use_is_named(make_lab: Callable[[str], Laboratory]) -> None:
    lab = make_lab("lab")
    machine = lab.machine("demo", "web1", WEB)
    with socket.create_server((machine.access_address, 443)):
        with pytest.raises(ProviderError, match="port 443") as caught:
            lab.provider.ensure_firewall("demo", RULES, enabled=True)
        assert caught.value.code == "port-in-use"
        assert str(os.getpid()) in caught.value.why
    lab.provider.ensure_firewall("demo", RULES, enabled=True)


def test_api_inside_the_lab_wants_its_token(
    laboratory: Laboratory, pair: dict[str, Machine]
) -> None:
    command = "curl -s -o /dev/null -w '%{http_code}' http://10.77.0.1:7700/"
    assert laboratory.run(pair["web1"], command) == "401"


def test_socket_belongs_to_its_owner_only(laboratory: Laboratory) -> None:
    found = (laboratory.folder / "lab.sock").stat()
    assert found.st_mode & 0o777 == 0o600
    assert found.st_uid == os.getuid()


def test_site_cannot_be_seen_on_other_addresses(
    laboratory: Laboratory, pair: dict[str, Machine]
) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get("http://127.0.0.1:14000/dir", timeout=2)
