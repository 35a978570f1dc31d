"""What DigitalOcean's API says and wants, as the provider's values and back. Asks no one.

Nothing that the API says is taken on trust: what is not as promised is a ProviderError.
"""

from __future__ import annotations

import ipaddress
import math
from decimal import Decimal
from typing import Any

from wizard.errors import ProviderError
from wizard.providers.base import Machine, ProviderFacts, Size
from wizard.providers.digitalocean_api import Api
from wizard.rules import Role, Rule, SourceKind

# name in answers -> slug
_SLUGS = {
    "debian-12": "debian-12-x64",
    "debian-13": "debian-13-x64",
    "ubuntu-24.04": "ubuntu-24-04-x64",
}
_STATES = {"new": "starting", "active": "running", "off": "stopped"}
# memory (MiB) that a role needs to run well; the cheapest size that has it is its default
_MEMORY = {Role.WEBSERVER: 2048, Role.DATABASE: 2048, Role.AUTOSCALER: 1024}
_LEAST_MEMORY = 512
NO_ID = "00000000-0000-0000-0000-000000000000"
"""The id of nothing, for what is asked only to hear whether it may be asked."""

_HIGHEST_PRICE = 100_000  # a month; what is beyond is a mistake
# https://www.digitalocean.com/pricing/spaces-object-storage, read 2026-11: a subscription for all
# buckets of an account, 250 GiB; not in the API
_SPACES_PRICE = Decimal(5)
# of a GiB that a snapshot of a Droplet holds; not in the API either
_SNAPSHOT_PRICE = Decimal("0.06")
_ANYWHERE = ("0.0.0.0/0", "::/0")
_ALL_PORTS = "0"


# -- names -----------------------------------------------------------------------------------------


def name_of(deployment: str, *parts: str) -> str:
    """Return the name of something of the deployment that cannot be tagged."""
    return ".".join(("build-usb", deployment, *parts))


def tag_of(deployment: str, role: Role | None = None) -> str:
    """Return the tag of all machines of a deployment, or of those of one role."""
    return ":".join(("build-usb", deployment, *([role.value] if role else [])))


def mark_of(deployment: str) -> str:
    """Return the description that marks a VPC as the deployment's."""
    return f"build-usb deployment={deployment}"


def deployment_of(droplet: dict[str, Any]) -> str | None:
    """Return the deployment a droplet is tagged with, None if it is not ours."""
    for tag in texts(droplet.get("tags")):
        parts = tag.split(":")
        if len(parts) == 2 and parts[0] == "build-usb":
            return parts[1]
    return None


# -- what the API says -----------------------------------------------------------------------------


def inner(
    api: Api, answer: dict[str, Any], key: str, doing: str, *, named: bool = True
) -> dict[str, Any]:
    """Return the object called `key` in an answer; it has an id, and a name if `named`."""
    item = answer.get(key)
    return identified(api, [item] if isinstance(item, dict) else [{}], doing, named=named)[0]


def identified(
    api: Api, items: list[dict[str, Any]], doing: str, *, named: bool = True
) -> list[dict[str, Any]]:
    """Return the items, every one of which has an id, and a name if `named`."""
    for item in items:
        if not isinstance(item.get("id"), int | str) or item["id"] == "":
            raise api.senseless(doing, "something without an id")
        if named and not isinstance(item.get("name"), str):
            raise api.senseless(doing, "something without a name")
    return items


def ours(
    api: Api, items: list[dict[str, Any]], deployment: str, doing: str
) -> list[dict[str, Any]]:
    """Return the items that are named as the deployment's."""
    own = name_of(deployment)
    return [
        item
        for item in identified(api, items, doing)
        if item["name"] == own or item["name"].startswith(f"{own}.")
    ]


def age(item: dict[str, Any]) -> tuple[int, str]:
    """Return what sorts things by their ids, numbers by how big they are."""
    return len(str(item["id"])), str(item["id"])


def texts(value: Any) -> tuple[str, ...]:
    """Return the texts in what is to be a list of them."""
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def number_of(api: Api, item: dict[str, Any], doing: str) -> int:
    """Return the id of something that has a number."""
    if not str(item["id"]).isdecimal():
        raise api.senseless(doing, f"{item['id']!r} where a number belongs")
    return int(item["id"])


def machine(api: Api, deployment: str, droplet: dict[str, Any]) -> Machine:
    """Return a droplet as a machine; its addresses are empty until it has them."""
    doing = f"ask for {droplet.get('name')}"
    tags = texts(droplet.get("tags"))
    role = next((role for role in Role if tag_of(deployment, role) in tags), None)
    if role is None:
        raise ProviderError(
            f"the droplet {droplet.get('name')} carries no tag of a role",
            where=str(droplet.get("id")),
            why=f"its tags are {', '.join(map(str, tags)) or 'none'}",
            cure=f"give it back its tag, such as {tag_of(deployment, Role.WEBSERVER)}",
        )
    addresses = {"private": "", "public": ""}
    ipv6 = ""
    try:
        for network in droplet["networks"]["v4"]:
            addresses[network["type"]] = str(ipaddress.IPv4Address(network["ip_address"]))
        for network in droplet["networks"].get("v6") or ():
            if network["type"] == "public":
                ipv6 = str(ipaddress.IPv6Address(network["ip_address"]))
    except (KeyError, TypeError, ValueError) as error:
        raise api.senseless(doing, f"its networks: {error}") from error
    return Machine(
        id=str(droplet["id"]),
        name=str(droplet["name"]),
        role=role,
        state=_STATES.get(str(droplet.get("status")), str(droplet.get("status"))),
        private_address=addresses["private"],
        public_address=addresses["public"],
        access_address=addresses["public"],
        ipv6=ipv6,
    )


def network_of(api: Api, vpc: dict[str, Any]) -> str:
    """Return a VPC's network (CIDR)."""
    try:
        return str(ipaddress.IPv4Network(vpc["ip_range"]))
    except (KeyError, ValueError) as error:
        raise api.senseless(f"ask for the VPC {vpc['name']}", f"its range: {error}") from error


def owner(api: Api, answer: dict[str, Any] | None) -> str:
    """Return whose account an answer describes, empty for None (the token may not ask)."""
    if answer is None:
        return ""
    account = answer.get("account")
    if not isinstance(account, dict) or not isinstance(account.get("email"), str):
        raise api.senseless("ask whose token it is", "it holds no account")
    if account.get("status") == "locked":
        raise ProviderError(
            f"DigitalOcean has locked the account {account['email']}",
            where="provider.credentials",
            why=str(account.get("status_message") or "without a reason"),
            cure="see what DigitalOcean's control panel asks for, or write to its support",
        )
    team = account.get("team")
    named = team.get("name") if isinstance(team, dict) else None
    return f"{account['email']}, team {named}" if named else str(account["email"])


def facts(
    api: Api,
    region: str,
    regions: list[dict[str, Any]],
    sizes: list[dict[str, Any]],
    images: list[dict[str, Any]],
) -> ProviderFacts:
    """Return what plans need: sizes are those of `region`, or all where there is no such region."""
    slugs = set(texts([image.get("slug") for image in images]))
    known = sorted(str(r.get("slug")) for r in regions if r.get("available") is True)
    offered = [_size(api, s) for s in sizes if _is_offered(s, region if region in known else "")]
    usable = tuple(sorted(filter(None, offered), key=_cheapness))
    if not usable:
        raise ProviderError(
            f"DigitalOcean offers no size in {region}",
            where="provider.region",
            cure=f"choose another: {', '.join(known)}",
        )
    return ProviderFacts(
        regions=tuple(known),
        images=tuple(name for name, slug in _SLUGS.items() if slug in slugs),
        sizes=usable,
        currency="USD",
        default_size={
            role: next((s.name for s in usable if s.memory >= memory), usable[-1].name)
            for role, memory in _MEMORY.items()
        },
        bucket_monthly_price=_SPACES_PRICE,
        snapshot_monthly_price=_SNAPSHOT_PRICE,
        project=name_of("{deployment}"),
        ipv6=any(r.get("slug") == region and "ipv6" in texts(r.get("features")) for r in regions),
    )


def _is_offered(item: dict[str, Any], region: str) -> bool:
    return item.get("available") is True and (not region or region in texts(item.get("regions")))


def _cheapness(size: Size) -> tuple[Decimal, int, str]:
    return size.monthly_price, size.memory, size.name


def _size(api: Api, item: dict[str, Any]) -> Size | None:
    doing = f"read the size {item.get('slug')}"
    try:
        price = float(item["price_monthly"])
        size = Size(
            name=str(item["slug"]),
            vcpus=int(item["vcpus"]),
            memory=int(item["memory"]),
            disk=int(item["disk"]),
            monthly_price=Decimal(str(round(price, 2))) if math.isfinite(price) else Decimal(-1),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise api.senseless(doing, f"{error}") from error
    if not (0 <= size.monthly_price <= _HIGHEST_PRICE and size.vcpus >= 1 and size.disk >= 1):
        raise api.senseless(doing, f"{size.vcpus} CPUs, {size.disk} GiB for {price} a month")
    return size if size.memory >= _LEAST_MEMORY else None


def image(name: str) -> str | int:
    """Return what the API calls an image of the answers, or a snapshot."""
    if name in _SLUGS:
        return _SLUGS[name]
    if name.isdecimal():
        return int(name)
    raise ProviderError(
        f"there is no image {name!r} at DigitalOcean",
        where="machines.os",
        cure=f"use one of {', '.join(_SLUGS)}, or a snapshot's id",
    )


# -- firewalls -------------------------------------------------------------------------------------


def firewalls(
    deployment: str, rules: tuple[Rule, ...], build_machine: str, *, enabled: bool
) -> list[dict[str, Any]]:
    """Return the bodies of all cloud firewalls. The first is on every machine and lets in nothing,
    or everything if not `enabled`; the others add what their role lets in."""
    anywhere = {"addresses": list(_ANYWHERE)}
    protocols = ("tcp", "udp", "icmp")
    everything = [{"protocol": p, "ports": _ALL_PORTS, "sources": anywhere} for p in protocols]
    bodies: list[dict[str, Any]] = [
        {
            "name": name_of(deployment),
            "tags": [tag_of(deployment)],
            "inbound_rules": [] if enabled else everything,
            # without these nothing may leave a machine
            "outbound_rules": [
                {"protocol": p, "ports": _ALL_PORTS, "destinations": anywhere} for p in protocols
            ],
        }
    ]
    for role in Role:
        inbound = _inbound(deployment, [r for r in rules if r.target is role], build_machine)
        if enabled and inbound:
            bodies.append(
                {
                    "name": name_of(deployment, role),
                    "tags": [tag_of(deployment, role)],
                    "inbound_rules": inbound,
                    "outbound_rules": [],
                }
            )
    return bodies


def _inbound(deployment: str, rules: list[Rule], build_machine: str) -> list[dict[str, Any]]:
    """Return one rule for each port, with all its sources: a firewall holds 50 rules at most."""
    sources: dict[tuple[str, int], dict[str, set[str]]] = {}
    for rule in rules:
        ends = sources.setdefault((rule.protocol, rule.port), {"addresses": set(), "tags": set()})
        if rule.source.kind is SourceKind.ANYONE:
            ends["addresses"] |= set(_ANYWHERE)
        elif rule.source.kind is SourceKind.BUILD_MACHINE:
            ends["addresses"].add(build_machine)
        elif rule.source.kind is SourceKind.NETWORKS:
            ends["addresses"] |= set(rule.source.networks)
        else:
            assert rule.source.role is not None
            ends["tags"].add(tag_of(deployment, rule.source.role))
    return [
        {
            "protocol": protocol,
            "ports": str(port),
            "sources": {kind: sorted(ends) for kind, ends in found.items() if ends},
        }
        for (protocol, port), found in sorted(sources.items())
    ]


def tags_in(bodies: list[dict[str, Any]]) -> set[str]:
    """Return every tag that firewalls name: they must exist first."""
    tags = {tag for body in bodies for tag in body["tags"]}
    for body in bodies:
        for rule in body["inbound_rules"]:
            tags |= set(rule["sources"].get("tags", ()))
    return tags


def same_firewall(old: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Say whether a firewall of the API is what is wanted."""
    try:
        return _essence(old) == _essence(wanted)
    except (AttributeError, KeyError, TypeError):
        # nothing that was ever wanted
        return False


def _essence(body: dict[str, Any]) -> tuple[Any, ...]:
    def rules(key: str, ends: str) -> frozenset[Any]:
        return frozenset(
            (
                rule.get("protocol"),
                # the API says "0" for all ports, and took "all" once
                _ALL_PORTS if rule.get("ports") in ("all", "", None) else rule["ports"],
                frozenset(
                    (kind, end)
                    for kind, listed in (rule.get(ends) or {}).items()
                    for end in listed or ()
                ),
            )
            for rule in body.get(key) or ()
        )

    return (
        frozenset(texts(body.get("tags"))),
        bool(body.get("droplet_ids")),
        rules("inbound_rules", "sources"),
        rules("outbound_rules", "destinations"),
    )
