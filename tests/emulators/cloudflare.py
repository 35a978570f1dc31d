"""Cloudflare's API, as much of it as DNS needs: tokens, zones, records, batches."""

from __future__ import annotations

import copy
import ipaddress
import re
import secrets
import socket
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.emulators.openapi import Document
from tests.emulators.server import Emulator, Reply, Request
from wizard.dns.hosted import ADDRESSES, kind_of

MOMENT = "2026-01-02T03:04:05.000000Z"
READ_ZONE, READ_DNS, EDIT_DNS = "zone:read", "dns:read", "dns:edit"
READ_SETTINGS, EDIT_CERTIFICATES = "settings:read", "certificates:edit"
EDIT_ACCESS = "access:edit"
EVERYTHING = frozenset(
    {READ_ZONE, READ_DNS, EDIT_DNS, READ_SETTINGS, EDIT_CERTIFICATES, EDIT_ACCESS}
)
ACCOUNT = "0" * 32
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
        self.authority = OriginAuthority()
        self.certificates: dict[str, dict[str, Any]] = {}
        # Zero Trust Access: what there is, and whether somebody has begun to use it
        self.applications: dict[str, dict[str, Any]] = {}
        self.policies: dict[str, dict[str, Any]] = {}
        self.zero_trust = True
        # the networks of the proxies, and what name servers answer for proxied names
        self.networks = ["198.51.100.0/24", "203.0.113.0/25"]
        self.networks_6 = ["2400:cb00::/32"]
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
        self.route("GET", "/certificates", self._list_certificates)
        self.route("POST", "/certificates", self._order)
        self.route("DELETE", "/certificates/{certificate}", self._revoke)
        for kind, things in (("apps", self.applications), ("policies", self.policies)):
            for method in ("GET", "POST", "PUT", "DELETE"):
                where = f"/accounts/{ACCOUNT}/access/{kind}"
                where += "/{identity}" if method in ("PUT", "DELETE") else ""
                self.route(method, where, partial(self._access, things))

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
            "account": {"id": ACCOUNT, "name": "tests"},
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
                if record["type"] in ADDRESSES and record["name"] == name
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
        networks = {"ipv4_cidrs": self.networks, "ipv6_cidrs": self.networks_6}
        return success({**networks, "etag": "0" * 32})

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

    # -- Zero Trust Access -------------------------------------------------------------------------

    def check(self, request: Request, reply: Reply) -> None:
        where, _, _ = request.path.rpartition("/")
        if where.endswith(("/access/apps", "/access/policies")):
            # the document at hand has the lists only; a change takes what a creation takes
            if request.method == "DELETE":
                return
            assert request.method == "PUT", request.line
            request = replace(request, method="POST", path=where)
        super().check(request, reply)

    def _access(
        self, things: dict[str, dict[str, Any]], request: Request, identity: str = ""
    ) -> Reply:
        if not self._may(request, EDIT_ACCESS):
            return failure(403, 10000, "Authentication error")
        if not self.zero_trust:
            return failure(403, 9999, "access.api.error.not_enabled: Access is not enabled.")
        if request.method == "GET":
            return page(list(things.values()), request.query, 1000)
        if identity and identity not in things:
            return failure(404, 11021, "access.api.error.not_found")
        if request.method == "DELETE":
            used = [p["id"] for a in self.applications.values() for p in a["policies"]]
            if identity in used:
                return failure(409, 12132, "access.api.error.conflict: policy is in use")
            del things[identity]
            return success({"id": identity})
        problem = self._access_problem(things, request.body)
        if problem:
            return failure(400, 12130, f"access.api.error.invalid_request: {problem}")
        made = {"id": identity or str(uuid.uuid4()), "created_at": MOMENT, **request.body}
        for key in ("include", "exclude", "require") if things is self.policies else ():
            made.setdefault(key, [])
        things[made["id"]] = made
        return success(made)

    def _access_problem(self, things: dict[str, dict[str, Any]], body: dict[str, Any]) -> str:
        if things is self.policies:
            return "" if body["include"] else "include must not be empty"
        places = [place["uri"] for place in body["destinations"]]
        zones = [zone["name"] for zone in self.zones.values()]
        if len(places) > 5:
            return "too many domains"
        if not all(any(_inside(p.partition("/")[0], z) for z in zones) for p in places):
            return "domain does not belong to zone"
        unknown = [p["id"] for p in body["policies"] if p["id"] not in self.policies]
        return f"no policy {unknown[0]}" if unknown else ""

    def places(self) -> list[str]:
        """Where the edge asks who it is."""
        with self.lock:
            return [p["uri"] for a in self.applications.values() for p in a["destinations"]]

    # -- certificates for webservers ---------------------------------------------------------------

    def _list_certificates(self, request: Request) -> Reply:
        if not self._may(request, EDIT_CERTIFICATES):
            return failure(403, 10000, "Authentication error")
        if request.query.get("zone_id") not in self.zones:
            return failure(400, 1003, "Invalid zone id")
        root = self.zones[request.query["zone_id"]]["name"]
        found = [c for c in self.certificates.values() if _inside(c["hostnames"][0], root)]
        return page(found, request.query, 20)

    def _order(self, request: Request) -> Reply:
        if not self._may(request, EDIT_CERTIFICATES):
            return failure(403, 10000, "Authentication error")
        body = request.body
        zones = [zone["name"] for zone in self.zones.values()]
        for name in body["hostnames"]:
            if not any(_inside(name, zone) for zone in zones):
                return failure(400, 1010, f"Failed to validate requested hostname {name}")
        try:
            made = self.authority.sign(body["csr"], body["hostnames"], body["requested_validity"])
        except ValueError:
            return failure(400, 1101, "Unable to parse CSR")
        number = str(made.serial_number)
        self.certificates[number] = {
            "id": number,
            "certificate": made.public_bytes(serialization.Encoding.PEM).decode(),
            "expires_on": made.not_valid_after_utc.strftime("%Y-%m-%d %H:%M:%S +0000 UTC"),
            **body,
        }
        return success(self.certificates[number])

    def _revoke(self, request: Request, certificate: str) -> Reply:
        if not self._may(request, EDIT_CERTIFICATES):
            return failure(403, 10000, "Authentication error")
        if self.certificates.pop(certificate, None) is None:
            return failure(404, 1101, "Certificate not found")
        return success({"id": certificate, "revoked_at": MOMENT})

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
        if kind in ADDRESSES:
            try:
                assert kind_of(str(ipaddress.ip_address(content))) == kind
            except (ValueError, AssertionError):
                return failure(400, 9005, f"Content for {kind} record must be a valid address.")
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


class OriginAuthority:
    """Signs for webservers, as Cloudflare's own does: nobody but its proxies trusts it."""

    def __init__(self) -> None:
        self.days: float | None = None  # instead of what is asked for
        self._key = ec.generate_private_key(ec.SECP256R1())
        unit = "CloudFlare Origin SSL ECC Certificate Authority"
        self._name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "CloudFlare, Inc."),
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            ]
        )
        own = self._begun(self._name, self._key.public_key(), 3650)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        own = own.add_extension(usage, critical=True)
        own = own.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        identity = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        own = own.add_extension(identity, critical=False)
        self.root = (
            own.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
        )

    def _begun(self, subject: x509.Name, public: Any, days: float) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .issuer_name(self._name)
            .subject_name(subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=days))
        )

    def sign(self, request: str, names: list[str], days: float) -> x509.Certificate:
        public = x509.load_pem_x509_csr(request.encode()).public_key()
        subject = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, "CloudFlare Origin Certificate")]
        )
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            self._begun(subject, public, self.days or days)
            .add_extension(alternatives, critical=False)
            .add_extension(authority, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )


def _inside(name: str, zone: str) -> bool:
    return name == zone or name.endswith(f".{zone}")


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
