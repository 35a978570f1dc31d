"""Who may reach whom on which port: the one list that both firewall layers render.

`plan` computes the list; providers make it the cloud's firewall, the agent makes it ufw.
Everything not listed is closed. Machines talk to each other in their private network, which has
IPv4 alone: a role as a source means its private addresses, so over IPv6 nothing is open but what
anyone or a network of IPv6 may reach. Leaf module: standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """What a machine is for."""

    WEBSERVER = "webserver"
    DATABASE = "database"
    AUTOSCALER = "autoscaler"


class Rented(StrEnum):
    """What is rented beside machines and has an address of its own."""

    DATABASE = "managed database"


class SourceKind(StrEnum):
    """Where allowed traffic may come from."""

    ANYONE = "anyone"
    BUILD_MACHINE = "build-machine"
    ROLE = "role"
    NETWORKS = "networks"


@dataclass(frozen=True)
class Source:
    """A source of traffic: anyone, the build machine, all machines of a role, or fixed networks
    with what people call them."""

    kind: SourceKind
    role: Role | None = None
    networks: tuple[str, ...] = ()
    label: str = field(default="", compare=False)

    def __str__(self) -> str:
        if self.kind is SourceKind.ROLE:
            return f"{self.role}s"
        if self.kind is SourceKind.NETWORKS:
            return self.label or ", ".join(self.networks)
        return str(self.kind)


ANYONE = Source(SourceKind.ANYONE)
BUILD_MACHINE = Source(SourceKind.BUILD_MACHINE)


def from_role(role: Role) -> Source:
    """Return the source "all machines of this role in the deployment"."""
    return Source(SourceKind.ROLE, role=role)


def from_networks(*networks: str, label: str = "") -> Source:
    """Return fixed networks (CIDR) as a source, for example Cloudflare's ranges."""
    return Source(SourceKind.NETWORKS, networks=networks, label=label)


@dataclass(frozen=True)
class Rule:
    """Traffic let in to `target`, machines of a role or what is rented beside them: TCP to `port`
    from `source`; `why` for people."""

    target: Role | Rented
    port: int
    source: Source
    why: str
    protocol: str = "tcp"
