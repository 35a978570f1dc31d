"""What is Route 53's own: hosted zones, batches, changes in sync, limits, and an API that
misbehaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.emulators.aws_identity import Key
from tests.emulators.nameserver import NameServer
from tests.emulators.route53 import ACTIONS, Route53Emulator
from wizard.dns.base import RecordSet
from wizard.dns.route53 import Route53
from wizard.errors import ProviderError, TransientError, UsageError
from wizard.secrets import Secret

ZONE = "example.org"
WWW = RecordSet(f"www.{ZONE}", ("192.0.2.1", "192.0.2.2"), 60)
KEYS = "AKIDGOOD:a-secret-key"


class Account(Route53Emulator):
    zone: str = ""


@pytest.fixture
def api() -> Iterator[Account]:
    with Account(delay=0.05) as emulator:
        emulator.zone = emulator.add_zone(ZONE)
        yield emulator
        assert emulator.violations == []


def opened(api: Account, zone: str = ZONE, keys: str = KEYS) -> Route53:
    return Route53(zone, Secret(keys), url=api.url, poll=0.01, pause=lambda _seconds: None)


def refusal(api: Account, zone: str = ZONE, keys: str = KEYS) -> ProviderError:
    with pytest.raises(ProviderError) as error:
        opened(api, zone, keys).zone()
    assert error.value.cure
    assert "a-secret-key" not in str(error.value)
    return error.value


def count(api: Account, action: str) -> int:
    return api.actions.count(action)


def test_the_longest_public_zone_that_holds_the_name_is_used(api: Account) -> None:
    api.add_zone(f"dev.{ZONE}", private=True)
    assert opened(api, f"shop.dev.{ZONE}").zone() == ZONE
    api.add_zone(f"dev.{ZONE}")
    assert opened(api, f"shop.dev.{ZONE}").zone() == f"dev.{ZONE}"
    assert "no public hosted zone" in refusal(api, "elsewhere.test").what


def test_two_zones_of_one_name_are_an_error_with_their_ids(api: Account) -> None:
    second = api.add_zone(ZONE)
    error = refusal(api)
    assert api.zone in error.why
    assert second in error.why


def test_the_name_servers_are_the_delegation_sets(api: Account) -> None:
    assert all("awsdns" in name for name in opened(api).name_servers())
    assert len(opened(api).name_servers()) == 4


@pytest.mark.parametrize(
    ("denied", "right"),
    [
        ("ListHostedZonesByName", "route53:ListHostedZonesByName"),
        ("ChangeResourceRecordSets", "route53:ChangeResourceRecordSets"),
    ],
)
def test_a_missing_right_is_named_at_once(api: Account, denied: str, right: str) -> None:
    api.keys["AKIDGOOD"] = Key(denied=frozenset({denied}))
    error = refusal(api)
    assert right in error.cure
    assert error.where == "dns.credentials"


def test_bad_keys_are_told_apart(api: Account) -> None:
    assert "unknown" in refusal(api, keys="AKIDOTHER:a-secret-key").cure
    assert "secret key" in refusal(api, keys="AKIDGOOD:another-secret").cure
    assert refusal(api, keys="AKIDGOOD:a-secret-key:old-token").code == "ExpiredToken"
    api.keys["AKIDTEMP"] = Key(token="a-token")
    assert opened(api, keys="AKIDTEMP:a-secret-key:a-token").zone() == ZONE
    with pytest.raises(UsageError):
        opened(api, keys="no-colon")


def test_what_this_computer_is_set_up_for_is_not_used(
    api: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[default]\nendpoint_url = http://127.0.0.1:9\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE"):
        monkeypatch.setenv(f"AWS_{name}", "poison")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert opened(api).zone() == ZONE


def test_a_change_is_one_batch(api: Account) -> None:
    dns = opened(api)
    dns.ensure_record("demo", WWW)
    dns.ensure_record("demo", replace(WWW, addresses=("192.0.2.9",), ttl=300))
    assert count(api, "ChangeResourceRecordSets") == 2
    assert api.values(api.zone, WWW.name, "A") == ["192.0.2.9"]
    dns.delete_record("demo", WWW.name)
    assert count(api, "ChangeResourceRecordSets") == 3
    assert api.values(api.zone, f"_build-usb.{WWW.name}", "TXT") == []


def test_what_someone_adds_meanwhile_is_not_overwritten(api: Account) -> None:
    """Between our look and our batch another record appears: Route 53 itself must refuse."""
    dns = opened(api)
    look = dns._look

    def look_then_lose_the_race(name: str) -> object:
        seen = look(name)
        api.put(api.zone, "A", WWW.name, "192.0.2.50")
        return seen

    dns._look = look_then_lose_the_race  # type: ignore[method-assign,assignment]
    with pytest.raises(ProviderError, match="not this deployment's"):
        dns.ensure_record("demo", WWW)
    assert api.values(api.zone, WWW.name, "A") == ["192.0.2.50"]
    assert api.values(api.zone, f"_build-usb.{WWW.name}", "TXT") == []


@pytest.mark.parametrize(
    "more",
    [
        {"AliasTarget": {"HostedZoneId": "Z2", "DNSName": "d1.cloudfront.net", "Evaluate": "no"}},
        {"SetIdentifier": "blue", "Weight": 10},
    ],
)
def test_aliases_and_routing_policies_are_not_ours(api: Account, more: dict[str, object]) -> None:
    values = () if "AliasTarget" in more else ("192.0.2.5",)
    api.put(api.zone, "A", WWW.name, *values, **more)
    before = count(api, "ChangeResourceRecordSets")
    with pytest.raises(ProviderError, match="not this deployment's"):
        opened(api).ensure_record("demo", WWW)
    opened(api).delete_record("demo", WWW.name)
    assert count(api, "ChangeResourceRecordSets") == before


def test_waits_until_the_change_is_everywhere(api: Account) -> None:
    api.delay = 0.4
    with NameServer(api.lookup) as server:
        dns = Route53(ZONE, Secret(KEYS), (server.address,), url=api.url, poll=0.05)
        dns.ensure_record("demo", WWW)
        assert api.lookup(WWW.name)[1] == []
        started = time.monotonic()
        dns.wait_until_served(WWW, 10)
        assert time.monotonic() - started >= 0.3
        assert 2 <= count(api, "GetChange") <= 9
        # another run knows nothing of the change, and asks the servers
        Route53(ZONE, Secret(KEYS), (server.address,), url=api.url).wait_until_served(WWW, 5)
        api.delay = 60
        dns.ensure_record("demo", replace(WWW, ttl=90))
        with pytest.raises(TransientError, match="takes longer"):
            dns.wait_until_served(replace(WWW, ttl=90), 0.2)


def test_too_many_requests_are_spread(api: Account) -> None:
    """Five requests a second an account, as Amazon has it, and more of them at once."""
    api.limit = 5
    dns = [Route53(ZONE, Secret(KEYS), url=api.url) for _ in range(3)]
    wishes = [replace(WWW, name=f"n{number}.{ZONE}") for number in range(3)]
    threads = [
        threading.Thread(target=one.ensure_record, args=("demo", wish))
        for one, wish in zip(dns, wishes, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    api.limit = 0
    assert opened(api).records("demo") == wishes
    assert count(api, "ChangeResourceRecordSets") >= 3


def test_throttled_for_ever_is_transient(api: Account) -> None:
    api.fail("ListHostedZonesByName", code="Throttling", times=1000)
    with pytest.raises(TransientError) as error:
        opened(api).zone()
    assert error.value.code == "Throttling"
    assert count(api, "ListHostedZonesByName") < 20


def test_a_lost_answer_leaves_each_record_once(api: Account) -> None:
    dns = opened(api)
    api.fail("ChangeResourceRecordSets", "lost")
    with pytest.raises(TransientError):
        dns.ensure_record("demo", WWW)
    assert not dns.ensure_record("demo", WWW)
    assert api.values(api.zone, WWW.name, "A") == list(WWW.addresses)
    api.fail("ChangeResourceRecordSets", "lost")
    with pytest.raises(TransientError):
        dns.delete_record("demo", WWW.name)
    dns.delete_record("demo", WWW.name)
    assert dns.records("demo") == []


def test_records_come_in_pages(api: Account) -> None:
    for number in range(350):
        api.put(api.zone, "A", f"n{number:03}.{ZONE}", "192.0.2.1")
        api.put(api.zone, "TXT", f"_build-usb.n{number:03}.{ZONE}", '"deployment=demo"')
    assert len(opened(api).records("demo")) == 350
    assert count(api, "ListResourceRecordSets") == 3


def test_a_list_that_never_ends_is_refused(api: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(350):
        api.put(api.zone, "A", f"n{number:03}.{ZONE}", "192.0.2.1")
    dns = opened(api)
    call = dns._api.call

    def first_page(operation: str, doing: str, **given: Any) -> dict[str, Any]:
        return call(operation, doing, **{k: v for k, v in given.items() if "Start" not in k})

    monkeypatch.setattr(dns._api, "call", first_page)
    with pytest.raises(ProviderError) as error:
        dns.records("demo")
    assert error.value.why == "its list never ends"
    assert count(api, "ListResourceRecordSets") == 2


def test_what_route53_refuses_is_told(api: Account) -> None:
    with pytest.raises(ProviderError) as error:
        opened(api).ensure_record("demo", replace(WWW, addresses=("not-an-address",)))
    assert error.value.code == "InvalidChangeBatch"
    assert "not-an-address" in error.value.why
    assert not isinstance(error.value, TransientError)


@pytest.mark.parametrize("kind", ["html", "truncated"])
@pytest.mark.parametrize(
    "action", [a for _, _, a in ACTIONS if a != "GetHostedZone" and "HealthCheck" not in a]
)
def test_a_broken_answer_is_a_clear_error(api: Account, kind: str, action: str) -> None:
    dns = opened(api)
    api.fail(action, kind)

    def deploy() -> None:
        dns.ensure_record("demo", WWW)
        dns.wait_until_served(WWW, 0.1)

    with pytest.raises(ProviderError) as error:
        deploy()
    assert error.value.cure
    assert error.value.code == "senseless"
    dns.ensure_record("demo", WWW)
    assert api.values(api.zone, WWW.name, "A") == list(WWW.addresses)


@pytest.mark.parametrize("status", [500, 503])
def test_what_fails_at_amazon_is_transient(api: Account, status: int) -> None:
    api.fail("ListResourceRecordSets", code="ServiceUnavailable", status=status)
    with pytest.raises(TransientError):
        opened(api).ensure_record("demo", WWW)


def test_an_api_that_is_not_there_is_transient() -> None:
    with pytest.raises(TransientError):
        Route53(ZONE, Secret(KEYS), url="http://127.0.0.1:9").zone()
