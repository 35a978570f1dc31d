"""The agent's backups as far as they need no machine: names, doubts, what is overdue."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wizard.agent import backup
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
    assert backup.point_name(period, NOW) == name
    assert backup.point_name(period, NOW.astimezone()) == name
    assert backup.check_point(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "daily", "daily-2026-11-22 --help", "--help", "daily-2026-11-22\n", "yearly-2026-11-22",
     "daily-../../etc/passwd", "manual-2026-11-22T213456;rm", "latest"],
)  # fmt: skip
def test_what_is_no_point_never_becomes_an_argument(name: str) -> None:
    with pytest.raises(AgentError):
        backup.check_point(name)


def test_the_configuration_is_read_whole_or_refused() -> None:
    found = backup.parse(CONFIG)
    assert found is not None
    assert found.periods == ("hourly", "daily")
    assert backup.parse(None) is None
    for key in ("repository", "keep", "part"):
        with pytest.raises(AgentError, match="not understood"):
            backup.parse({k: v for k, v in CONFIG.items() if k != key})


def test_backups_that_failed_or_stay_away_are_named() -> None:
    found = backup.parse(CONFIG)
    assert found is not None

    def ran(hours: float, **more: Any) -> dict[str, Any]:
        return {"ok": True, "at": (NOW - timedelta(hours=hours)).isoformat(), **more}

    assert backup.overdue(found, {}, NOW) == []
    assert backup.overdue(found, {"backup-hourly": ran(1), "backup-daily": ran(30)}, NOW) == []
    late = backup.overdue(found, {"backup-hourly": ran(5), "backup-daily": ran(60)}, NOW)
    assert [text.partition(":")[0] for text in late] == ["backup-hourly", "backup-daily"]
    failed = {"backup-daily": ran(1, ok=False, problem="the store is full")}
    assert backup.overdue(found, failed, NOW) == ["backup-daily: the store is full"]


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
    doubt = backup._doubt(found, size, [{"bytes": number} for number in before])
    assert words in doubt
    assert bool(words) == bool(doubt)
