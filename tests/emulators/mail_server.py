"""A mail server for tests: takes mail from who has logged in over TLS, and keeps it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tempfile
import threading
import warnings
from email import message_from_bytes
from email.message import Message
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from tests.emulators.authority import Authority

USER, PASSWORD = "alerts@example.org", "password of the mail account, 4711"


class MailServer:
    """Listens on `line` (default: a port of the loopback interface, `port`) under the name `host`;
    whoever connects must trust `certificate` (PEM). Refuses all while `down`."""

    def __init__(
        self, host: str = "localhost", line: socket.socket | None = None, *, tls: bool = False
    ) -> None:
        self.certificate, self._identity = "", Authority("mail")
        self.certificate = self._identity.certificate
        self.messages: list[Message] = []
        self.commands: list[str] = []
        self.down = False
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("".join(self._identity.sign(host)))
            file.flush()
            self._context.load_cert_chain(file.name)
        self._tls = tls
        self.line = line or socket.create_server(("127.0.0.1", 0))
        self.port = self.line.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()

    def __enter__(self) -> MailServer:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def texts(self) -> list[str]:
        """Return subject and text of each mail."""
        return [f"{m['Subject']}\n{m.get_content()}" for m in self.messages]  # type: ignore[attr-defined]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        outer = self._context if self._tls else None
        creating = self._loop.create_server(self._protocol, sock=self.line, ssl=outer)
        serving = self._loop.run_until_complete(creating)
        self._ready.set()
        self._loop.run_forever()
        serving.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _protocol(self) -> SMTP:
        with warnings.catch_warnings():
            # over TLS from the first byte aiosmtpd does not know that it is encrypted
            warnings.simplefilter("ignore")
            return SMTP(
                _Handler(self),
                hostname="mail",
                tls_context=None if self._tls else self._context,
                require_starttls=not self._tls,
                auth_require_tls=not self._tls,
                auth_required=True,
                authenticator=self._authenticate,
                loop=self._loop,
            )

    def _authenticate(
        self, _server: object, _session: object, _envelope: object, _mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        well = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=well, handled=False)


class _Handler:
    def __init__(self, server: MailServer) -> None:
        self._server = server

    async def handle_MAIL(
        self, _s: Any, _session: Any, envelope: Any, address: str, _o: Any
    ) -> str:
        if self._server.down:
            return "451 come back later"
        envelope.mail_from = address
        return "250 OK"

    async def handle_DATA(self, _s: Any, session: Any, envelope: Any) -> str:
        assert session.ssl is not None or self._server._tls
        self._server.messages.append(message_from_bytes(envelope.content, policy=default))
        return "250 OK"
