"""DigitalOcean's DNS.

Beside each name we serve, `_build-usb.<name>` TXT `deployment=<deployment>` says that it is ours.
It is written before our first A record and deleted after the last, so that no run that was killed
leaves a record that nobody owns. The API changes one record at a time and knows no conditions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from wizard.dns import propagation
from wizard.dns.base import RecordSet
from wizard.dns.exchange import Address
from wizard.errors import ProviderError, TransientError
from wizard.providers.digitalocean_api import URL, Api, is_missing, status_of
from wizard.secrets import Secret

TTL_MIN = 30  # seconds; DigitalOcean's least

_MARKER = "_build-usb"
_OWNER = "deployment="
_DNS_TIMEOUT = 5.0  # seconds
_ATTEMPTS = 5  # reads and changes while others change the same name
_FIRST_PAUSE = 0.2  # seconds, then doubled
_IN_THE_WAY = ("AAAA", "CNAME")


@dataclass(frozen=True)
class _Record:
    id: int
    kind: str
    name: str
    data: str
    ttl: int


@dataclass(frozen=True)
class _Seen:
    """What a name holds now."""

    addresses: tuple[_Record, ...]
    markers: tuple[_Record, ...]
    in_the_way: tuple[_Record, ...]

    @property
    def owner(self) -> str | None:
        """The deployment that the markers name, empty if they name none, None without any."""
        if not self.markers:
            return None
        owners = {_owner(marker.data) for marker in self.markers}
        return owners.pop() if len(owners) == 1 else ""


class DigitalOcean:
    """Serves one domain at DigitalOcean; see `dns.base.DnsProvider`.

    `zone` may lie inside a domain of the account: the longest that holds it is used.
    `authoritative` are the servers that must answer before a record counts as served; None: those
    that the domain's NS records name.
    """

    name = "digitalocean"

    def __init__(
        self,
        zone: str,
        token: Secret,
        authoritative: tuple[Address, ...] | None = None,
        *,
        url: str = URL,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._wanted = zone
        self._authoritative = authoritative
        self._api = Api(token, url, credentials="dns.credentials")
        self._pause = pause
        self._found: str | None = None

    def __repr__(self) -> str:
        return f"DigitalOcean({self._wanted!r}, {self._api})"

    def zone(self) -> str:
        """Return the domain's name after checking the token, the domain and our right to it."""
        zone = self._zone()
        # no record has this id: nothing is deleted, but those who may not are refused
        self._api.delete(f"domains/{zone}/records/0", "check that records may be changed")
        return zone

    def records(self, deployment: str) -> list[RecordSet]:
        """Return the record sets that belong to the deployment, asked from the API now. One without
        addresses is a marker that a killed run left; it is there to be deleted."""
        everything = list(self._list())
        ours = {
            record.name.removeprefix(f"{_MARKER}."): record.ttl
            for record in everything
            if record.kind == "TXT"
            and record.name.startswith(f"{_MARKER}.")
            and _owner(record.data) == deployment
        }
        found: dict[str, list[_Record]] = {}
        for record in everything:
            if record.kind == "A" and record.name in ours:
                found.setdefault(record.name, []).append(record)
        return [
            RecordSet(
                name,
                tuple(sorted({r.data for r in found.get(name, [])})),
                found[name][0].ttl if name in found else ttl,
            )
            for name, ttl in sorted(ours.items())
        ]

    def ensure_record(self, deployment: str, record: RecordSet) -> bool:
        """Make the record set so; True if something changed. Others' records are refused."""
        self._refuse_outside(record.name)
        if record.ttl < TTL_MIN:
            raise ProviderError(
                f"DigitalOcean keeps records for {TTL_MIN} seconds at least, not {record.ttl}",
                where=record.name,
                cure=f"set dns.ttl to {TTL_MIN} or more",
            )
        changed = False
        for _ in self._attempts(f"set {record.name}"):
            seen = self._look(record.name)
            self._refuse_foreign(record.name, deployment, seen)
            if not self._change(record, deployment, seen):
                return changed
            changed = True
        raise AssertionError("the last attempt raises")

    def delete_record(self, deployment: str, name: str) -> None:
        """Delete our record set of that name; what is gone, or another's by now, is left."""
        self._refuse_outside(name)
        for _ in self._attempts(f"delete {name}"):
            seen = self._look(name)
            if seen.owner != deployment:
                return
            # the markers only once no address is seen: they say whose the addresses are
            for record in seen.addresses or seen.markers:
                self._delete(record, f"delete {name}")

    def wait_until_served(self, record: RecordSet, deadline: float) -> None:
        """Return once every authoritative server answers with the record's addresses.

        TransientError naming the servers that do not after `deadline` seconds.
        """
        zone = self._zone()
        servers = self._authoritative
        if servers is None:
            names = [r.data.rstrip(".") for r in self._list(type="NS") if r.name == zone]
            servers = tuple(propagation.servers_named(names, zone))
        propagation.wait_until_served(
            record, servers, zone, deadline, timeout=_DNS_TIMEOUT, pause=self._pause
        )

    # -- the domain and its records ----------------------------------------------------------------

    def _zone(self) -> str:
        if self._found is None:
            self._found = self._look_for_zone()
        return self._found

    def _look_for_zone(self) -> str:
        labels = self._wanted.split(".")
        for start in range(len(labels) - 1):
            candidate = ".".join(labels[start:])
            doing = f"look for the domain {candidate}"
            try:
                domain = self._api.get(f"domains/{candidate}", doing).get("domain")
            except ProviderError as error:
                if not is_missing(error):
                    raise
                continue
            if not isinstance(domain, dict) or domain.get("name") != candidate:
                raise self._api.senseless(doing, "it holds no such domain")
            return candidate
        raise ProviderError(
            f"the account has no domain that holds {self._wanted}",
            where="dns.zone",
            cure="add the domain at DigitalOcean, or use a token of the account that has it",
        )

    def _list(self, **query: str) -> Iterator[_Record]:
        zone = self._zone()
        doing = f"list records of {zone}"
        for item in self._api.list(f"domains/{zone}/records", "domain_records", doing, **query):
            try:
                yield _Record(
                    id=int(item["id"]),
                    kind=str(item["type"]),
                    name=zone if item["name"] == "@" else f"{item['name']}.{zone}",
                    data=str(item["data"]),
                    ttl=int(item["ttl"]),
                )
            except (KeyError, TypeError, ValueError) as error:
                raise self._api.senseless(doing, f"a record without {error}") from error

    def _look(self, name: str) -> _Seen:
        marker = f"{_MARKER}.{name}"
        # the filter is the API's to honour: what comes back is looked at again
        at_name = [record for record in self._list(name=name) if record.name == name]
        at_marker = [record for record in self._list(name=marker) if record.name == marker]
        return _Seen(
            tuple(r for r in at_name if r.kind == "A"),
            tuple(r for r in at_marker if r.kind == "TXT"),
            tuple(r for r in at_name if r.kind in _IN_THE_WAY),
        )

    def _change(self, record: RecordSet, deployment: str, seen: _Seen) -> bool:
        """Bring what was seen closer to the record set, owner first; False if it is it."""
        doing = f"set {record.name}"
        surplus = list(seen.markers[1:])
        if not seen.markers:
            self._create("TXT", f"{_MARKER}.{record.name}", _OWNER + deployment, record.ttl, doing)
        kept: dict[str, _Record] = {}
        for old in seen.addresses:
            if old.data in record.addresses and old.ttl == record.ttl and old.data not in kept:
                kept[old.data] = old
            else:
                surplus.append(old)
        missing = [address for address in record.addresses if address not in kept]
        for address in missing:
            self._create("A", record.name, address, record.ttl, doing)
        for old in surplus:
            self._delete(old, doing)
        return bool(missing or surplus or not seen.markers)

    def _create(self, kind: str, name: str, data: str, ttl: int, doing: str) -> None:
        zone = self._zone()
        relative = "@" if name == zone else name.removesuffix(f".{zone}")
        body = {"type": kind, "name": relative, "data": data, "ttl": ttl}
        try:
            self._api.post(f"domains/{zone}/records", doing, body)
        except ProviderError as error:
            # the same record is there by now: the next look decides
            if status_of(error) != 422 or "already" not in error.why:
                raise

    def _delete(self, record: _Record, doing: str) -> None:
        self._api.delete(f"domains/{self._zone()}/records/{record.id}", doing)

    def _refuse_outside(self, name: str) -> None:
        zone = self._zone()
        if name != zone and not name.endswith(f".{zone}"):
            raise ProviderError(
                f"{name} is not in the zone {zone}",
                cure="correct domain or dns.zone in the answers",
            )

    def _refuse_foreign(self, name: str, deployment: str, seen: _Seen) -> None:
        foreign = [*seen.in_the_way]
        if seen.owner is None:
            foreign += seen.addresses
        if not foreign and seen.owner in (None, deployment):
            return
        raise ProviderError(
            f"{name} exists and is not this deployment's",
            where=self._zone(),
            why="\n".join(f"{record.kind} {record.data}" for record in foreign)
            or f"its marker says that it belongs to {seen.owner or 'something else'}",
            cure=f"look what {name} is for; delete its records, or deploy to another name",
        )

    def _attempts(self, doing: str) -> Iterator[int]:
        for attempt in range(_ATTEMPTS):
            yield attempt
            self._pause(_FIRST_PAUSE * 2**attempt)
        raise TransientError(
            f"cannot {doing}: DigitalOcean does not show the change, or someone else undoes it",
            where=self._zone(),
            cure="run again in a moment",
        )


def _owner(text: Any) -> str:
    """Return the deployment a marker names, empty if it is not one that we wrote."""
    key, _, value = str(text).strip('"').partition("=")
    return value if f"{key}=" == _OWNER else ""
