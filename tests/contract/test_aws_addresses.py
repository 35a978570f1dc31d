"""A webserver's address at Amazon that survives its instance."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract import at_aws
from tests.contract.at_aws import opened, spec
from tests.contract.scenario import destroy, persist
from tests.emulators.aws import AwsEmulator
from wizard.errors import ProviderError
from wizard.providers.aws import AwsProvider
from wizard.providers.base import Resource, ResourceKind
from wizard.rules import Role


@pytest.fixture
def api() -> Iterator[AwsEmulator]:
    with at_aws.account() as emulator:
        yield emulator


@pytest.fixture
def provider(api: AwsEmulator) -> AwsProvider:
    return opened(api, reserved=True)


def kept(api: AwsEmulator) -> list[str]:
    return sorted(address.public_ip for address in api.ec2().addresses)


def test_the_webserver_made_anew_has_the_address_of_before(
    api: AwsEmulator, provider: AwsProvider
) -> None:
    network = provider.ensure_network("demo").id
    web = provider.ensure_machine(spec(network))
    database = provider.ensure_machine(spec(network, "db1", role=Role.DATABASE))
    assert kept(api) == [web.public_address]
    assert database.public_address not in kept(api)
    assert web.access_address == web.public_address
    assert provider.ensure_machine(spec(network)).public_address == web.public_address
    provider.delete(Resource(ResourceKind.MACHINE, web.id, "web1", "demo"))
    assert kept(api) == [web.public_address]
    again = provider.ensure_machine(spec(network))
    assert again.id != web.id
    assert again.public_address == web.public_address
    assert len(api.calls("ec2:AllocateAddress")) == 1
    destroy(provider)
    assert kept(api) == []
    assert api.left() == {}


@pytest.mark.parametrize("what", ["AllocateAddress", "AssociateAddress"])
def test_a_lost_answer_leaves_one_address(
    api: AwsEmulator, provider: AwsProvider, what: str
) -> None:
    network = provider.ensure_network("demo").id
    api.fail(f"ec2:{what}", "lost")
    made = persist(lambda: provider.ensure_machine(spec(network)))
    assert kept(api) == [made.public_address]
    api.fail("ec2:ReleaseAddress", "lost")
    destroy(provider)
    assert kept(api) == []


def test_a_surplus_address_is_given_back(api: AwsEmulator, provider: AwsProvider) -> None:
    network = provider.ensure_network("demo").id
    made = provider.ensure_machine(spec(network))
    provider._addresses._allocate("demo", "web1")
    provider._addresses._allocate("other", "web1")
    provider.ensure_machine(spec(network))
    assert len(kept(api)) == 2
    assert made.public_address in kept(api)
    assert [r.kind for r in provider.resources("other")] == [ResourceKind.ADDRESS]


def test_who_keeps_none_needs_no_right_to_look(api: AwsEmulator, provider: AwsProvider) -> None:
    api.denied = {"ec2:DescribeAddresses"}
    assert opened(api).resources("demo") == []
    with pytest.raises(ProviderError) as caught:
        provider.resources("demo")
    assert "ec2:DescribeAddresses" in caught.value.cure
