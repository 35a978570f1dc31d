"""Any name server that takes dynamic updates (RFC 2136) signed with a TSIG key.

Beside each name we serve, `_build-usb.<name>` TXT `deployment=<deployment>` says that it is ours.
Both change in one update whose prerequisites are what was read before, so whatever else happens to
the zone meanwhile, the server itself refuses to touch records that are not ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rdtypes.txtbase
import dns.rrset
import dns.update
from dns.rdatatype import AAAA, CNAME, NS, SOA, TXT, A

from wizard.dns import propagation
from wizard.dns.base import RecordSet
from wizard.dns.exchange import Address, Exchange, addresses_of
from wizard.errors import ProviderError, TransientError
from wizard.providers.base import DnsServer

_MARKER = "_build-usb"
_TIMEOUT = 5.0  # seconds to connect and answer
_ATTEMPTS = 5  # reads and updates while others change the same name
_FIRST_PAUSE = 0.1  # seconds after the first attempt, then doubled
_PREREQUISITE_FAILED = (dns.rcode.NXRRSET, dns.rcode.YXRRSET)


@dataclass(frozen=True)
class _Seen:
    """What a name holds now: our kind of record, who marked it, and records in its way."""

    addresses: dns.rrset.RRset | None
    marker: dns.rrset.RRset | None
    in_the_way: tuple[str, ...]

    @property
    def owner(self) -> str | None:
        """The deployment that the marker names, None without a marker."""
        return None if self.marker is None else _owner(self.marker)


class Rfc2136:
    """Serves one zone through a server that takes updates; see `dns.base.DnsProvider`.

    `authoritative` are the servers that must answer before a record counts as served; None: those
    that the zone's NS records name.
    """

    name = "rfc2136"

    def __init__(
        self,
        zone: str,
        server: DnsServer,
        authoritative: tuple[Address, ...] | None = None,
        *,
        timeout: float = _TIMEOUT,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._zone = dns.name.from_text(zone)
        self._exchange = Exchange(server, timeout)
        self._authoritative = authoritative
        self._timeout = timeout
        self._pause = pause

    def __repr__(self) -> str:
        return f"Rfc2136({self._text(self._zone)!r}, {self._exchange.where})"

    def zone(self) -> str:
        """Return the zone's name after checking that it exists and that we may change it."""
        if self._read(self._zone, SOA) is None:
            raise ProviderError(
                f"the server does not serve the zone {self._text(self._zone)}",
                where=self._exchange.where,
                cure="check dns.zone in the answers, or add the zone to the server",
            )
        # takes nothing away, but is refused like a change to those who may change nothing
        update = dns.update.UpdateMessage(self._zone)
        update.delete(self._marker(self._zone), TXT, '"deployment="')
        self._send_update(update)
        return self._text(self._zone)

    def records(self, deployment: str) -> list[RecordSet]:
        """Return the record sets that belong to the deployment, from a transfer of the zone."""
        content = self._exchange.transfer(self._zone)
        found = []
        for owner, marker in content.iterate_rdatasets(TXT):
            # names are relative to the zone here
            if owner[:1] != (_MARKER.encode(),) or _owner(marker) != deployment:
                continue
            name = dns.name.Name(owner[1:])
            addresses = content.get_rdataset(name, A)
            if addresses is not None:
                texts = sorted(rdata.to_text() for rdata in addresses)
                absolute = self._text(name.derelativize(self._zone))
                found.append(RecordSet(absolute, tuple(texts), addresses.ttl))
        return sorted(found, key=lambda record: record.name)

    def ensure_record(self, deployment: str, record: RecordSet) -> bool:
        """Make the record set so; True if something changed. Others' records are refused."""
        name = self._absolute(record.name)
        for _ in self._attempts(f"set {record.name}"):
            seen = self._look(name)
            self._refuse_foreign(record.name, deployment, seen)
            if seen.owner == deployment and _is(seen.addresses, record):
                return False
            update = self._update_of(name, seen)
            update.replace(name, record.ttl, A, *record.addresses)
            update.replace(self._marker(name), record.ttl, TXT, f'"deployment={deployment}"')
            if self._send_update(update):
                return True
        raise AssertionError("the last attempt raises")

    def delete_record(self, deployment: str, name: str) -> None:
        """Delete our record set of that name; what is gone, or another's by now, is left."""
        absolute = self._absolute(name)
        for _ in self._attempts(f"delete {name}"):
            seen = self._look(absolute)
            if seen.owner != deployment:
                return
            update = self._update_of(absolute, seen)
            update.delete(absolute, A)
            update.delete(self._marker(absolute), TXT)
            if self._send_update(update):
                return

    def wait_until_served(self, record: RecordSet, deadline: float) -> None:
        """Return once every authoritative server answers with the record's addresses.

        TransientError naming the servers that do not after `deadline` seconds.
        """
        self._absolute(record.name)
        propagation.wait_until_served(
            record,
            self._authoritative or self._name_servers(),
            self._text(self._zone),
            deadline,
            timeout=self._timeout,
            pause=self._pause,
        )

    # -- what is there -----------------------------------------------------------------------------

    def _look(self, name: dns.name.Name) -> _Seen:
        return _Seen(
            self._read(name, A),
            self._read(self._marker(name), TXT),
            tuple(
                dns.rdatatype.to_text(kind)
                for kind in (CNAME, AAAA)
                if self._read(name, kind) is not None
            ),
        )

    def _refuse_foreign(self, name: str, deployment: str, seen: _Seen) -> None:
        owner = seen.owner
        foreign = [*seen.in_the_way]
        if seen.addresses is not None and owner is None:
            foreign.append("A")
        if not foreign and owner in (None, deployment):
            return
        kinds = " and ".join(foreign)
        raise ProviderError(
            f"{name} exists and is not this deployment's",
            where=self._text(self._zone),
            why=f"it has {kinds} records that were not made by this deployment"
            if foreign
            else f"its marker says that it belongs to {owner or 'something else'}",
            cure=f"look what {name} is for; delete its records, or deploy to another name",
        )

    def _read(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> dns.rrset.RRset | None:
        query = dns.message.make_query(name, kind, flags=0)
        answer = self._exchange.ask(query, f"ask for {self._text(name)}", (dns.rcode.NXDOMAIN,))
        return answer.get_rrset(dns.message.ANSWER, name, dns.rdataclass.IN, kind)

    def _name_servers(self) -> list[Address]:
        found: list[Address] = []
        for rdata in self._read(self._zone, NS) or ():
            name = dns.name.from_text(rdata.to_text())
            # a server named in the zone has its address there, others this computer looks up
            own = self._read(name, A) if name.is_subdomain(self._zone) else None
            addresses = [a.to_text() for a in own or ()] or addresses_of(self._text(name))
            if not addresses:
                raise TransientError(
                    f"the name server {self._text(name)} has no address",
                    where=self._text(self._zone),
                    cure="correct the zone's NS records",
                )
            found += [(address, 53) for address in addresses]
        if not found:
            raise ProviderError(
                "the zone names no name servers",
                where=self._text(self._zone),
                cure="correct the zone's NS records",
            )
        return found

    # -- updates -----------------------------------------------------------------------------------

    def _update_of(self, name: dns.name.Name, seen: _Seen) -> dns.update.UpdateMessage:
        """Return an update that holds only while the name is as `seen`."""
        update = dns.update.UpdateMessage(self._zone)
        for owner, kind, found in (
            (name, A, seen.addresses),
            (self._marker(name), TXT, seen.marker),
        ):
            if found is None:
                update.absent(owner, kind)
            else:
                for rdata in found:  # one by one: so they go without TTL, as prerequisites must
                    update.present(owner, rdata)
        if not seen.in_the_way:
            update.absent(name, CNAME)
            update.absent(name, AAAA)
        return update

    def _send_update(self, update: dns.update.UpdateMessage) -> bool:
        """Send it; False if its prerequisites no longer hold."""
        answer = self._exchange.ask(
            update, f"change the zone {self._text(self._zone)}", _PREREQUISITE_FAILED
        )
        return answer.rcode() == dns.rcode.NOERROR

    def _attempts(self, doing: str) -> Iterator[int]:
        for attempt in range(_ATTEMPTS):
            yield attempt
            self._pause(_FIRST_PAUSE * 2**attempt)
        raise TransientError(
            f"cannot {doing}: someone else keeps changing it",
            where=self._text(self._zone),
            cure="run again in a moment",
        )

    # -- names --------------------------------------------------------------------------

    def _absolute(self, name: str) -> dns.name.Name:
        absolute = dns.name.from_text(name)
        if not absolute.is_subdomain(self._zone):
            raise ProviderError(
                f"{name} is not in the zone {self._text(self._zone)}",
                cure="correct domain or dns.zone in the answers",
            )
        return absolute

    def _marker(self, name: dns.name.Name) -> dns.name.Name:
        return dns.name.from_text(_MARKER, name)

    @staticmethod
    def _text(name: dns.name.Name) -> str:
        return name.to_text(omit_final_dot=True)


def _owner(marker: dns.rdataset.Rdataset) -> str:
    """Return the deployment a marker names, empty if it is not one that we wrote."""
    texts = [
        b"".join(rdata.strings).decode(errors="replace")
        for rdata in marker
        if isinstance(rdata, dns.rdtypes.txtbase.TXTBase)
    ]
    key, _, value = texts[0].partition("=") if len(texts) == 1 else ("", "", "")
    return value if key == "deployment" else ""


def _is(found: dns.rrset.RRset | None, record: RecordSet) -> bool:
    return (
        found is not None
        and found.ttl == record.ttl
        and sorted(rdata.to_text() for rdata in found) == sorted(record.addresses)
    )
