"""Mail to people through the mail server of the answers: always encrypted, always with a login."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from wizard.agent.errors import AgentError
from wizard.agent.outbox import LEVELS, Batch

SECURITIES = ("starttls", "tls")
_SECONDS = 20.0
_SUBJECT = 150
_LINE = 400


@dataclass(frozen=True)
class Account:
    """Where mail is handed over: `security` is `starttls` (plain until the server has changed to
    TLS; nothing else is said before) or `tls` (from the first byte)."""

    host: str
    port: int
    security: str
    user: str
    sender: str
    to: str


@dataclass(frozen=True)
class Mail:
    """How a machine sends mail: the account, the file with its password, the least important level
    that is sent."""

    account: Account
    password_file: Path
    level: str


def parse(values: Any) -> Mail | None:
    """Turn the configuration's `mail` into a value; None if nobody is told."""
    if values is None:
        return None
    try:
        account = Account(
            host=str(values["host"]),
            port=int(values["port"]),
            security=str(values["security"]),
            user=str(values["user"]),
            sender=str(values["sender"]),
            to=str(values["to"]),
        )
        mail = Mail(account, Path(values["password_file"]), str(values["level"]))
    except (KeyError, TypeError, ValueError) as error:
        raise AgentError(f"mail is not understood: {error!r}") from error
    if account.security not in SECURITIES or mail.level not in LEVELS:
        raise AgentError("mail is not understood: its security, or its level")
    return mail


def compose(account: Account, deployment: str, who: str, batch: Batch) -> EmailMessage:
    """Return a batch of `who` (a machine, or the autoscalers) as a message."""
    first, *more = [_one_line(note.text) for note in batch.notes]
    count = f" (and {len(more) + batch.lost} more)" if more or batch.lost else ""
    lines = [f"{note.at}  {note.level}: {_one_line(note.text)}" for note in batch.notes]
    if batch.lost:
        lines.insert(0, f"({batch.lost} older ones are left out)")
    message = EmailMessage(policy=SMTP)
    message["From"] = account.sender
    message["To"] = account.to
    message["Subject"] = f"[{deployment}] {who}: {first}"[:_SUBJECT] + count
    message["Date"] = format_datetime(datetime.now(UTC))
    # the same for the same batch: whoever has it already knows it by that
    message["Message-ID"] = f"<{batch.id}@{account.sender.rpartition('@')[2]}>"
    # RFC 3834: nobody's holiday answers this
    message["Auto-Submitted"] = "auto-generated"
    lines += ["", f"How it is now: build-usb status {deployment}"]
    message.set_content("\n".join(lines) + "\n")
    return message


def send(account: Account, password: str, message: EmailMessage) -> None:
    """Hand a message over; AgentError says why that was not possible, never with the password."""
    _with_server(account, password, lambda server: server.send_message(message))


def log_in(account: Account, password: str) -> None:
    """Do all but sending a message; AgentError as for `send`."""
    _with_server(account, password, lambda server: server.noop())


def _with_server(account: Account, password: str, do: Any) -> None:
    where = f"{account.host} port {account.port}"
    try:
        trust = ssl.create_default_context()
        if account.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                account.host, account.port, timeout=_SECONDS, context=trust
            )
        else:
            server = smtplib.SMTP(account.host, account.port, timeout=_SECONDS)
        try:
            if account.security == "starttls":
                server.starttls(context=trust)
            server.login(account.user, password)
            do(server)
        finally:
            # how it takes leave changes nothing about what it has taken
            with contextlib.suppress(smtplib.SMTPException, OSError):
                server.quit()
            server.close()
    except (smtplib.SMTPException, OSError) as error:
        raise AgentError(f"{where}: {_said(error).replace(password, '***')}") from error


def _said(error: Exception) -> str:
    match error:
        case smtplib.SMTPServerDisconnected():
            return str(error)
        case smtplib.SMTPResponseException():
            said = error.smtp_error
            text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
            return f"{error.smtp_code} {_one_line(text)}"
        case smtplib.SMTPRecipientsRefused():
            return "; ".join(
                f"{who} is refused: {code} {_one_line(text.decode(errors='replace'))}"
                for who, (code, text) in error.recipients.items()
            )
        case smtplib.SMTPNotSupportedError():
            return f"{error} (nothing is sent without encryption and a login)"
        case OSError():
            return error.strerror or str(error) or type(error).__name__
    return str(error) or type(error).__name__


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_LINE]
