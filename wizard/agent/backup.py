"""Temporal backups: this machine's part of a restore point, kept by restic; see agent.points.

Dumps are streamed into the encrypted repository, never staged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wizard.agent import mariadb, postgresql
from wizard.agent.errors import AgentError
from wizard.agent.points import AGES, DATABASE, FILES, outdated, period_of, read_parts
from wizard.agent.restic import Reading, Repository

Server = mariadb.Server | postgresql.Server
DUMP = "database.sql"
# a part this much smaller than the one before it is more likely a mistake than a clean-up
_SUSPICIOUS = 0.5
_COMPARED = 5
# it becomes a tag, which a comma would end
_DIGEST = re.compile("[0-9a-f]{16,64}")


@dataclass(frozen=True)
class Backup:
    """What to keep and where: the `part` of this machine, the database or the folders, snapshots
    kept by period. `parts`: those of a whole point; `hosts`: the names the site answers to; all is
    kept in the `second` repository as well. `code`: the link to the folder of the code that runs,
    which is called by its archive's digest; empty: it comes as a package."""

    repository: Repository
    part: str
    server: Server
    folders: tuple[str, ...] = ()
    keep: tuple[tuple[str, int], ...] = ()
    parts: tuple[str, ...] = (DATABASE, FILES)
    hosts: tuple[str, ...] = ()
    second: Repository | None = None
    code: str = ""

    @property
    def places(self) -> tuple[tuple[str, Backup], ...]:
        """Return every place with what begins a line about it."""
        first = replace(self, second=None)
        if self.second is None:
            return (("", first),)
        return ("", first), ("second storage: ", replace(first, repository=self.second))

    @property
    def periods(self) -> tuple[str, ...]:
        """Return the periods that cron makes backups at."""
        return tuple(period for period, _ in self.keep if period in AGES)


def parse(values: Any) -> Backup | None:
    """Turn the configuration's `backup` into a value; None if there is none."""
    if values is None:
        return None
    try:
        return Backup(
            repository=_repository(values),
            part=str(values["part"]),
            server=_server(values),
            folders=tuple(map(str, values.get("folders", ()))),
            keep=tuple((str(period), int(count)) for period, count in values["keep"].items()),
            parts=tuple(map(str, values.get("parts", (DATABASE, FILES)))),
            hosts=tuple(map(str, values.get("hosts", ()))),
            second=_repository({**values, **values["second"]}) if values.get("second") else None,
            code=str(values.get("code", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AgentError(f"backup is not understood: {error!r}") from error


def _repository(values: dict[str, Any]) -> Repository:
    return Repository(
        place=str(values["repository"]),
        options=tuple(map(str, values["options"])),
        password_file=Path(values["password_file"]),
        credentials_file=Path(values["credentials_file"]),
        append_only=bool(values.get("append_only", False)),
    )


def _server(values: dict[str, Any]) -> Server:
    reached = (str(values.get("database", "")), str(values.get("client_file", "")))
    if values.get("engine") == "postgresql":
        return postgresql.Server(*reached, managed=bool(values.get("managed", False)))
    return mariadb.Server(*reached)


def make(backup: Backup, point: str) -> dict[str, Any]:
    """Keep this machine's part of a point in every place; AgentError if none has it then. They do
    not depend on each other: each gets a dump of its own, none is copied from another."""
    period = period_of(point)
    made, problems = [], []
    for name, there in backup.places:
        try:
            result = _make(there, point, period)
        except AgentError as error:
            problems.append(f"{name}{error}")
            continue
        made.append(result)
        if doubted := result.pop("doubt", ""):
            problems.append(f"{name}{doubted}")
    if not made:
        raise AgentError("; ".join(problems))
    result = {**made[0], "places": len(made)}
    if problems:
        # a person who asks for a point now, to repair the site, is told and gets it
        result["problem" if period in AGES else "doubt"] = "; ".join(problems)
    return result


def _make(backup: Backup, point: str, period: str) -> dict[str, Any]:
    """Keep a part in one place, check it, and forget what is older than wanted."""
    repository = backup.repository
    before = read_parts(repository.prepare(), backup.part)
    made = _snapshot(backup, point, period)
    size = int(made.get("total_bytes_processed", 0))
    doubted = doubt(backup.part, size, before)
    if backup.part == DATABASE:
        check_dump(backup, str(made["snapshot_id"]))
    kept = dict(backup.keep).get(period)
    forgotten = True
    if kept and not doubted and not repository.append_only:
        now = {"point": point, "period": period, "id": str(made["snapshot_id"])}
        of_period = [snapshot for snapshot in (*before, now) if snapshot["period"] == period]
        forgotten = repository.forget(outdated(of_period, kept))
    if period in ("weekly", "monthly") and backup.part == DATABASE:
        if not repository.append_only:
            repository.run("prune", "--max-unused", "10%")
        repository.run("check", "--read-data-subset", "10%")
    result: dict[str, Any] = {
        "point": point,
        "snapshot": made["snapshot_id"],
        "bytes": size,
        "added": int(made.get("data_added_packed", made.get("data_added", 0))),
        "took": round(float(made.get("total_duration", 0.0)), 2),
    }
    if not forgotten:
        result["later"] = "older ones are forgotten the next time: another machine is at work"
    return {**result, "doubt": doubted} if doubted else result


def _snapshot(backup: Backup, point: str, period: str) -> dict[str, Any]:
    marks = [f"point:{point}", f"period:{period}", f"part:{backup.part}"]
    # who puts it back under another name has to know what to replace
    marks += [f"host:{host}" for host in backup.hosts]
    if code := live_code(backup.code):
        marks.append(f"code:{code}")
    common = ["--host", backup.part, "--no-scan"]
    common += [word for mark in marks for word in ("--tag", mark)]
    if backup.part == DATABASE:
        # the dump's own failure fails the backup: no half dump becomes a snapshot
        words = ["--stdin-filename", DUMP, "--stdin-from-command", "--"]
        words += backup.server.dump_command()
    else:
        words = ["--", *backup.folders]
    return backup.repository.back_up(*common, *words)


def live_code(link: str) -> str:
    """Return the digest, or its beginning, of the code that a link leads to; empty: none is there.
    What was ordered may not be what runs: a release that is not well is switched back."""
    path = Path(link)
    name = path.readlink().name if link and path.is_symlink() else ""
    return name if _DIGEST.fullmatch(name) else ""


def doubt(part: str, size: int, before: list[dict[str, Any]]) -> str:
    """Return why what was kept of a part may be wrong, empty if nothing speaks for that."""
    if not size:
        return f"the backup of the {part} is empty"
    largest = max((int(snapshot["bytes"]) for snapshot in before[-_COMPARED:]), default=0)
    if size < largest * _SUSPICIOUS:
        return (
            f"the backup of the {part} has shrunk from {largest} to {size} bytes; "
            "older ones are kept until one is as large again"
        )
    return ""


def check_dump(backup: Backup, snapshot: str) -> None:
    """Read the whole dump back, decrypted and checked, and see that it ends as a dump ends."""
    ending = b""
    with Reading(backup.repository, snapshot, f"/{DUMP}") as dump:
        assert dump.stdout
        while chunk := dump.stdout.read(1 << 20):
            ending = (ending + chunk)[-4096:]
    if dump.returncode or backup.server.ending not in ending:
        raise AgentError("the dump that was kept cannot be read back to its end")
