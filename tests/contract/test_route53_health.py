"""Answers of Route 53 with the addresses that are well: health checks, their rights and faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.emulators.aws_identity import Key
from tests.emulators.nameserver import NameServer
from tests.emulators.route53 import Route53Emulator
from wizard.dns.base import Health, RecordSet
from wizard.dns.route53 import Route53
from wizard.errors import ProviderError, TransientError
from wizard.operations.status import served
from wizard.secrets import Secret

ZONE = "example.org"
HEALTH = Health(f"www.{ZONE}", "/login")
PLAIN = RecordSet(f"www.{ZONE}", ("192.0.2.1", "192.0.2.2"), 60)
WWW = replace(PLAIN, health=HEALTH)
KEYS = "AKIDGOOD:a-secret-key"


class Account(Route53Emulator):
    zone: str = ""

    def sets(self, name: str = WWW.name) -> list[tuple[str | None, list[str], str | None]]:
        return sorted(
            (one.set_identifier or "", one.records, one.health_check_id or "")
            for one in self.backend.zones[self.zone].rrsets
            if (one.name, one.type) == (f"{name}.", "A")
        )


@pytest.fixture
def api() -> Iterator[Account]:
    with Account(delay=0.05) as emulator:
        emulator.zone = emulator.add_zone(ZONE)
        yield emulator
        assert emulator.violations == []


def opened(api: Account) -> Route53:
    return Route53(ZONE, Secret(KEYS), url=api.url, poll=0.01, pause=lambda _seconds: None)


def test_each_address_is_a_set_of_its_own_with_a_check_of_its_own(api: Account) -> None:
    dns = opened(api)
    assert dns.ensure_record("demo", WWW)
    assert [(one, values) for one, values, _ in api.sets()] == [
        ("build-usb.192.0.2.1", ["192.0.2.1"]),
        ("build-usb.192.0.2.2", ["192.0.2.2"]),
    ]
    asked = {check.id: check.settings for check in api.checks.held.values()}
    for _, (address,), check in api.sets():
        assert asked[str(check)] == {
            "IPAddress": address,
            "Port": "443",
            "Type": "HTTPS",
            "ResourcePath": "/login",
            "FullyQualifiedDomainName": HEALTH.host,
            "RequestInterval": "30",
            "FailureThreshold": "3",
            "EnableSNI": "true",
        }
    assert not opened(api).ensure_record("demo", WWW)
    assert dns.records("demo") == [PLAIN]
    assert api.actions.count("ChangeResourceRecordSets") == 1
    assert api.actions.count("CreateHealthCheck") == 2
    assert dns.sweep("demo") == 0


def test_names_share_the_check_of_an_address_and_the_last_one_gives_it_up(api: Account) -> None:
    dns, alias = opened(api), replace(WWW, name=f"shop.{ZONE}")
    for record in (WWW, alias):
        dns.ensure_record("demo", record)
    assert api.checks.asked() == list(WWW.addresses)
    dns.delete_record("demo", WWW.name)
    assert dns.unused_checks("demo") == []
    assert dns.sweep("demo") == 0
    dns.delete_record("demo", alias.name)
    unused = dns.unused_checks("demo")
    assert set(unused) == set(api.checks.held)
    told = "health checks of no webserver, paid for until the next deploy: 2"
    assert served(dns.records("demo"), len(unused)) == f"no records; {told}"
    assert dns.sweep("demo") == 2
    assert api.checks.held == {}


def test_who_is_not_well_is_not_answered_with(api: Account) -> None:
    with NameServer(api.lookup) as server:
        dns = Route53(ZONE, Secret(KEYS), (server.address,), url=api.url, poll=0.01)
        dns.ensure_record("demo", WWW)
        api.checks.sick = {"192.0.2.1"}
        dns.wait_until_served(WWW, 10)
        assert api.lookup(WWW.name) == (60, ["192.0.2.2"])
        # none is well: all are answered with, as at Amazon
        api.checks.sick = set(WWW.addresses)
        assert api.lookup(WWW.name)[1] == list(WWW.addresses)
        many = replace(WWW, addresses=tuple(f"192.0.2.{n}" for n in range(1, 12)))
        dns.ensure_record("demo", many)
        dns.wait_until_served(many, 10)
        assert len(api.lookup(WWW.name)[1]) == 8


def test_an_address_that_is_not_wanted_is_waited_for_to_go(api: Account) -> None:
    with NameServer(api.lookup) as server:
        dns = Route53(ZONE, Secret(KEYS), (server.address,), url=api.url, poll=0.01)
        dns.ensure_record("demo", WWW)
        dns.wait_until_served(WWW, 10)
        # this run changed nothing: it has only the servers to ask
        fewer = replace(WWW, addresses=("192.0.2.1",))
        other = Route53(ZONE, Secret(KEYS), (server.address,), url=api.url, poll=0.01)
        with pytest.raises(TransientError, match="not served everywhere"):
            other.wait_until_served(fewer, 0.2)
        # nor is it enough that there is no answer at all
        with pytest.raises(TransientError, match="not served everywhere"):
            other.wait_until_served(replace(WWW, name=f"none.{ZONE}"), 0.2)


@pytest.mark.parametrize(("first", "then"), [(PLAIN, WWW), (WWW, PLAIN)])
def test_a_switch_is_one_batch_and_leaves_nothing(
    api: Account, first: RecordSet, then: RecordSet
) -> None:
    dns = opened(api)
    dns.ensure_record("demo", first)
    assert dns.ensure_record("demo", then)
    assert api.actions.count("ChangeResourceRecordSets") == 2
    assert len(api.sets()) == (2 if then.health else 1)
    assert dns.records("demo") == [PLAIN]
    assert dns.sweep("demo") == (0 if then.health else 2)
    assert len(api.checks.held) == (2 if then.health else 0)
    # a switch whose answer was lost is made
    api.fail("ChangeResourceRecordSets", "lost")
    with pytest.raises(TransientError):
        dns.ensure_record("demo", first)
    assert not dns.ensure_record("demo", first)


def test_another_path_is_another_check(api: Account) -> None:
    dns = opened(api)
    dns.ensure_record("demo", WWW)
    before = set(api.checks.held)
    assert dns.ensure_record("demo", replace(WWW, health=replace(HEALTH, path="/")))
    assert dns.sweep("demo") == 2
    assert not before & set(api.checks.held)
    assert {c.settings["ResourcePath"] for c in api.checks.held.values()} == {"/"}


def test_a_lost_answer_makes_no_second_check(api: Account) -> None:
    dns = opened(api)
    api.fail("CreateHealthCheck", "lost")
    with pytest.raises(TransientError):
        dns.ensure_record("demo", WWW)
    assert api.sets() == []
    dns.ensure_record("demo", WWW)
    assert api.checks.asked() == list(WWW.addresses)


def test_a_run_killed_before_the_records_leaves_checks_that_go(api: Account) -> None:
    dns = opened(api)
    api.fail("ChangeResourceRecordSets", code="InternalError", status=500)
    with pytest.raises(TransientError):
        dns.ensure_record("demo", WWW)
    assert api.checks.asked() == list(WWW.addresses)
    assert dns.records("demo") == []
    assert dns.sweep("demo") == 2
    assert api.checks.held == {}


def test_an_address_that_comes_back_gets_a_check_again(api: Account) -> None:
    """Route 53 refuses the reference of a check that was deleted."""
    dns = opened(api)
    for _ in range(3):
        dns.ensure_record("demo", WWW)
        dns.ensure_record("demo", PLAIN)
        assert dns.sweep("demo") == 2
    dns.ensure_record("demo", WWW)
    assert api.checks.asked() == list(WWW.addresses)


def test_a_check_that_someone_deleted_is_made_again(api: Account) -> None:
    dns = opened(api)
    dns.ensure_record("demo", WWW)
    gone = api.sets()[0][2]
    del api.checks.held[str(gone)]
    assert dns.ensure_record("demo", WWW)
    assert {check for _, _, check in api.sets()} == set(api.checks.held)


def test_a_delete_whose_answer_is_lost_is_made(api: Account) -> None:
    dns = opened(api)
    dns.ensure_record("demo", WWW)
    dns.delete_record("demo", WWW.name)
    api.fail("DeleteHealthCheck", "lost")
    with pytest.raises(TransientError):
        dns.sweep("demo")
    dns.sweep("demo")
    assert api.checks.held == {}


def test_what_others_have_is_left(api: Account) -> None:
    """Checks of others, of deployments of that name in another zone, records of others."""
    dns = opened(api)
    foreign = api.checks.add("someone's", IPAddress="192.0.2.1", Type="HTTPS")
    api.put(
        api.zone,
        "A",
        f"other.{ZONE}",
        "192.0.2.1",
        SetIdentifier="build-usb.192.0.2.1",
        MultiValueAnswer=True,
        HealthCheckId=foreign,
    )
    elsewhere = f"dev.{ZONE}"
    api.add_zone(elsewhere)
    beside = Route53(elsewhere, Secret(KEYS), url=api.url, pause=lambda _seconds: None)
    beside.ensure_record("demo", replace(WWW, name=f"www.{elsewhere}"))
    dns.ensure_record("next", replace(WWW, name=f"next.{ZONE}"))
    dns.ensure_record("demo", WWW)
    assert len(api.checks.held) == 7
    batches = api.accepted
    with pytest.raises(ProviderError, match="not this deployment's"):
        dns.ensure_record("demo", replace(WWW, name=f"other.{ZONE}"))
    dns.delete_record("demo", f"other.{ZONE}")
    assert api.accepted == batches
    assert len(api.checks.held) == 7
    dns.delete_record("demo", WWW.name)
    assert dns.sweep("demo") == 2
    assert len(api.checks.held) == 5
    assert foreign in api.checks.held
    assert len(api.sets(f"other.{ZONE}")) == 1


def test_checks_come_in_pages(api: Account) -> None:
    api.checks.page = 3
    for number in range(10):
        api.checks.add(f"other-{number}", IPAddress="192.0.2.9")
    dns = opened(api)
    dns.ensure_record("demo", WWW)
    assert not dns.ensure_record("demo", WWW)
    assert len(api.checks.held) == 12


def test_ipv6_addresses_are_asked_too(api: Account) -> None:
    dns = opened(api)
    both = replace(WWW, addresses=("192.0.2.1", "2001:db8::1"))
    dns.ensure_record("demo", both)
    assert not dns.ensure_record("demo", both)
    assert api.checks.asked() == ["192.0.2.1", "2001:db8::1"]
    assert dns.records("demo")[0].addresses == both.addresses


def test_addresses_that_nobody_can_ask_are_refused_before_any_record(api: Account) -> None:
    api.checks.asks_any = False
    with pytest.raises(ProviderError, match=r"10\.0\.0\.1") as error:
        opened(api).ensure_record("demo", replace(WWW, addresses=("10.0.0.1",)))
    assert error.value.code == "InvalidInput"
    assert api.accepted == 0


def test_the_quota_is_told(api: Account) -> None:
    api.checks.most = 1
    with pytest.raises(ProviderError) as error:
        opened(api).ensure_record("demo", WWW)
    assert "Service Quotas" in error.value.cure
    assert api.accepted == 0


@pytest.mark.parametrize("denied", ["ListHealthChecks", "DeleteHealthCheck"])
def test_a_missing_right_is_found_before_anything_is_made(api: Account, denied: str) -> None:
    api.keys["AKIDGOOD"] = Key(denied=frozenset({denied}))
    with pytest.raises(ProviderError, match="health check") as error:
        opened(api).check_health_checks()
    assert f"route53:{denied}" in error.value.cure
    api.keys["AKIDGOOD"] = Key()
    opened(api).check_health_checks()
    assert api.checks.held == {}


def test_who_makes_no_health_checks_needs_no_right_for_them(api: Account) -> None:
    rights = frozenset({"ListHealthChecks", "CreateHealthCheck", "DeleteHealthCheck"})
    api.keys["AKIDGOOD"] = Key(denied=rights)
    dns = opened(api)
    dns.ensure_record("demo", PLAIN)
    assert dns.sweep("demo") == 0
    dns.delete_record("demo", PLAIN.name)
    assert dns.sweep("demo") == 0


@pytest.mark.parametrize("kind", ["html", "truncated"])
@pytest.mark.parametrize("action", ["ListHealthChecks", "CreateHealthCheck"])
def test_a_broken_answer_is_a_clear_error(api: Account, kind: str, action: str) -> None:
    dns = opened(api)
    api.fail(action, kind)
    with pytest.raises(ProviderError) as error:
        dns.ensure_record("demo", WWW)
    assert error.value.code == "senseless"
    dns.ensure_record("demo", WWW)
    assert api.checks.asked() == list(WWW.addresses)


def test_fifty_webservers_are_as_many_sets(api: Account) -> None:
    dns = opened(api)
    many = replace(WWW, addresses=tuple(f"192.0.2.{n}" for n in range(1, 51)))
    dns.ensure_record("demo", many)
    assert not opened(api).ensure_record("demo", many)
    assert len(dns.records("demo")[0].addresses) == 50
    dns.delete_record("demo", WWW.name)
    assert api.sets() == []
    assert dns.sweep("demo") == 50
