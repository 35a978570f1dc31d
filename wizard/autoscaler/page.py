"""The status page: what is shown of the fleet, as plain values and as HTML. Pure.

What machines report comes from the bucket, where each of them can write: it is shown as text, never
believed, and what has another form than it should is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from wizard.autoscaler.schedule import Entry, Wish, last_change
from wizard.engine.fleets import Record
from wizard.paths import config_templates

LATE = 180.0
"""Seconds without a report after which a machine's figures are called old."""
_LONGEST = 200


def facts(
    *,
    deployment: str,
    host: str,
    asked: str,
    record: Record,
    wish: Wish,
    schedule: tuple[Entry, ...],
    zone: str,
    reports: Mapping[str, bytes | None],
    now: datetime,
) -> dict[str, Any]:
    """Return all that is shown as plain JSON values; `asked`: which autoscaler shows it, `reports`:
    what each machine wrote last, None if nothing."""
    change = last_change(schedule, zone, now)
    machines = [_machine(name, report, now) for name, report in sorted(reports.items())]
    webservers = [
        {
            "name": w.name,
            "phase": str(w.phase),
            "in_dns": w.published,
            "failures": w.failures,
            "built_from": w.image or "the base image",
        }
        for w in record.fleet.webservers
    ]
    problems = [
        *sorted(record.fleet.told),
        *(f"{w.name} is {w.phase}" for w in record.fleet.webservers if w.phase != "serving"),
        *(f"{w.name} does not answer" for w in record.fleet.webservers if w.failures),
        *(f"{m['name']}: {text}" for m in machines for text in m["problems"]),
    ]
    if record.fleet.roll and record.fleet.roll.stopped:
        problems.append(f"{record.fleet.roll}")
    if record.outbox.failed:
        problems.append(f"a mail could not be sent {record.outbox.failed} times")
    return {
        "deployment": deployment,
        "url": f"https://{host}/",
        "time": now.isoformat(timespec="seconds"),
        "asked": asked,
        "healthy": not problems,
        "problems": problems,
        "leader": record.leader,
        "wanted": record.wanted,
        "paused": wish.paused,
        "wish": {
            "webservers": wish.webservers,
            "by": wish.by,
            "at": wish.at.isoformat(timespec="seconds"),
        }
        if wish.version
        else None,
        "schedule": [vars(entry) | {"days": list(entry.days)} for entry in schedule],
        "timezone": zone,
        "scheduled": {"since": change[0].isoformat(timespec="seconds"), "webservers": change[1]}
        if change
        else None,
        "built_from": str(record.fleet.snapshot),
        "roll": str(record.fleet.roll) if record.fleet.roll else None,
        "webservers": webservers,
        "machines": machines,
        "backups": [backup for m in machines for backup in m["backups"]],
        "mail": {"waiting": len(record.outbox.waiting), "failed": record.outbox.failed},
        "events": [{"at": at, "text": text} for at, text in reversed(record.events)],
    }


def html(values: dict[str, Any]) -> str:
    """Return `facts` as a page."""
    return _template().render(values)


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(config_templates()),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    environment.filters["when"] = lambda at: at[:19].replace("T", " ")
    return environment.get_template("autoscaler/page.html.j2")


def _machine(name: str, report: bytes | None, now: datetime) -> dict[str, Any]:
    values, age = _read(report, now)
    health = _mapping(values.get("health"))
    services = _mapping(health.get("services"))
    wrong = [f"{unit} is {state}" for unit, state in sorted(services.items()) if state != "active"]
    commands = {n: c for n, c in _mapping(values.get("commands")).items() if isinstance(c, dict)}
    failed = [f"{n} failed" for n, c in sorted(commands.items()) if c.get("ok") is False]
    late = age is None or age > LATE
    memory, total = _number(health, "memory_available"), _number(health, "memory_total")
    return {
        "name": name,
        "role": _text(values.get("role")),
        "age": age,
        "load": _first(health.get("load")),
        "memory": round(100 - 100 * memory / total) if memory is not None and total else None,
        "disk": _number(health, "disk_used"),
        "certificate_days": _number(health, "certificate_days"),
        "reboot_required": health.get("reboot_required") is True,
        "problems": ["it reports nothing" if age is None else f"its last report is {age} s old"]
        if late
        else [_text(text) for text in (*wrong, *failed)],
        "backups": [
            {
                "machine": name,
                "period": _text(command.removeprefix("backup-")),
                "well": found.get("ok") is True,
                "at": _text(found.get("at")),
            }
            for command, found in sorted(commands.items())
            if command.startswith("backup-")
        ],
    }


def _read(report: bytes | None, now: datetime) -> tuple[dict[str, Any], int | None]:
    try:
        values = json.loads(report or b"")
        at = datetime.fromisoformat(values["time"]).astimezone(UTC)
        return values, max(0, round((now - at).total_seconds()))
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}, None


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(values: dict[str, Any], key: str) -> int | None:
    value = values.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _first(value: object) -> float | None:
    first = value[0] if isinstance(value, list) and value else None
    return float(first) if isinstance(first, int | float) else None


def _text(value: object) -> str:
    return str(value)[:_LONGEST] if isinstance(value, str) else ""
