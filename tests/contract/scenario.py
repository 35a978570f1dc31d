"""A deployment at a cloud, as the engine makes it and takes it away; for each cloud's tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from wizard.errors import TransientError
from wizard.providers.base import MachineSpec, Provider, ResourceKind
from wizard.rules import ANYONE, BUILD_MACHINE, Role, Rule, from_role

T = TypeVar("T")
BUILDER = "198.51.100.7"
RULES = (
    Rule(Role.WEBSERVER, 1035, BUILD_MACHINE, "administration"),
    Rule(Role.WEBSERVER, 1035, from_role(Role.DATABASE), "SSH between the machines"),
    Rule(Role.WEBSERVER, 443, ANYONE, "the website"),
    Rule(Role.DATABASE, 1035, BUILD_MACHINE, "administration"),
    Rule(Role.DATABASE, 2035, from_role(Role.WEBSERVER), "the database"),
)


def make(provider: Provider, spec: Callable[..., MachineSpec]) -> None:
    """Make network, firewall, a webserver and a database machine; `spec` describes a machine, of a
    network, name and role."""
    network = provider.ensure_network("demo")
    provider.ensure_firewall("demo", RULES, enabled=True)
    for name, role in (("web1", Role.WEBSERVER), ("db1", Role.DATABASE)):
        provider.ensure_machine(spec(network.id, name, role=role))


def persist(act: Callable[[], T]) -> T:
    """Do it as the engine does: again after every error that may pass."""
    for _ in range(30):
        try:
            return act()
        except TransientError:
            continue
    raise AssertionError("it never succeeds")


def destroy(provider: Provider) -> None:
    """Take all of it away, each kind after those that use it."""
    found = persist(lambda: provider.resources("demo"))
    for kind in ResourceKind:
        for resource in [r for r in found if r.kind is kind]:
            persist(lambda resource=resource: provider.delete(resource))  # type: ignore[misc]
