"""Any name server that takes dynamic updates (RFC 2136) signed with a TSIG key.

A name and the marker beside it change in one update whose prerequisites are what was read before,
so whatever else happens to the zone meanwhile, the server itself refuses to touch records that are
not ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.txtbase
import dns.update
from dns.rdatatype import AAAA, CNAME, NS, SOA, TXT, A

from wizard.dns.exchange import Address, Exchange, addresses_of
from wizard.dns.hosted import ADDRESSES, OWNER, Change, Entry, HostedDns, marker_of
from wizard.errors import ProviderError, TransientError
from wizard.providers.base import DnsServer

_TIMEOUT = 5.0  # seconds to connect and answer
_PREREQUISITE_FAILED = (dns.rcode.NXRRSET, dns.rcode.YXRRSET)


class Rfc2136(HostedDns):
    """Serves one zone through a server that takes updates; see `HostedDns`.

    The zone is the one that answers name. Its authoritative servers are those that its NS records
    name.
    """

    name = "rfc2136"
    title = "the server"

    def __init__(
        self,
        zone: str,
        server: DnsServer,
        authoritative: tuple[Address, ...] | None = None,
        *,
        timeout: float = _TIMEOUT,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(zone, authoritative, pause, timeout)
        self._root = dns.name.from_text(zone)
        self._exchange = Exchange(server, timeout)

    def __repr__(self) -> str:
        return f"Rfc2136({self._wanted!r}, {self._exchange.where})"

    def zone(self) -> str:
        """Return the zone's name after checking that it exists and that we may change it."""
        if not self._has_zone(self._wanted):
            raise self._no_zone()
        return super().zone()

    def _zone(self) -> str:
        return self._wanted

    def _has_zone(self, name: str) -> bool:
        return bool(self._read(name, SOA))

    def _no_zone(self) -> ProviderError:
        return ProviderError(
            f"the server does not serve the zone {self._wanted}",
            where=self._exchange.where,
            cure="check dns.zone in the answers, or add the zone to the server",
        )

    def _check_rights(self) -> None:
        # takes nothing away, but is refused like a change to those who may change nothing
        update = dns.update.UpdateMessage(self._root)
        update.delete(f"{marker_of(self._wanted)}.", TXT, f'"{OWNER}"')
        self._send(update)

    def _look(self, name: str) -> list[Entry]:
        asked = [*((name, kind) for kind in (A, AAAA, CNAME)), (marker_of(name), TXT)]
        return [entry for owner, kind in asked for entry in self._read(owner, kind)]

    def _listed(self, deployment: str) -> Iterator[Entry]:
        for owner, ttl, rdata in self._exchange.transfer(self._root).iterate_rdatas():
            yield _entry(_text(owner.derelativize(self._root)), ttl, rdata)

    def _apply(self, doing: str, change: Change) -> bool:
        update = dns.update.UpdateMessage(self._root)
        for (name, kind, _), (before, _after) in change.sets.items():
            for entry in before:
                update.present(f"{name}.", kind, _content(entry))
            if not before:
                update.absent(f"{name}.", kind)
        for name in {entry.name for entry in change.after if entry.kind in ADDRESSES}:
            for kind in (*ADDRESSES, "CNAME"):
                if (name, kind, "") not in change.sets:
                    update.absent(f"{name}.", kind)
        for (name, kind, _), (before, after) in change.sets.items():
            if after and after != before:
                update.replace(f"{name}.", after[0].ttl, kind, *map(_content, after))
            elif not after:
                update.delete(f"{name}.", kind)
        return self._send(update)

    def _send(self, update: dns.update.UpdateMessage) -> bool:
        """Send it; False if its prerequisites no longer hold."""
        doing = f"change the zone {self._wanted}"
        answer = self._exchange.ask(update, doing, _PREREQUISITE_FAILED)
        return answer.rcode() == dns.rcode.NOERROR

    def _read(self, name: str, kind: dns.rdatatype.RdataType) -> list[Entry]:
        absolute = dns.name.from_text(name)
        query = dns.message.make_query(absolute, kind, flags=0)
        answer = self._exchange.ask(query, f"ask for {name}", (dns.rcode.NXDOMAIN,))
        found = answer.get_rrset(dns.message.ANSWER, absolute, dns.rdataclass.IN, kind)
        return [_entry(name, found.ttl, rdata) for rdata in found] if found is not None else []

    def name_servers(self) -> tuple[str, ...]:
        """Return the servers that the zone's own NS records name."""
        return tuple(entry.content.rstrip(".") for entry in self._read(self._wanted, NS))

    def _name_servers(self) -> list[Address]:
        found: list[Address] = []
        for entry in self._read(self._wanted, NS):
            server = dns.name.from_text(entry.content)
            name = _text(server)
            # a server named in the zone has its address there, others this computer looks up
            own = self._read(name, A) if server.is_subdomain(self._root) else []
            addresses = [entry.content for entry in own] or addresses_of(name)
            if not addresses:
                raise TransientError(
                    f"the name server {name} has no address",
                    where=self._wanted,
                    cure="correct the zone's NS records",
                )
            found += [(address, 53) for address in addresses]
        if not found:
            raise ProviderError(
                "the zone names no name servers",
                where=self._wanted,
                cure="correct the zone's NS records",
            )
        return found


def _entry(name: str, ttl: int, rdata: dns.rdata.Rdata) -> Entry:
    kind, content = dns.rdatatype.to_text(rdata.rdtype), rdata.to_text()
    known = f"{kind} {content}"
    if isinstance(rdata, dns.rdtypes.txtbase.TXTBase):
        content = b"".join(rdata.strings).decode(errors="replace")
    return Entry(kind, name, content, ttl, id=known)


def _content(entry: Entry) -> str:
    return f'"{entry.content}"' if entry.kind == "TXT" else entry.content


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True)
