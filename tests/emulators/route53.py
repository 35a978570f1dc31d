"""Route 53: moto's, and in front of it the rules that moto does not have.

A batch of changes is made whole or not at all, CREATE needs that nothing is there, DELETE all of
what is there; a change is PENDING before it is INSYNC and served. Health checks are of
route53_checks. Signatures, rights and the limit of requests are checked as well.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.backends import get_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.route53.models import FakeZone, RecordSet
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from tests.emulators.aws_asks import of_route53
from tests.emulators.aws_identity import Key
from tests.emulators.route53_checks import NAMESPACE, Checks, Refusal
from wizard.dns.hosted import ADDRESSES, kind_of

_X = f"{{{NAMESPACE}}}"
ACTIONS = (
    ("GET", r"/hostedzonesbyname$", "ListHostedZonesByName"),
    ("GET", r"/hostedzone/[^/]+$", "GetHostedZone"),
    ("GET", r"/hostedzone/[^/]+/rrset$", "ListResourceRecordSets"),
    ("POST", r"/hostedzone/[^/]+/rrset/?$", "ChangeResourceRecordSets"),
    ("GET", r"/change/[^/]+$", "GetChange"),
    ("GET", r"/healthcheck$", "ListHealthChecks"),
    ("POST", r"/healthcheck$", "CreateHealthCheck"),
    ("DELETE", r"/healthcheck/[^/]+$", "DeleteHealthCheck"),
)


@dataclass
class Fault:
    """What goes wrong with the next `times` requests for `action`: an error with `code` instead of
    doing it, or done and then `kind` "lost" (no answer), "html" or "truncated"."""

    action: str
    kind: str = ""
    code: str = ""
    status: int = 400
    times: int = 1


@dataclass
class Change:
    """A batch that was accepted; `content` is what is served once it is in sync."""

    due: float
    zone: str
    content: list[Any]
    served: bool = False


@dataclass
class Route53Emulator:
    """A context manager; `url` is the API's address, `lookup` answers for its name servers.

    `delay` is how many seconds a change is pending, `limit` how many requests a second are let
    through (0: all); `feed` gets the A records (name, TTL, address) that are in sync. `accepted`
    counts batches.
    """

    listener: socket.socket | None = None
    delay: float = 0.15
    limit: int = 0
    keys: dict[str, Key] = field(default_factory=lambda: {"AKIDGOOD": Key()})
    faults: list[Fault] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    feed: Callable[[list[tuple[str, int, str]]], None] | None = None
    accepted: int = 0
    checks: Checks = field(default_factory=Checks)

    def __post_init__(self) -> None:
        self.account = "".join(secrets.choice("123456789") for _ in range(12))
        self.backend: Any = get_backend("route53")[self.account]["aws"]
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.RLock()
        self._changes: dict[str, Change] = {}
        self._served: dict[str, list[Any]] = {}
        self._times: list[float] = []
        self._timers: list[threading.Timer] = []
        if self.listener is None:
            self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        host, port = self.listener.getsockname()[:2]
        self.url = f"http://{host}:{port}"
        self._server = make_server(
            host, port, self, threaded=True, request_handler=_Quiet, fd=self.listener.fileno()
        )

    def __enter__(self) -> Route53Emulator:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        for timer in self._timers:
            timer.cancel()
        self._server.shutdown()
        self._server.server_close()
        assert self.listener is not None
        self.listener.close()
        self.backend.zones.clear()

    # -- what tests do directly --------------------------------------------------------------------

    def add_zone(self, name: str, *servers: str, private: bool = False) -> str:
        """Make a hosted zone; returns its id. `servers` are its name servers, if not moto's."""
        made = self.backend.create_hosted_zone(
            f"{name}.",
            private_zone=private,
            caller_reference=secrets.token_hex(),
            vpcid="vpc-1" if private else None,
            vpcregion="us-east-1" if private else None,
        )
        if servers:
            made.delegation_set.name_servers = list(servers)
        return str(made.resource_id)

    def put(self, zone: str, kind: str, name: str, *values: str, **more: Any) -> None:
        """Put a record set as someone else would, served at once; `more` as of the API."""
        with self._lock:
            held = self.backend.zones[zone]
            wanted = {"Name": f"{name}.", "Type": kind, "TTL": 60, **more}
            if values:
                wanted["ResourceRecords"] = list(values)
            key = (wanted["Name"], kind, wanted.get("SetIdentifier"))
            held.rrsets = [s for s in held.rrsets if (s.name, s.type, s.set_identifier) != key]
            held.rrsets.append(RecordSet(wanted))
            self._served[zone] = list(held.rrsets)

    def values(self, zone: str, name: str, kind: str) -> list[str]:
        with self._lock:
            sets = self.backend.zones[zone].rrsets
            return sorted(
                v for s in sets if (s.name, s.type) == (f"{name}.", kind) for v in s.records
            )

    def lookup(self, name: str) -> tuple[int, list[str]]:
        """Answer for the name servers: only what is in sync."""
        with self._lock:
            self._settle()
            found = [
                one
                for sets in self._served.values()
                for one in sets
                if one.name == f"{name}." and one.type in ADDRESSES
            ]
            given = self.checks.given(found)
        return (int(found[0].ttl) if found else 0), [v for one in given for v in one.records]

    def fail(self, action: str, kind: str = "", **more: Any) -> None:
        self.faults.append(Fault(action, kind, **more))

    # -- requests ----------------------------------------------------------------------------------

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        body = request.get_data(cache=True)
        action = next(
            (a for method, path, a in ACTIONS if self._is(request, method, path)), "Unknown"
        )
        with self._lock:
            self.actions.append(action)
            fault = next((f for f in self.faults if f.times and f.action == action), None)
            if fault is not None:
                fault.times -= 1
        try:
            if fault is not None and fault.code:
                raise Refusal(fault.code, "scripted", fault.status)
            self._throttle()
            self._authorise(request, body, action)
            if action == "ChangeResourceRecordSets":
                response = self._change(request.path.split("/")[3], body)
            elif action == "GetChange":
                response = self._status(request.path.split("/")[-1])
            elif action.endswith(("HealthCheck", "HealthChecks")):
                with self._lock:
                    response = self.checks.answer(action, request, body)
            elif action == "Unknown":
                self.violations.append(f"{request.method} {request.path}")
                raise Refusal("InvalidAction", "not emulated", 404)
            else:
                environ["HTTP_X_MOTO_ACCOUNT_ID"] = self.account
                response = Response.from_app(self._moto, environ, buffered=True)
        except Refusal as refusal:
            response = _refused(refusal)
        if fault is not None and fault.kind == "lost":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        elif fault is not None and fault.kind == "html":
            response = Response("<html><body>Sign in to the network", content_type="text/html")
        elif fault is not None and fault.kind == "truncated":
            half = response.get_data()[: len(response.get_data()) // 2]
            response = Response(half, content_type="text/xml")
        return response(environ, start_response)

    @staticmethod
    def _is(request: Request, method: str, path: str) -> bool:
        return request.method == method and re.search(path, request.path) is not None

    def _throttle(self) -> None:
        now = time.monotonic()
        with self._lock:
            self._times = [moment for moment in self._times if moment > now - 1]
            if self.limit and len(self._times) >= self.limit:
                raise Refusal("Throttling", "Rate exceeded")
            self._times.append(now)

    def _authorise(self, request: Request, body: bytes, action: str) -> None:
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d+/([^/]+)/route53/aws4_request, "
            r"SignedHeaders=([^,]+), Signature=(\w+)",
            request.headers.get("Authorization", ""),
        )
        key = self.keys.get(found[1]) if found else None
        if found is None or key is None:
            message = "The security token included in the request is invalid."
            raise Refusal("InvalidClientTokenId", message, 403)
        if request.headers.get("X-Amz-Security-Token", "") != key.token:
            message = "The security token included in the request is expired"
            raise Refusal("ExpiredToken", message, 403)
        query = request.query_string.decode()
        url = f"{self.url}{request.path}" + (f"?{query}" if query else "")
        signed = AWSRequest(request.method, url, data=body)
        for name in found[3].split(";"):
            if name != "host":
                signed.headers[name] = request.headers[name]
        signed.context["timestamp"] = request.headers["X-Amz-Date"]
        auth = SigV4Auth(Credentials(found[1], key.secret, key.token or None), "route53", found[2])
        text = auth.string_to_sign(signed, auth.canonical_request(signed))
        if auth.signature(text, signed) != found[4]:
            message = (
                "The request signature we calculated does not match the signature you provided."
            )
            raise Refusal("SignatureDoesNotMatch", message, 403)
        lacked = key.lacks(of_route53(action, request.path, body))
        if lacked or action in key.denied:
            told = lacked.told if lacked else f"route53:{action}"
            raise Refusal("AccessDenied", f"User is not authorized to perform: {told}", 403)

    # -- changes -----------------------------------------------------------------------------------

    def _change(self, zone: str, body: bytes) -> Response:
        with self._lock:
            held: FakeZone | None = self.backend.zones.get(zone)
            if held is None:
                raise Refusal("NoSuchHostedZone", f"No hosted zone found with ID: {zone}", 404)
            content, problems = list(held.rrsets), []
            for change in ElementTree.fromstring(body).iter(f"{_X}Change"):
                action = change.findtext(f"{_X}Action")
                wanted = _record_set(change.find(f"{_X}ResourceRecordSet"))
                problems += _problems(held, wanted)
                if action != "DELETE":
                    problems += self.checks.problems(wanted)
                content, problem = _made(content, str(action), wanted)
                problems += problem
            problems += _conflicts(held, content)
            if problems:
                raise Refusal("InvalidChangeBatch", f"[{', '.join(problems)}]")
            held.rrsets = content
            self.accepted += 1
            id = f"C{secrets.token_hex(8).upper()}"
            self._changes[id] = Change(time.monotonic() + self.delay, zone, list(content))
            # it is served then, whether or not anyone asks how the change is
            timer = threading.Timer(self.delay + 0.01, self._settle)
            timer.daemon = True
            timer.start()
            self._timers.append(timer)
            if self.feed is not None:
                # in sync by itself, whether anyone asks for the change or not
                timer = threading.Timer(self.delay + 0.01, self._settle_alone)
                timer.daemon = True
                timer.start()
            return _info("ChangeResourceRecordSetsResponse", id, "PENDING")

    def _status(self, id: str) -> Response:
        with self._lock:
            change = self._changes.get(id)
            if change is None:
                raise Refusal("NoSuchChange", f"Could not find resource with ID: {id}", 404)
            self._settle()
            pending = change.due > time.monotonic()
            return _info("GetChangeResponse", id, "PENDING" if pending else "INSYNC")

    def _settle_alone(self) -> None:
        with self._lock:
            self._settle()

    def _settle(self) -> None:
        with self._lock:
            for change in sorted(self._changes.values(), key=lambda change: change.due):
                if change.due <= time.monotonic() and not change.served:
                    self._served[change.zone], change.served = change.content, True
                    self._publish(change.content)

    def _publish(self, content: list[Any]) -> None:
        if self.feed is not None:
            plain = self.checks.given([one for one in content if one.type in ADDRESSES])
            self.feed([(s.name.rstrip("."), int(s.ttl), v) for s in plain for v in s.records])


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_request(self, *_: Any) -> None:
        """Requests are in the journal."""

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:  # the answer was to be lost
            self.rfile.close()


def _record_set(element: Any) -> RecordSet:
    def text(name: str) -> str | None:
        found: str | None = element.findtext(f"{_X}{name}")
        return found

    name = str(text("Name"))
    return RecordSet(
        {
            "Name": name if name.endswith(".") else f"{name}.",
            "Type": text("Type"),
            "TTL": int(text("TTL") or 0),
            "SetIdentifier": text("SetIdentifier"),
            "MultiValueAnswer": text("MultiValueAnswer") == "true" or None,
            "HealthCheckId": text("HealthCheckId"),
            "ResourceRecords": [e.text or "" for e in element.iter(f"{_X}Value")],
        }
    )


def _problems(zone: FakeZone, wanted: RecordSet) -> list[str]:
    found = []
    if wanted.name != zone.name and not wanted.name.endswith(f".{zone.name}"):
        found.append(f"RRSet with DNS name {wanted.name} is not permitted in zone {zone.name}")
    if len(set(wanted.records)) < len(wanted.records) or not wanted.records:
        found.append("Duplicate Resource Record, or none")
    for value in wanted.records:
        if wanted.type in ADDRESSES and not _is_address(value, wanted.type):
            found.append(f"Invalid Resource Record: '{value}' is not an address")
        if wanted.type == "TXT" and not re.fullmatch(r'("[^"]{0,255}" ?)+', value):
            found.append(
                f"Invalid Resource Record: '{value}' should be enclosed in quotation marks"
            )
    return found


def _is_address(text: str, kind: str) -> bool:
    try:
        return kind_of(str(ipaddress.ip_address(text))) == kind
    except ValueError:
        return False


def _made(
    content: list[RecordSet], action: str, wanted: RecordSet
) -> tuple[list[RecordSet], list[str]]:
    key = (wanted.name, wanted.type, wanted.set_identifier)
    old = next((s for s in content if (s.name, s.type, s.set_identifier) == key), None)
    rest = [one for one in content if one is not old]
    named = f"resource record set [name='{wanted.name}', type='{wanted.type}']"
    if action == "CREATE":
        if old is not None:
            return content, [f"Tried to create {named} but it already exists"]
        return [*rest, wanted], []
    if action == "UPSERT":
        return [*rest, wanted], []
    if old is None:
        return content, [f"Tried to delete {named} but it was not found"]
    if _told(old) != _told(wanted):
        said = f"Tried to delete {named} but the values provided do not match the current values"
        return content, [said]
    return rest, []


def _told(one: RecordSet) -> tuple[Any, ...]:
    """Return what DELETE has to tell of a set, all of it."""
    return sorted(one.records), one.ttl, one.multi_value_answer, one.health_check_id


def _conflicts(zone: FakeZone, content: list[RecordSet]) -> list[str]:
    found = []
    for alias in (one for one in content if one.type == "CNAME"):
        others = [one for one in content if one.name == alias.name and one.type != "CNAME"]
        if others or alias.name == zone.name:
            found.append(
                f"RRSet of type CNAME with DNS name {alias.name} is not permitted as it conflicts "
                "with other records with the same DNS name"
            )
    policies: dict[tuple[str, str], set[bool]] = {}
    for one in content:
        policies.setdefault((one.name, str(one.type)), set()).add(bool(one.set_identifier))
    found += [
        f"RRSet with DNS name {name}, type {kind}, SetIdentifier cannot be created as other RRSets "
        "exist with the same name and type"
        for (name, kind), kinds in policies.items()
        if len(kinds) > 1
    ]
    return found


def _info(kind: str, id: str, status: str) -> Response:
    return Response(
        f'<?xml version="1.0"?><{kind} xmlns="{NAMESPACE}"><ChangeInfo><Id>/change/{id}</Id>'
        f"<Status>{status}</Status><SubmittedAt>2026-01-02T03:04:05.000Z</SubmittedAt>"
        f"</ChangeInfo></{kind}>",
        content_type="text/xml",
    )


def _refused(refusal: Refusal) -> Response:
    return Response(
        f'<?xml version="1.0"?><ErrorResponse xmlns="{NAMESPACE}"><Error><Type>Sender</Type>'
        f"<Code>{refusal.code}</Code><Message>{escape(refusal.message)}</Message></Error>"
        f"<RequestId>{secrets.token_hex(8)}</RequestId></ErrorResponse>",
        status=refusal.status,
        content_type="text/xml",
    )
