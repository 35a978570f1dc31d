"""What every provider must do, tested through the protocol alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from wizard.errors import NotSupportedError, ProviderError
from wizard.events import silent
from wizard.providers import registry
from wizard.providers.base import MachineSpec, Provider, ResourceKind
from wizard.rules import ANYONE, BUILD_MACHINE, Role, Rule
from wizard.secrets import Secret

os.environ.setdefault("BUILD_USB_BASE_TREE", "/var/tmp/build-usb-base")

RULES = (Rule(Role.WEBSERVER, 22, BUILD_MACHINE, "ssh"), Rule(Role.WEBSERVER, 443, ANYONE, "web"))
NEEDS_MACHINES = [pytest.param("local", marks=pytest.mark.lab)]


@pytest.fixture(params=NEEDS_MACHINES)
def provider(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Provider]:
    made = registry.create(request.param, lab_dir=tmp_path / "lab")
    made.prepare(silent)
    yield made
    for name in ("first", "second"):
        for resource in made.resources(name):
            made.delete(resource)
    if request.param == "local":
        made.end_if_unused()  # type: ignore[attr-defined]


def spec(provider: Provider, deployment: str, name: str = "web1") -> MachineSpec:
    facts = provider.facts()
    network = provider.ensure_network(deployment)
    size = facts.default_size[Role.AUTOSCALER]
    return MachineSpec(
        deployment,
        name,
        Role.WEBSERVER,
        size,
        facts.images[0],
        facts.regions[0],
        network.id,
        Secret("#cloud-config\n{}\n"),
    )


@pytest.mark.parametrize("name", registry.names())
def test_facts_need_nothing_and_make_nothing(name: str, tmp_path: Path) -> None:
    facts = registry.create(name, lab_dir=tmp_path / "lab").facts()
    sizes = {size.name: size for size in facts.sizes}
    assert set(facts.default_size) == set(Role)
    assert set(facts.default_size.values()) <= set(sizes)
    assert all(size.memory >= 512 and size.vcpus >= 1 for size in facts.sizes)
    assert all(size.monthly_price >= Decimal(0) for size in facts.sizes)
    assert facts.regions
    assert facts.images
    assert not (tmp_path / "lab").exists()


@pytest.mark.parametrize("name", ["aws", "hetzner", "nonsense"])
def test_what_does_not_work_is_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(NotSupportedError, match=name) as caught:
        registry.create(name, lab_dir=tmp_path)
    assert "local" in caught.value.cure


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
    kinds = sorted(resource.kind for resource in provider.resources("first"))
    assert kinds == sorted([ResourceKind.MACHINE, ResourceKind.FIREWALL, ResourceKind.NETWORK])
    assert [machine.name for machine in provider.machines("first")] == ["web1"]


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
