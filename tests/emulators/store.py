"""An object store with rules of its own in front of moto's: keys that may not delete, faults."""

from __future__ import annotations

import http.client
import re
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from tests.emulators.server import Listening

_HOPS = ("connection", "transfer-encoding", "content-length", "date", "server")
_ERROR = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{}</Code><Message>{}</Message></Error>"


@dataclass
class Rule:
    """Requests whose "METHOD /path" matches are answered with an error, `times` times."""

    match: str
    status: int
    code: str
    times: int = 1 << 30


APPEND_ONLY = Rule(r"^DELETE /[^/?]+/(?!locks/)|^POST /[^?]*\?delete", 403, "AccessDenied")
"""The policy of a key that may add, read, and take its locks away again."""
READ_ONLY = Rule(r"^(PUT|POST|DELETE) ", 403, "AccessDenied")


@dataclass
class Store:
    """Serves `listener`, asks `upstream` (http://host:port); a context manager. Whose requests are
    not signed with `access_key` is refused."""

    upstream: str
    listener: socket.socket
    access_key: str
    rules: list[Rule] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.listener.getsockname()[:2])

    def __enter__(self) -> Store:
        self._server = _Server(self.listener, self)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def refusal(self, line: str, authorization: str) -> tuple[int, str] | None:
        if f"Credential={self.access_key}/" not in authorization:
            self.foreign.append(line)
            return 403, "InvalidAccessKeyId"
        for rule in self.rules:
            if rule.times > 0 and re.search(rule.match, line):
                rule.times -= 1
                self.refused.append(line)
                return rule.status, rule.code
        return None


class _Server(Listening):
    def __init__(self, listener: socket.socket, store: Store) -> None:
        super().__init__(listener, _Handler)
        self.store = store


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: _Server

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        store = self.server.store
        refused = store.refusal(
            f"{self.command} {self.path}", self.headers.get("Authorization", "")
        )
        if refused is not None:
            data = _ERROR.format(refused[1], refused[1]).encode()
            self._answer(refused[0], {"Content-Type": "application/xml"}, data)
            return
        there = urlsplit(store.upstream)
        asked = http.client.HTTPConnection(there.hostname or "", there.port, timeout=60)
        try:
            asked.request(self.command, self.path, body, dict(self.headers.items()))
            reply = asked.getresponse()
            data = reply.read()
            kept = {k: v for k, v in reply.getheaders() if k.lower() not in _HOPS}
            if self.command == "HEAD":
                kept["Content-Length"] = reply.getheader("Content-Length") or "0"
            self._answer(reply.status, kept, data)
        finally:
            asked.close()

    def _answer(self, status: int, headers: dict[str, Any], data: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Date", self.date_time_string())
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers and status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        self.wfile.flush()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any
