"""The lab's resolver: names of the lab's zones from its own DNS server, all others from the
servers that this computer uses. Passes packets on; keeps nothing."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.rcode

from wizard.lab import addresses
from wizard.lab.namespaces import OtherNetwork

log = logging.getLogger(__name__)

_DEADLINE = 5.0


class Resolver:
    """Listens on the router's port 53, UDP and TCP."""

    def __init__(self, host: OtherNetwork, zones: Callable[[], list[str]]) -> None:
        self._host = host
        self._zones = zones
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start answering."""
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(
            lambda: _Datagrams(self), local_addr=(addresses.ROUTER, addresses.DNS_PORT)
        )
        await asyncio.start_server(self._serve_stream, addresses.ROUTER, addresses.DNS_PORT)

    def spawn(self, query: bytes, reply: Callable[[bytes], None]) -> None:
        """Answer a query in a task of its own."""

        async def work() -> None:
            reply(await self.answer(query, stream=False))

        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def answer(self, query: bytes, *, stream: bool) -> bytes:
        """Return the answer to a query; SERVFAIL when nobody answers."""
        try:
            message = dns.message.from_wire(query)
            name = message.question[0].name.to_text(omit_final_dot=True).lower()
        except (dns.exception.DNSException, IndexError):
            return b""
        ours = any(name == zone or name.endswith(f".{zone}") for zone in self._zones())
        servers = [addresses.SERVICES] if ours else _host_servers()
        for server in servers:
            try:
                async with asyncio.timeout(_DEADLINE):
                    return await self._ask(server, query, inside=ours, stream=stream)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                log.info("no answer about %s from %s", name, server)
        failure = dns.message.make_response(message, recursion_available=True)
        failure.set_rcode(dns.rcode.SERVFAIL)
        return failure.to_wire()

    async def _ask(self, server: str, query: bytes, *, inside: bool, stream: bool) -> bytes:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        kind = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM

        def make() -> socket.socket:
            return socket.socket(family, kind | socket.SOCK_NONBLOCK)

        loop = asyncio.get_running_loop()
        with make() if inside else self._host.run(make) as connection:
            await loop.sock_connect(connection, (server, addresses.DNS_PORT))
            if not stream:
                await loop.sock_sendall(connection, query)
                while True:
                    answer = await loop.sock_recv(connection, 65535)
                    if answer[:2] == query[:2]:
                        return answer
            reader, writer = await asyncio.open_connection(sock=connection)
            try:
                writer.write(len(query).to_bytes(2, "big") + query)
                return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            finally:
                writer.close()

    async def _serve_stream(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while True:
                async with asyncio.timeout(30):
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    query = await reader.readexactly(size)
                answer = await self.answer(query, stream=True)
                writer.write(len(answer).to_bytes(2, "big") + answer)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        def reply(answer: bytes) -> None:
            if answer and self._transport is not None:
                self._transport.sendto(answer, address)

        self._resolver.spawn(data, reply)


def _host_servers() -> list[str]:
    lines = [line.split() for line in Path("/etc/resolv.conf").read_text().splitlines()]
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
