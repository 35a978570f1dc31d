"""Cloudflare's DNS.

Our records carry a comment that says whose they are. All changes of a name go as one batch, which
Cloudflare applies whole or not at all; its API knows no conditions.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from wizard.dns.base import NOTHING, Edge, RecordSet, Wanted
from wizard.dns.cloudflare_access import ZeroTrust
from wizard.dns.cloudflare_api import (
    TIMEOUT,
    URL,
    Api,
    is_missing,
    senseless,
    unless_missing,
)
from wizard.dns.cloudflare_origin import Origin
from wizard.dns.exchange import Address
from wizard.dns.hosted import OWNER, Change, Entry, HostedDns
from wizard.errors import ProviderError, TransientError
from wizard.paths import config_templates
from wizard.secrets import Secret

_AUTOMATIC = 1  # the TTL of whatever is proxied
_PAGE = 100  # records a request
_NO_RECORD = "0" * 32
_NETWORKS = {ipaddress.IPv4Network: "ipv4_cidrs", ipaddress.IPv6Network: "ipv6_cidrs"}
_UNCERTAIN = frozenset({"81057", "81058"})  # the same record exists: an answer of ours got lost
# https://developers.cloudflare.com/fundamentals/api/reference/permissions/
_READ_ZONE, _READ_DNS, _EDIT_DNS = "Zone / Zone / Read", "Zone / DNS / Read", "Zone / DNS / Edit"

CLIENT_CA = config_templates() / "nginx" / "cloudflare-origin-pull-ca.pem"
"""Signs what Cloudflare shows to webservers, for all its customers alike; ends in November 2029.
https://developers.cloudflare.com/ssl/origin-configuration/authenticated-origin-pull/"""

_FOR_CHALLENGES = "always_use_https"
_READ_SETTINGS = "Zone / Zone Settings / Read"
# setting -> what it must be, why, and where a person finds it
_SETTINGS = {
    "ssl": (
        "strict",
        "only Full (strict) checks the webservers' certificate",
        "SSL/TLS, Overview, encryption mode",
    ),
    _FOR_CHALLENGES: (
        "off",
        "the certificate's first challenge comes over HTTP; the webservers redirect all else",
        "SSL/TLS, Edge Certificates, Always Use HTTPS",
    ),
    "tls_client_auth": (
        "on",
        "the webservers serve only proxies that show Cloudflare's certificate",
        "SSL/TLS, Origin Server, Authenticated Origin Pulls",
    ),
}


class Cloudflare(HostedDns):
    """Serves one zone at Cloudflare; see `HostedDns`."""

    name = "cloudflare"
    title = "Cloudflare"
    shortest_ttl = 60  # for zones that are not an enterprise's
    marked_beside = False

    def __init__(
        self,
        zone: str,
        token: Secret,
        authoritative: tuple[Address, ...] | None = None,
        *,
        url: str = URL,
        timeout: float = TIMEOUT,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(zone, authoritative, pause)
        self._api = Api(token, url, timeout)
        self._records = self._api.client.dns.records.with_raw_response
        self._zone_id = self._account_id = ""
        self._server_names: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Cloudflare({self._wanted!r}, {self._api.url})"

    def zone(self) -> str:
        """Return the zone's name after checking the token, the zone and that we may change it."""
        self._refuse_ended_token()
        return super().zone()

    def _refuse_ended_token(self) -> None:
        verify = self._api.client.user.tokens.with_raw_response.verify
        try:
            told = self._api.ask("check the token", "", verify)
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

    def _has_zone(self, name: str) -> bool:
        doing = f"look for the zone {name}"
        zones = self._api.client.zones.with_raw_response.list
        for item in self._api.list(doing, _READ_ZONE, zones, 50, name=name):
            if isinstance(item, dict) and item.get("name") == name:
                self._use_zone(item, doing)
                return True
        return False

    def _use_zone(self, item: dict[str, Any], doing: str) -> None:
        try:
            self._zone_id = str(item["id"])
            self._account_id = str(item["account"]["id"])
            self._server_names = tuple(str(name) for name in item["name_servers"])
        except (KeyError, TypeError) as error:
            raise senseless(doing, f"a zone without {error}") from error
        if item.get("status") != "active":
            raise ProviderError(
                f"Cloudflare does not serve the zone {item['name']} yet",
                where=str(item["name"]),
                why=f"its status is {item.get('status')}",
                cure="have the registrar name these name servers: " + ", ".join(self._server_names),
            )

    def _no_zone(self) -> ProviderError:
        return ProviderError(
            f"the token reaches no zone that holds {self._wanted}",
            where="dns.zone",
            cure=f"add the zone at Cloudflare, or give the token {_READ_ZONE} and {_EDIT_DNS} "
            "for it, then run again",
        )

    def _check_rights(self) -> None:
        # deletes nothing, but is refused like a change to those who may change nothing
        with unless_missing():
            self._api.ask(
                "check that records may be changed",
                _EDIT_DNS,
                self._records.delete,
                dns_record_id=_NO_RECORD,
                zone_id=self._zone_id,
            )

    def name_servers(self) -> tuple[str, ...]:
        """Return the names that Cloudflare gave the zone's servers."""
        self._zone()
        return self._server_names

    def origin(self) -> Origin:
        """Return Cloudflare's authority for certificates of webservers."""
        self._zone()
        return Origin(self._api, self._zone_id)

    def access(self) -> ZeroTrust:
        """Return Zero Trust Access of the account that the zone belongs to."""
        return ZeroTrust(self._api, zone=self._zone(), account_id=self._account_id)

    def edge(self, wanted: Wanted = NOTHING) -> Edge:
        """Return Cloudflare's proxies."""
        self._zone()
        wrong = tuple(self._wrong(wanted))
        return Edge(self._proxies(), f"{self._api.url}/ips", CLIENT_CA.read_text(), wrong)

    def _proxies(self) -> tuple[str, ...]:
        doing = "ask for the addresses of Cloudflare's proxies"
        told = self._api.ask(doing, "", self._api.client.ips.with_raw_response.list)
        try:
            listed = {
                kind: [str(kind(text)) for text in told[key] if "/" in text]
                for kind, key in _NETWORKS.items()
            }
        except (KeyError, TypeError, ValueError) as error:
            raise senseless(doing, f"no list of networks: {error}") from error
        if not all(listed.values()):
            raise senseless(doing, "an empty list")
        return tuple(text for texts in listed.values() for text in texts)

    def _wrong(self, wanted: Wanted) -> Iterator[str]:
        """Yield which of the zone's settings would let proxies talk to webservers unsafely or not
        at all, and which rights the token lacks."""
        get = self._api.client.zones.settings.with_raw_response.get
        for setting, (right, why, place) in _SETTINGS.items():
            if setting == _FOR_CHALLENGES and wanted.origin:
                continue
            doing = f"read the zone's setting {setting}"
            given = {"setting_id": setting, "zone_id": self._zone_id}
            try:
                told = self._api.ask(doing, _READ_SETTINGS, get, **given)
            except TransientError:
                raise
            except ProviderError as error:
                yield _in_a_line(error)
                continue
            value = told.get("value") if isinstance(told, dict) else None
            if value is None:
                raise senseless(doing, "it holds no value")
            if value != right:
                yield f"{place} is {value!r}, must be {right!r}: {why}"
        if wanted.origin:
            yield from _unless_refused(self.origin().check)
        if wanted.access:
            yield from _unless_refused(self.access().check)

    def _entries(self, deployment: str, record: RecordSet) -> list[Entry]:
        entries = super()._entries(deployment, record)
        if not record.proxied:
            return entries
        return [replace(entry, ttl=_AUTOMATIC, proxied=True) for entry in entries]

    def _look(self, name: str) -> list[Entry]:
        return list(self._list(name={"exact": name}))

    def _listed(self, deployment: str) -> Iterator[Entry]:
        return self._list(comment={"exact": f"build-usb {OWNER}{deployment}"})

    def _list(self, **filters: Any) -> Iterator[Entry]:
        zone = self._zone()
        doing = f"list records of {zone}"
        call = self._records.list
        for item in self._api.list(doing, _READ_DNS, call, _PAGE, zone_id=self._zone_id, **filters):
            try:
                yield Entry(
                    kind=str(item["type"]),
                    name=str(item["name"]),
                    content=str(item.get("content") or ""),
                    ttl=int(item["ttl"]),
                    id=str(item["id"]),
                    comment=str(item.get("comment") or ""),
                    proxied=bool(item.get("proxied")),
                )
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                raise senseless(doing, f"a record without {error}") from error

    def _apply(self, doing: str, change: Change) -> bool:
        batch = {
            "deletes": [{"id": entry.id} for entry in change.delete],
            "patches": [{"id": entry.id, **_body(entry)} for entry in change.update],
            "posts": [_body(entry) for entry in change.create],
        }
        asked = {kind: items for kind, items in batch.items() if items}
        try:
            self._api.ask(doing, _EDIT_DNS, self._records.batch, zone_id=self._zone_id, **asked)
        except ProviderError as error:
            # a record that came or went meanwhile is for the next look
            if error.code not in _UNCERTAIN and not is_missing(error):
                raise
        return False


def _unless_refused(check: Callable[[], None]) -> Iterator[str]:
    try:
        check()
    except TransientError:
        raise
    except ProviderError as error:
        yield _in_a_line(error)


def _in_a_line(error: ProviderError) -> str:
    return f"{error.what}: {error.why}; {error.cure}"


def _body(entry: Entry) -> dict[str, Any]:
    return {
        "type": entry.kind,
        "name": entry.name,
        "content": entry.content,
        "ttl": entry.ttl,
        "proxied": entry.proxied,
        "comment": entry.comment,
    }
