"""The agent's backups as far as they need no machine: names, doubts, what is overdue."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from wizard.agent import backup, points, verify
from wizard.agent.errors import AgentError

CONFIG: dict[str, Any] = {
    "repository": "s3:http://10.77.0.5:9000/build-usb-demo-backups",
    "options": ["s3.region=us-east-1"],
    "password_file": "/etc/build-usb/backup-password",
    "credentials_file": "/etc/build-usb/backup-credentials",
    "part": "database",
    "database": "wordpress",
    "keep": {"hourly": 24, "daily": 7, "shutdown": 2},
}
NOW = datetime(2026, 11, 22, 21, 34, 56, tzinfo=UTC)


@pytest.mark.parametrize(
    ("period", "name"),
    [
        ("hourly", "hourly-2026-11-22T2100"),
        ("daily", "daily-2026-11-22"),
        ("weekly", "weekly-2026-11-22"),
        ("monthly", "monthly-2026-11"),
        ("bimonthly", "bimonthly-2026-11"),
        ("manual", "manual-2026-11-22T213456"),
        ("shutdown", "shutdown-2026-11-22T213456"),
    ],
)
def test_both_machines_derive_the_same_name_from_the_time(period: str, name: str) -> None:
    assert points.point_name(period, NOW) == name
    assert points.point_name(period, NOW.astimezone()) == name
    assert points.check_point(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "daily", "daily-2026-11-22 --help", "--help", "daily-2026-11-22\n", "yearly-2026-11-22",
     "daily-../../etc/passwd", "manual-2026-11-22T213456;rm", "latest"],
)  # fmt: skip
def test_what_is_no_point_never_becomes_an_argument(name: str) -> None:
    with pytest.raises(AgentError):
        points.check_point(name)


def test_the_configuration_is_read_whole_or_refused() -> None:
    found = backup.parse(CONFIG)
    assert found is not None
    assert found.periods == ("hourly", "daily")
    assert backup.parse(None) is None
    for key in ("repository", "keep", "part"):
        with pytest.raises(AgentError, match="not understood"):
            backup.parse({k: v for k, v in CONFIG.items() if k != key})


def test_the_engine_says_whose_programs_make_the_dump() -> None:
    found = backup.parse(CONFIG)
    assert found is not None
    assert found.server.dump_command()[0] == "mariadb-dump"
    file = "/etc/build-usb/database-service.conf"
    other = backup.parse({**CONFIG, "engine": "postgresql", "client_file": file})
    assert other is not None
    assert other.server.dump_command() == [
        "env", f"PGSERVICEFILE={file}", "pg_dump", "--no-password",
        "--dbname=service=build-usb dbname=wordpress", "--no-owner", "--no-privileges",
    ]  # fmt: skip
    assert other.server.ending != found.server.ending
    # a check of a dump looks for room where it is loaded
    folders = (found.server.folder, other.server.folder)
    assert folders == ("/var/lib/mysql", "/var/lib/postgresql")
    elsewhere = backup.parse({**CONFIG, "client_file": "/etc/build-usb/database-admin.cnf"})
    assert elsewhere is not None
    assert elsewhere.server.folder == ""
    elsewhere = backup.parse(
        {**CONFIG, "engine": "postgresql", "client_file": file, "managed": True}
    )
    assert elsewhere is not None
    assert elsewhere.server.folder == ""


def test_backups_that_failed_or_stay_away_are_named() -> None:
    found = backup.parse(CONFIG)
    assert found is not None

    def ran(hours: float, **more: Any) -> dict[str, Any]:
        return {"ok": True, "at": (NOW - timedelta(hours=hours)).isoformat(), **more}

    assert verify.problems(found.periods, {}, NOW) == []
    fresh = {"backup-hourly": ran(1), "backup-daily": ran(30)}
    assert verify.problems(found.periods, fresh, NOW) == []
    late = verify.problems(found.periods, {"backup-hourly": ran(5), "backup-daily": ran(60)}, NOW)
    assert [text.partition(":")[0] for text in late] == ["backup-hourly", "backup-daily"]
    failed = {"backup-daily": ran(1, ok=False, problem="the store is full")}
    assert verify.problems(found.periods, failed, NOW) == ["backup-daily: the store is full"]
    tried = {"check-daily": ran(1, ok=False, problem="daily-2026-11-22 cannot be restored")}
    (problem,) = verify.problems(found.periods, tried, NOW)
    assert problem == "check-daily: daily-2026-11-22 cannot be restored"
    (problem,) = verify.problems(found.periods, {"backup-daily": ran(-48)}, NOW)
    assert "the clock was wrong" in problem


@pytest.mark.parametrize(
    ("hours", "period", "words"),
    [
        (1, "hourly", ""),
        (2.5, "hourly", ""),
        (4, "hourly", "is 4 hours old"),
        (40, "daily", ""),
        (50, "daily", "is 50 hours old"),
        (5000, "", ""),
        (5000, "manual", ""),
        (-0.5, "daily", ""),
        (-30, "daily", "still to come"),
        (-30, "", "still to come"),
    ],
)
def test_a_newest_point_that_is_old_or_to_come_counts_as_failed(
    hours: float, period: str, words: str
) -> None:
    # as restic prints it, in nanoseconds
    made = f"{(NOW - timedelta(hours=hours)).replace(tzinfo=None).isoformat()}.123456789Z"
    problem = verify.too_old({"time": made}, period, NOW)
    assert words in problem
    assert bool(words) == bool(problem)


def test_hourly_points_are_restored_once_a_day() -> None:
    def tried(hours: float, *, ok: bool = True) -> dict[str, Any]:
        return {"ok": ok, "at": (NOW - timedelta(hours=hours)).isoformat()}

    assert verify.is_due("hourly", {}, NOW)
    assert not verify.is_due("hourly", tried(1), NOW)
    assert verify.is_due("hourly", tried(21), NOW)
    assert verify.is_due("hourly", tried(1, ok=False), NOW), "what failed is tried again"
    assert verify.is_due("hourly", tried(-30), NOW), "the clock was wrong"
    assert verify.is_due("daily", tried(1), NOW)


@pytest.mark.parametrize(
    ("size", "before", "words"),
    [
        (0, [], "is empty"),
        (100, [], ""),
        (100, [150], ""),
        (100, [1000], "shrunk from 1000 to 100"),
        (100, [1000, 100], "shrunk from 1000 to 100"),
        (100, [1000, 90, 90, 90, 90, 90], ""),
    ],
)
def test_a_backup_that_shrank_is_doubted(size: int, before: list[int], words: str) -> None:
    found = backup.parse(CONFIG)
    assert found is not None
    doubt = backup.doubt("database", size, [{"bytes": number} for number in before])
    assert words in doubt
    assert bool(words) == bool(doubt)


@pytest.mark.parametrize(
    ("made", "kept", "gone"),
    [
        ("", 2, ""),
        ("a1 b2", 2, ""),
        ("a1 b2 c3", 2, "1"),
        # made again and again, as after runs that were killed: one point all the same
        ("a1 b2 b3 b4 b5", 2, "2 3 4"),
        ("a1 b2 a3 c4", 2, "1 2"),
        ("a1 b2 c3", 5, ""),
    ],
)
def test_points_are_kept_in_number_however_often_each_was_made(
    made: str, kept: int, gone: str
) -> None:
    snapshots = [{"point": word[0], "id": word[1]} for word in made.split()]
    assert points.outdated(snapshots, kept) == gone.split()


def test_a_point_tells_the_code_that_the_link_leads_to_and_nothing_else(tmp_path: Path) -> None:
    link = tmp_path / "current"
    assert backup.live_code("") == backup.live_code(str(link)) == ""
    for target, told in (
        ("/srv/site/releases/0123456789abcdef", "0123456789abcdef"),
        ("/srv/site/releases/0123456789abcdef,part:database", ""),
        ("/srv/site/releases/other", ""),
    ):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        assert backup.live_code(str(link)) == told


def test_a_point_of_before_tells_no_code() -> None:
    tags = ["point:daily-2026-11-22", "period:daily", "part:files"]
    snapshot = {"id": "1", "time": "2026-11-22T00:00:00Z"}
    printed = json.dumps(
        [{**snapshot, "tags": tags}, {**snapshot, "tags": [*tags, "code:0123456789abcdef"]}]
    )
    assert [part["code"] for part in points.read_parts(printed)] == ["", "0123456789abcdef"]
