"""What of this machine people are told by mail: what fails for a while, and that it is over."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wizard.agent import mail, verify
from wizard.agent.config import Config
from wizard.agent.errors import AgentError
from wizard.agent.outbox import Note, Outbox, wanted
from wizard.agent.state import read_last, write_whole

PATIENCE = 5
"""Failures in a row, or looks in a row (one a minute), until people are told: most of what fails on
a machine that starts, or is upgraded, is over by then. What is rare is told at once."""
CRON = "cron-"
_AT_ONCE = ("backup-", "check-")
_DISK_FULL = 92
_CERTIFICATE_DAYS = 7


@dataclass(frozen=True)
class Memory:
    """What an agent remembers of its alarms: in how many looks in a row something was seen, what
    people know of, and the mail that is to be sent."""

    seen: dict[str, int] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    outbox: Outbox = field(default_factory=Outbox)


def found(
    config: Config, commands: dict[str, dict[str, Any]], facts: dict[str, Any], now: datetime
) -> dict[str, tuple[str, int]]:
    """Return what is wrong by a name of its own: in words, and how many looks in a row it takes
    until it is told. Pure."""
    wrong = {name: (text, 1) for name, text in failing(commands).items()}
    for unit, state in (facts.get("services") or {}).items():
        if state != "active":
            wrong[unit] = (f"{unit} is {state}", PATIENCE)
    used, days = facts.get("disk_used"), facts.get("certificate_days")
    if used is not None and used >= _DISK_FULL:
        wrong["disk"] = (f"the disk is {used}% full", PATIENCE)
    if days is not None and days < _CERTIFICATE_DAYS:
        wrong["certificate"] = (f"the certificate is valid for {days} more days", PATIENCE)
    if config.backup:
        late = verify.misdated(config.backup.periods, commands, now)
        wrong |= {f"late-{period}": (text, 1) for period, text in late.items()}
    return wrong


def failing(commands: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return in words which commands, and programs of cron, fail for a while. Pure."""
    found = {}
    for name, result in commands.items():
        if name == "mail" or result.get("ok"):
            continue
        needed = 1 if name.startswith(_AT_ONCE) else PATIENCE
        if result.get("failures_in_a_row", 1) >= needed:
            job = name.removeprefix(CRON)
            found[name] = f"{job} fails: {result.get('problem', 'it does not say why')}"
    return found


def looked(
    memory: Memory, wrong: dict[str, tuple[str, int]], now: datetime
) -> tuple[Memory, list[Note]]:
    """Return the memory after a look, and what people are to be told of now. Pure."""
    at = now.isoformat(timespec="seconds")
    seen = {name: memory.seen.get(name, 0) + 1 for name in wrong}
    new = {
        n: text for n, (text, needed) in wrong.items() if n not in memory.told and seen[n] >= needed
    }
    over = {name: text for name, text in memory.told.items() if name not in wrong}
    told = {name: text for name, text in memory.told.items() if name in wrong} | new
    notes = [Note(at, "error", text) for text in new.values()]
    notes += [Note(at, "info", f"over: {text}") for text in over.values()]
    return replace(memory, seen=seen, told=told), notes


def ensure(config: Config, facts: dict[str, Any], last: Path, kept: Path) -> tuple[list[str], str]:
    """Look, and send what is due; returns what was done and what was not possible."""
    if config.mail is None:
        kept.unlink(missing_ok=True)
        return [], ""
    now, clock = datetime.now(UTC), time.time()
    memory, notes = looked(_load(kept), found(config, read_last(last), facts, now), now)
    outbox = memory.outbox.add(wanted(notes, config.mail.level), clock).begin(
        f"{config.deployment}.{config.name}", clock
    )
    _save(kept, replace(memory, outbox=outbox))
    batch = outbox.due(clock)
    if batch is None:
        return [], f"a mail could not be sent {outbox.failed} times" if outbox.failed else ""
    problem = ""
    try:
        message = mail.compose(config.mail.account, config.deployment, config.name, batch)
        mail.send(config.mail.account, password(config.mail), message)
    except AgentError as error:
        problem = f"a mail cannot be sent: {error}"
    _save(kept, replace(memory, outbox=outbox.ended(batch.id, time.time(), well=not problem)))
    return ([] if problem else [f"mail {batch.id} to {config.mail.account.to}"]), problem


def password(settings: mail.Mail) -> str:
    """Return the password of the mail account; AgentError if it is not here."""
    try:
        return settings.password_file.read_text().rstrip("\n")
    except OSError as error:
        raise AgentError(f"{settings.password_file}: {error.strerror}; deploy again") from error


def _load(path: Path) -> Memory:
    try:
        values = json.loads(path.read_bytes())
        return Memory(
            {str(name): int(count) for name, count in values["seen"].items()},
            {str(name): str(text) for name, text in values["told"].items()},
            Outbox.from_plain(values["outbox"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Memory()


def _save(path: Path, memory: Memory) -> None:
    values = {"seen": memory.seen, "told": memory.told, "outbox": memory.outbox.to_plain()}
    data = json.dumps(values, sort_keys=True).encode()
    try:
        if path.read_bytes() == data:
            return
    except OSError:
        pass
    write_whole(path, data)
