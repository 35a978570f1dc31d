"""Cloudflare's API, as much of it as DNS needs: tokens, zones, records, batches."""

from __future__ import annotations

import copy
import ipaddress
import re
import secrets
import socket
from dataclasses import dataclass
from typing import Any

from tests.emulators.openapi import Document
from tests.emulators.server import Emulator, Reply, Request

MOMENT = "2026-01-02T03:04:05.000000Z"
READ_ZONE, READ_DNS, EDIT_DNS = "zone:read", "dns:read", "dns:edit"
READ_SETTINGS = "settings:read"
EVERYTHING = frozenset({READ_ZONE, READ_DNS, EDIT_DNS, READ_SETTINGS})
SAFE = {"ssl": "strict", "always_use_https": "off", "tls_client_auth": "on"}


@dataclass
class Token:
    """What a token may do. `account`: it belongs to an account, and cannot verify itself here."""

    permissions: frozenset[str] = EVERYTHING
    status: str = "active"
    account: bool = False


class CloudflareEmulator(Emulator):
    """Zones and their records by id; `tokens` by value."""

    prefix = "/client/v4"
    # the document knows requests of every kind of record, but replies of one flattened kind only
    replies_are_documented = False

    def __init__(
        self, document: Document | None = None, listener: socket.socket | None = None
    ) -> None:
        super().__init__(document, listener)
        self.tokens = {"good-token-of-cloudflare": Token()}
        self.zones: dict[str, dict[str, Any]] = {}
        self.records: dict[str, dict[str, dict[str, Any]]] = {}
        self.settings = dict(SAFE)
        # the networks of the proxies, and what name servers answer for proxied names
        self.networks = ["198.51.100.0/24", "203.0.113.0/25"]
        self.proxies = ["203.0.113.7", "198.51.100.9"]
        records = "/zones/{zone}/dns_records"
        self.route("GET", "/user/tokens/verify", self._verify)
        self.route("GET", "/zones", self._zones)
        self.route("GET", "/ips", self._ips)
        self.route("GET", "/zones/{zone}/settings/{setting}", self._setting)
        self.route("GET", records, self._list)
        self.route("POST", records, self._create)
        self.route("POST", f"{records}/batch", self._batch)
        self.route("DELETE", f"{records}/{{record}}", self._delete)

    # -- what tests do directly --------------------------------------------------------------------

    def add_zone(self, name: str, status: str = "active") -> str:
        zone = secrets.token_hex(16)
        self.zones[zone] = {
            "id": zone,
            "name": name,
            "status": status,
            "paused": False,
            "type": "full",
            "development_mode": 0,
            "name_servers": ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"],
            "original_name_servers": None,
            "original_registrar": None,
            "original_dnshost": None,
            "created_on": MOMENT,
            "modified_on": MOMENT,
            "activated_on": MOMENT,
            "account": {"id": "0" * 32, "name": "tests"},
            "owner": {"id": "0" * 32, "name": "tests", "type": "user"},
            "meta": {"cdn_only": False, "dns_only": False, "page_rule_quota": 3, "step": 2},
            "plan": {"id": "0" * 32, "name": "Free Website", "price": 0},
            "permissions": [],
        }
        self.records[zone] = {}
        return zone

    def add_record(self, zone: str, kind: str, name: str, content: str, **more: Any) -> str:
        body = {"type": kind, "name": name, "content": content, "ttl": 60, **more}
        problem = self._insert(zone, body)
        assert not isinstance(problem, Reply), problem
        return str(problem["id"])

    def lookup(self, name: str) -> tuple[int, list[str]]:
        """Answer for the name server behind this API."""
        with self.lock:
            found = [
                record
                for records in self.records.values()
                for record in records.values()
                if record["type"] == "A" and record["name"] == name
            ]
        if any(record["proxied"] for record in found):
            return 300, list(self.proxies)
        return (found[0]["ttl"] if found else 0), [record["content"] for record in found]

    # -- permissions -------------------------------------------------------------------------------

    def authorise(self, request: Request) -> Reply | None:
        if request.path.endswith("/ips"):
            return None  # anyone may ask
        given = request.headers.get("authorization", "")
        if not re.fullmatch(r"Bearer [A-Za-z0-9_.-]{10,}", given):
            return failure(400, 6003, "Invalid request headers")
        token = self.tokens.get(given.removeprefix("Bearer "))
        if token is None:
            return failure(401, 1000, "Invalid API Token")
        if request.path.endswith("/verify"):
            return failure(401, 1000, "Invalid API Token") if token.account else None
        if token.status != "active":
            return failure(401, 1000, "Invalid API Token")
        return None

    def missing(self, request: Request) -> Reply:
        return failure(404, 7003, f"Could not route to {request.path}")

    def _may(self, request: Request, permission: str) -> bool:
        token = self.tokens[request.headers["authorization"].removeprefix("Bearer ")]
        return permission in token.permissions

    # -- operations --------------------------------------------------------------------------------

    def _verify(self, request: Request) -> Reply:
        token = self.tokens[request.headers["authorization"].removeprefix("Bearer ")]
        return success({"id": "f" * 32, "status": token.status})

    def _zones(self, request: Request) -> Reply:
        # a token without the permission sees no zones, which is no error
        visible = list(self.zones.values()) if self._may(request, READ_ZONE) else []
        wanted = request.query.get("name")
        return page([z for z in visible if wanted in (None, z["name"])], request.query, 20)

    def _ips(self, request: Request) -> Reply:
        v6 = ["2400:cb00::/32"]
        return success({"ipv4_cidrs": self.networks, "ipv6_cidrs": v6, "etag": "0" * 32})

    def _setting(self, request: Request, zone: str, setting: str) -> Reply:
        if not self._may(request, READ_SETTINGS):
            return failure(403, 9109, "Unauthorized to access requested resource")
        value = self.settings[setting]
        return success({"id": setting, "value": value, "editable": True, "modified_on": MOMENT})

    def _list(self, request: Request, zone: str) -> Reply:
        if zone not in self.zones:
            return failure(404, 7003, "Could not route to this zone")
        if not self._may(request, READ_DNS):
            return failure(403, 10000, "Authentication error")
        found = list(self.records[zone].values())
        for key, value in request.query.items():
            field, _, way = key.partition(".")
            if field in ("name", "comment", "content", "type"):
                assert way in ("", "exact"), key
                lowered = value.lower()
                found = [r for r in found if str(r.get(field) or "").lower() == lowered]
        return page(found, request.query, 100)

    def _create(self, request: Request, zone: str) -> Reply:
        if not self._may(request, EDIT_DNS):
            return failure(403, 10000, "Authentication error")
        made = self._insert(zone, request.body)
        return made if isinstance(made, Reply) else success(made)

    def _delete(self, request: Request, zone: str, record: str) -> Reply:
        if not self._may(request, EDIT_DNS):
            return failure(403, 10000, "Authentication error")
        if self.records[zone].pop(record, None) is None:
            return failure(404, 81044, "Record does not exist.")
        return success({"id": record})

    def _batch(self, request: Request, zone: str) -> Reply:
        if not self._may(request, EDIT_DNS):
            return failure(403, 10000, "Authentication error")
        before = copy.deepcopy(self.records[zone])
        done: dict[str, list[Any]] = {"deletes": [], "patches": [], "posts": [], "puts": []}
        for kind, change in (
            ("deletes", self._batch_delete),
            ("patches", self._patch),
            ("posts", self._insert),
        ):
            for body in request.body.get(kind) or []:
                result = change(zone, body)
                if isinstance(result, Reply):
                    self.records[zone] = before
                    return result
                done[kind].append(result)
        return success(done)

    def _batch_delete(self, zone: str, body: dict[str, Any]) -> dict[str, Any] | Reply:
        gone = self.records[zone].pop(body["id"], None)
        return gone or failure(404, 81044, "Record does not exist.")

    def _patch(self, zone: str, body: dict[str, Any]) -> dict[str, Any] | Reply:
        old = self.records[zone].pop(body["id"], None)
        if old is None:
            return failure(404, 81044, "Record does not exist.")
        return self._insert(zone, {**old, **body}, old["id"])

    def _insert(
        self, zone: str, body: dict[str, Any], record: str | None = None
    ) -> dict[str, Any] | Reply:
        kind, name, content = body["type"], body["name"], body["content"]
        root = self.zones[zone]["name"]
        if name != root and not name.endswith(f".{root}"):
            name = f"{name}.{root}"
        ttl = body.get("ttl", 1)
        if body.get("proxied"):
            ttl = 1
        if ttl != 1 and not 60 <= ttl <= 86400:
            return failure(400, 9021, f"Invalid TTL {ttl}. Must be between 60 and 86400, or 1.")
        if len(body.get("comment") or "") > 100:
            return failure(400, 9313, "DNS record comment is too long")
        if kind == "A":
            try:
                ipaddress.IPv4Address(content)
            except ValueError:
                return failure(400, 9005, "Content for A record must be a valid IPv4 address.")
        others = [r for r in self.records[zone].values() if r["name"] == name]
        if any(r["type"] == kind and r["content"] == content for r in others):
            return failure(400, 81058, "An identical record already exists.")
        clash = [r for r in others if "CNAME" in (kind, r["type"])]
        if clash and {kind, clash[0]["type"]} & {"A", "AAAA", "CNAME"}:
            return failure(400, 81053, "An A, AAAA, or CNAME record with that host already exists.")
        made = {
            "id": record or secrets.token_hex(16),
            "zone_id": zone,
            "zone_name": root,
            "name": name,
            "type": kind,
            "content": content,
            "ttl": ttl,
            "proxied": body.get("proxied", False),
            "proxiable": kind in ("A", "AAAA", "CNAME"),
            "comment": body.get("comment"),
            "tags": [],
            "settings": {},
            "meta": {},
            "created_on": MOMENT,
            "modified_on": MOMENT,
        }
        self.records[zone][made["id"]] = made
        return made


def success(result: Any, **more: Any) -> Reply:
    body = {"success": True, "errors": [], "messages": [], "result": result, **more}
    return Reply(200, body, {"cf-ray": f"{secrets.token_hex(8)}-VIE"})


def failure(status: int, code: int, message: str) -> Reply:
    body = {
        "success": False,
        "errors": [{"code": code, "message": message}],
        "messages": [],
        "result": None,
    }
    return Reply(status, body, {"cf-ray": f"{secrets.token_hex(8)}-VIE"})


def page(items: list[Any], query: dict[str, str], size: int) -> Reply:
    number, size = int(query.get("page", 1)), int(query.get("per_page", size))
    part = items[(number - 1) * size : number * size]
    pages = -(-len(items) // size)
    info = {
        "page": number,
        "per_page": size,
        "count": len(part),
        "total_count": len(items),
        "total_pages": pages,
    }
    return success(part, result_info=info)
