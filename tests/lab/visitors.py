"""Many visitors of a site under test: they resolve its name at the lab's DNS server, keep answers
for as long as the records say, and go to the next address when one fails, as browsers do."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from dataclasses import dataclass, field

import dns.message
import dns.query
import dns.rdatatype


@dataclass
class Tally:
    """What visitors saw: requests, those that no address answered, those that needed another
    address than the first, and the slowest one in seconds."""

    requests: int = 0
    failed: int = 0
    retried: int = 0
    slowest: float = 0.0
    reasons: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.requests} requests, {self.failed} failed, {self.retried} went to the next "
            f"address, slowest {self.slowest:.2f} s"
        )


class Visitors(threading.Thread):
    """`rate` requests a second, each a connection of its own, until `stop` is called.

    `server` is the lab's DNS server as this computer reaches it; what it answers is reached at the
    loopback addresses of the same lab. `patience`: seconds until the next address is tried; `page`:
    what every page holds.
    """

    def __init__(
        self, host: str, root: str, server: str, *, rate: float = 50.0, patience: float = 5.0
    ) -> None:
        super().__init__(daemon=True)
        self.host, self.server, self.rate, self.patience = host, server, rate, patience
        self.page = b"</html>"
        self.trust = ssl.create_default_context(cadata=root)
        self.addresses: list[str] = []
        self.good_until = 0.0
        self.tally = Tally()
        self.over = threading.Event()
        self.turn = 0

    def run(self) -> None:
        asyncio.run(self._visit())

    def stop(self) -> None:
        self.over.set()
        self.join(30)

    def take(self) -> Tally:
        """Return what was seen since the last call."""
        taken, self.tally = self.tally, Tally()
        return taken

    def resolve(self) -> list[str]:
        """Ask the lab's DNS server now."""
        query = dns.message.make_query(self.host, "A")
        answer = dns.query.tcp(query, self.server, timeout=5)
        found: list[str] = []
        for rrset in answer.answer:
            if rrset.rdtype == dns.rdatatype.A:
                found += [rdata.to_text() for rdata in rrset]
                self.good_until = time.monotonic() + rrset.ttl
        return sorted(found)

    async def _visit(self) -> None:
        tasks: set[asyncio.Task[None]] = set()
        due = time.monotonic()
        while not self.over.is_set():
            if time.monotonic() > self.good_until:
                with contextlib.suppress(OSError, dns.exception.DNSException):
                    self.addresses = await asyncio.to_thread(self.resolve)
            task = asyncio.create_task(self._request())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            due += 1 / self.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await asyncio.gather(*tasks)

    async def _request(self) -> None:
        tally, started = self.tally, time.monotonic()
        tally.requests += 1
        self.turn += 1
        known = list(self.addresses)
        first = self.turn % len(known) if known else 0
        order = known[first:] + known[:first]
        for tried, address in enumerate(order):
            if tried == 1:
                tally.retried += 1
            try:
                async with asyncio.timeout(self.patience):
                    await self._get(address)
            except (OSError, TimeoutError, EOFError) as error:
                tally.reasons.append(f"{address}: {error!r}")
                continue
            tally.slowest = max(tally.slowest, time.monotonic() - started)
            return
        tally.failed += 1

    async def _get(self, address: str) -> None:
        prefix = self.server.rpartition(".")[0]
        access = f"{prefix}.{address.rpartition('.')[2]}"
        reader, writer = await asyncio.open_connection(
            access, 443, ssl=self.trust, server_hostname=self.host
        )
        try:
            writer.write(
                f"GET / HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n\r\n".encode()
            )
            await writer.drain()
            head = await reader.readuntil(b"\r\n")
            body = await reader.read()
            if b" 200 " not in head or self.page not in body:
                raise OSError(f"{head.decode().strip()}, {len(body)} bytes")
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
