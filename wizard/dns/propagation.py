"""Asks authoritative name servers whether they serve a record yet."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Sequence

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rdataclass
import dns.rdatatype
from dns.rdatatype import AAAA, A

from wizard.dns.base import RecordSet
from wizard.dns.exchange import Address, addresses_of
from wizard.errors import TransientError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between questions while waiting


def wait_until_served(
    record: RecordSet,
    servers: Sequence[Address],
    zone: str,
    deadline: float,
    *,
    timeout: float,
    networks: Sequence[str] = (),
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Return once every one of `servers` answers with the record's addresses; `deadline` and
    `timeout` (of one question) in seconds. TransientError naming the servers that do not. With
    `networks`, any addresses inside them will do: those of proxies. With health checks, some of
    the record's do: those that are well now."""
    end = time.monotonic() + deadline
    name = dns.name.from_text(record.name)
    waiting = list(servers)
    wanted, answers, wait = sorted(record.addresses), {}, _FIRST_PAUSE
    # proxies answer as they see fit, with IPv6 addresses or without
    kinds = (A, AAAA) if not networks and any(":" in one for one in wanted) else (A,)
    ranges = [ipaddress.ip_network(network) for network in networks]

    def right(answer: list[str] | str) -> bool:
        if record.health is not None and not isinstance(answer, str):
            return bool(answer) and set(answer) <= set(wanted)
        if not ranges or isinstance(answer, str):
            return answer == wanted
        found = [ipaddress.ip_address(address) for address in answer]
        return bool(found) and all(any(one in each for each in ranges) for one in found)

    while True:
        for server in waiting:
            answers[server] = _served(name, kinds, server, timeout)
        waiting = [server for server in waiting if not right(answers[server])]
        left = end - time.monotonic()
        if not waiting:
            return
        if left <= 0:
            raise TransientError(
                f"{record.name} is not served everywhere after {deadline:.0f} s",
                where=zone,
                why="\n".join(
                    f"{address}:{port} says {_said(answers[address, port])}, not "
                    f"{'a proxy' if ranges else ', '.join(wanted)}"
                    for address, port in waiting
                ),
                cure="run again later: secondary servers may need minutes to follow",
            )
        pause(min(wait, left))
        wait = min(wait * 2, _LONGEST_PAUSE)


def servers_named(names: Sequence[str], zone: str) -> list[Address]:
    """Return one address of each name server, as this computer's resolver knows them.

    TransientError if one has none. IPv4 where there is: not every computer has IPv6, and a
    server says the same over both.
    """
    found: list[Address] = []
    for name in names:
        addresses = addresses_of(name)
        if not addresses:
            raise TransientError(
                f"the name server {name} has no address",
                where=zone,
                cure="check that this computer's network and resolver work, then run again",
            )
        found.append((next((a for a in addresses if ":" not in a), addresses[0]), 53))
    return found


def _served(
    name: dns.name.Name,
    kinds: Sequence[dns.rdatatype.RdataType],
    server: Address,
    timeout: float,
) -> list[str] | str:
    addresses: list[str] = []
    for kind in kinds:
        query = dns.message.make_query(name, kind, flags=0)
        try:
            answer = dns.query.tcp(query, server[0], timeout, server[1])
        except (OSError, EOFError, dns.exception.DNSException) as error:
            return f"nothing ({error or type(error).__name__})"
        found = answer.get_rrset(dns.message.ANSWER, name, dns.rdataclass.IN, kind)
        addresses += [rdata.to_text() for rdata in found or ()]
    return sorted(addresses)


def _said(answer: list[str] | str) -> str:
    return answer if isinstance(answer, str) else ", ".join(answer) or "that there is no address"
