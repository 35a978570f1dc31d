"""Cloudflare's DNS through its official client.

Our A records carry the comment `build-usb deployment=<deployment>`; no other record is changed.
All changes of a name go as one batch, which Cloudflare applies whole or not at all.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cloudflare
import httpx

from wizard.dns import propagation
from wizard.dns.base import RecordSet
from wizard.dns.exchange import Address
from wizard.errors import ProviderError, TransientError
from wizard.secrets import Secret

URL = "https://api.cloudflare.com/client/v4"
TTL_MIN = 60  # seconds; Cloudflare's least for zones that are not an enterprise's

_TIMEOUT = 30.0  # seconds to connect and answer
_DNS_TIMEOUT = 5.0
_ATTEMPTS = 5  # reads and changes while others change the same name
_FIRST_PAUSE = 0.2  # seconds, then doubled
_PAGE = 100
_MOST_PAGES = 1000  # a server that never ends its list is broken
_NO_RECORD = "0" * 32
_UNCERTAIN = frozenset({"81057", "81058"})  # the same record exists: an answer of ours got lost
_IN_THE_WAY = ("A", "AAAA", "CNAME")
# https://developers.cloudflare.com/fundamentals/api/reference/permissions/
_READ_ZONE, _EDIT_DNS = "Zone / Zone / Read", "Zone / DNS / Edit"


@dataclass(frozen=True)
class _Zone:
    id: str
    name: str
    name_servers: tuple[str, ...]


@dataclass(frozen=True)
class _Record:
    id: str
    kind: str
    name: str
    content: str
    ttl: int
    proxied: bool
    comment: str


class Cloudflare:
    """Serves one zone at Cloudflare; see `dns.base.DnsProvider`.

    `zone` may lie inside a zone of the account: the longest that holds it is used. `authoritative`
    are the servers that must answer before a record counts as served; None: those that Cloudflare
    names for the zone.
    """

    name = "cloudflare"

    def __init__(
        self,
        zone: str,
        token: Secret,
        authoritative: tuple[Address, ...] | None = None,
        *,
        url: str = URL,
        timeout: float = _TIMEOUT,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._wanted = zone
        self._authoritative = authoritative
        self._url = url
        self._pause = pause
        self._found: _Zone | None = None
        self._client = cloudflare.Cloudflare(
            api_token=token.reveal(),
            base_url=url,
            timeout=timeout,
            max_retries=0,  # the engine repeats whole steps, which look before they change
            # neither proxies nor ~/.netrc of this computer
            http_client=httpx.Client(trust_env=False),
        )
        weakref.finalize(self, self._client.close)
        # the client takes these from the environment when they are not given, and prefers them
        self._client.api_key = self._client.api_email = self._client.user_service_key = None

    def __repr__(self) -> str:
        return f"Cloudflare({self._wanted!r}, {self._url})"

    def zone(self) -> str:
        """Return the zone's name after checking the token, the zone and that we may change it."""
        self._refuse_ended_token()
        zone = self._zone()
        # deletes nothing, but is refused like a change to those who may change nothing
        try:
            self._call(
                "check that records may be changed",
                _EDIT_DNS,
                self._client.dns.records.with_raw_response.delete,
                _NO_RECORD,
                zone_id=zone.id,
            )
        except ProviderError as error:
            if not _is_gone(error):
                raise
        return zone.name

    def records(self, deployment: str) -> list[RecordSet]:
        """Return the record sets that belong to the deployment, asked from the API now."""
        found: dict[str, list[_Record]] = {}
        for record in self._list(type="A", comment={"exact": _comment(deployment)}):
            if _is_ours(record, deployment):
                found.setdefault(record.name, []).append(record)
        return [
            RecordSet(name, tuple(sorted(r.content for r in records)), records[0].ttl)
            for name, records in sorted(found.items())
        ]

    def ensure_record(self, deployment: str, record: RecordSet) -> bool:
        """Make the record set so; True if something changed. Others' records are refused."""
        self._refuse_outside(record.name)
        if record.ttl < TTL_MIN:
            raise ProviderError(
                f"Cloudflare keeps records for {TTL_MIN} seconds at least, not {record.ttl}",
                where=record.name,
                cure=f"set dns.ttl to {TTL_MIN} or more",
            )
        changed = False
        for _ in self._attempts(f"set {record.name}"):
            seen = self._look(record.name)
            self._refuse_foreign(record.name, deployment, seen)
            change = _change(record, deployment, [r for r in seen if _is_ours(r, deployment)])
            if not any(change.values()):
                return changed
            self._apply(f"set {record.name}", change)
            changed = True
        raise AssertionError("the last attempt raises")

    def delete_record(self, deployment: str, name: str) -> None:
        """Delete our record set of that name; what is gone, or another's by now, is left."""
        self._refuse_outside(name)
        for _ in self._attempts(f"delete {name}"):
            ours = [r for r in self._look(name) if _is_ours(r, deployment)]
            if not ours:
                return
            self._apply(f"delete {name}", {"deletes": [{"id": r.id} for r in ours]})

    def wait_until_served(self, record: RecordSet, deadline: float) -> None:
        """Return once every authoritative server answers with the record's addresses.

        TransientError naming the servers that do not after `deadline` seconds.
        """
        zone = self._zone()
        propagation.wait_until_served(
            record,
            self._authoritative or propagation.servers_named(zone.name_servers, zone.name),
            zone.name,
            deadline,
            timeout=_DNS_TIMEOUT,
            pause=self._pause,
        )

    # -- the zone and its records ------------------------------------------------------------------

    def _refuse_ended_token(self) -> None:
        try:
            told = self._call(
                "check the token",
                "",
                self._client.user.tokens.with_raw_response.verify,
            )["result"]
        except TransientError:
            raise
        except ProviderError:
            # tokens of an account, not of a user, cannot be asked for here: the zone will tell
            return
        status = told.get("status") if isinstance(told, dict) else None
        if status != "active":
            raise ProviderError(
                f"the token is {status or 'unknown'} at Cloudflare",
                where="dns.credentials",
                cure="make a new API token and name it in dns.credentials",
            )

    def _zone(self) -> _Zone:
        if self._found is None:
            self._found = self._look_for_zone()
        return self._found

    def _look_for_zone(self) -> _Zone:
        labels = self._wanted.split(".")
        for start in range(len(labels) - 1):
            candidate = ".".join(labels[start:])
            doing = f"look for the zone {candidate}"
            listed = self._call(
                doing, _READ_ZONE, self._client.zones.with_raw_response.list, name=candidate
            )
            for item in _items(listed, doing):
                if isinstance(item, dict) and item.get("name") == candidate:
                    return _usable_zone(item)
        raise ProviderError(
            f"the token reaches no zone that holds {self._wanted}",
            where="dns.zone",
            cure=f"add the zone at Cloudflare, or give the token {_READ_ZONE} and {_EDIT_DNS} "
            "for it, then run again",
        )

    def _list(self, **filters: Any) -> Iterator[_Record]:
        doing = f"list records of {self._wanted}"
        for page in range(1, _MOST_PAGES + 1):
            listed = self._call(
                doing,
                "Zone / DNS / Read",
                self._client.dns.records.with_raw_response.list,
                zone_id=self._zone().id,
                page=page,
                per_page=_PAGE,
                **filters,
            )
            items = _items(listed, doing)
            yield from (_record(item, doing) for item in items)
            if len(items) < _PAGE:
                return
        raise _senseless(doing, "its list never ends")

    def _look(self, name: str) -> list[_Record]:
        listed = self._list(name={"exact": name})
        return [r for r in listed if r.kind in _IN_THE_WAY and r.name == name]

    def _apply(self, doing: str, change: dict[str, list[dict[str, Any]]]) -> None:
        """Send the change; a record that came or went meanwhile is for the next attempt."""
        try:
            self._call(
                doing,
                _EDIT_DNS,
                self._client.dns.records.with_raw_response.batch,
                zone_id=self._zone().id,
                **{kind: items for kind, items in change.items() if items},
            )
        except ProviderError as error:
            if error.code not in _UNCERTAIN and not _is_gone(error):
                raise

    def _refuse_outside(self, name: str) -> None:
        zone = self._zone().name
        if name != zone and not name.endswith(f".{zone}"):
            raise ProviderError(
                f"{name} is not in the zone {zone}",
                cure="correct domain or dns.zone in the answers",
            )

    def _refuse_foreign(self, name: str, deployment: str, seen: list[_Record]) -> None:
        foreign = [r for r in seen if not _is_ours(r, deployment)]
        if foreign:
            raise ProviderError(
                f"{name} exists and is not this deployment's",
                where=self._zone().name,
                why="\n".join(
                    f"{r.kind} {r.content}" + (f", commented {r.comment!r}" if r.comment else "")
                    for r in foreign
                ),
                cure=f"look what {name} is for; delete its records, or deploy to another name",
            )

    def _attempts(self, doing: str) -> Iterator[int]:
        for attempt in range(_ATTEMPTS):
            yield attempt
            self._pause(_FIRST_PAUSE * 2**attempt)
        raise TransientError(
            f"cannot {doing}: Cloudflare does not show the change, or someone else undoes it",
            where=self._zone().name,
            cure="run again in a moment",
        )

    # -- calls -------------------------------------------------------------------------------------

    def _call(
        self, doing: str, permission: str, call: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Return the parsed answer. `permission`: what the token needs for this, for the error."""
        with self._errors(doing, permission):
            response: httpx.Response = call(*args, **kwargs).http_response
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or answer.get("success") is not True:
            raise _senseless(doing, f"it begins with {response.text[:80]!r}", _request_id(response))
        return answer

    @contextmanager
    def _errors(self, doing: str, permission: str) -> Iterator[None]:
        try:
            yield
        except cloudflare.APIStatusError as error:
            raise _refused(doing, permission, error.response) from error
        except cloudflare.APIConnectionError as error:
            raise TransientError(
                f"cannot {doing}: Cloudflare's API does not answer",
                where=self._url,
                why=str(error.__cause__ or error) or type(error).__name__,
                cure="check this computer's network, then run again",
            ) from error


def _comment(deployment: str) -> str:
    return f"build-usb deployment={deployment}"


def _is_ours(record: _Record, deployment: str) -> bool:
    # filters of the API ignore capitals; this does not
    return record.kind == "A" and record.comment == _comment(deployment)


def _change(
    record: RecordSet, deployment: str, ours: list[_Record]
) -> dict[str, list[dict[str, Any]]]:
    """Return the batch that makes `ours` into the record set; empty lists when they are it."""
    wanted = dict.fromkeys(record.addresses)
    kept: dict[str, _Record] = {}
    for one in ours:
        if one.content in wanted:
            kept.setdefault(one.content, one)
    body = {
        "type": "A",
        "name": record.name,
        "ttl": record.ttl,
        "proxied": False,
        "comment": _comment(deployment),
    }
    return {
        "deletes": [{"id": r.id} for r in ours if r not in kept.values()],
        "patches": [
            {**body, "id": r.id, "content": r.content}
            for r in kept.values()
            if r.ttl != record.ttl or r.proxied
        ],
        "posts": [{**body, "content": address} for address in wanted if address not in kept],
    }


def _usable_zone(item: dict[str, Any]) -> _Zone:
    doing = f"look for the zone {item['name']}"
    try:
        servers = tuple(str(name) for name in item["name_servers"])
        zone = _Zone(str(item["id"]), str(item["name"]), servers)
    except (KeyError, TypeError) as error:
        raise _senseless(doing, f"a zone without {error}") from error
    if item.get("status") != "active":
        raise ProviderError(
            f"Cloudflare does not serve the zone {zone.name} yet",
            where=zone.name,
            why=f"its status is {item.get('status')}",
            cure="have the registrar name these name servers: " + ", ".join(zone.name_servers),
        )
    return zone


def _record(item: Any, doing: str) -> _Record:
    try:
        return _Record(
            id=str(item["id"]),
            kind=str(item["type"]),
            name=str(item["name"]),
            content=str(item.get("content") or ""),
            ttl=int(item["ttl"]),
            proxied=bool(item.get("proxied")),
            comment=str(item.get("comment") or ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _senseless(doing, f"a record without {error}") from error


def _items(answer: dict[str, Any], doing: str) -> list[Any]:
    items = answer.get("result")
    if not isinstance(items, list):
        raise _senseless(doing, "it holds no list")
    return items


def _senseless(doing: str, why: str, request_id: str = "") -> ProviderError:
    return ProviderError(
        f"cannot {doing}: the answer of Cloudflare's API makes no sense",
        why=why,
        cure="run again; if it stays so, see cloudflarestatus.com, or whether something on the "
        "network answers in Cloudflare's place",
        code="senseless",
        request_id=request_id,
    )


def _refused(doing: str, permission: str, response: httpx.Response) -> ProviderError:
    code, message = _first_error(response)
    status = response.status_code
    request_id = _request_id(response)
    transient = status in (408, 409, 429) or status >= 500
    told = f"{status} {code}: {message}" if code else f"HTTP status {status}"
    return (TransientError if transient else ProviderError)(
        f"cannot {doing}",
        where="dns.credentials" if status in (401, 403) else "",
        why=told + (f" (request {request_id})" if request_id else ""),
        cure=_cure(status, code, permission, response),
        code=code or str(status),
        request_id=request_id,
    )


def _is_gone(error: ProviderError) -> bool:
    return getattr(error.__cause__, "status_code", None) == 404


def _cure(status: int, code: str, permission: str, response: httpx.Response) -> str:
    if status == 429:
        after = response.headers.get("retry-after", "")
        # https://developers.cloudflare.com/fundamentals/api/reference/limits/
        return f"wait {after or '300'} seconds: Cloudflare limits requests a user and 5 minutes"
    if status >= 500 or status in (408, 409):
        return "run again in a moment"
    if code in ("6003", "6111", "1000", "1001") or status == 401:
        return "name a valid API token in dns.credentials: this one is unknown or malformed"
    if status == 403 or code in ("9109", "10000"):
        return f"give the API token the permission {permission} for this zone"
    return "ask Cloudflare's support, naming the request id"


def _first_error(response: httpx.Response) -> tuple[str, str]:
    try:
        first = response.json()["errors"][0]
        return str(first["code"]), str(first["message"])
    except (ValueError, KeyError, IndexError, TypeError):
        return "", ""


def _request_id(response: httpx.Response) -> str:
    return str(response.headers.get("cf-ray", ""))
