"""Brings the autoscalers' status page to this computer, through SSH: nothing of it is on a public
address, and nobody else can ask for it."""

from __future__ import annotations

import select
import socket
import socketserver
import threading
from collections.abc import Sequence
from typing import Any

import httpx
import paramiko

from wizard.engine import ssh
from wizard.errors import BuildUsbError, MachineError, UsageError
from wizard.home import keys
from wizard.home.home import DeploymentHome
from wizard.machines.job import Connection
from wizard.machines.places import PAGE_PORT
from wizard.operations import scaling
from wizard.operations.session import Session, read_answers, read_state
from wizard.rules import Role

_SECONDS = 10.0
_PART = 1 << 16
_NOBODY = (
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\n\r\nNo autoscaler shows its page now; reload in a moment.\n"
)


class Dashboard:
    """The page at `url` of this computer, until it is closed."""

    def __init__(self, session: Session, deployment: DeploymentHome, port: int = 0) -> None:
        """Open it; MachineError if no autoscaler shows it, UsageError if there is none, or if
        `port` (0: any) is taken here."""
        if read_answers(deployment).mode != "production":
            raise UsageError(
                f"{deployment.name} has no autoscalers",
                where="mode",
                cure="only a deployment in production mode has this page; see build-usb status",
            )
        fleet = scaling.refresh(session, deployment)
        state, login = read_state(deployment), keys.key_pair(session.secrets(deployment), "ssh_key")
        found = [m for m in state.machines.values() if m.role is Role.AUTOSCALER]
        found.sort(key=lambda m: (fleet is None or m.name != fleet.leader, m.name))
        self._lines = _Lines(
            [Connection(m.access_address, state.ssh_port, login.private, m.host_key) for m in found]
        )
        self._lines.open().close()
        try:
            self._server = _Server(("127.0.0.1", port), self._lines)
        except OSError as error:
            self._lines.close()
            raise UsageError(
                f"port {port} of this computer cannot be listened on",
                why=error.strerror or str(error),
                cure="name another one with --port, or none",
            ) from error
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def serve(self) -> None:
        """Pass connections on until `close` is called from another thread, or Ctrl-C."""
        self._server.serve_forever(poll_interval=0.2)

    def facts(self) -> dict[str, Any]:
        """Return what the page shows as plain values, while it is served (slow). MachineError."""
        try:
            answer = httpx.get(f"{self.url}status.json", timeout=_SECONDS, trust_env=False)
            values: dict[str, Any] = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise MachineError(
                "the status page cannot be read",
                where=self.url,
                why=str(error),
                cure="wait a minute and try again",
            ) from error
        return values

    def end(self) -> None:
        """End `serve`, which runs in another thread, and close it."""
        self._server.shutdown()
        self.close()

    def close(self) -> None:
        """Close it when it is not being served any more."""
        self._server.server_close()
        self._lines.close()


def to_text(facts: dict[str, Any]) -> str:
    """Return what the page shows as text of at most 76 columns, as far as its words are short."""
    healthy = "healthy" if facts["healthy"] else "NOT HEALTHY"
    wish = facts["wish"]
    asked = wish and ("the schedule" if wish["webservers"] is None else wish["webservers"])
    lines = [
        f"{facts['deployment']}: {healthy} (says {facts['asked']}, {_when(facts['time'])})",
        *(f"  problem: {problem}" for problem in facts["problems"]),
        f"  {facts['leader'] or 'nobody'} leads; webservers wanted: {facts['wanted']}"
        + (", PAUSED" if facts["paused"] else "")
        + (f"; asked for: {asked}, by {wish['by']}" if wish else ""),
        f"  new ones are built from {facts['built_from']}",
        *([f"  one by one: {facts['roll']}"] if facts["roll"] else []),
        "",
        "  machine   role        reported  load  memory  disk",
        *map(_machine, facts["machines"]),
        "",
        *(
            f"  {w['name']:<9} {w['phase']}, {'in DNS' if w['in_dns'] else 'not in DNS'}"
            + (f", {w['failures']} checks failed" if w["failures"] else "")
            for w in facts["webservers"]
        ),
        *(
            f"  {'backed up' if b['well'] else 'NOT BACKED UP'}: {b['machine']} {b['period']}, "
            f"{_when(b['at'])}"
            for b in facts["backups"]
        ),
        "",
        *(f"  {_when(event['at'])}  {event['text']}" for event in facts["events"]),
    ]
    return "\n".join(lines)


def _machine(machine: dict[str, Any]) -> str:
    def figure(key: str, unit: str) -> str:
        return "-" if machine[key] is None else f"{machine[key]}{unit}"

    reported = "never" if machine["age"] is None else f"{machine['age']} s ago"
    return (
        f"  {machine['name']:<9} {machine['role']:<11} {reported:<9} {figure('load', ''):<5} "
        f"{figure('memory', ' %'):<7} {figure('disk', ' %')}"
    )


def _when(at: str) -> str:
    return at[:19].replace("T", " ")


class _Lines:
    """Connections to the page of whichever autoscaler can be reached, the leading one first."""

    def __init__(self, connections: Sequence[Connection]) -> None:
        self._connections = connections
        self._lock = threading.Lock()
        self._client: paramiko.SSHClient | None = None

    def open(self) -> paramiko.Channel:
        with self._lock:
            error: Exception = OSError("there is no autoscaler")
            if self._client is not None:
                try:
                    return self._channel(self._client)
                except (paramiko.SSHException, OSError):
                    self._client.close()
                    self._client = None
            for connection in self._connections:
                try:
                    client = ssh.connect(connection, _SECONDS)
                except BuildUsbError as failed:
                    error = failed
                    continue
                try:
                    channel = self._channel(client)
                except (paramiko.SSHException, OSError) as failed:
                    client.close()
                    error = failed
                    continue
                self._client = client
                return channel
        raise MachineError(
            "no autoscaler shows its page",
            why=str(error),
            cure="wait a minute and try again; if an older version made the deployment, deploy it "
            "again",
        )

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()

    @staticmethod
    def _channel(client: paramiko.SSHClient) -> paramiko.Channel:
        transport = client.get_transport()
        if transport is None or not transport.is_active():
            raise paramiko.SSHException("the connection has ended")
        page, nobody = ("127.0.0.1", PAGE_PORT), ("127.0.0.1", 0)
        return transport.open_channel("direct-tcpip", page, nobody, timeout=_SECONDS)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, place: tuple[str, int], lines: _Lines) -> None:
        self.lines = lines
        super().__init__(place, _Handler)

    def handle_error(self, *_: Any) -> None:
        """A browser that hangs up is no news."""


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        browser: socket.socket = self.request
        try:
            line = self.server.lines.open()
        except MachineError:
            browser.sendall(_NOBODY)
            return
        both: list[socket.socket | paramiko.Channel] = [browser, line]
        with line:
            while True:
                ready, _, _ = select.select(both, [], [])
                if line in ready:
                    part = line.recv(_PART)
                    if not part:
                        return
                    browser.sendall(part)
                if browser in ready:
                    part = browser.recv(_PART)
                    if not part:
                        return
                    line.sendall(part)
