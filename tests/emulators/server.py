"""What emulated APIs share: an HTTP server on loopback, scripted faults, a journal of requests.

State belongs to one lock: a request is handled whole before the next one, as a database would.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.emulators.openapi import Document

Handler = Callable[..., "Reply"]


@dataclass
class Reply:
    """An answer; `body` None sends none, bytes are XML."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """A request as the emulator saw it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw) if self.raw else None

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Fault:
    """What goes wrong with requests whose "METHOD /path" matches `match`, `times` times.

    Done before the fault shows: `lost` (the connection closes without an answer), `html` (a web
    page instead of JSON, status 200), `truncated` (half of the body). Instead of doing it: `reply`,
    which with `late` is said after it was done.
    """

    match: str
    kind: str = ""
    reply: Reply | None = None
    times: int = 1
    delay: float = 0.0
    late: bool = False


class Emulator:
    """Base of emulated APIs; a context manager. Subclasses fill `routes`."""

    prefix = ""
    replies_are_documented = True
    spoil: Callable[[Request, Reply], Reply] = staticmethod(lambda _request, reply: reply)
    """What is answered in place of an answer."""

    def __init__(self, document: Document | None, listener: socket.socket | None = None) -> None:
        self.document = document
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.violations: list[str] = []
        self.lock = threading.RLock()
        self.routes: list[tuple[str, re.Pattern[str], Handler]] = []
        if listener is None:
            listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._server = _Server(listener, self)
        self.origin = "http://{}:{}".format(*listener.getsockname()[:2])

    @property
    def url(self) -> str:
        return self.origin + self.prefix

    def __enter__(self) -> Any:
        # a short interval: the time that closing takes
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def route(self, method: str, pattern: str, handler: Handler) -> None:
        expression = re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", self.prefix + pattern)
        self.routes.append((method, re.compile(f"^{expression}/?$"), handler))

    def add_routes(self, table: str) -> None:
        """Add routes, each a line of method, path and the name of what handles it."""
        for line in table.strip().splitlines():
            method, path, name = line.split()
            self.route(method, path, getattr(self, name))

    def fail(self, match: str, kind: str = "", **more: Any) -> None:
        """Script a fault; see Fault."""
        self.faults.append(Fault(match, kind, **more))

    def calls(self, match: str) -> list[Request]:
        """Return the requests whose "METHOD /path" matches, in order."""
        return [request for request in self.requests if re.search(match, request.line)]

    def authorise(self, request: Request) -> Reply | None:
        """Return a refusal, or None when the request may go on."""
        raise NotImplementedError

    def missing(self, request: Request) -> Reply:
        raise NotImplementedError

    def fault_for(self, request: Request) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and re.search(fault.match, request.line):
                fault.times -= 1
                return fault
        return None

    def handle(self, request: Request) -> tuple[Reply, Fault | None]:
        with self.lock:
            self.requests.append(request)
            fault = self.fault_for(request)
        if fault is not None:
            time.sleep(fault.delay)
            if fault.reply is not None and not fault.late:
                return fault.reply, None
        refusal = self.authorise(request)
        if refusal is not None:
            return refusal, fault
        reply = self.dispatch(request)
        if self.document is not None:
            self.check(request, reply)
        if fault is not None and fault.reply is not None:
            return fault.reply, None
        return self.spoil(request, reply), fault

    def dispatch(self, request: Request) -> Reply:
        for method, pattern, handler in self.routes:
            found = pattern.match(request.path)
            if found and method == request.method:
                with self.lock:
                    try:
                        return handler(request, **found.groupdict())
                    except Exception as mistake:
                        # the emulator's own: tests fail by it at their end
                        self.violations.append(f"{request.line}: {mistake!r}")
                        raise
        return self.missing(request)

    def check(self, request: Request, reply: Reply) -> None:
        assert self.document is not None
        path = request.path.removeprefix(self.document.prefix)
        found = self.document.check_request(request.method, path, request.query, request.raw)
        if self.replies_are_documented:
            found += self.document.check_reply(request.method, path, reply.status, reply.body)
        with self.lock:
            self.violations += [f"{request.line}: {violation}" for violation in found]


class Listening(ThreadingHTTPServer):
    """A server of one thread a connection, on a socket that listens already."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(listener.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener

    def handle_error(self, *_: object) -> None:
        """Clients that go away are part of the tests."""


class _Server(Listening):
    def __init__(self, listener: socket.socket, emulator: Emulator) -> None:
        super().__init__(listener, _Handler)
        self.emulator = emulator


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one segment: in two, each answer waits 40 ms for an ACK
    server: _Server

    def log_message(self, *_: object) -> None:
        """Requests are in the journal."""

    def _any(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        reply, fault = self.server.emulator.handle(
            Request(self.command, parts.path, query, headers, raw)
        )
        kind = fault.kind if fault else ""
        if kind == "lost":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        data, content_type = reply.body or b"", "text/xml"
        if not isinstance(data, bytes):
            data, content_type = json.dumps(data).encode(), "application/json"
        status = reply.status
        if kind == "html":
            data, content_type, status = b"<html><body>Sign in to the network", "text/html", 200
        self.send_response_only(status)
        if "Date" not in reply.headers:
            self.send_header("Date", self.date_time_string())
        if data or status != 204:
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(data)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if kind == "truncated":
            self.close_connection = True
            data = data[: len(data) // 2]
        self.wfile.write(data)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any
