"""What all DNS providers do alike; one of them only makes calls.

A name is ours when its addresses carry our comment, or where a provider knows no comments, when
`_build-usb.<name>` TXT `deployment=<deployment>` stands beside it. Owners are written before
addresses and deleted after them: no run that was killed leaves a record that nobody owns.
"""

from __future__ import annotations

import ipaddress
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from wizard.dns import propagation
from wizard.dns.base import NOTHING, Access, Edge, OriginAuthority, RecordSet, Wanted
from wizard.dns.exchange import Address
from wizard.errors import ProviderError, TransientError

MARKER = "_build-usb"
OWNER = "deployment="

_DNS_TIMEOUT = 5.0  # seconds to connect and answer
_ATTEMPTS = 5  # looks and changes while others change the same name
_FIRST_PAUSE = 0.2  # seconds, then doubled
ADDRESSES = ("A", "AAAA")
"""The kinds of record that hold addresses."""


@dataclass(frozen=True)
class Entry:
    """One record as a provider holds it: `name` without trailing dot, `content` of a TXT without
    quotes, `ttl` in seconds, `id` the provider's (empty: not there yet). `set_id`: it is a set of
    its own beside others of that name, given while its health `check` (an id) is well."""

    kind: str
    name: str
    content: str
    ttl: int
    id: str = ""
    comment: str = ""
    proxied: bool = False
    set_id: str = ""
    check: str = ""

    @property
    def set(self) -> tuple[str, str, str]:
        """What is changed as a whole where providers know sets: name, kind, and which of them."""
        return self.name, self.kind, self.set_id

    @property
    def _key(self) -> tuple[str, ...]:
        return self.kind, self.name, _spelled(self), self.set_id


@dataclass(frozen=True)
class Change:
    """What a deployment's records of one name are and shall be, owner first."""

    before: tuple[Entry, ...]
    after: tuple[Entry, ...]

    @property
    def create(self) -> tuple[Entry, ...]:
        """What is not there at all."""
        return tuple(entry for entry in self.after if not entry.id)

    @property
    def update(self) -> tuple[Entry, ...]:
        """What is there with another TTL or other settings, as it shall be."""
        return tuple(entry for entry in self.after if entry.id and entry not in self.before)

    @property
    def delete(self) -> tuple[Entry, ...]:
        """What shall go, owner last."""
        kept = {entry.id for entry in self.after}
        return tuple(entry for entry in reversed(self.before) if entry.id not in kept)

    @property
    def sets(self) -> dict[tuple[str, str, str], tuple[tuple[Entry, ...], tuple[Entry, ...]]]:
        """What is and what shall be by set, for who changes whole sets of records: what is there
        comes first."""
        keys = dict.fromkeys(entry.set for entry in (*self.before, *self.after))
        return {
            key: (
                tuple(entry for entry in self.before if entry.set == key),
                tuple(entry for entry in self.after if entry.set == key),
            )
            for key in keys
        }

    def __bool__(self) -> bool:
        return bool(self.create or self.update or self.delete)


def change_of(before: Iterable[Entry], wanted: Iterable[Entry]) -> Change:
    """Return the change that keeps of `before` what is right or nearly so, each record once."""
    before = tuple(before)
    free, after = list(before), []
    for entry in wanted:
        alike = [old for old in free if old._key == entry._key]
        if not alike:
            after.append(entry)
            continue
        old = min(alike, key=lambda one: replace(entry, id=one.id) != one)
        free.remove(old)
        # a marker only says whose the name is: how long it is kept does not matter
        after.append(old if entry.kind == "TXT" else replace(entry, id=old.id))
    return Change(before, tuple(after))


class HostedDns(ABC):
    """The work of a DNS provider; see `dns.base.DnsProvider`.

    `zone` may lie inside a zone of the account: the longest that holds it is used.
    `authoritative` are the servers that must answer before a record counts as served; None: those
    that the vendor names.
    """

    title: str
    """The vendor's name for people."""
    shortest_ttl = 0
    """Seconds."""
    marked_beside = True
    """Whether a TXT record beside a name says whose it is, not the records' comments."""

    def __init__(
        self,
        zone: str,
        authoritative: tuple[Address, ...] | None,
        pause: Callable[[float], None] = time.sleep,
        timeout: float = _DNS_TIMEOUT,
    ) -> None:
        self._wanted = zone
        self._authoritative = authoritative
        self._pause = pause
        self._dns_timeout = timeout
        self._found: str | None = None

    # -- what a provider does ----------------------------------------------------------------------

    @abstractmethod
    def _has_zone(self, name: str) -> bool:
        """Say whether there is a zone of exactly this name, and keep what is to be known of it."""

    @abstractmethod
    def _no_zone(self) -> ProviderError:
        """Return the error for an account without a zone that holds the wanted one."""

    @abstractmethod
    def _check_rights(self) -> None:
        """Raise ProviderError unless records may be changed. Changes nothing."""

    @abstractmethod
    def _look(self, name: str) -> list[Entry]:
        """Return the records of a name and of its marker now; others do no harm."""

    @abstractmethod
    def _listed(self, deployment: str) -> Iterable[Entry]:
        """Return all records that may be the deployment's; others do no harm."""

    @abstractmethod
    def _apply(self, doing: str, change: Change) -> bool:
        """Make the change, or of it what can be made now. True: it is made, and only if
        everything was as `change.before` says; False: who asked has to look again."""

    # -- what all do with it -----------------------------------------------------------------------

    def zone(self) -> str:
        """Return the zone's name after checking that it exists and that we may change it."""
        name = self._zone()
        self._check_rights()
        return name

    def name_servers(self) -> tuple[str, ...]:
        """Return the names of the servers that the zone's parent has to name, none if unknown."""
        return ()

    def edge(self, wanted: Wanted = NOTHING) -> Edge:
        """Return the proxies; ProviderError: only few providers have any."""
        raise self._no_proxies()

    def origin(self) -> OriginAuthority:
        """Return the authority of the proxies; ProviderError: only few providers have any."""
        raise self._no_proxies()

    def access(self) -> Access:
        """Return the gate of the proxies; ProviderError: only few providers have any."""
        raise self._no_proxies()

    def _proxies(self) -> tuple[str, ...]:
        """Return the networks of the proxies."""
        raise self._no_proxies()

    def _no_proxies(self) -> ProviderError:
        return ProviderError(
            f"{self.title} has no proxies",
            where="dns.proxied",
            cure="set dns.proxied to false, or choose the DNS provider cloudflare",
        )

    def records(self, deployment: str) -> list[RecordSet]:
        """Return the record sets that belong to the deployment, asked from the server now. One
        without addresses is a marker that a killed run left; it is there to be deleted."""
        entries = list(self._listed(deployment))
        ttls: dict[str, int] = {}
        found: dict[str, list[Entry]] = {}
        for entry in entries:
            if self.marked_beside and entry.kind == "TXT" and _owner([entry]) == deployment:
                ttls[entry.name.removeprefix(f"{MARKER}.")] = entry.ttl
        for entry in entries:
            if entry.kind not in ADDRESSES:
                continue
            if entry.name in ttls if self.marked_beside else entry.comment == _comment(deployment):
                found.setdefault(entry.name, []).append(entry)
        return [
            RecordSet(
                name,
                tuple(sorted({_spelled(entry) for entry in found.get(name, ())})),
                found[name][0].ttl if name in found else ttls[name],
                name in found and found[name][0].proxied,
            )
            for name in sorted(ttls.keys() | found.keys())
        ]

    def ensure_record(self, deployment: str, record: RecordSet) -> bool:
        """Make the record set so; True if something changed. Others' records are refused."""
        self._refuse_outside(record.name)
        if record.ttl < self.shortest_ttl:
            raise ProviderError(
                f"{self.title} keeps records for {self.shortest_ttl} seconds at least, "
                f"not {record.ttl}",
                where=record.name,
                cure=f"set dns.ttl to {self.shortest_ttl} or more",
            )
        doing, changed = f"set {record.name}", False
        for _ in self._attempts(doing):
            ours, foreign = self._sorted_out(deployment, record.name)
            if foreign:
                raise ProviderError(
                    f"{record.name} exists and is not this deployment's",
                    where=self._zone(),
                    why="\n".join(foreign),
                    cure=f"look what {record.name} is for; delete its records, or deploy to "
                    "another name",
                )
            change = change_of(ours, self._entries(deployment, record))
            if not change:
                return changed
            if self._apply(doing, change):
                return True
            changed = True
        raise AssertionError("the last attempt raises")

    def delete_record(self, deployment: str, name: str) -> None:
        """Delete our record set of that name; what is gone, or another's by now, is left."""
        self._refuse_outside(name)
        for _ in self._attempts(f"delete {name}"):
            ours, _foreign = self._sorted_out(deployment, name)
            if not ours or self._apply(f"delete {name}", Change(ours, ())):
                return

    def check_health_checks(self) -> None:
        """Raise ProviderError: only few providers ask addresses whether they are well."""
        raise ProviderError(
            f"{self.title} has no health checks",
            where="dns.health_checked",
            cure="set dns.health_checked to false, or choose the DNS provider route53",
        )

    def unused_checks(self, deployment: str) -> list[str]:
        """Return the ids of the deployment's health checks that no record names."""
        return []

    def sweep(self, deployment: str) -> int:
        """Delete the deployment's health checks that no record names; return how many."""
        return 0

    def wait_until_served(self, record: RecordSet, deadline: float) -> None:
        """Return once every authoritative server answers with the record's addresses, or with
        proxies if it is proxied.

        TransientError naming the servers that do not after `deadline` seconds.
        """
        self._refuse_outside(record.name)
        propagation.wait_until_served(
            record,
            self._authoritative or self._name_servers(),
            self._zone(),
            deadline,
            timeout=self._dns_timeout,
            networks=self._proxies() if record.proxied else (),
            pause=self._pause,
        )

    def _name_servers(self) -> list[Address]:
        """Return the zone's authoritative servers."""
        return propagation.servers_named(self.name_servers(), self._zone())

    # -- its parts ---------------------------------------------------------------------------------

    def _zone(self) -> str:
        """Return the name of the zone that changes go to."""
        if self._found is None:
            labels = self._wanted.split(".")
            candidates = [".".join(labels[start:]) for start in range(len(labels) - 1)]
            self._found = next((name for name in candidates if self._has_zone(name)), None)
        if self._found is None:
            raise self._no_zone()
        return self._found

    def _entries(self, deployment: str, record: RecordSet) -> list[Entry]:
        """Return what the record set shall be, as this provider holds it."""
        comment = "" if self.marked_beside else _comment(deployment)
        addresses = [
            Entry(kind_of(address), record.name, address, record.ttl, comment=comment)
            for address in dict.fromkeys(record.addresses)
        ]
        if not self.marked_beside:
            return addresses
        return [
            Entry("TXT", marker_of(record.name), OWNER + deployment, record.ttl),
            *addresses,
        ]

    def _sorted_out(self, deployment: str, name: str) -> tuple[tuple[Entry, ...], list[str]]:
        """Return the deployment's records of a name, owner first, and in words what else is there
        or who else owns it."""
        entries = self._look(name)
        markers = [
            entry
            for entry in entries
            if self.marked_beside and (entry.kind, entry.name) == ("TXT", marker_of(name))
        ]
        addresses = [e for e in entries if e.kind in ADDRESSES and e.name == name]
        others = [e for e in entries if e.kind == "CNAME" and e.name == name]
        if not self.marked_beside:
            # filters of an API may ignore capitals; this does not
            ours = [entry for entry in addresses if entry.comment == _comment(deployment)]
            others += [entry for entry in addresses if entry not in ours]
        elif markers and _owner(markers) != deployment:
            owner = _owner(markers) or "something else"
            return (), [
                *map(_described, others),
                f"its marker says that it belongs to {owner}",
            ]
        elif markers:
            ours = [*markers, *addresses]
        else:
            ours, others = [], [*others, *addresses]
        return tuple(ours), list(map(_described, others))

    def _refuse_outside(self, name: str) -> None:
        zone = self._zone()
        if name != zone and not name.endswith(f".{zone}"):
            raise ProviderError(
                f"{name} is not in the zone {zone}",
                cure="correct domain or dns.zone in the answers",
            )

    def _attempts(self, doing: str) -> Iterator[int]:
        for attempt in range(_ATTEMPTS):
            yield attempt
            self._pause(_FIRST_PAUSE * 2**attempt)
        raise TransientError(
            f"cannot {doing}: {self.title} does not show the change, or someone else undoes it",
            where=self._zone(),
            cure="run again in a moment",
        )


def kind_of(address: str) -> str:
    """Return the kind of record that holds an address."""
    return "AAAA" if ":" in address else "A"


def _spelled(entry: Entry) -> str:
    """Return what an entry holds; an IPv6 address, which can be written in many ways, as we do."""
    if entry.kind != "AAAA":
        return entry.content
    try:
        return str(ipaddress.IPv6Address(entry.content))
    except ValueError:
        return entry.content


def marker_of(name: str) -> str:
    """Return the name of the TXT record that says whose `name` is."""
    return f"{MARKER}.{name}"


def _comment(deployment: str) -> str:
    return f"build-usb {OWNER}{deployment}"


def _owner(markers: list[Entry]) -> str:
    """Return the deployment that markers name, empty if they are not what we write."""
    owners = {
        marker.content.removeprefix(OWNER) if marker.content.startswith(OWNER) else ""
        for marker in markers
        if marker.name.startswith(f"{MARKER}.")
    }
    return owners.pop() if len(owners) == 1 else ""


def _described(entry: Entry) -> str:
    comment = f", commented {entry.comment!r}" if entry.comment else ""
    return f"{entry.kind} {entry.content}{comment}"
