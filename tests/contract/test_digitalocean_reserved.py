"""Addresses that outlive droplets, at DigitalOcean, and the project that holds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract import accounts
from tests.emulators.digitalocean import TOKEN, DigitalOceanEmulator
from tests.emulators.server import Reply
from wizard.errors import ProviderError, TransientError
from wizard.events import silent
from wizard.providers.base import Machine, MachineSpec, ResourceKind
from wizard.providers.digitalocean import DigitalOceanProvider
from wizard.rules import Role
from wizard.secrets import Secret


@pytest.fixture
def api() -> Iterator[DigitalOceanEmulator]:
    with accounts.digitalocean() as emulator:
        yield emulator


def opened(api: DigitalOceanEmulator, *, reserved: bool = True) -> DigitalOceanProvider:
    return accounts.opened_account(api, reserved=reserved)


@pytest.fixture
def provider(api: DigitalOceanEmulator) -> DigitalOceanProvider:
    return opened(api)


def made(
    provider: DigitalOceanProvider, deployment: str = "demo", role: str = "webserver"
) -> Machine:
    network = provider.ensure_network(deployment)
    data = Secret("#cloud-config\n{}\n")
    spec = MachineSpec(
        deployment, f"{role}1", Role(role), "s-1vcpu-1gb", "debian-13", "fra1", network.id, data
    )
    return provider.ensure_machine(spec)


def destroy(provider: DigitalOceanProvider, deployment: str = "demo") -> None:
    for kind in ResourceKind:
        for resource in provider.resources(deployment):
            if resource.kind is kind:
                provider.delete(resource)


def test_an_address_survives_its_droplet(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    first = made(provider)
    (address,) = api.reserved
    assert (first.public_address, first.access_address) == (address, address)
    assert made(provider) == first
    api.droplets.clear()  # somebody deletes it by hand
    second = made(provider)
    assert second.id != first.id
    assert second.public_address == address
    assert list(api.reserved) == [address]


def test_only_webservers_have_one_and_all_of_it_goes(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    made(provider, role="database")
    assert (api.reserved, api.projects) == ({}, {})
    made(provider)
    kinds = {resource.kind for resource in provider.resources("demo")}
    assert ResourceKind.ADDRESS in kinds
    # by answers that ask for none any more as well
    destroy(opened(api, reserved=False))
    assert (api.reserved, api.projects, api.droplets) == ({}, {}, {})
    assert provider.resources("demo") == []


def test_deployments_do_not_take_each_others(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    first, second = made(provider), made(provider, "second")
    assert first.public_address != second.public_address
    destroy(provider)
    assert list(api.reserved) == [second.public_address]
    api.droplets.clear()
    assert made(provider).public_address != second.public_address


@pytest.mark.parametrize("match", ["projects", "reserved_ips", "reserved_ips/.*/actions"])
@pytest.mark.parametrize("kind", ["lost", "truncated", "html"])
def test_a_lost_answer_leaves_one_address(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider, match: str, kind: str
) -> None:
    api.fail(f"POST /v2/{match}$", kind)
    with pytest.raises(ProviderError):
        made(provider)
    if "actions" in match:
        with pytest.raises(TransientError, match="give webserver1"):
            made(provider)  # the assignment is under way
    assert made(provider).public_address in api.reserved
    assert (len(api.reserved), len(api.projects)) == (1, 1)


def test_what_nobody_uses_is_given_back(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    address = made(provider).public_address
    api.reserved["198.51.100.254"] = {**api.reserved[address], "ip": "198.51.100.254"} | {
        "droplet": None,
        "_droplet": None,
    }
    assert made(provider).public_address == address
    assert list(api.reserved) == [address]


def test_another_project_of_that_name_is_refused(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    api.projects["p"] = {"id": "p", "name": "build-usb.demo", "description": "mine"}
    with pytest.raises(ProviderError, match="not this deployment's"):
        made(provider)
    assert api.reserved == {}


def test_missing_scopes_are_named_and_only_where_they_are_needed(
    api: DigitalOceanEmulator,
) -> None:
    kinds = (
        "droplet",
        "vpc",
        "firewall",
        "tag",
        "snapshot",
        "ssh_key",
        "spaces_key",
        "project",
        "domain",
        "image",
    )
    verbs = ("read", "create", "update", "delete")
    few = {f"{kind}:{verb}" for kind in kinds for verb in verbs}
    api.tokens[TOKEN] = frozenset({*few, "regions:read", "sizes:read", "actions:read"})
    with pytest.raises(ProviderError) as error:
        opened(api).prepare(silent)
    assert "reserved_ip:read" in error.value.why
    assert "reserved_ip:update" in error.value.cure
    lacking = opened(api).standing(silent).lacking
    assert {"reserved_ip:update", "reserved_ip:delete"} <= set(lacking)
    plain = opened(api, reserved=False)
    plain.prepare(silent)
    assert made(plain).public_address not in api.reserved
    destroy(plain)
    assert plain.resources("demo") == []


@pytest.mark.parametrize(
    "body", [{}, {"reserved_ip": None}, {"reserved_ip": {}}, {"reserved_ip": {"ip": 7}}, [], "x"]
)
def test_senseless_answers_are_a_clear_error(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider, body: Any
) -> None:
    api.fail("POST /v2/reserved_ips$", reply=Reply(202, body))
    with pytest.raises(ProviderError, match="makes no sense"):
        made(provider)


@pytest.mark.parametrize("status", [404, 409, 429, 500])
def test_a_delete_survives_what_the_api_says(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider, status: int
) -> None:
    made(provider)
    reply = Reply(status, {"id": "error", "message": "not now"})
    api.fail("DELETE /v2/reserved_ips/", reply=reply)
    (address,) = [r for r in provider.resources("demo") if r.kind is ResourceKind.ADDRESS]
    if status == 404:
        provider.delete(address)
    else:
        with pytest.raises(TransientError):
            provider.delete(address)
    destroy(provider)
    assert (api.reserved, api.projects) == ({}, {})
