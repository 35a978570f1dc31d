"""Answers of DigitalOcean's API that make no sense: a clear error each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract import accounts
from tests.contract.accounts import opened_account as opened
from tests.contract.at_digitalocean import deploy, spec
from tests.emulators.digitalocean import TOKEN, DigitalOceanEmulator
from tests.emulators.server import Reply
from wizard.errors import ProviderError, TransientError
from wizard.providers.digitalocean import DigitalOceanProvider


@pytest.fixture
def api() -> Iterator[DigitalOceanEmulator]:
    with accounts.digitalocean() as emulator:
        yield emulator


@pytest.fixture
def provider(api: DigitalOceanEmulator) -> DigitalOceanProvider:
    return opened(api)


BROKEN: list[Any] = [
    [],
    "text",
    None,
    {},
    {"sizes": None},
    {"sizes": [1]},
    {"sizes": [{"slug": "x", "available": True, "regions": ["fra1"]}]},
    {"sizes": [], "links": {"pages": "?"}},
]
SIZE = {"slug": "x", "available": True, "regions": ["fra1"], "vcpus": 1, "memory": 1024, "disk": 9}
ABSURD = [1e300, -5, float("nan"), "free", None]


@pytest.mark.parametrize(
    "body", [*BROKEN, *({"sizes": [SIZE | {"price_monthly": price}]} for price in ABSURD)]
)
def test_senseless_facts_are_a_clear_error(api: DigitalOceanEmulator, body: Any) -> None:
    api.fail("GET /v2/sizes", reply=Reply(200, body))
    with pytest.raises(ProviderError) as caught:
        opened(api).facts()
    assert caught.value.cure


@pytest.mark.parametrize("status", [200, 403, 500])
def test_an_answer_too_deep_to_read_is_a_clear_error(
    api: DigitalOceanEmulator, status: int
) -> None:
    api.fail("GET /v2/sizes", reply=Reply(status, b'{"a":' * 200_000))
    with pytest.raises(ProviderError) as caught:
        opened(api).facts()
    assert caught.value.cure


def test_a_key_without_a_number_is_a_clear_error(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    network = provider.ensure_network("demo")
    strange = {"ssh_key": {"id": "one", "name": "build-usb.demo"}}
    api.fail("POST /v2/account/keys", reply=Reply(201, strange))
    with pytest.raises(ProviderError, match="makes no sense"):
        provider.ensure_machine(spec(network.id))


def test_unknown_fields_are_no_matter(api: DigitalOceanEmulator) -> None:
    more = SIZE | {"price_monthly": 7, "surprise": {"a": [1]}}
    api.fail("GET /v2/sizes", reply=Reply(200, {"sizes": [more], "novelty": 1}))
    assert [size.name for size in opened(api).facts().sizes] == ["x"]


@pytest.mark.parametrize(
    "droplet",
    [
        {},
        {"id": 1},
        {"id": 1, "name": "web1", "tags": ["build-usb:demo"]},
        {"id": 1, "name": "web1", "tags": ["build-usb:demo", "build-usb:demo:webserver"]},
        {
            "id": 1,
            "name": "web1",
            "tags": ["build-usb:demo", "build-usb:demo:webserver"],
            "networks": {"v4": [{"type": "public", "ip_address": "999.1.1.1"}]},
        },
    ],
)
def test_senseless_droplets_are_a_clear_error(
    api: DigitalOceanEmulator, droplet: dict[str, Any]
) -> None:
    api.fail("GET /v2/droplets", reply=Reply(200, {"droplets": [droplet]}))
    with pytest.raises(ProviderError) as caught:
        opened(api).machines("demo")
    assert caught.value.cure


@pytest.mark.parametrize("kind", ["html", "truncated"])
@pytest.mark.parametrize("match", ["GET /v2/droplets", "GET /v2/tags", "GET /v2/vpcs"])
def test_a_broken_answer_is_a_clear_error(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider, match: str, kind: str
) -> None:
    api.fail(match, kind)
    with pytest.raises(ProviderError) as caught:
        deploy(provider)
    assert caught.value.cure
    deploy(provider)
    assert len(api.droplets) == 2


def test_a_list_that_never_ends_is_an_error(
    api: DigitalOceanEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wizard.providers.digitalocean_api._MOST_PAGES", 5)
    forever = {"droplets": [], "links": {"pages": {"next": "http://192.0.2.1/v2/droplets?page=2"}}}
    api.fail("GET /v2/droplets", reply=Reply(200, forever), times=100)
    with pytest.raises(ProviderError, match="makes no sense"):
        opened(api).machines("demo")
    # the address in the answer was never asked
    assert len(api.calls("GET /v2/droplets")) == 5


def test_an_action_that_fails_is_said(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    deploy(provider)
    api.fail("GET /v2/actions/", reply=Reply(200, {"action": {"id": 1, "status": "errored"}}))
    with pytest.raises(ProviderError, match="failed to"):
        provider.snapshot(provider.machines("demo")[0].id, "copy")


def test_a_droplet_that_never_wakes_is_transient(
    api: DigitalOceanEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.steps = 10_000
    monkeypatch.setattr("wizard.providers.digitalocean_droplets._BIRTH", 0.2)
    provider = opened(api)
    network = provider.ensure_network("demo").id
    with pytest.raises(TransientError, match="takes longer"):
        provider.ensure_machine(spec(network))


def test_settings_of_this_computer_are_not_used(
    api: DigitalOceanEmulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login poison password poison\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("DIGITALOCEAN_END_POINT", "http://127.0.0.1:9/v2/")
    monkeypatch.setenv("DIGITALOCEAN_ACCESS_TOKEN", "poison")
    opened(api).ensure_network("demo")
    assert {r.headers["authorization"] for r in api.requests} == {f"Bearer {TOKEN}"}
