"""Publishes ports of the lab on the loopback interface of this computer, as raw TCP.

Listeners are made in the host's network namespace, connections in the lab's, from the address
that the firewall shall see. No byte is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from dataclasses import dataclass
from typing import cast

from wizard.errors import ProviderError
from wizard.lab.namespaces import OtherNetwork

log = logging.getLogger(__name__)

# linux/in.h: choose the port at connect, so that one source address has one port range a target
_IP_BIND_ADDRESS_NO_PORT = 24
_CONNECT_DEADLINE = 20.0
_BACKLOG = 512


@dataclass(frozen=True)
class Port:
    """A published port: where this computer finds it, where it is in the lab, and which
    address of the lab its visitors come from."""

    listen: str
    port: int
    target: str
    source: str


class _Half(asyncio.Protocol):
    """One side of a connection; passes on what it gets, at the pace of the other side."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Half | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.other and self.other.transport:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        if self.other and self.other.transport and not self.other.transport.is_closing():
            with contextlib.suppress(OSError, RuntimeError):
                self.other.transport.write_eof()
        # half open: the other direction may still have something to say
        return True

    def pause_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self.other and self.other.transport:
            (self.other.transport.abort if error else self.other.transport.close)()


class _Visitor(_Half):
    """The side of this computer: on arrival, connects to the lab."""

    def __init__(self, port: Port, tasks: set[asyncio.Task[None]]) -> None:
        super().__init__()
        self._port = port
        self._tasks = tasks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport
        loop = asyncio.get_running_loop()
        # not at once: Debian 12's Python (3.11.2) starts reading after this method all the same
        loop.call_soon(self.transport.pause_reading)
        task = loop.create_task(self._connect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        assert self.transport
        loop = asyncio.get_running_loop()
        inner = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            inner.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            inner.bind((self._port.source, 0))
            async with asyncio.timeout(_CONNECT_DEADLINE):
                await loop.sock_connect(inner, (self._port.target, self._port.port))
            half = _Half()
            half.other = self
            await loop.create_connection(lambda: half, sock=inner)
            self.other = half
            self.transport.resume_reading()
        except (OSError, TimeoutError):
            # the visitor sees what it would see: a refused or lost connection
            inner.close()
            self.transport.abort()


class Publisher:
    """Keeps the set of published ports equal to what is wanted."""

    def __init__(self, host: OtherNetwork) -> None:
        self._host = host
        self._servers: dict[Port, asyncio.Server] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()

    async def publish(self, wanted: set[Port]) -> None:
        """Open and close listeners; ProviderError when an address is taken by others."""
        async with self._lock:
            for port in self._servers.keys() - wanted:
                self._servers.pop(port).close()
            for port in sorted(wanted - self._servers.keys(), key=str):
                listener = self._listen(port)
                self._servers[port] = await asyncio.get_running_loop().create_server(
                    lambda port=port: _Visitor(port, self._tasks),  # type: ignore[misc]
                    sock=listener,
                    backlog=_BACKLOG,
                )
                log.info("published %s:%s for %s", port.listen, port.port, port.target)

    def _listen(self, port: Port) -> socket.socket:
        def make() -> socket.socket:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((port.listen, port.port))
                listener.listen(_BACKLOG)
            except OSError:
                listener.close()
                raise
            return listener

        try:
            return self._host.run(make)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise ProviderError(
                f"port {port.port} of {port.listen} is in use on this computer",
                where=f"{port.listen}:{port.port}",
                why=os.strerror(error.errno),
                cure=f"see who uses it with: ss -ltnp 'sport = :{port.port}'; "
                "end that program or have it listen on its own address only, then run again",
                code="port-in-use",
            ) from None
