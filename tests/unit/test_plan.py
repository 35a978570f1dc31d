"""Plans: what they contain, what they refuse, what they print."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from wizard.answers import loader
from wizard.answers.model import Answers
from wizard.answers.sections import SharedConfig
from wizard.dns.base import Edge
from wizard.errors import AnswersError
from wizard.paths import config_templates
from wizard.plan import firewall, render
from wizard.plan.build import build
from wizard.plan.model import Plan
from wizard.providers.base import DatabaseFacts, ProviderFacts, Size
from wizard.rules import ANYONE, BUILD_MACHINE, Rented, Role, from_networks, from_role

FACTS = ProviderFacts(
    regions=("here", "there"),
    images=("debian-13",),
    sizes=(
        Size("small", 1, 1024, 10, Decimal("4.00")),
        Size("large", 2, 4096, 40, Decimal("12.50")),
    ),
    currency="EUR",
    default_size={Role.WEBSERVER: "small", Role.DATABASE: "large", Role.AUTOSCALER: "small"},
    bucket_monthly_price=Decimal("5.00"),
)
REHEARSAL = loader.load(config_templates() / "answers" / "rehearsal.yaml")


def changed(text: str, replacement: str) -> Answers:
    source = (config_templates() / "answers" / "rehearsal.yaml").read_text()
    assert text in source
    return loader.loads(source.replace(text, replacement), "test.yaml")


@pytest.fixture
def plan() -> Plan:
    return build(REHEARSAL, FACTS, "build-usb-demo-0000")


def test_development_mode_has_one_webserver_and_one_database(plan: Plan) -> None:
    assert [(m.name, m.role) for m in plan.machines] == [
        ("web1", Role.WEBSERVER),
        ("db1", Role.DATABASE),
    ]


OWN = "kind: wordpress", "kind: {}\n  source: {{kind: repository, url: https://git.test/a.git{}}}"


@pytest.mark.parametrize(
    ("kind", "more", "machines"),
    [
        ("php", "", ["web1", "db1"]),
        ("php", ", database: false", ["web1"]),
        ("static", "", ["web1"]),
    ],
)
def test_no_database_machine_is_rented_for_what_needs_none(
    kind: str, more: str, machines: list[str]
) -> None:
    plan = build(changed(OWN[0], OWN[1].format(kind, more)), FACTS, "bucket")
    assert [machine.name for machine in plan.machines] == machines
    assert ("Database: none" in render.to_text(plan)) is ("db1" not in machines)
    assert any(rule.target is Role.DATABASE for rule in plan.rules) is ("db1" in machines)


def test_the_price_is_the_sum_of_everything(plan: Plan) -> None:
    assert plan.monthly_price == Decimal("21.50")
    assert "Price per month: 21.50 EUR" in render.to_text(plan)


def test_a_file_system_is_planned_and_paid_for() -> None:
    answers = REHEARSAL.model_copy(update={"shared_config": SharedConfig(kind="efs")})
    facts = replace(FACTS, file_system_monthly_price=Decimal("0.36"))
    planned = build(answers, facts, "b")
    assert planned.monthly_price == Decimal("21.86")
    assert "0.36 EUR" in render.to_text(planned)
    assert render.to_plain(planned)["file_system"] == {"kind": "efs", "monthly_price": "0.36"}


def test_records_point_at_every_webserver(plan: Plan) -> None:
    assert [(r.name, r.ttl, r.machines) for r in plan.records] == [
        ("www.rehearsal.test", 60, ("web1",))
    ]


def test_health_checks_are_shown_and_paid_for() -> None:
    health = {"provider": "route53", "zone": "example.org", "health_checked": True}
    dns = REHEARSAL.dns.model_validate(health)
    for cloud, each in (("aws", "1.50"), ("digitalocean", "2.75")):
        provider = REHEARSAL.provider.model_copy(update={"name": cloud})
        answers = REHEARSAL.model_copy(update={"dns": dns, "provider": provider})
        planned = build(answers, FACTS, "bucket")
        assert planned.monthly_price == Decimal("21.50") + Decimal(each)
        host = REHEARSAL.domain.name
        asked = {"host": host, "path": "/", "count": 1, "monthly_price": each, "priced": "2026-11"}
        assert render.to_plain(planned)["dns"]["health_checks"] == asked
        text = render.to_text(planned)
        assert f"1 asked for https://{host}/" in text
        assert f"{each} EUR per month each (assumed: a table of 2026-11)" in text
        assert max(map(len, text.splitlines())) <= 80
    both = replace(planned, ipv6=True)
    assert both.health_checks == 2


def test_everything_a_provider_lacks_is_said_at_once() -> None:
    answers = changed("region: here", "region: nowhere\nmachines:\n  sizes: {database: huge}")
    with pytest.raises(AnswersError) as caught:
        build(answers, FACTS, "b")
    text = str(caught.value)
    assert "provider.region: found 'nowhere'; allowed: here, there" in text
    assert "machines.sizes.database: found 'huge'; allowed: small, large" in text


def test_a_disk_that_comes_with_its_size_is_not_chosen() -> None:
    answers = changed("region: here", "region: here\nmachines:\n  disks: {database: 50}")
    with pytest.raises(AnswersError) as caught:
        build(answers, FACTS, "b")
    assert "machines.disks.database: found 50; allowed: nothing" in str(caught.value)


def test_text_fits_80_columns(plan: Plan) -> None:
    assert max(map(len, render.to_text(plan).splitlines())) <= 80


def test_json_has_every_rule_and_machine(plan: Plan) -> None:
    plain = json.loads(json.dumps(render.to_plain(plan)))
    assert len(plain["firewall"]["rules"]) == len(plan.rules)
    assert [m["name"] for m in plain["machines"]] == ["web1", "db1"]
    assert plain["monthly_price"] == "21.50"


WEB, DB, SCALER = Role.WEBSERVER, Role.DATABASE, Role.AUTOSCALER
DEVELOPMENT = firewall.rules((WEB, DB), ssh_port=1035, database_port=2035, proxied=False)
PROXIED = firewall.rules((WEB, DB, SCALER), ssh_port=1035, database_port=2035, proxied=True)


@pytest.mark.parametrize(
    ("source", "target", "port", "allowed"),
    [
        (BUILD_MACHINE, WEB, 1035, True),
        (BUILD_MACHINE, DB, 1035, True),
        (from_role(WEB), DB, 1035, True),
        (from_role(DB), WEB, 1035, True),
        (ANYONE, WEB, 1035, False),
        (ANYONE, DB, 1035, False),
        (ANYONE, WEB, 443, True),
        (ANYONE, WEB, 80, True),
        (from_role(DB), WEB, 443, True),
        (ANYONE, DB, 443, False),
        (from_role(WEB), DB, 2035, True),
        (from_role(DB), DB, 2035, False),
        (BUILD_MACHINE, DB, 2035, False),
        (ANYONE, DB, 2035, False),
        (ANYONE, WEB, 22, False),
    ],
)
def test_who_may_reach_whom(source: object, target: Role, port: int, allowed: bool) -> None:
    assert firewall.allows(DEVELOPMENT, source, target, port) is allowed


def test_cloudflare_in_front_closes_the_webservers_to_all_others() -> None:
    cloudflare = from_networks(*firewall.CLOUDFLARE_NETWORKS)
    assert firewall.allows(PROXIED, cloudflare, WEB, 443)
    assert not firewall.allows(PROXIED, ANYONE, WEB, 443)
    assert not firewall.allows(PROXIED, ANYONE, WEB, 80)
    assert firewall.allows(PROXIED, from_role(SCALER), WEB, 443)
    assert firewall.allows(PROXIED, from_role(SCALER), DB, 2035)
    assert not firewall.allows(PROXIED, from_role(DB), WEB, 443)


DATABASES = DatabaseFacts(
    (
        Size("db-small", 1, 1024, 10, Decimal("15.15")),
        Size("db-large", 2, 4096, 60, Decimal("60.90")),
    ),
    "db-small",
    25060,
)


def managed(size: str = "") -> Answers:
    values = REHEARSAL.model_dump(mode="json")
    values["provider"] |= {"name": "digitalocean", "region": "here"}
    values["dns"] |= {"provider": "digitalocean"}
    values["database"] |= {"engine": "mysql", "managed": True, "size": size or None}
    return Answers.model_validate_json(json.dumps(values))


def test_a_managed_database_is_priced_and_closed_to_all_but_ours() -> None:
    facts = replace(FACTS, databases=DATABASES)
    plan = build(managed(), facts, "bucket")
    assert plan.monthly_price == Decimal("21.50") + Decimal("15.15")
    text = render.to_text(plan)
    assert "Managed database" in text
    assert "15.15 EUR" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    reach = {str(r.source) for r in plan.rules if r.target is Rented.DATABASE}
    assert reach == {"webservers", "databases"}
    assert {r.port for r in plan.rules if r.target is Rented.DATABASE} == {25060}
    # the machine serves none
    assert not [r for r in plan.rules if r.target is Role.DATABASE and r.port != plan.ssh_port]
    assert render.to_plain(plan)["database"]["managed"]["monthly_price"] == "15.15"
    larger = build(managed("db-large"), facts, "bucket")
    assert larger.monthly_price == Decimal("21.50") + Decimal("60.90")


def test_a_price_from_a_table_says_of_when_it_is() -> None:
    dated = replace(FACTS, databases=replace(DATABASES, priced="2025"))
    text = render.to_text(build(managed(), dated, "bucket"))
    assert "Managed database (price: a table of 2025, not the provider's word)" in text
    assert "36.65 EUR, 15.15 EUR of it by the table of 2025" in text
    assert render.to_plain(build(managed(), dated, "bucket"))["database"]["priced"] == "2025"
    told = build(managed(), replace(FACTS, databases=DATABASES), "bucket")
    assert "table of" not in render.to_text(told)
    assert render.to_plain(told)["database"]["priced"] is None


def test_ipv6_is_shown_and_reaches_what_the_rules_let_in() -> None:
    answers = changed("region: here", "region: here\n  ipv6: true")
    with pytest.raises(AnswersError, match="what the answers ask for") as caught:
        build(answers, replace(FACTS, ipv6=False), "bucket")
    assert "provider.ipv6: found true; allowed: false" in str(caught.value)
    plan = build(answers, replace(FACTS, ipv6=True), "bucket")
    assert plan.ipv6
    shown = render.to_text(plan)
    assert "Machines, each with an IPv4 and an IPv6 address" in shown
    assert "A, AAAA" in shown
    assert render.to_plain(plan)["dns"]["records"][0]["types"] == ["A", "AAAA"]
    plain = build(REHEARSAL, FACTS, "bucket")
    assert render.to_plain(plain)["dns"]["records"][0]["types"] == ["A"]


def test_only_networks_of_proxies_that_can_reach_webservers_are_let_in() -> None:
    edge = Edge(("198.51.100.0/24", "2400:cb00::/32"), "https://api.test/ips", "pem")
    for ipv6, networks in ((False, edge.networks[:1]), (True, edge.networks)):
        provider = REHEARSAL.provider.model_copy(update={"ipv6": ipv6})
        dns = REHEARSAL.dns.model_copy(update={"proxied": True})
        answers = REHEARSAL.model_copy(update={"provider": provider, "dns": dns})
        plan = build(answers, replace(FACTS, ipv6=True), "bucket", edge)
        assert plan.edge is not None
        assert plan.edge.networks == networks
        public = {r.source.networks for r in plan.rules if r.port == 443 and r.source.networks}
        assert public == {networks}


def test_a_managed_database_that_is_not_rented_there_is_refused() -> None:
    for answers, facts, wrong in (
        (managed(), FACTS, "database.managed: found true"),
        (managed("huge"), replace(FACTS, databases=DATABASES), "database.size: found 'huge'"),
    ):
        with pytest.raises(AnswersError) as caught:
            build(answers, facts, "bucket")
        assert wrong in str(caught.value)
