"""The native firewall as one nftables ruleset, replaced as a whole and at once.

What enters a machine passes the chain of its deployment and role, whether it comes from another
machine, from the build machine, from a visitor or from a service of the lab. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import collapse_addresses, ip_network
from typing import Any

from wizard.lab import addresses
from wizard.rules import Rule, SourceKind


@dataclass(frozen=True)
class Member:
    """A machine as the firewall sees it; `ipv6` is its other address, or empty."""

    deployment: str
    role: str
    address: str
    interface: str
    ipv6: str = ""


@dataclass(frozen=True)
class Policy:
    """A deployment's native firewall; not `enabled` lets everything in."""

    rules: tuple[Rule, ...] = ()
    enabled: bool = True


def _sources(rule: Rule, members: list[Member]) -> list[str]:
    """Return the nft matches of a rule's source; none when nobody is meant at present."""
    source = rule.source
    if source.kind is SourceKind.ANYONE:
        return [""]
    if source.kind is SourceKind.BUILD_MACHINE:
        return [f"ip saddr {addresses.BUILD_MACHINE} "]
    if source.kind is SourceKind.NETWORKS:
        return [match for version in (4, 6) for match in _networks(source.networks, version)]
    listed = [member.address for member in members if member.role == source.role]
    return [f"ip saddr {{ {', '.join(sorted(listed))} }} "] if listed else []


def _networks(networks: tuple[str, ...], version: int) -> list[str]:
    known: Any = [one for one in map(ip_network, networks) if one.version == version]
    # nft refuses networks that overlap
    listed = [str(network) for network in collapse_addresses(known)]
    family = "ip" if version == 4 else "ip6"
    return [f"{family} saddr {{ {', '.join(sorted(listed))} }} "] if listed else []


def _chain(name: str, role: str, policy: Policy | None, members: list[Member]) -> str:
    # deployments share the lab as strangers share a cloud, but cannot even meet
    first = addresses.machine_address(addresses.FIRST_MACHINE)
    last = addresses.machine_address(addresses.LAST_MACHINE)
    first6, last6 = addresses.ipv6_of(first), addresses.ipv6_of(last)
    peers = ", ".join(member.address for member in members)
    # who has no such address is not in a set that must not be empty
    peers6 = ", ".join([addresses.ipv6_of(addresses.ROUTER), *(m.ipv6 for m in members if m.ipv6)])
    lines = [
        f"  chain {name} {{",
        f"    ip saddr {first}-{last} ip saddr != {{ {peers} }} drop",
        f"    ip6 saddr {first6}-{last6} ip6 saddr != {{ {peers6} }} drop",
    ]
    if policy is not None and not policy.enabled:
        lines.append("    accept")
    elif policy is not None:
        for rule in policy.rules:
            if rule.target == role:
                lines += [
                    f"    {source}{rule.protocol} dport {rule.port} accept"
                    for source in _sources(rule, members)
                ]
    return "\n".join([*lines, "    drop", "  }"])


def render(members: Iterable[Member], policies: dict[str, Policy]) -> str:
    """Return the input of `nft -f -` that makes the lab's firewall so; idempotent."""
    everyone = sorted(members, key=lambda member: member.address)
    chains, jumps, jumps6, spoofs = [], [], [], []
    groups = sorted({(member.deployment, member.role) for member in everyone})
    for number, (deployment, role) in enumerate(groups):
        peers = [member for member in everyone if member.deployment == deployment]
        name = f"into{number}"
        chains.append(f"  # {deployment}, {role}")
        chains.append(_chain(name, role, policies.get(deployment), peers))
        own = [member for member in peers if member.role == role]
        jumps += [f"{member.address} : goto {name}" for member in own]
        jumps6 += [f"{member.ipv6} : goto {name}" for member in own if member.ipv6]
    for member in everyone:
        spoofs.append(f'    iifname "{member.interface}" ip saddr != {member.address} drop')
        known = ", ".join(filter(None, ("fe80::/10", "::", member.ipv6)))
        spoofs.append(f'    iifname "{member.interface}" ip6 saddr != {{ {known} }} drop')
    route = f"    ip daddr vmap {{ {', '.join(jumps)} }}" if jumps else ""
    route6 = f"    ip6 daddr vmap {{ {', '.join(jumps6)} }}" if jumps6 else ""
    neighbours = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"
    return "\n".join(
        [
            "table inet lab",
            "delete table inet lab",
            "table inet lab {",
            *chains,
            "  chain into_machine {",
            "    ct state established,related accept",
            f"    {neighbours}",
            route,
            route6,
            "    drop",
            "  }",
            "  chain forwarded {",
            "    type filter hook forward priority 0; policy drop;",
            *spoofs,
            '    iifname "ve-*" oifname "tap0" accept',
            '    iifname "tap0" ct state established,related accept',
            '    oifname "ve-*" goto into_machine',
            "  }",
            "  chain own {",
            "    type filter hook output priority 0; policy accept;",
            '    oifname "ve-*" goto into_machine',
            "  }",
            "  chain to_services {",
            "    type filter hook input priority 0; policy accept;",
            *spoofs,
            "    ct state established,related accept",
            '    iifname "tap0" drop',
            f'    iifname "ve-*" ip daddr != {{ {addresses.ROUTER}, {addresses.SERVICES} }} drop',
            f"    {neighbours}",
            '    iifname "ve-*" meta nfproto ipv6 drop',
            "  }",
            "  chain leaving {",
            "    type nat hook postrouting priority 100; policy accept;",
            '    oifname "tap0" masquerade',
            "  }",
            "}",
            "",
        ]
    )
