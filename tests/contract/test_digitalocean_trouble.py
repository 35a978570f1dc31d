"""What goes wrong at DigitalOcean: lost answers, refusals, what is there twice, missing scopes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.contract import accounts
from tests.contract.accounts import opened_account as opened
from tests.contract.at_digitalocean import deploy, left, spec
from tests.contract.scenario import RULES, destroy, persist
from tests.emulators.digitalocean import TOKEN, DigitalOceanEmulator
from tests.emulators.digitalocean_values import error, refuse
from tests.emulators.server import Reply
from wizard.errors import ProviderError, TransientError
from wizard.events import silent
from wizard.providers.base import (
    ResourceKind,
)
from wizard.providers.digitalocean import DigitalOceanProvider
from wizard.secrets import Secret


@pytest.fixture
def api() -> Iterator[DigitalOceanEmulator]:
    with accounts.digitalocean() as emulator:
        yield emulator


@pytest.fixture
def provider(api: DigitalOceanEmulator) -> DigitalOceanProvider:
    return opened(api)


@pytest.mark.parametrize("path", ["vpcs", "tags", "firewalls", "droplets", "account/keys"])
@pytest.mark.parametrize("kind", ["lost", "truncated"])
def test_a_lost_answer_to_a_create_makes_one(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider, path: str, kind: str
) -> None:
    deploy(provider)
    wanted = left(api)
    destroy(provider)
    assert left(api) == {}
    api.fail(f"POST /v2/{path}$", kind)
    persist(lambda: deploy(provider))
    assert api.faults[-1].times == 0
    assert left(api) == wanted


def test_a_lost_answer_to_a_snapshot_makes_one(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    deploy(provider)
    web = provider.machines("demo")[0]
    api.fail("POST .*/actions$", "lost")
    for _ in range(20):
        try:
            provider.snapshot(web.id, "copy")
            break
        except TransientError:
            # the engine waits; here the droplet's event goes on when it is asked for
            for action in api.actions.values():
                api._proceed(action)
    assert len(api.snapshots) == 1


def test_a_machine_made_twice_is_made_one(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    """The answer to a create is lost, and the list does not show the droplet yet."""
    network = provider.ensure_network("demo").id
    api.fail("POST /v2/droplets$", "lost")
    with pytest.raises(TransientError):
        provider.ensure_machine(spec(network))
    empty = {"droplets": [], "links": {}, "meta": {"total": 0}}
    api.fail("GET /v2/droplets$", reply=Reply(200, empty))
    provider.ensure_machine(spec(network))
    assert len(api.droplets) == 2
    machine = provider.ensure_machine(spec(network))
    assert list(api.droplets) == [int(machine.id)]


PATHS = ["droplets/.*", "firewalls/.*", "vpcs/.*", "tags/.*", "account/keys/.*", "snapshots/.*"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("status", [404, 409, 429, 500, 503, "lost", "html", "truncated"])
def test_every_delete_survives_what_the_api_says(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider, path: str, status: int | str
) -> None:
    deploy(provider)
    provider.snapshot(provider.machines("demo")[0].id, "copy")
    if isinstance(status, str):
        api.fail(f"DELETE /v2/{path}", status)
    else:
        api.fail(f"DELETE /v2/{path}", reply=error(status, "scripted", "not now"))
    # an answer that makes no sense ends the run; one that says that it is gone, though it is not,
    # does not: both are put right by the next run
    with contextlib.suppress(ProviderError):
        destroy(provider)
    destroy(provider)
    assert left(api) == {}
    assert provider.resources("demo") == []


def test_deletes_come_in_the_order_of_what_uses_what(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    deploy(provider)
    provider.snapshot(provider.machines("demo")[0].id, "copy")
    destroy(provider)
    kinds = [request.path.split("/")[2] for request in api.calls("^DELETE")]
    order = ["droplets", "snapshots", "firewalls", "tags", "account", "vpcs"]
    assert list(dict.fromkeys(kinds)) == order


def test_a_network_with_members_is_asked_again(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    deploy(provider)
    network = next(r for r in provider.resources("demo") if r.kind is ResourceKind.NETWORK)
    with pytest.raises(TransientError, match="members"):
        provider.delete(network)


def test_tags_that_are_left_alone_are_still_found(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    provider.ensure_firewall("demo", RULES, enabled=True)
    provider.ensure_firewall("other", RULES, enabled=True)
    destroy(provider)
    assert {tag.split(":")[1] for tag in api.tags} == {"other"}
    assert len(api.firewalls) == 3


def test_names_that_begin_alike_are_told_apart(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    for name in ("demo", "demo-2", "demo2"):
        provider.ensure_firewall(name, RULES, enabled=True)
        network = provider.ensure_network(name).id
        provider.ensure_machine(spec(network, deployment=name, authorized_key=""))
    destroy(provider)
    assert provider.resources("demo") == []
    assert len(api.droplets) == len(api.vpcs) == 2
    assert len(api.firewalls) == 6


def test_missing_scopes_are_named_all_at_once(api: DigitalOceanEmulator) -> None:
    api.tokens[TOKEN] = frozenset({"droplet:read", "tag:read", "vpc:read", "snapshot:read"})
    with pytest.raises(ProviderError) as caught:
        opened(api).prepare(silent)
    assert "firewall:read, ssh_key:read" in caught.value.why
    assert "droplet:create" in caught.value.cure
    api.tokens[TOKEN] = None
    opened(api).prepare(silent)


@pytest.mark.parametrize(
    ("scope", "act"),
    [
        ("vpc:create", lambda p: p.ensure_network("demo")),
        ("tag:create", lambda p: p.ensure_firewall("demo", RULES, enabled=True)),
        ("firewall:create", lambda p: p.ensure_firewall("demo", RULES, enabled=True)),
        ("sizes:read", lambda p: p.facts()),
    ],
)
def test_a_missing_scope_is_named_when_it_is_needed(
    api: DigitalOceanEmulator, scope: str, act: Callable[[DigitalOceanProvider], object]
) -> None:
    kinds = ("droplet", "vpc", "firewall", "tag", "snapshot", "ssh_key", "regions", "sizes")
    everything = {f"{kind}:{verb}" for kind in kinds for verb in ("read", "create", "update")}
    api.tokens[TOKEN] = frozenset(everything | {"image:read"}) - {scope}
    with pytest.raises(ProviderError) as caught:
        act(opened(api))
    assert scope in caught.value.cure
    assert caught.value.where == "provider.credentials"


def test_errors_keep_code_request_and_what_to_do(api: DigitalOceanEmulator) -> None:
    with pytest.raises(ProviderError) as caught:
        opened(api, token=Secret("dop_v1_unknown")).prepare(silent)
    assert caught.value.code == "unauthorized"
    assert caught.value.request_id in caught.value.why
    assert "valid API token" in caught.value.cure
    assert "dop_v1_unknown" not in str(caught.value)
    too_many = error(429, "too_many_requests", "API Rate limit exceeded.")
    too_many.headers |= {"retry-after": "17"}
    api.fail("GET /v2/sizes", reply=too_many)
    with pytest.raises(TransientError) as passing:
        opened(api).facts()
    assert "17 seconds" in passing.value.cure
    api.fail("POST /v2/vpcs", reply=refuse("no more VPCs for you"))
    with pytest.raises(ProviderError, match="no more VPCs for you") as caught:
        opened(api).ensure_network("demo")
    assert not isinstance(caught.value, TransientError)
