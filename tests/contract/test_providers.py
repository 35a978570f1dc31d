"""What every provider must do, tested through the protocol alone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from tests.emulators import openapi
from tests.emulators.aws import TOKEN as AWS_KEYS
from tests.emulators.aws import AwsEmulator
from tests.emulators.digitalocean import TOKEN, DigitalOceanEmulator
from wizard.errors import NotSupportedError, ProviderError, UsageError
from wizard.events import silent
from wizard.providers import registry
from wizard.providers.aws import AwsProvider
from wizard.providers.base import Account, DatabaseSpec, MachineSpec, Provider, ResourceKind, Size
from wizard.providers.digitalocean import DigitalOceanProvider
from wizard.rules import ANYONE, BUILD_MACHINE, Role, Rule
from wizard.secrets import Secret

os.environ.setdefault("BUILD_USB_BASE_TREE", "/var/tmp/build-usb-base")

RULES = (Rule(Role.WEBSERVER, 22, BUILD_MACHINE, "ssh"), Rule(Role.WEBSERVER, 443, ANYONE, "web"))
REGIONS = {"local": "here", "digitalocean": "fra1", "aws": "eu-central-1"}
PROVIDERS = [pytest.param("local", marks=pytest.mark.lab), "digitalocean", "aws"]


@contextmanager
def opened(name: str, lab_dir: Path) -> Iterator[Provider]:
    """Give a provider that has rented nothing yet; clouds are emulated."""
    if name == "local":
        yield registry.create(name, lab_dir=lab_dir)
        return
    if name == "aws":
        with AwsEmulator() as cloud:
            account = Account(Secret(AWS_KEYS), "eu-central-1", lambda: "198.51.100.7", cloud.url)
            yield AwsProvider(account, pause=lambda _seconds: None)
            assert cloud.violations == []
        return
    with DigitalOceanEmulator(openapi.document("digitalocean")) as api:
        account = Account(Secret(TOKEN), "fra1", lambda: "198.51.100.7", api.url)
        # the emulator's time passes with requests
        yield DigitalOceanProvider(account, pause=lambda _seconds: None)
        assert api.violations == []


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Provider]:
    with opened(request.param, tmp_path / "lab") as made:
        made.check()
        made.prepare(silent)
        yield made
        for name in ("first", "second"):
            for resource in made.resources(name):
                made.delete(resource)
        made.end_if_unused()


def spec(provider: Provider, deployment: str, name: str = "web1") -> MachineSpec:
    facts = provider.facts()
    network = provider.ensure_network(deployment)
    size = facts.default_size[Role.AUTOSCALER]
    return MachineSpec(
        deployment,
        name,
        Role.WEBSERVER,
        size,
        "debian-13",
        REGIONS[provider.name],
        network.id,
        Secret("#cloud-config\n{}\n"),
    )


@pytest.mark.parametrize("name", registry.names())
def test_facts_need_nothing_and_make_nothing(name: str, tmp_path: Path) -> None:
    with opened(name, tmp_path / "lab") as provider:
        facts = provider.facts()
    sizes = {size.name: size for size in facts.sizes}
    assert set(facts.default_size) == set(Role)
    assert set(facts.default_size.values()) <= set(sizes)
    assert all(size.memory >= 512 and size.vcpus >= 1 for size in facts.sizes)
    assert all(size.monthly_price >= Decimal(0) for size in facts.sizes)
    assert facts.regions
    assert facts.images
    assert not (tmp_path / "lab").exists()


def test_a_rehearsal_rents_no_database(tmp_path: Path) -> None:
    wanted = DatabaseSpec(
        "demo", "mysql", Size("s", 1, 1, 1, Decimal(0)), 3306, "here", "", (), Secret("x")
    )
    with opened("local", tmp_path / "lab") as provider:
        with pytest.raises(NotSupportedError) as caught:
            provider.ensure_database(wanted, silent)
        assert provider.facts().databases is None
    assert caught.value.where == "database.managed"


@pytest.mark.parametrize("name", ["hetzner", "nonsense"])
def test_what_does_not_work_is_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(NotSupportedError, match=name) as caught:
        registry.create(name, lab_dir=tmp_path)
    assert "local" in caught.value.cure


def test_a_cloud_without_credentials_says_where_they_go(tmp_path: Path) -> None:
    for name in set(registry.names()) - {"local"}:
        with pytest.raises(UsageError) as caught:
            registry.create(name, lab_dir=tmp_path)
        assert caught.value.where == "provider.credentials"
        made = registry.create(name, lab_dir=tmp_path, account=Account(Secret("a-token:b"), "fra1"))
        assert made.name == name
        assert "a-token" not in repr(made)


def test_nothing_exists_before_it_is_made(provider: Provider) -> None:
    assert provider.resources("first") == []
    assert provider.machines("first") == []


def test_ensuring_twice_makes_one(provider: Provider) -> None:
    wanted = spec(provider, "first")
    assert provider.ensure_network("first") == provider.ensure_network("first")
    provider.ensure_firewall("first", RULES, enabled=True)
    provider.ensure_firewall("first", RULES, enabled=True)
    with ThreadPoolExecutor(4) as pool:
        machines = list(pool.map(provider.ensure_machine, [wanted] * 4))
    assert len({machine.id for machine in machines}) == 1
    kinds = Counter(resource.kind for resource in provider.resources("first"))
    # how many firewalls there are is the provider's business
    assert kinds.pop(ResourceKind.FIREWALL) >= 1
    assert kinds == {ResourceKind.MACHINE: 1, ResourceKind.NETWORK: 1}
    assert [(m.name, m.state) for m in provider.machines("first")] == [("web1", "running")]


def test_deployments_do_not_see_each_other(provider: Provider) -> None:
    first = provider.ensure_machine(spec(provider, "first"))
    second = provider.ensure_machine(spec(provider, "second"))
    assert first.id != second.id
    assert first.private_address != second.private_address
    for resource in provider.resources("second"):
        provider.delete(resource)
    assert [machine.id for machine in provider.machines("first")] == [first.id]
    assert provider.resources("second") == []


def test_deleting_twice_is_no_error(provider: Provider) -> None:
    provider.ensure_network("second")
    machine = provider.ensure_machine(spec(provider, "first"))
    provider.snapshot(machine.id, "copy")
    for _ in range(2):
        for resource in provider.resources("first"):
            provider.delete(resource)
            provider.delete(resource)
    assert provider.resources("first") == []


def test_unknown_size_image_and_machine_are_refused(provider: Provider) -> None:
    wanted = spec(provider, "first")
    with pytest.raises(ProviderError, match="size"):
        provider.ensure_machine(replace(wanted, size="enormous"))
    with pytest.raises(ProviderError, match="image"):
        provider.ensure_machine(replace(wanted, image="plan9"))
    with pytest.raises(ProviderError, match="no machine"):
        provider.snapshot("m0-nothing", "copy")
    assert provider.machines("first") == []
