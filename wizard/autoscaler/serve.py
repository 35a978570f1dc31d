"""Serves the status page on the loopback interface: `/` for people, `/status.json` for programs.

Every autoscaler does, the leading one or not: all that is shown is in the bucket. People come
through a forwarded SSH connection (`build-usb dashboard`); nothing listens elsewhere.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from wizard.agent.registry import FOLDER
from wizard.autoscaler import page
from wizard.autoscaler.schedule import Entry
from wizard.engine import fleets
from wizard.engine.context import Context
from wizard.errors import BuildUsbError
from wizard.machines.places import PAGE_PORT
from wizard.rules import Role

log = logging.getLogger("autoscaler")
_FRESH = 3.0
"""Seconds that an answer is kept for: many who look are not many who ask the bucket."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Source:
    """Looks at what is in the bucket."""

    def __init__(self, context: Context, name: str) -> None:
        self._context, self._name = context, name
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="page")
        self._lock = threading.Lock()
        self._kept: tuple[float, dict[str, Any]] = (float("-inf"), {})

    def __call__(self) -> dict[str, Any]:
        """Return what is shown, not older than a few seconds."""
        with self._lock:
            at, values = self._kept
            if time.monotonic() - at > _FRESH:
                values = self._look()
                self._kept = (time.monotonic(), values)
            return values

    def _look(self) -> dict[str, Any]:
        context = self._context
        found = fleets.load(context)
        record = found[0] if found else fleets.Record()
        lasting = [m.name for m in context.plan.machines if m.role is not Role.WEBSERVER]
        names = [*lasting, *(w.name for w in record.fleet.webservers)]
        answers = context.answers
        return page.facts(
            deployment=answers.name,
            host=answers.domain.name,
            asked=self._name,
            record=record,
            wish=fleets.load_wish(context),
            schedule=tuple(Entry(e.at, e.days, e.webservers) for e in answers.scaling.schedule),
            zone=answers.machines.timezone,
            reports=dict(zip(names, self._pool.map(self._report, names), strict=True)),
            now=datetime.now(UTC),
        )

    def _report(self, name: str) -> bytes | None:
        assert self._context.bucket is not None
        found = self._context.bucket.get(f"{FOLDER}/{name}.json")
        return found.data if found else None


class Server(ThreadingHTTPServer):
    """The page of what `source` returns, on `port` of the loopback interface."""

    daemon_threads = True

    def __init__(self, source: Callable[[], dict[str, Any]], port: int = PAGE_PORT) -> None:
        self.source = source
        super().__init__(("127.0.0.1", port), _Handler)


def begin(context: Context, name: str) -> None:
    """Serve the page from a thread of its own, for as long as this process lives."""
    try:
        server = Server(Source(context, name))
    except OSError as error:
        log.warning("the status page: port %s: %s", PAGE_PORT, error.strerror)
        return
    threading.Thread(target=server.serve_forever, name="page", daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = 30
    server_version, sys_version = "build-usb", ""

    def do_GET(self) -> None:
        """Answer with the page, or its values."""
        # a page of somebody else's must not read this one under a name that leads here
        if self.headers.get("Host", "").partition(":")[0] not in ("127.0.0.1", "localhost"):
            self._answer(421, "text/plain", "ask for 127.0.0.1 or localhost\n")
            return
        if self.path not in ("/", "/status.json"):
            self._answer(404, "text/plain", "there is / and /status.json\n")
            return
        try:
            values = self.server.source()
        except BuildUsbError as error:
            self._answer(503, "text/plain", f"{error}\n")
            return
        if self.path == "/":
            self._answer(200, "text/html", page.html(values))
        else:
            self._answer(200, "application/json", json.dumps(values, indent=1) + "\n")

    def _answer(self, status: int, kind: str, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Keep the autoscaler's log for what it does."""
