"""The check of a period: its newest point restored into a scratch place and looked at there.

A point that cannot be read, or that is suspiciously small, empty or old, counts as failed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from wizard.agent.backup import Backup, check_dump, doubt
from wizard.agent.errors import AgentError
from wizard.agent.points import AGES, DATABASE, parts
from wizard.agent.restore import load

OFTEN = timedelta(hours=20)
"""Hourly points are restored once a day: it costs as much as a backup of everything."""
_CLOCK = timedelta(hours=1)
# what is loaded takes more room than its dump: indexes, and pages that are not full
_ROOM = {"database": 3.0, "files": 1.1}


def verify(backup: Backup, period: str, now: datetime, scratch: Path) -> dict[str, Any]:
    """Restore the newest point of a period ("": of all), this machine's part, from every place, and
    return its name and what was found in the first; `problem` says what is wrong."""
    found, problems = [], []
    for name, there in backup.places:
        try:
            found.append(_verify(there, period, now, scratch))
        except AgentError as error:
            problems.append(f"{name}{error}")
    result = {**(found[0] if found else {}), "places": len(found)}
    return {**result, "problem": "; ".join(problems)} if problems else result


def _verify(backup: Backup, period: str, now: datetime, scratch: Path) -> dict[str, Any]:
    kept = [p for p in parts(backup.repository, backup.part) if period in ("", p["period"])]
    if not kept:
        raise AgentError(f"there is no {backup.part} of any {period} point".replace("  ", " "))
    newest = kept[-1]
    problem = too_old(newest, period, now)
    # against those that were kept for the same time; without a period: its own
    before = [p for p in kept[:-1] if p["period"] == newest["period"]]
    problem = problem or doubt(backup.part, int(newest["bytes"]), before)
    if problem:
        raise AgentError(f"{newest['point']}: {problem}")
    snapshot = str(newest["id"])
    try:
        if backup.part == DATABASE:
            found = _database(backup, snapshot, int(newest["bytes"]))
        else:
            found = _files(backup, newest, scratch)
    except AgentError as error:
        raise AgentError(f"{newest['point']} cannot be restored: {error}") from error
    return {"point": newest["point"], "bytes": newest["bytes"], **found}


def too_old(part: dict[str, Any], period: str, now: datetime) -> str:
    """Return what is wrong with the time of a period's newest part, empty if nothing is."""
    age = now - datetime.fromisoformat(str(part["time"]))
    if age < -_CLOCK:
        return f"it is of {part['time']}, which is still to come: this machine's clock was wrong"
    if period in AGES and age > 2 * AGES[period] + _CLOCK:
        return f"the newest is {age.total_seconds() / 3600:.0f} hours old"
    return ""


def is_due(period: str, before: dict[str, Any], now: datetime) -> bool:
    """Say whether a period's point is to be restored again, by how that ended the last time."""
    if period != "hourly" or not before.get("ok"):
        return True
    try:
        age = now - datetime.fromisoformat(str(before.get("at")))
    except ValueError:
        return True
    return not timedelta(0) <= age < OFTEN


def _database(backup: Backup, snapshot: str, size: int) -> dict[str, Any]:
    """Load the dump into a database of its own. Where there is no room for that it is read to its
    end, decrypted and checked."""
    server = backup.server
    if server.folder and not _has_room(Path(server.folder), size * _ROOM["database"]):
        check_dump(backup, snapshot)
        return {"how": "read to its end: there is no room to load it"}
    name = f"{server.database}_check"
    server.make(name)
    try:
        load(backup, snapshot, name)
        tables = len(server.tables(name))
    finally:
        server.drop(name)
    if not tables:
        raise AgentError("it holds no table")
    return {"how": "loaded", "tables": tables}


def _files(backup: Backup, part: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Restore into a folder of root's, where restic reads all of it again."""
    shutil.rmtree(scratch, ignore_errors=True)  # of a check that was killed
    if not _has_room(scratch.parent, int(part["bytes"]) * _ROOM["files"]):
        # all of it is fetched, decrypted and checked, and goes nowhere
        backup.repository.swallow("dump", "--no-lock", str(part["id"]), "/")
        return {"how": "read to its end: there is no room to restore it"}
    scratch.mkdir(mode=0o700)
    try:
        backup.repository.run("restore", "--no-lock", str(part["id"]), "--target", str(scratch),
                              "--verify")  # fmt: skip
        count, size = measure(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if (count, size) != (int(part["files"]), int(part["bytes"])):
        raise AgentError(
            f"it holds {count} files of {size} bytes, not {part['files']} of {part['bytes']}"
        )
    return {"how": "restored", "files": count}


def measure(folder: Path) -> tuple[int, int]:
    """Return how many files are in a folder and below, and their bytes together."""
    sizes = list(_sizes(folder))
    return len(sizes), sum(sizes)


def _sizes(folder: Path) -> Iterable[int]:
    for at, _, names in os.walk(folder):
        for name in names:
            path = Path(at, name)
            if path.is_file() and not path.is_symlink():
                yield path.stat().st_size


def _has_room(folder: Path, needed: float) -> bool:
    return shutil.disk_usage(folder).free > needed


def problems(periods: tuple[str, ...], last: dict[str, Any], now: datetime) -> list[str]:
    """Return what is wrong with the backups by how their last runs, and their checks, ended."""
    found = []
    for period in periods:
        for name in (f"backup-{period}", f"check-{period}"):
            ran = last.get(name)
            # its first time may not have come yet; the deploy makes a point at once
            if ran is not None and not ran.get("ok"):
                found.append(f"{name}: {ran.get('problem', 'failed')}")
    return found + list(misdated(periods, last, now).values())


def misdated(periods: tuple[str, ...], last: dict[str, Any], now: datetime) -> dict[str, str]:
    """Return by period that the last backup is too old, or that its time cannot be right."""
    found = {}
    for period in periods:
        made = last.get(f"backup-{period}") or {}
        try:
            age = now - datetime.fromisoformat(str(made.get("at")))
        except ValueError:
            continue
        if age > 2 * AGES[period] + _CLOCK:
            found[period] = f"backup-{period}: the last one is {age.days * 24} hours old"
        if age < -_CLOCK:
            found[period] = f"backup-{period}: the last one is still to come: the clock was wrong"
    return found
