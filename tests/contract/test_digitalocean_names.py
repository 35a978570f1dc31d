"""The zone at DigitalOcean's DNS: found, marked, changed under faults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract import accounts
from tests.contract.accounts import opened_account as opened
from tests.contract.scenario import persist
from tests.emulators.digitalocean import TOKEN, DigitalOceanEmulator
from tests.emulators.digitalocean_values import error
from wizard.dns.base import RecordSet
from wizard.dns.digitalocean import DigitalOcean
from wizard.errors import ProviderError
from wizard.providers.digitalocean import DigitalOceanProvider
from wizard.secrets import Secret

ZONE = "example.org"
WWW = RecordSet(f"www.{ZONE}", ("192.0.2.1", "192.0.2.2"), 120)


@pytest.fixture
def api() -> Iterator[DigitalOceanEmulator]:
    with accounts.digitalocean() as emulator:
        yield emulator


@pytest.fixture
def provider(api: DigitalOceanEmulator) -> DigitalOceanProvider:
    return opened(api)


@pytest.fixture
def dns(api: DigitalOceanEmulator) -> DigitalOcean:
    api.add_domain(ZONE)
    return DigitalOcean(ZONE, Secret(TOKEN), url=api.url, pause=lambda _seconds: None)


def records(api: DigitalOceanEmulator) -> list[tuple[str, str, str]]:
    found = api.domains[ZONE].values()
    return sorted((r["type"], r["name"], r["data"]) for r in found if r["type"] != "NS")


ALL = [
    ("A", "www", "192.0.2.1"),
    ("A", "www", "192.0.2.2"),
    ("TXT", "_build-usb.www", "deployment=demo"),
]


def test_the_longest_domain_that_holds_the_name_is_used(
    api: DigitalOceanEmulator, dns: DigitalOcean
) -> None:
    def zone_of(name: str) -> str:
        return DigitalOcean(name, Secret(TOKEN), url=api.url).zone()

    assert zone_of(f"shop.dev.{ZONE}") == ZONE
    api.add_domain(f"dev.{ZONE}")
    assert zone_of(f"shop.dev.{ZONE}") == f"dev.{ZONE}"
    with pytest.raises(ProviderError, match="no domain"):
        zone_of("elsewhere.test")


def test_a_missing_domain_scope_is_named_at_once(
    api: DigitalOceanEmulator, dns: DigitalOcean
) -> None:
    api.tokens[TOKEN] = frozenset({"domain:read"})
    with pytest.raises(ProviderError) as caught:
        dns.zone()
    assert "domain:delete" in caught.value.cure
    assert caught.value.where == "dns.credentials"


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_lost_answer_leaves_each_record_once(
    api: DigitalOceanEmulator, dns: DigitalOcean, nth: int
) -> None:
    api.fail("POST .*/records", "", times=nth - 1)
    api.fail("POST .*/records", "lost")
    persist(lambda: dns.ensure_record("demo", WWW))
    assert api.faults[-1].times == 0
    assert records(api) == ALL


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("status", [404, 409, 429, 503, "lost"])
def test_every_delete_of_a_record_survives(
    api: DigitalOceanEmulator, dns: DigitalOcean, nth: int, status: int | str
) -> None:
    dns.ensure_record("demo", WWW)
    api.fail("DELETE", "", times=nth - 1)
    if isinstance(status, str):
        api.fail("DELETE", status)
    else:
        api.fail("DELETE", reply=error(status, "scripted", "not now"))
    persist(lambda: dns.delete_record("demo", WWW.name))
    assert records(api) == []


def test_a_marker_that_a_killed_run_left_is_found(
    api: DigitalOceanEmulator, dns: DigitalOcean
) -> None:
    api.add_record(ZONE, "TXT", "_build-usb.www", "deployment=demo")
    assert [record.name for record in dns.records("demo")] == [WWW.name]
    dns.delete_record("demo", WWW.name)
    assert records(api) == []


def test_records_come_in_pages(api: DigitalOceanEmulator, dns: DigitalOcean) -> None:
    for number in range(450):
        api.add_record(ZONE, "A", f"n{number:03}", "192.0.2.1")
        api.add_record(ZONE, "TXT", f"_build-usb.n{number:03}", "deployment=demo")
    assert len(dns.records("demo")) == 450
    assert len(api.calls("GET .*/records")) == 5


def test_doubled_records_are_made_one(api: DigitalOceanEmulator, dns: DigitalOcean) -> None:
    dns.ensure_record("demo", WWW)
    api.add_record(ZONE, "A", "www", "192.0.2.1", 120)
    api.add_record(ZONE, "TXT", "_build-usb.www", "deployment=demo", 120)
    assert dns.ensure_record("demo", WWW)
    assert records(api) == ALL
