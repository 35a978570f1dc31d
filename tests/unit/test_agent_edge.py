"""The agent's list of the proxies in front of the site: refreshed daily, never made worse."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.machine_jobs import machine_job
from wizard.agent import config as configuration
from wizard.agent import edge
from wizard.agent.config import Allowed, Config, Edge
from wizard.agent.edge import DAY, HOUR, LATE
from wizard.agent.errors import AgentError
from wizard.agent.state import Places
from wizard.machines.agent_zipapp import machine_config
from wizard.machines.job import EdgeSettings, MachineJob
from wizard.plan import firewall
from wizard.plan.render import rule_to_plain
from wizard.rules import Role

OLD = ("198.51.100.0/24", "203.0.113.0/25")
NEW = ("198.51.100.0/24", "203.0.113.0/24")
START = 1_800_000_000.0


def answer(*networks: object) -> bytes:
    return json.dumps({"success": True, "result": {"ipv4_cidrs": list(networks)}}).encode()


def config(networks: tuple[str, ...] = OLD, role: str = "database") -> Config:
    rules = (
        Allowed(443, "tcp", "networks", networks=networks),
        Allowed(443, "tcp", "networks", networks=("192.0.2.0/24",)),
    )
    return Config(
        "demo",
        "db1",
        role,
        "10.77.0.11",
        "10.77.0.0/24",
        "10.77.0.2",
        22,
        True,
        rules,
        (),
        Path("/srv/shared-config"),
        "unit",
        Path("/srv/shared-config"),
        edge=Edge("https://api.test/ips", networks),
    )


class Machine:
    """One that lives through time; `answers` is what the vendor says, an error if it says none."""

    def __init__(self, folder: Path) -> None:
        self.places = Places(state=folder / "state", nginx_edge=folder / "nginx-edge.conf")
        self.config = config()
        self.now = START
        self.asked = 0
        self.answers: bytes | None = answer(*NEW)

    def fetch(self, url: str) -> bytes:
        self.asked += 1
        assert url == "https://api.test/ips"
        if self.answers is None:
            raise AgentError("no network")
        return self.answers

    def run(self, later: float = 60) -> str:
        self.now += later
        return edge.ensure(self.config, self.places, self.fetch, lambda: self.now)[1]

    @property
    def networks(self) -> tuple[str, ...]:
        first, second = edge.applied(self.config, self.places.edge).rules
        assert second.networks == ("192.0.2.0/24",)
        return first.networks


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_asks_once_a_day(machine: Machine) -> None:
    assert machine.networks == OLD
    assert machine.run() == ""
    for _ in range(20):
        machine.run(HOUR)
    assert machine.asked == 0
    machine.run(DAY)
    assert machine.asked == 1
    assert machine.networks == NEW
    machine.run(DAY - 1)
    assert machine.asked == 1
    machine.run(-2 * DAY)  # a clock that was set back
    assert machine.asked == 2


def test_a_failing_network_is_a_problem_after_three_days(machine: Machine) -> None:
    machine.run()
    machine.answers = None
    assert machine.run(DAY) == ""
    assert machine.run(HOUR / 2) == ""
    assert machine.asked == 1
    assert machine.run(HOUR) == ""
    assert machine.asked == 2
    assert "three days" in machine.run(LATE)
    assert machine.networks == OLD
    machine.answers = answer(*NEW)
    assert machine.run(HOUR) == ""
    assert machine.networks == NEW


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not JSON"),
        (b"<html>Sign in", "not JSON"),
        (answer(*OLD)[:-5], "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"result": null}', "no list"),
        (answer(), "no list"),
        (answer(*["198.51.100.0/24"] * 501), "no list"),
        (answer("everything"), "not a network"),
        (answer(1), "not a network"),
        (answer("2400:cb00::/32"), "not a network"),
        (answer("198.51.100.7/24"), "not a network"),
        (answer("0.0.0.0/0"), "larger than /8"),
        (b" " * (1 << 19), "larger than"),
        (answer("198.51.100.0/25"), "33% of the addresses"),
        (answer("198.51.0.0/16"), "of the addresses"),
    ],
)
def test_what_makes_no_sense_is_told_and_not_used(machine: Machine, data: bytes, why: str) -> None:
    machine.run()
    machine.answers = data
    assert why in machine.run(DAY)
    assert why in machine.run()
    assert machine.networks == OLD
    assert machine.asked == 1
    machine.answers = answer(*NEW)
    assert machine.run(HOUR) == ""
    assert machine.networks == NEW


def test_a_deploys_list_takes_the_place_of_all(machine: Machine) -> None:
    machine.run()
    machine.run(DAY)
    assert machine.networks == NEW
    machine.config = config(("192.0.2.128/25",))
    machine.run()
    assert machine.networks == ("192.0.2.128/25",)
    assert machine.asked == 1


SIX = ("2400:cb00::/32", "2a06:98c0::/29")


def both(four: tuple[str, ...], six: tuple[str, ...]) -> bytes:
    return json.dumps({"result": {"ipv4_cidrs": four, "ipv6_cidrs": six}}).encode()


def test_networks_of_ipv6_are_kept_where_machines_have_such_addresses(machine: Machine) -> None:
    machine.config = config((*OLD, *SIX))
    machine.run()
    for answered, why in (
        (answer(*NEW), "no list"),
        (both(NEW, ()), "no list"),
        (both(NEW, ("2000::/3",)), "larger than /24"),
        (both(NEW, ("198.51.100.0/24",)), "not a network"),
        # however few addresses IPv4 has beside them
        (both(OLD[1:], SIX), "33% of the addresses"),
        (both(NEW, SIX[:1]), "11% of the addresses"),
    ):
        machine.answers = answered
        assert why in machine.run(DAY)
        assert machine.networks == (*OLD, *SIX)
    machine.answers = both(NEW, (*SIX, "2c0f:f248::/32"))
    assert machine.run(DAY) == ""
    assert machine.networks == (*NEW, "2400:cb00::/32", "2a06:98c0::/29", "2c0f:f248::/32")
    assert "\t2c0f:f248::/32 1;" in edge.nginx(machine.networks)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"networks": []}', b"[1]"])
def test_a_damaged_memory_is_the_deploys_list(machine: Machine, damage: bytes) -> None:
    machine.run()
    machine.run(DAY)
    machine.places.edge.write_bytes(damage)
    assert machine.networks == OLD
    assert machine.run() == ""


def test_nothing_is_written_while_nothing_changes(machine: Machine) -> None:
    machine.run()
    before = machine.places.edge.stat()
    machine.run()
    assert machine.places.edge.stat().st_mtime_ns == before.st_mtime_ns


def test_nginx_learns_of_them(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, ...]] = []
    told: Callable[..., str] = lambda *words: ran.append(words) or ""  # noqa: E731
    monkeypatch.setattr(edge, "run", told)
    machine.config = config(role="webserver")
    machine.run()
    assert ran == []
    machine.run(DAY)
    text = machine.places.nginx_edge.read_text()
    assert "set_real_ip_from 203.0.113.0/24;" in text
    assert "\t203.0.113.0/24 1;" in text
    assert [words[0] for words in ran] == ["nginx", "systemctl"]
    machine.run()
    assert len(ran) == 2

    def refuses(*_words: str) -> str:
        raise AgentError("nginx: emerg")

    monkeypatch.setattr(edge, "run", refuses)
    machine.answers = answer(*OLD)
    with pytest.raises(AgentError, match="emerg"):
        machine.run(DAY)
    assert machine.places.nginx_edge.read_text() == text


def test_without_proxies_nothing_is_left_of_them(machine: Machine) -> None:
    machine.run()
    machine.places.nginx_edge.write_text("old")
    machine.config = Config(**{**vars(machine.config), "edge": None})
    assert machine.run() == ""
    assert not machine.places.nginx_edge.exists()
    assert not machine.places.edge.exists()


def test_what_a_deploy_writes_is_what_the_agent_reads() -> None:
    networks = firewall.CLOUDFLARE_NETWORKS
    rules = firewall.rules((Role.WEBSERVER,), ssh_port=1035, database_port=2035, proxied=True)
    job = machine_job(
        rules=tuple(rule_to_plain(rule) for rule in rules),
        edge=EdgeSettings(networks, "https://api.test/ips", "PEM"),
    )
    assert MachineJob.from_plain(json.loads(json.dumps(job.to_plain()))).edge == job.edge
    written = json.loads(json.dumps(machine_config(job)))
    read = configuration.parse(written)
    assert read.edge == Edge("https://api.test/ips", networks)
    # the rules about proxies are known by their networks
    assert [r.port for r in read.rules if r.networks == read.edge.networks] == [80, 443]
    assert configuration.parse(json.loads(json.dumps(machine_config(replace(job, edge=None)))))
    for wrong in (1, {}, {"url": "file:///etc/passwd", "networks": ["192.0.2.0/24"]}):
        with pytest.raises(AgentError):
            configuration.parse({**written, "edge": wrong})
