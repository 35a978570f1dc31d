"""DigitalOcean's domains and their records, stateful."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from tests.emulators.digitalocean_values import (
    RATE,
    absolute,
    refuse,
)
from tests.emulators.server import Emulator, Reply, Request
from wizard.dns.hosted import ADDRESSES, kind_of

ROUTES = """
GET    /domains/{domain}                  get_domain
GET    /domains/{domain}/records          list_records
POST   /domains/{domain}/records          create_record
DELETE /domains/{domain}/records/{record} delete_record
"""


class Domains(Emulator):
    """The part of the emulator that is about DNS."""

    steps: int
    paged: Any
    _ids: Iterator[int]
    _under_way: Any
    _waiting: dict[Any, int]

    def begin_domains(self) -> None:
        self.domains: dict[str, dict[int, dict[str, Any]]] = {}
        self.add_routes(ROUTES)

    def add_domain(self, name: str) -> None:
        self.domains[name] = {}
        for server in ("ns1", "ns2", "ns3"):
            self.add_record(name, "NS", "@", f"{server}.digitalocean.com", 1800)

    def add_record(self, domain: str, kind: str, name: str, data: str, ttl: int = 60) -> int:
        identity = next(self._ids)
        self.domains[domain][identity] = {
            "id": identity,
            "type": kind,
            "name": name,
            "data": data,
            "ttl": ttl,
            "priority": None,
            "port": None,
            "weight": None,
            "flags": None,
            "tag": None,
        }
        return identity

    def lookup(self, name: str) -> tuple[int, list[str]]:
        """Answer for the name server behind this API."""
        with self.lock:
            found = [
                record
                for domain, records in self.domains.items()
                for record in records.values()
                if record["type"] in ADDRESSES and absolute(record["name"], domain) == name
            ]
        return (found[0]["ttl"] if found else 0), [record["data"] for record in found]

    def get_domain(self, request: Request, domain: str) -> Reply:
        if domain not in self.domains:
            return self.missing(request)
        body = {"name": domain, "ttl": 1800, "zone_file": f"$ORIGIN {domain}.\n"}
        return Reply(200, {"domain": body}, dict(RATE))

    def list_records(self, request: Request, domain: str) -> Reply:
        if domain not in self.domains:
            return self.missing(request)
        name, kind = request.query.get("name"), request.query.get("type")
        found = [
            record
            for record in self.domains[domain].values()
            if name in (None, absolute(record["name"], domain)) and kind in (None, record["type"])
        ]
        return self.paged(request, "domain_records", found)

    def create_record(self, request: Request, domain: str) -> Reply:
        if domain not in self.domains:
            return self.missing(request)
        body = request.body
        if not body.get("data"):
            return refuse("Data can't be blank")
        if body.get("ttl", 1800) < 30:
            return refuse("TTL must be at least 30")
        if body["type"] in ADDRESSES:
            try:
                assert kind_of(str(ipaddress.ip_address(body["data"]))) == body["type"]
            except (ValueError, AssertionError):
                return refuse("IP address is invalid")
        others = [r for r in self.domains[domain].values() if r["name"] == body["name"]]
        if any(other["type"] == "CNAME" for other in others):
            return refuse("CNAME records cannot share a name with other records")
        if any((o["type"], o["data"]) == (body["type"], body["data"]) for o in others):
            return refuse("Data has already been taken")
        made = self.add_record(domain, body["type"], body["name"], body["data"], body["ttl"])
        return Reply(201, {"domain_record": self.domains[domain][made]}, dict(RATE))

    def delete_record(self, request: Request, domain: str, record: str) -> Reply:
        gone = self.domains.get(domain, {}).pop(int(record), None)
        return Reply(204) if gone else self.missing(request)
