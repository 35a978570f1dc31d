"""An authoritative name server over TCP that answers from a function: what stands behind an
emulated DNS API."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from dns.rdatatype import NS

from wizard.dns.hosted import kind_of

Lookup = Callable[[str], tuple[int, list[str]]]
"""Returns TTL in seconds and the addresses, of both kinds, of a name without trailing dot."""


class NameServer:
    """A context manager; `address` is what clients connect to. `servers`: the name servers of
    zones, as a resolver tells them. `line`: where it listens; else on a port of this computer."""

    def __init__(
        self,
        lookup: Lookup,
        servers: Mapping[str, Sequence[str]] | None = None,
        line: socket.socket | None = None,
    ) -> None:
        outer = self
        self._lookup = lookup
        self.servers = servers or {}

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while size := self.rfile.read(2):
                    query = dns.message.from_wire(self.rfile.read(int.from_bytes(size, "big")))
                    answer = outer.answer(query).to_wire()
                    self.wfile.write(len(answer).to_bytes(2, "big") + answer)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Clients that go away are part of the tests."""

        line = line or socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = line.getsockname()
        self._server = Server(self.address, Handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = line

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AA
        name = query.question[0].name
        if query.question[0].rdtype == NS:
            servers = self.servers.get(name.to_text(omit_final_dot=True), ())
            if not servers:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            for server in servers:
                answer.answer.append(dns.rrset.from_text(name, 300, "IN", "NS", f"{server}."))
            return answer
        ttl, addresses = self._lookup(name.to_text(omit_final_dot=True))
        asked = dns.rdatatype.to_text(query.question[0].rdtype)
        found = [address for address in addresses if kind_of(address) == asked]
        if found:
            answer.answer.append(dns.rrset.from_text(name, ttl, "IN", asked, *found))
        return answer

    def __enter__(self) -> NameServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()
