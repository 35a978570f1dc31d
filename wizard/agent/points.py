"""Restore points: their names, and those that a repository holds.

A point is one moment of one period, such as `daily-2026-11-22`. The database machine keeps a dump
of the database, the leading webserver the application's files, each a snapshot with the point's
name as a tag; both derive the name from the time, so they need not talk to each other. A point is
whole when it has all its parts.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from wizard.agent.errors import AgentError
from wizard.agent.restic import SNAPSHOTS, Repository

PERIODS = ("hourly", "daily", "weekly", "monthly", "bimonthly", "shutdown", "manual")
DATABASE, FILES = "database", "files"
AGES = {
    "hourly": timedelta(hours=1),
    "daily": timedelta(days=1),
    "weekly": timedelta(days=7),
    "monthly": timedelta(days=31),
    "bimonthly": timedelta(days=62),
}
"""The periods that come by themselves, and how far apart their points are at most."""
_POINT = re.compile(rf"(?:{'|'.join(PERIODS)})-[0-9]{{4}}(?:-[0-9]{{2}}){{1,2}}(?:T[0-9]{{4,6}})?")


def point_name(period: str, now: datetime) -> str:
    """Return the name of the point of a period at a time: the same on all machines."""
    formats = {
        "hourly": "%Y-%m-%dT%H00",
        "daily": "%Y-%m-%d",
        "weekly": "%Y-%m-%d",
        "monthly": "%Y-%m",
        "bimonthly": "%Y-%m",
    }
    return f"{period}-{now.astimezone(UTC).strftime(formats.get(period, '%Y-%m-%dT%H%M%S'))}"


def check_point(name: str) -> str:
    """Return a point's name; AgentError if it is none (it becomes an argument)."""
    if not _POINT.fullmatch(name):
        raise AgentError(f"{name[:80]!r} is not the name of a restore point")
    return name


def period_of(point: str) -> str:
    """Return the period of a point's name."""
    return check_point(point).partition("-")[0]


def points(repository: Repository, whole: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the restore points, oldest first: name, period, time, parts with bytes, whether it is
    whole (has the parts `whole`), the names the site answered to, and the beginning of the digest
    of the archive that its code came as (empty: as a package, or it is not known)."""
    if not repository.exists():
        return []
    found: dict[str, dict[str, Any]] = {}
    for snapshot in parts(repository):
        point = found.setdefault(
            snapshot["point"],
            {"name": snapshot["point"], "period": snapshot["period"], "parts": {}, "hosts": []},
        )
        point["code"] = snapshot["code"] or point.get("code", "")
        point["time"] = snapshot["time"]
        point["hosts"] = sorted({*point["hosts"], *snapshot["hosts"]})
        point["parts"][snapshot["part"]] = {"id": snapshot["id"], "bytes": snapshot["bytes"]}
    for point in found.values():
        point["whole"] = set(point["parts"]) >= set(whole)
    return sorted(found.values(), key=lambda point: str(point["time"]))


def parts(repository: Repository, part: str = "", point: str = "") -> list[dict[str, Any]]:
    """Return the snapshots that carry our tags, oldest first: all, or those of one part, or of one
    point."""
    return read_parts(repository.run(*SNAPSHOTS), part, point)


def read_parts(printed: str, part: str = "", point: str = "") -> list[dict[str, Any]]:
    """Return what `parts` does of what restic has printed."""
    found = []
    for snapshot in json.loads(printed or "[]"):
        marks = [tag.split(":", 1) for tag in snapshot.get("tags") or [] if ":" in tag]
        tags: dict[str, Any] = dict(marks)
        if not {"point", "period", "part"} <= set(tags) or not _POINT.fullmatch(tags["point"]):
            continue
        if part in ("", tags["part"]) and point in ("", tags["point"]):
            size = (snapshot.get("summary") or {}).get("total_bytes_processed", 0)
            hosts = [value for key, value in marks if key == "host"]
            files = (snapshot.get("summary") or {}).get("total_files_processed", 0)
            more = {"id": snapshot["id"], "time": snapshot["time"], "bytes": size, "files": files}
            found.append({"code": "", **tags, "hosts": hosts, **more})
    return sorted(found, key=lambda snapshot: str(snapshot["time"]))


def outdated(snapshots: list[dict[str, Any]], kept: int) -> list[str]:
    """Return the ids of those snapshots of one part and period (as `parts` has them, oldest first)
    that are not the newest of one of the `kept` newest points: a point that was made again, as
    after a run that was killed, counts once."""
    newest = {snapshot["point"]: snapshot["id"] for snapshot in snapshots}
    order = list(dict.fromkeys(snapshot["point"] for snapshot in reversed(snapshots)))
    stay = {newest[point] for point in order[:kept]}
    return [snapshot["id"] for snapshot in snapshots if snapshot["id"] not in stay]


def newest_part(repository: Repository, part: str, point: str) -> dict[str, Any]:
    """Return the snapshot that is a part of a point; AgentError if there is none."""
    found = parts(repository, part, check_point(point))
    if not found:
        raise AgentError(f"there is no {part} of {point}")
    return found[-1]
