"""What is Cloudflare's own: tokens, permissions, batches, and an API that misbehaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.contract import accounts
from tests.contract.accounts import CLOUDFLARE_TOKEN as TOKEN
from tests.contract.accounts import ZONE
from tests.contract.accounts import opened_zone as opened
from tests.emulators import openapi
from tests.emulators.cloudflare import (
    EDIT_DNS,
    EVERYTHING,
    READ_DNS,
    READ_SETTINGS,
    READ_ZONE,
    CloudflareEmulator,
    Token,
    failure,
)
from tests.emulators.nameserver import NameServer
from tests.emulators.server import Reply
from wizard.dns.base import RecordSet
from wizard.dns.cloudflare import Cloudflare
from wizard.errors import ProviderError, TransientError
from wizard.secrets import Secret

WWW = RecordSet(f"www.{ZONE}", ("192.0.2.1", "192.0.2.2"), 120)


@pytest.fixture
def api() -> Iterator[CloudflareEmulator]:
    with accounts.cloudflare() as emulator:
        yield emulator


def refusal(api: CloudflareEmulator, token: str = TOKEN, zone: str = ZONE) -> ProviderError:
    with pytest.raises(ProviderError) as error:
        opened(api, zone, token).zone()
    assert error.value.cure
    assert token not in str(error.value)
    return error.value


def test_every_request_is_in_the_vendors_document() -> None:
    document = openapi.needed("cloudflare")
    document.seen.clear()
    with CloudflareEmulator(document) as api:
        api.add_zone(ZONE)
        dns = opened(api)
        dns.zone()
        dns.ensure_record("demo", WWW)
        dns.ensure_record("demo", replace(WWW, ttl=300, addresses=("192.0.2.2", "192.0.2.3")))
        assert [record.ttl for record in dns.records("demo")] == [300]
        dns.delete_record("demo", WWW.name)
        assert dns.edge().networks == (*api.networks, *api.networks_6)
        assert api.violations == []
    records = "/zones/{zone_id}/dns_records"
    assert document.seen == {
        "GET /user/tokens/verify",
        "GET /zones",
        "GET /ips",
        "GET /zones/{zone_id}/settings/{setting_id}",
        f"GET {records}",
        f"POST {records}/batch",
        f"DELETE {records}/{{dns_record_id}}",
    }


def test_the_longest_zone_that_holds_the_name_is_used(api: CloudflareEmulator) -> None:
    assert opened(api, f"shop.dev.{ZONE}").zone() == ZONE
    api.add_zone(f"dev.{ZONE}")
    assert opened(api, f"shop.dev.{ZONE}").zone() == f"dev.{ZONE}"
    assert "no zone" in refusal(api, zone="elsewhere.test").what


@pytest.mark.parametrize(
    ("missing", "named"),
    [(READ_ZONE, "Zone / Zone / Read"), (EDIT_DNS, "Zone / DNS / Edit")],
)
def test_a_missing_permission_is_named_at_once(
    api: CloudflareEmulator, missing: str, named: str
) -> None:
    api.tokens[TOKEN] = Token(EVERYTHING - {missing})
    assert named in refusal(api).cure


def test_reading_records_needs_its_permission(api: CloudflareEmulator) -> None:
    api.tokens[TOKEN] = Token(frozenset({READ_ZONE, EDIT_DNS}))
    with pytest.raises(ProviderError) as error:
        opened(api).records("demo")
    assert "Zone / DNS / Read" in error.value.cure
    assert READ_DNS in EVERYTHING


def test_bad_tokens_are_told_apart(api: CloudflareEmulator) -> None:
    assert "valid API token" in refusal(api, token="unknown-token-1234").cure
    assert "valid API token" in refusal(api, token="bad!").cure
    api.tokens[TOKEN] = Token(status="expired")
    assert "expired" in refusal(api).what
    api.tokens[TOKEN] = Token(account=True)
    assert opened(api).zone() == ZONE


def test_a_zone_that_is_not_served_yet_is_refused(api: CloudflareEmulator) -> None:
    api.zones[api.zone]["status"] = "pending"
    error = refusal(api)
    assert "pending" in error.why
    assert "ada.ns.cloudflare.com" in error.cure


def test_tokens_and_addresses_in_the_environment_are_not_used(
    api: CloudflareEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("API_KEY", "EMAIL", "API_USER_SERVICE_KEY", "API_TOKEN"):
        monkeypatch.setenv(f"CLOUDFLARE_{name}", "poison")
    monkeypatch.setenv("CLOUDFLARE_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert opened(api).zone() == ZONE
    assert not any("x-auth-key" in request.headers for request in api.requests)


def test_a_change_is_one_batch_that_keeps_what_is_right(api: CloudflareEmulator) -> None:
    dns = opened(api)
    dns.ensure_record("demo", WWW)
    kept = next(id for id, r in api.records[api.zone].items() if r["content"] == "192.0.2.2")
    before = len(api.calls("^POST"))
    dns.ensure_record("demo", replace(WWW, addresses=("192.0.2.2", "192.0.2.9")))
    assert len(api.calls("^POST")) == before + 1
    assert kept in api.records[api.zone]
    assert api.lookup(WWW.name)[1] == ["192.0.2.2", "192.0.2.9"]


def test_what_a_person_proxied_is_put_back(api: CloudflareEmulator) -> None:
    dns = opened(api)
    dns.ensure_record("demo", WWW)
    for record in api.records[api.zone].values():
        record |= {"proxied": True, "ttl": 1}
    assert dns.ensure_record("demo", WWW)
    assert not any(record["proxied"] for record in api.records[api.zone].values())
    assert dns.records("demo") == [WWW]


def test_comments_are_compared_with_their_capitals(api: CloudflareEmulator) -> None:
    api.add_record(api.zone, "A", WWW.name, "192.0.2.9", comment="Build-USB deployment=demo")
    with pytest.raises(ProviderError, match="not this deployment's"):
        opened(api).ensure_record("demo", WWW)
    assert opened(api).records("demo") == []


def test_records_come_in_pages(api: CloudflareEmulator) -> None:
    for number in range(250):
        api.add_record(
            api.zone,
            "A",
            f"n{number:03}.{ZONE}",
            "192.0.2.1",
            comment="build-usb deployment=demo",
        )
    assert len(opened(api).records("demo")) == 250
    assert len(api.calls("GET .*dns_records")) == 3


def test_a_lost_answer_leaves_each_record_once(api: CloudflareEmulator) -> None:
    dns = opened(api)
    api.fail("POST .*batch", "lost")
    with pytest.raises(TransientError):
        dns.ensure_record("demo", WWW)
    assert not dns.ensure_record("demo", WWW)
    assert sorted(api.lookup(WWW.name)[1]) == list(WWW.addresses)


def test_a_delete_that_finds_nothing_or_is_refused(api: CloudflareEmulator) -> None:
    dns = opened(api)
    dns.ensure_record("demo", WWW)
    api.fail("POST .*batch", reply=failure(404, 81044, "Record does not exist."))
    dns.delete_record("demo", WWW.name)
    assert api.lookup(WWW.name)[1] == []
    for status in (409, 429, 500, 503):
        dns.ensure_record("demo", WWW)
        api.fail("POST .*batch", reply=failure(status, 1, "not now"))
        with pytest.raises(TransientError):
            dns.delete_record("demo", WWW.name)
        dns.delete_record("demo", WWW.name)
        assert dns.records("demo") == []


def test_errors_keep_code_request_and_what_to_do(api: CloudflareEmulator) -> None:
    dns = opened(api)
    too_many = failure(429, 971, "Please wait and consider throttling your request speed")
    too_many.headers |= {"retry-after": "42"}
    api.fail("GET .*dns_records", reply=too_many)
    with pytest.raises(TransientError) as error:
        dns.ensure_record("demo", WWW)
    assert error.value.code == "971"
    assert error.value.request_id == too_many.headers["cf-ray"]
    assert error.value.request_id in error.value.why
    assert "42 seconds" in error.value.cure
    with pytest.raises(ProviderError, match="60 seconds"):
        dns.ensure_record("demo", replace(WWW, ttl=30))
    with pytest.raises(ProviderError) as error:
        dns.ensure_record("demo", replace(WWW, addresses=("not-an-address",)))
    assert error.value.code == "9005"
    assert not isinstance(error.value, TransientError)


@pytest.mark.parametrize("kind", ["html", "truncated"])
@pytest.mark.parametrize("match", ["GET .*/zones", "GET .*dns_records", "POST .*batch"])
def test_a_broken_answer_is_a_clear_error(api: CloudflareEmulator, kind: str, match: str) -> None:
    api.fail(match, kind)
    with pytest.raises(ProviderError) as error:
        opened(api).ensure_record("demo", WWW)
    assert error.value.cure
    opened(api).ensure_record("demo", WWW)
    assert sorted(api.lookup(WWW.name)[1]) == list(WWW.addresses)


@pytest.mark.parametrize(
    "result",
    [
        None,
        "text",
        {},
        [None],
        [{}],
        [{"id": 1, "type": "A", "name": WWW.name, "ttl": "soon"}],
        [{"id": 1, "type": "A", "name": WWW.name, "ttl": float("inf")}],
        [[]],
    ],
)
def test_senseless_records_are_a_clear_error(api: CloudflareEmulator, result: object) -> None:
    api.fail("GET .*dns_records", reply=Reply(200, {"success": True, "result": result}))
    with pytest.raises(ProviderError, match="makes no sense"):
        opened(api).ensure_record("demo", WWW)


@pytest.mark.parametrize("status", [200, 403, 500])
def test_an_answer_too_deep_to_read_is_a_clear_error(api: CloudflareEmulator, status: int) -> None:
    api.fail("GET .*dns_records", reply=Reply(status, b"[" * 200_000))
    with pytest.raises(ProviderError) as error:
        opened(api).ensure_record("demo", WWW)
    assert error.value.cure


def test_an_api_that_is_not_there_is_transient(api: CloudflareEmulator) -> None:
    dns = Cloudflare(ZONE, Secret(TOKEN), url="http://127.0.0.1:9/client/v4")
    with pytest.raises(TransientError) as error:
        dns.zone()
    assert error.value.where == "http://127.0.0.1:9/client/v4"


def test_a_slow_api_is_transient(api: CloudflareEmulator) -> None:
    api.fail("GET .*dns_records", delay=1.0)
    dns = Cloudflare(ZONE, Secret(TOKEN), url=api.url, timeout=0.3)
    with pytest.raises(TransientError):
        dns.records("demo")


# -- proxied names -----------------------------------------------------------------------------


PROXIED = replace(WWW, proxied=True)


def test_proxied_names_point_at_cloudflare_and_come_back(api: CloudflareEmulator) -> None:
    with NameServer(api.lookup) as server:
        dns = Cloudflare(ZONE, Secret(TOKEN), (server.address,), url=api.url)
        assert dns.ensure_record("demo", PROXIED)
        assert not dns.ensure_record("demo", PROXIED)
        assert api.lookup(WWW.name)[1] == api.proxies
        assert dns.records("demo") == [replace(PROXIED, ttl=1)]
        dns.wait_until_served(PROXIED, 5)
        # an address that is no proxy's is another's, or not followed yet
        api.proxies = ["192.0.2.1"]
        with pytest.raises(TransientError, match="not served everywhere") as error:
            dns.wait_until_served(PROXIED, 0.1)
        assert "a proxy" in error.value.why
        assert dns.ensure_record("demo", WWW)
        assert dns.records("demo") == [WWW]
        dns.wait_until_served(WWW, 5)


def test_the_proxies_networks_are_the_apis(api: CloudflareEmulator) -> None:
    edge = opened(api).edge()
    assert edge.networks == ("198.51.100.0/24", "203.0.113.0/25", "2400:cb00::/32")
    assert edge.url == f"{api.url}/ips"
    assert "BEGIN CERTIFICATE" in edge.client_ca
    assert edge.wrong == ()


def test_settings_that_make_proxies_unsafe_are_named_all_at_once(api: CloudflareEmulator) -> None:
    api.settings |= {"ssl": "flexible", "always_use_https": "on", "tls_client_auth": "off"}
    wrong = opened(api).edge().wrong
    for text in ("'flexible', must be 'strict'", "Always Use HTTPS", "Authenticated Origin Pulls"):
        assert len([problem for problem in wrong if text in problem]) == 1
    assert api.calls("^(PATCH|PUT)") == []


def test_the_right_to_read_settings_is_named(api: CloudflareEmulator) -> None:
    api.tokens[TOKEN] = Token(EVERYTHING - {READ_SETTINGS})
    assert "Zone / Zone Settings / Read" in opened(api).edge().wrong[0]
    opened(api).ensure_record("demo", WWW)


@pytest.mark.parametrize("networks", [[], ["everything"], None, [1], ["2400:cb00::/32"]])
def test_a_senseless_list_of_proxies_is_an_error(
    api: CloudflareEmulator, networks: list[str]
) -> None:
    api.networks = networks
    with pytest.raises(ProviderError, match="makes no sense"):
        opened(api).edge()
