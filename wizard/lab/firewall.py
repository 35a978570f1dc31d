"""The native firewall as one nftables ruleset, replaced as a whole and at once.

What enters a machine passes the chain of its deployment and role, whether it comes from another
machine, from the build machine, from a visitor or from a service of the lab. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, collapse_addresses

from wizard.lab import addresses
from wizard.rules import Rule, SourceKind


@dataclass(frozen=True)
class Member:
    """A machine as the firewall sees it."""

    deployment: str
    role: str
    address: str
    interface: str


@dataclass(frozen=True)
class Policy:
    """A deployment's native firewall; not `enabled` lets everything in."""

    rules: tuple[Rule, ...] = ()
    enabled: bool = True


def _sources(rule: Rule, members: list[Member]) -> str | None:
    """Return the nft match of a rule's source; None when nobody is meant at present."""
    source = rule.source
    if source.kind is SourceKind.ANYONE:
        return ""
    if source.kind is SourceKind.BUILD_MACHINE:
        return f"ip saddr {addresses.BUILD_MACHINE} "
    if source.kind is SourceKind.NETWORKS:
        # the lab has no IPv6; nft refuses networks that overlap
        known = [IPv4Network(network) for network in source.networks if ":" not in network]
        listed = [str(network) for network in collapse_addresses(known)]
    else:
        listed = [member.address for member in members if member.role == source.role]
    return f"ip saddr {{ {', '.join(sorted(listed))} }} " if listed else None


def _chain(name: str, role: str, policy: Policy | None, members: list[Member]) -> str:
    peers = ", ".join(member.address for member in members)
    lines = [
        f"  chain {name} {{",
        # deployments share the lab as strangers share a cloud, but cannot even meet
        f"    ip saddr {addresses.machine_address(addresses.FIRST_MACHINE)}"
        f"-{addresses.machine_address(addresses.LAST_MACHINE)} ip saddr != {{ {peers} }} drop",
    ]
    if policy is not None and not policy.enabled:
        lines.append("    accept")
    elif policy is not None:
        for rule in policy.rules:
            source = _sources(rule, members)
            if rule.target == role and source is not None:
                lines.append(f"    {source}{rule.protocol} dport {rule.port} accept")
    return "\n".join([*lines, "    drop", "  }"])


def render(members: Iterable[Member], policies: dict[str, Policy]) -> str:
    """Return the input of `nft -f -` that makes the lab's firewall so; idempotent."""
    everyone = sorted(members, key=lambda member: member.address)
    chains, jumps, spoofs = [], [], []
    groups = sorted({(member.deployment, member.role) for member in everyone})
    for number, (deployment, role) in enumerate(groups):
        peers = [member for member in everyone if member.deployment == deployment]
        name = f"into{number}"
        chains.append(f"  # {deployment}, {role}")
        chains.append(_chain(name, role, policies.get(deployment), peers))
        jumps += [f"{member.address} : goto {name}" for member in peers if member.role == role]
    for member in everyone:
        spoofs.append(f'    iifname "{member.interface}" ip saddr != {member.address} drop')
    route = f"    ip daddr vmap {{ {', '.join(jumps)} }}" if jumps else ""
    return "\n".join(
        [
            "table inet lab",
            "delete table inet lab",
            "table inet lab {",
            *chains,
            "  chain into_machine {",
            "    ct state established,related accept",
            route,
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
            "  }",
            "  chain leaving {",
            "    type nat hook postrouting priority 100; policy accept;",
            '    oifname "tap0" masquerade',
            "  }",
            "}",
            "",
        ]
    )
