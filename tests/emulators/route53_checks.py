"""Route 53's health checks, and which records of several it answers with."""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from werkzeug.wrappers import Request, Response

NAMESPACE = "https://route53.amazonaws.com/doc/2013-04-01/"
_X = f"{{{NAMESPACE}}}"
_MOST = 8  # addresses in an answer


@dataclass
class Refusal(Exception):
    code: str
    message: str
    status: int = 400


@dataclass
class Check:
    """A health check; `settings` as they were told, an element of the API's XML."""

    id: str
    reference: str
    settings: dict[str, str]


@dataclass
class Checks:
    """An account's. `sick` are addresses that do not answer; `most` is the account's quota.

    Amazon refuses to ask private and reserved addresses. `asks_any` is the one exception: machines
    of a lab have no others, nor do documents.
    """

    sick: set[str] = field(default_factory=set)
    most: int = 200
    asks_any: bool = True
    page: int = 100
    held: dict[str, Check] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def add(self, reference: str, **settings: str) -> str:
        """Make a check as someone else would; return its id."""
        id = secrets.token_hex(16)
        id = f"{id[:8]}-{id[8:12]}-{id[12:16]}-{id[16:20]}-{id[20:]}"
        self.held[id] = Check(id, reference, settings)
        self.used.add(reference)
        return id

    def asked(self) -> list[str]:
        """Return the addresses that are asked, sorted."""
        return sorted(check.settings["IPAddress"] for check in self.held.values())

    def answer(self, action: str, request: Request, body: bytes) -> Response:
        if action == "ListHealthChecks":
            return self._list(request)
        if action == "CreateHealthCheck":
            return self._create(body)
        id = request.path.split("/")[-1]
        # one that a record still names is deleted too
        if self.held.pop(id, None) is None:
            raise Refusal("NoSuchHealthCheck", f"No health check exists with id {id}", 404)
        return _xml("DeleteHealthCheckResponse", "")

    def _list(self, request: Request) -> Response:
        size = min(int(request.args.get("maxitems", 100)), self.page)
        ids = sorted(self.held)
        marker = request.args.get("marker")
        if marker is not None and marker not in ids:
            raise Refusal("InvalidInput", f"marker {marker}")
        start = ids.index(marker) if marker else 0
        shown, rest = ids[start : start + size], ids[start + size :]
        parts = "".join(_check(self.held[id]) for id in shown)
        following = f"<NextMarker>{rest[0]}</NextMarker>" if rest else ""
        return _xml(
            "ListHealthChecksResponse",
            f"<HealthChecks>{parts}</HealthChecks><Marker>{marker or ''}</Marker>"
            f"<IsTruncated>{str(bool(rest)).lower()}</IsTruncated>{following}"
            f"<MaxItems>{size}</MaxItems>",
        )

    def _create(self, body: bytes) -> Response:
        tree = ElementTree.fromstring(body)
        reference = str(tree.findtext(f"{_X}CallerReference"))
        told = tree.find(f"{_X}HealthCheckConfig")
        assert told is not None
        settings = {e.tag.removeprefix(_X): e.text or "" for e in told}
        self._refuse_wrong(reference, settings)
        same = next((c for c in self.held.values() if c.reference == reference), None)
        if same is None and reference in self.used:
            raise Refusal("HealthCheckAlreadyExists", "of a deleted health check", 409)
        if same is not None and same.settings != settings:
            raise Refusal("HealthCheckAlreadyExists", "with other settings", 409)
        if same is None and len(self.held) >= self.most:
            raise Refusal("TooManyHealthChecks", f"{self.most} health checks at most")
        id = same.id if same else self.add(reference, **settings)
        return _xml("CreateHealthCheckResponse", _check(self.held[id]), 201)

    def _refuse_wrong(self, reference: str, settings: dict[str, str]) -> None:
        address = ipaddress.ip_address(settings["IPAddress"])
        wrong = [
            text
            for text, is_so in (
                ("the caller reference is too long", not 1 <= len(reference) <= 64),
                ("the address is not public", not (self.asks_any or address.is_global)),
                ("the type", settings["Type"] not in ("HTTP", "HTTPS", "TCP")),
                ("the interval", settings["RequestInterval"] not in ("10", "30")),
                ("the path", len(settings["ResourcePath"]) > 255),
            )
            if is_so
        ]
        if wrong:
            raise Refusal("InvalidInput", ", ".join(wrong))

    def problems(self, wanted: Any) -> list[str]:
        """Return what is wrong about a set's identifier and health check."""
        found = []
        if wanted.multi_value_answer and not wanted.set_identifier:
            found.append("Missing field 'SetIdentifier' in Change")
        if wanted.multi_value_answer and len(wanted.records) != 1:
            found.append("a multivalue answer record can have one value only")
        if wanted.set_identifier and not wanted.multi_value_answer:
            found.append("Missing routing policy")
        if wanted.health_check_id and wanted.health_check_id not in self.held:
            found.append(f"The health check with id {wanted.health_check_id} does not exist")
        return found

    def given(self, sets: list[Any]) -> list[Any]:
        """Return those of the sets that are answered with: the well ones, eight at most."""
        found = []
        for key in dict.fromkeys((one.name, one.type) for one in sets):
            alike = [one for one in sets if (one.name, one.type) == key]
            well = [one for one in alike if self._is_well(one)]
            # where none is well, all are taken to be
            found += (well or alike)[:_MOST]
        return found

    def _is_well(self, one: Any) -> bool:
        check = self.held.get(one.health_check_id or "")
        return check is None or check.settings["IPAddress"] not in self.sick


def _check(check: Check) -> str:
    settings = "".join(f"<{k}>{escape(v)}</{k}>" for k, v in check.settings.items())
    return (
        f"<HealthCheck><Id>{check.id}</Id><CallerReference>{escape(check.reference)}"
        f"</CallerReference><HealthCheckConfig>{settings}</HealthCheckConfig>"
        "<HealthCheckVersion>1</HealthCheckVersion></HealthCheck>"
    )


def _xml(kind: str, inner: str, status: int = 200) -> Response:
    text = f'<?xml version="1.0"?><{kind} xmlns="{NAMESPACE}">{inner}</{kind}>'
    return Response(text, status, content_type="text/xml")
