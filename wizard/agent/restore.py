"""Putting this machine's part of a restore point back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wizard.agent.backup import DUMP, Backup
from wizard.agent.errors import AgentError
from wizard.agent.points import DATABASE, newest_part
from wizard.agent.restic import Reading


def restore(backup: Backup, point: str) -> dict[str, Any]:
    """Put this machine's part of a point back, in place of what is there now."""
    snapshot = str(newest_part(backup.repository, backup.part, point)["id"])
    if backup.part == DATABASE:
        return _database(backup, snapshot)
    return _files(backup, snapshot)


def load(backup: Backup, snapshot: str, name: str) -> None:
    """Load the dump of a snapshot into the database `name`."""
    with Reading(backup.repository, snapshot, f"/{DUMP}") as dump:
        problem = backup.server.load(name, dump.stdout)
    if problem or dump.returncode:
        why = problem or "it cannot be read to its end"
        raise AgentError(f"the dump cannot be loaded: {why}")


def _database(backup: Backup, snapshot: str) -> dict[str, Any]:
    """Load the dump beside the live tables, then change all tables over."""
    with backup.server.staged() as name:
        load(backup, snapshot, name)
        count = len(backup.server.tables(name))
    return {"tables": count}


def _files(backup: Backup, snapshot: str) -> dict[str, Any]:
    """Make the folders what they were: only what differs is written, what is new is deleted. In
    place, for a folder may be a mount point; killed midway, the next run ends it."""
    for folder in backup.folders:
        if not Path(folder).is_dir():
            raise AgentError(f"{folder} is not there: deploy first, then restore")
        backup.repository.run("restore", f"{snapshot}:{folder}", "--target", folder, "--delete",
                              "--verify")  # fmt: skip
    return {"folders": len(backup.folders)}
