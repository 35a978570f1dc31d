"""DigitalOcean's VPCs, cloud firewalls and tags, stateful."""

from __future__ import annotations

import ipaddress
import itertools
import re
import uuid
from collections.abc import Iterator
from typing import Any

from tests.emulators.digitalocean_values import (
    MOMENT,
    RATE,
    REGIONS,
    error,
    refuse,
)
from tests.emulators.server import Emulator, Reply, Request

ROUTES = """
GET    /firewalls                         list_firewalls
POST   /firewalls                         create_firewall
PUT    /firewalls/{firewall}              replace_firewall
DELETE /firewalls/{firewall}              delete_firewall
GET    /tags                              list_tags
POST   /tags                              create_tag
DELETE /tags/{tag}                        delete_tag
GET    /vpcs                              list_vpcs
POST   /vpcs                              create_vpc
DELETE /vpcs/{vpc}                        delete_vpc
"""


class Networks(Emulator):
    """The part of the emulator that is about who reaches whom."""

    steps: int
    paged: Any
    _ids: Iterator[int]
    _under_way: Any
    _waiting: dict[Any, int]
    droplets: dict[int, dict[str, Any]]
    databases: dict[str, dict[str, Any]]
    firewalls_changed: Any

    def begin_networks(self) -> None:
        self.vpcs: dict[str, dict[str, Any]] = {}
        self.firewalls: dict[str, dict[str, Any]] = {}
        self.tags: set[str] = set()
        self._networks = itertools.count()
        self.add_routes(ROUTES)

    def create_tag(self, request: Request) -> Reply:
        name = request.body["name"]
        if not re.fullmatch(r"[a-zA-Z0-9_\-:]{1,255}", name):
            return refuse("Name is invalid")
        self.tags.add(name)
        return Reply(201, {"tag": {"name": name, "resources": {"count": 0}}}, dict(RATE))

    def list_tags(self, request: Request) -> Reply:
        found = [{"name": name, "resources": {"count": 0}} for name in sorted(self.tags)]
        return self.paged(request, "tags", found)

    def delete_tag(self, request: Request, tag: str) -> Reply:
        if tag not in self.tags:
            return self.missing(request)
        self.tags.discard(tag)
        for droplet in (*self.droplets.values(), *self.databases.values()):
            droplet["tags"] = [name for name in droplet["tags"] if name != tag]
        return Reply(204)

    def list_vpcs(self, request: Request) -> Reply:
        return self.paged(request, "vpcs", list(self.vpcs.values()))

    def create_vpc(self, request: Request) -> Reply:
        body = request.body
        if any(vpc["name"] == body["name"] for vpc in self.vpcs.values()):
            return refuse("VPC name is already in use")
        if body["region"] not in REGIONS:
            return refuse("You must specify a valid region")
        number = next(self._networks)
        identity = str(uuid.uuid4())
        vpc = {
            "id": identity,
            "urn": f"do:vpc:{identity}",
            "name": body["name"],
            "description": body.get("description", ""),
            "region": body["region"],
            "ip_range": body.get("ip_range") or f"10.114.{number % 256}.0/24",
            "created_at": MOMENT,
            "default": False,
        }
        self.vpcs[identity] = vpc
        return Reply(201, {"vpc": vpc}, dict(RATE))

    def delete_vpc(self, request: Request, vpc: str) -> Reply:
        if vpc not in self.vpcs:
            return self.missing(request)
        inside = [droplet["vpc_uuid"] for droplet in self.droplets.values()]
        inside += [cluster["private_network_uuid"] for cluster in self.databases.values()]
        if self.vpcs[vpc]["default"] or vpc in inside:
            return error(403, "forbidden", "Can not delete VPC with members")
        del self.vpcs[vpc]
        return Reply(204)

    def list_firewalls(self, request: Request) -> Reply:
        return self.paged(request, "firewalls", list(self.firewalls.values()))

    def _firewall_problem(self, body: dict[str, Any], own: str = "") -> str:
        rules = [*(body.get("inbound_rules") or []), *(body.get("outbound_rules") or [])]
        named = set(body.get("tags") or [])
        for rule in rules:
            ends = rule.get("sources") or rule.get("destinations") or {}
            if not any(ends.values()):
                return "a rule needs at least one source or destination"
            named |= set(ends.get("tags") or [])
            for address in ends.get("addresses") or []:
                try:
                    ipaddress.ip_network(address)
                except ValueError:
                    return f"{address} is not a valid address"
            if rule["protocol"] != "icmp" and not re.fullmatch(
                r"\d+(-\d+)?|all|0", rule.get("ports", "")
            ):
                return "invalid ports"
        if not rules:
            return "must have at least one rule"
        if len(rules) > 50:
            return "has too many rules"
        if len(body.get("tags") or []) > 5:
            return "has too many tags"
        if named - self.tags:
            return f"tag {sorted(named - self.tags)[0]} does not exist"
        if any(f["name"] == body["name"] and f["id"] != own for f in self.firewalls.values()):
            return "duplicate name"
        return ""

    def _stored(self, identity: str, body: dict[str, Any]) -> dict[str, Any]:
        def full(rule: dict[str, Any], end: str) -> dict[str, Any]:
            # as the API shows them again: "0" for all ports
            ports = "0" if rule["ports"] == "all" or rule["protocol"] == "icmp" else rule["ports"]
            return {"protocol": rule["protocol"], "ports": ports, end: rule[end]}

        return {
            "id": identity,
            "name": body["name"],
            "status": "succeeded",
            "created_at": MOMENT,
            "pending_changes": [],
            "droplet_ids": body.get("droplet_ids") or [],
            "tags": body.get("tags") or [],
            "inbound_rules": [full(r, "sources") for r in body.get("inbound_rules") or []],
            "outbound_rules": [full(r, "destinations") for r in body.get("outbound_rules") or []],
        }

    def create_firewall(self, request: Request) -> Reply:
        problem = self._firewall_problem(request.body)
        if problem:
            return error(409 if problem == "duplicate name" else 422, "conflict", problem)
        identity = str(uuid.uuid4())
        self.firewalls[identity] = self._stored(identity, request.body)
        self.firewalls_changed()
        return Reply(202, {"firewall": self.firewalls[identity]}, dict(RATE))

    def replace_firewall(self, request: Request, firewall: str) -> Reply:
        if firewall not in self.firewalls:
            return self.missing(request)
        problem = self._firewall_problem(request.body, firewall)
        if problem:
            return refuse(problem)
        self.firewalls[firewall] = self._stored(firewall, request.body)
        self.firewalls_changed()
        return Reply(200, {"firewall": self.firewalls[firewall]}, dict(RATE))

    def delete_firewall(self, request: Request, firewall: str) -> Reply:
        if self.firewalls.pop(firewall, None) is None:
            return self.missing(request)
        self.firewalls_changed()
        return Reply(204)
