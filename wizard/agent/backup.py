"""Temporal backups: this machine's part of a restore point, and putting it back. By restic.

A point is one moment of one period, such as `daily-2026-11-22`. The database machine keeps a dump
of the database, the leading webserver the application's files, each a snapshot with the point's
name as a tag; both derive the name from the time, so they need not talk to each other. A point is
whole when it has all its parts. Dumps are streamed into the encrypted repository, never staged.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from wizard.agent.errors import AgentError, TimeLimitError

PERIODS = ("hourly", "daily", "weekly", "monthly", "bimonthly", "shutdown", "manual")
DATABASE, FILES = "database", "files"
DUMP = "database.sql"
_ENDING = b"-- Dump completed"
_POINT = re.compile(rf"(?:{'|'.join(PERIODS)})-[0-9]{{4}}(?:-[0-9]{{2}}){{1,2}}(?:T[0-9]{{4,6}})?")
_LONGEST = 6 * 3600.0  # seconds that one program may take
# the other machine's lock; if that was killed restic takes its lock for dead after 30 minutes
_WAIT_FOR_LOCK = "35m"
# a part this much smaller than the one before it is more likely a mistake than a clean-up
_SUSPICIOUS = 0.5
_COMPARED = 5
_AGES = {
    "hourly": timedelta(hours=1),
    "daily": timedelta(days=1),
    "weekly": timedelta(days=7),
    "monthly": timedelta(days=31),
    "bimonthly": timedelta(days=62),
}


@dataclass(frozen=True)
class Backup:
    """What to keep and where: restic's repository with the files that hold its password and the
    store's keys, `part` of this machine, database's name or folders, snapshots kept by period.
    `hosts` are the names the site answers to; into a `foreign` repository nothing is written.
    `client_file` says how MariaDB's client reaches a server elsewhere; empty: this machine's."""

    repository: str
    options: tuple[str, ...]
    password_file: Path
    credentials_file: Path
    part: str
    database: str = ""
    client_file: str = ""
    folders: tuple[str, ...] = ()
    keep: tuple[tuple[str, int], ...] = ()
    parts: tuple[str, ...] = (DATABASE, FILES)
    hosts: tuple[str, ...] = ()
    foreign: bool = False

    @property
    def periods(self) -> tuple[str, ...]:
        """Return the periods that cron makes backups at."""
        return tuple(period for period, _ in self.keep if period in _AGES)


def parse(values: Any) -> Backup | None:
    """Turn the configuration's `backup` into a value; None if there is none."""
    if values is None:
        return None
    try:
        return Backup(
            repository=str(values["repository"]),
            options=tuple(map(str, values["options"])),
            password_file=Path(values["password_file"]),
            credentials_file=Path(values["credentials_file"]),
            part=str(values["part"]),
            database=str(values.get("database", "")),
            client_file=str(values.get("client_file", "")),
            folders=tuple(map(str, values.get("folders", ()))),
            keep=tuple((str(period), int(count)) for period, count in values["keep"].items()),
            parts=tuple(map(str, values.get("parts", (DATABASE, FILES)))),
            hosts=tuple(map(str, values.get("hosts", ()))),
            foreign=bool(values.get("foreign", False)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AgentError(f"backup is not understood: {error!r}") from error


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


# -- making --------------------------------------------------------------------------------------


def make(backup: Backup, point: str) -> dict[str, Any]:
    """Keep this machine's part of a point, check it, and forget what is older than wanted."""
    period = check_point(point).partition("-")[0]
    _prepare(backup)
    before = _parts(backup)
    made = _snapshot(backup, point, period)
    size = int(made.get("total_bytes_processed", 0))
    doubt = _doubt(backup, size, [s for s in before if s["part"] == backup.part])
    if backup.part == DATABASE:
        _check_dump(backup, str(made["snapshot_id"]))
    kept = dict(backup.keep).get(period)
    if kept and not doubt:
        # a run that was killed leaves a lock; only locks of the dead are taken away
        _restic(backup, "unlock")
        _restic(
            backup,
            "forget",
            "--tag",
            f"part:{backup.part},period:{period}",
            "--group-by",
            "",
            "--keep-last",
            str(kept),
        )
    if period in ("weekly", "monthly") and backup.part == DATABASE:
        _restic(backup, "prune", "--max-unused", "10%")
        _restic(backup, "check", "--read-data-subset", "10%")
    result: dict[str, Any] = {
        "point": point,
        "snapshot": made["snapshot_id"],
        "bytes": size,
        "added": int(made.get("data_added_packed", made.get("data_added", 0))),
        "took": round(float(made.get("total_duration", 0.0)), 2),
    }
    if doubt:
        # a person who asks for a point now, to repair the site, is told and gets it
        result["problem" if period in _AGES else "doubt"] = doubt
    return result


def _prepare(backup: Backup) -> None:
    """Make the repository if it is missing; two machines may find it missing at once."""
    if _program(backup, "cat", "config", check=False).returncode == 0:
        return
    made = _program(backup, "init", "--repository-version", "2", check=False)
    if made.returncode and _program(backup, "cat", "config", check=False).returncode:
        raise AgentError(f"the backups' repository cannot be made: {_said(made)}")


def _snapshot(backup: Backup, point: str, period: str) -> dict[str, Any]:
    marks = [f"point:{point}", f"period:{period}", f"part:{backup.part}"]
    # who puts it back under another name has to know what to replace
    marks += [f"host:{host}" for host in backup.hosts]
    tags = [word for mark in marks for word in ("--tag", mark)]
    common = ["--json", "--host", backup.part, "--no-scan", *tags]
    if backup.part == DATABASE:
        # the dump's own failure fails the backup: no half dump becomes a snapshot
        dump = (*_client(backup, "mariadb-dump"), "--single-transaction", "--quick", "--routines",
                "--triggers", "--events", "--hex-blob", "--skip-lock-tables", "--no-tablespaces",
                backup.database)  # fmt: skip
        done = _program(
            backup, "backup", *common, "--stdin-filename", DUMP, "--stdin-from-command", "--", *dump
        )
    else:
        done = _program(backup, "backup", *common, "--", *backup.folders)
    for line in reversed(done.stdout.splitlines()):
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict) and values.get("message_type") == "summary":
            return values
    raise AgentError("restic did not say what it kept")


def _doubt(backup: Backup, size: int, before: list[dict[str, Any]]) -> str:
    """Return why what was kept may be wrong, empty if nothing speaks for that."""
    if not size:
        return f"the backup of the {backup.part} is empty"
    largest = max((int(snapshot["bytes"]) for snapshot in before[-_COMPARED:]), default=0)
    if size < largest * _SUSPICIOUS:
        return (
            f"the backup of the {backup.part} has shrunk from {largest} to {size} bytes; "
            "older ones are kept until one is as large again"
        )
    return ""


def _check_dump(backup: Backup, snapshot: str) -> None:
    """Read the whole dump back, decrypted and checked, and see that it ends as a dump ends."""
    ending = b""
    with _Reading(backup, snapshot) as dump:
        assert dump.stdout
        while chunk := dump.stdout.read(1 << 20):
            ending = (ending + chunk)[-4096:]
    if dump.returncode or _ENDING not in ending:
        raise AgentError("the dump that was kept cannot be read back to its end")


# -- looking -------------------------------------------------------------------------------------


def require(backup: Backup) -> None:
    """Raise AgentError if the repository is not there, or cannot be opened."""
    _restic(backup, "cat", "config")


def points(backup: Backup) -> list[dict[str, Any]]:
    """Return the restore points, oldest first: name, period, time, parts with bytes, whole, and
    the names the site answered to."""
    if _program(backup, "cat", "config", check=False).returncode:
        return []
    found: dict[str, dict[str, Any]] = {}
    for snapshot in _parts(backup):
        point = found.setdefault(
            snapshot["point"],
            {"name": snapshot["point"], "period": snapshot["period"], "parts": {}, "hosts": []},
        )
        point["time"] = snapshot["time"]
        point["hosts"] = sorted({*point["hosts"], *snapshot["hosts"]})
        point["parts"][snapshot["part"]] = {"id": snapshot["id"], "bytes": snapshot["bytes"]}
    for point in found.values():
        point["whole"] = set(point["parts"]) >= set(backup.parts)
    return sorted(found.values(), key=lambda point: str(point["time"]))


def _parts(backup: Backup) -> list[dict[str, Any]]:
    """Return all snapshots that carry our tags, oldest first."""
    listed = json.loads(_program(backup, "snapshots", "--json", "--no-lock").stdout or "[]")
    found = []
    for snapshot in listed:
        marks = [tag.split(":", 1) for tag in snapshot.get("tags") or [] if ":" in tag]
        tags: dict[str, Any] = dict(marks)
        hosts = [value for key, value in marks if key == "host"]
        if {"point", "period", "part"} <= set(tags) and _POINT.fullmatch(tags["point"]):
            size = (snapshot.get("summary") or {}).get("total_bytes_processed", 0)
            found.append(
                {
                    **tags,
                    "hosts": hosts,
                    "id": snapshot["id"],
                    "time": snapshot["time"],
                    "bytes": size,
                }
            )
    return sorted(found, key=lambda snapshot: str(snapshot["time"]))


def overdue(backup: Backup, last: dict[str, Any], now: datetime) -> list[str]:
    """Return what is wrong with the backups by how their last runs ended."""
    problems = []
    for period in backup.periods:
        ran = last.get(f"backup-{period}")
        if ran is None:
            continue  # its first time has not come yet; the deploy makes one at once
        if not ran.get("ok"):
            problems.append(f"backup-{period}: {ran.get('problem', 'failed')}")
        try:
            age = now - datetime.fromisoformat(str(ran.get("at")))
        except ValueError:
            continue
        if age > 2 * _AGES[period] + timedelta(hours=1):
            problems.append(f"backup-{period}: the last one is {age.days * 24} hours old")
    return problems


# -- restoring -----------------------------------------------------------------------------------


def restore(backup: Backup, point: str) -> dict[str, Any]:
    """Put this machine's part of a point back, in place of what is there now."""
    wanted = [s for s in _parts(backup) if s["point"] == check_point(point)]
    mine = [s for s in wanted if s["part"] == backup.part]
    if not mine:
        raise AgentError(f"there is no {backup.part} of {point}")
    if backup.part == DATABASE:
        return _restore_database(backup, str(mine[-1]["id"]))
    return _restore_files(backup, str(mine[-1]["id"]))


def _restore_database(backup: Backup, snapshot: str) -> dict[str, Any]:
    """Load the dump beside the live tables, then change all tables over in one statement."""
    live, staged, old = backup.database, f"{backup.database}_new", f"{backup.database}_old"
    for name in (staged, old):
        _sql(backup, f"DROP DATABASE IF EXISTS `{name}`; CREATE DATABASE `{name}` "
             "CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")  # fmt: skip
    with _Reading(backup, snapshot) as dump:
        loaded = subprocess.run(
            [*_client(backup, "mariadb"), "--batch", staged],
            stdin=dump.stdout,
            capture_output=True,
            timeout=_LONGEST,
            check=False,
        )
    if loaded.returncode or dump.returncode:
        _sql(backup, f"DROP DATABASE `{staged}`; DROP DATABASE `{old}`")
        raise AgentError(f"the dump cannot be loaded: {loaded.stderr.decode(errors='replace')}")
    new, present = tables(backup, staged), tables(backup, live)
    if not new:
        raise AgentError("the dump holds no table")
    moves = [f"`{live}`.`{t}` TO `{old}`.`{t}`" for t in present]
    moves += [f"`{staged}`.`{t}` TO `{live}`.`{t}`" for t in new]
    # one statement: no visitor sees a half of each
    _sql(backup, f"SET foreign_key_checks = 0; RENAME TABLE {', '.join(moves)}")
    _sql(backup, f"DROP DATABASE `{staged}`; DROP DATABASE `{old}`")
    return {"tables": len(new)}


def _restore_files(backup: Backup, snapshot: str) -> dict[str, Any]:
    """Make the folders what they were: only what differs is written, what is new is deleted. In
    place, for a folder may be a mount point; killed midway, the next run ends it."""
    for folder in backup.folders:
        if not Path(folder).is_dir():
            raise AgentError(f"{folder} is not there: deploy first, then restore")
        _restic(backup, "restore", f"{snapshot}:{folder}", "--target", folder, "--delete",
                "--verify")  # fmt: skip
    return {"folders": len(backup.folders)}


def tables(backup: Backup, database: str) -> list[str]:
    """Return the names of a database's tables."""
    found = _sql(
        backup,
        "SELECT table_name FROM information_schema.tables "  # noqa: S608 - a name of our own
        f"WHERE table_schema = '{database}' AND table_type = 'BASE TABLE'",
    )
    return [line for line in found.splitlines() if line]


def _client(backup: Backup, program: str) -> list[str]:
    """Return the beginning of a command that asks the database's server."""
    # where it is given, it has to be the first
    named = [f"--defaults-extra-file={backup.client_file}"] if backup.client_file else []
    return [program, *named]


def _sql(backup: Backup, statement: str) -> str:
    done = subprocess.run(
        [*_client(backup, "mariadb"), "--batch", "--skip-column-names"],
        input=statement,
        capture_output=True,
        text=True,
        timeout=_LONGEST,
        check=False,
    )
    if done.returncode:
        raise AgentError(f"the database refuses: {done.stderr.strip()[:300]}")
    return done.stdout


# -- restic --------------------------------------------------------------------------------------


class _Reading:
    """A dump being read out of a snapshot; its exit status is known after the block."""

    def __init__(self, backup: Backup, snapshot: str) -> None:
        self._process = subprocess.Popen(
            _command(backup, "dump", "--no-lock", snapshot, f"/{DUMP}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(backup),
        )

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self._process

    def __exit__(self, *_: object) -> None:
        if self._process.stdout:
            self._process.stdout.close()
        self._process.wait()


def _command(backup: Backup, *words: str) -> list[str]:
    options = [part for option in backup.options for part in ("-o", option)]
    return [
        "restic",
        "--repo",
        backup.repository,
        "--password-file",
        str(backup.password_file),
        "--retry-lock",
        _WAIT_FOR_LOCK,
        *(["--no-lock"] if backup.foreign else []),
        "--cache-dir",
        "/var/cache/build-usb/restic",
        *options,
        *words,
    ]


def _environment(backup: Backup) -> dict[str, str]:
    # the keys themselves are in a file of root's: an environment can be read in /proc
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C",
        "HOME": "/root",
        "AWS_SHARED_CREDENTIALS_FILE": str(backup.credentials_file),
        "RESTIC_PROGRESS_FPS": "0.1",
    }


def _program(backup: Backup, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            _command(backup, *words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LONGEST,
            env=_environment(backup),
            check=False,
        )
    except FileNotFoundError as error:
        raise AgentError("restic is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise TimeLimitError(f"restic {words[0]}: no end after {_LONGEST:.0f} s") from error
    if check and done.returncode:
        raise AgentError(f"restic {words[0]}: {_said(done)}")
    return done


def _restic(backup: Backup, *words: str) -> str:
    return _program(backup, *words).stdout


def _said(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return " ".join(lines[-3:])[:500] or f"exit {done.returncode}"
