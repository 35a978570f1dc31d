"""A rehearsal whose machines have IPv6 addresses too: the site answers over them, and nothing else
is open there than what anyone may reach."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dns.message
import dns.query
import pytest

from tests.lab import leftovers
from tests.lab.deployments import NAME, REHEARSAL, Rehearsal
from wizard.answers import loader
from wizard.home.home import Home
from wizard.lab import addresses
from wizard.operations.session import make_plan
from wizard.providers.base import Machine
from wizard.rules import Role

pytestmark = pytest.mark.lab

HOST = "www.rehearsal.test"
PORTS = (22, 80, 443, 1035, 2035, 3306, 9000)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    folder = tmp_path_factory.mktemp("ipv6")
    folder.chmod(0o700)
    (folder / "user").mkdir()
    answers = folder / "answers.yaml"
    answers.write_text(REHEARSAL.read_text().replace("region: here", "region: here\n  ipv6: true"))
    made = Rehearsal(folder / "home", folder / "user")
    planned = made.run("plan", answers).stdout
    assert "IPv4 and an IPv6 address" in planned
    assert "A, AAAA" in planned
    made.run("deploy", answers, "--json")
    yield made
    made.run("destroy", "--yes")
    assert leftovers.of(made.home) == {}


def asked(site: Rehearsal, *words: str) -> str:
    """Run a program where the lab's visitors are."""
    daemon = site.laboratory.processes()[-1]
    command = ["nsenter", f"--net=/proc/{daemon}/ns/net", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_site_answers_over_ipv6_alone(site: Rehearsal, tmp_path: Path) -> None:
    web = next(m for m in site.provider().machines(NAME) if m.name == "web1")
    assert web.ipv6.startswith("fd77::")
    server = addresses.services_address(int(site.state().url.split(".")[2]))
    for kind, address in (("A", web.public_address), ("AAAA", web.ipv6)):
        answer = dns.query.tcp(dns.message.make_query(HOST, kind), server, 5)
        assert [one.to_text() for one in answer.answer[0]] == [address]
    (tmp_path / "root.pem").write_text(site.state().authority_root)
    visitor = addresses.ipv6_of(addresses.VISITOR)
    page = asked(
        site,
        *("curl", "-6", "-sS", "-m", "20", "--interface", visitor, "-w", "\n%{remote_ip}"),
        *("--cacert", str(tmp_path / "root.pem"), "--resolve", f"{HOST}:443:[{web.ipv6}]"),
        f"https://{HOST}/",
    )
    assert "My first site" in page
    assert page.endswith(web.ipv6)
    assert visitor in site.on("web1", "cat /var/log/nginx/access.log")


@pytest.mark.parametrize("native", [True, False], ids=["both layers", "ufw alone"])
def test_over_ipv6_only_the_site_is_open(site: Rehearsal, native: bool) -> None:
    provider = site.provider()
    machines = {m.name: m for m in provider.machines(NAME)}
    web, database = machines["web1"], machines["db1"]
    plan = make_plan(Home.open(site.home), loader.load(site.home.parent / "answers.yaml"))
    cells = [
        (source, target, port)
        for source in ("build-machine", "visitor", web.id, database.id)
        for target in (web, database)
        for port in PORTS
        if source != target.id
    ]

    def passes(cell: tuple[str, Machine, int]) -> bool:
        source, target, port = cell
        return bool(provider.probe(source, target.ipv6, port, 0.5) != "filtered")

    provider.ensure_firewall(NAME, plan.rules, enabled=native)
    try:
        with ThreadPoolExecutor(12) as pool:
            through = list(pool.map(passes, cells))
    finally:
        provider.ensure_firewall(NAME, plan.rules, enabled=True)
    assert len(machines) == 2
    reached = {
        (source, target.role, port)
        for (source, target, port), so in zip(cells, through, strict=True)
        if so
    }
    askers = ("build-machine", "visitor", database.id)
    assert reached == {(asker, Role.WEBSERVER, port) for asker in askers for port in (80, 443)}


def test_the_native_firewall_alone_holds_too(site: Rehearsal) -> None:
    provider = site.provider()
    web, database = (
        next(m for m in provider.machines(NAME) if m.name == n) for n in ("web1", "db1")
    )
    for machine in (web, database):
        site.on(machine.name, "systemctl stop cron; ufw --force disable")
    try:
        for source in ("build-machine", "visitor", database.id):
            assert provider.probe(source, web.ipv6, 443) == "open"
            assert provider.probe(source, web.ipv6, 1035) == "filtered"
        for source in ("build-machine", "visitor", web.id):
            assert provider.probe(source, database.ipv6, 1035) == "filtered"
            assert provider.probe(source, database.ipv6, 2035) == "filtered"
    finally:
        for machine in (web, database):
            site.on(machine.name, "ufw --force enable; systemctl start cron")


def test_a_lost_address_is_seen_by_the_agent(site: Rehearsal) -> None:
    web = next(m for m in site.provider().machines(NAME) if m.name == "web1")
    agent = "/usr/local/lib/build-usb/agent.pyz firewall || true"
    site.on("web1", f"ip address del {web.ipv6}/128 dev host0")
    assert f"no interface has the address {web.ipv6}" in site.on("web1", agent)
    site.on("web1", f"ip address add {web.ipv6}/128 dev host0 nodad")
    assert '"ok": true' in site.on("web1", agent)
