"""What a deployment begins with, without a machine: which point, and never over a site."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wizard.agent import content, mariadb, restic
from wizard.agent.backup import Backup
from wizard.agent.errors import AgentError
from wizard.agent.state import Places

ORDER = {
    "backup": {
        "repository": "s3:https://store.test/old-backups",
        "options": [],
        "part": "database",
        "database": "wordpress",
    },
    "password": "opens-the-old-backups",
    "credentials": "[default]\naws_secret_access_key = key-of-the-old-store\n",
    "period": "daily",
}


def point(name: str, time: str, *, whole: bool = True) -> dict[str, Any]:
    return {
        "name": name,
        "period": name.partition("-")[0],
        "time": time,
        "whole": whole,
        "hosts": ["www.old.test"],
        "code": "0123456789abcdef",
    }


POINTS = [
    point("daily-2026-11-20", "2026-11-20T01:07:00.123456789Z"),
    point("hourly-2026-11-21T1200", "2026-11-21T12:07:00Z"),
    point("daily-2026-11-21", "2026-11-21T01:07:00+00:00"),
    point("daily-2026-11-22", "2026-11-22T01:07:00Z", whole=False),
]


@pytest.mark.parametrize(
    ("name", "period", "before", "chosen"),
    [
        ("", "daily", "", "daily-2026-11-21"),
        ("", "daily", "2026-11-21T01:06:59+00:00", "daily-2026-11-20"),
        ("", "daily", "2026-11-21T01:07:59+00:00", "daily-2026-11-21"),
        ("", "hourly", "", "hourly-2026-11-21T1200"),
        ("daily-2026-11-20", "", "", "daily-2026-11-20"),
    ],
)
def test_the_newest_whole_point_that_is_not_younger(
    name: str, period: str, before: str, chosen: str
) -> None:
    assert content.choose(POINTS, name, period, before)["name"] == chosen


@pytest.mark.parametrize(
    ("name", "period", "before"),
    [("", "weekly", ""), ("daily-2026-11-22", "", ""), ("", "daily", "2026-01-01T00:00:59+00:00")],
)
def test_what_is_not_there_is_said_with_what_is(name: str, period: str, before: str) -> None:
    with pytest.raises(AgentError, match="there are: daily-2026-11-20, hourly"):
        content.choose(POINTS, name, period, before)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    found = Places(state=tmp_path / "state", runtime=tmp_path / "run")
    found.runtime.mkdir()
    return found


class Repository:
    """What restic would do, noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tables: list[str]) -> None:
        self.put: list[str] = []
        self.broken = False
        monkeypatch.setattr(restic.Repository, "require", lambda source: self.opened(source))
        monkeypatch.setattr(content, "points", lambda *_: POINTS)
        monkeypatch.setattr(mariadb.Server, "tables", lambda *_: tables)
        monkeypatch.setattr(content, "restore", self.restore)

    def opened(self, source: restic.Repository) -> None:
        assert source.foreign
        assert source.password_file.read_text() == "opens-the-old-backups\n"
        for file in (source.password_file, source.credentials_file):
            assert file.stat().st_mode & 0o077 == 0
            assert file.parent.stat().st_mode & 0o077 == 0

    def restore(self, _: Backup, name: str) -> dict[str, Any]:
        if self.broken:
            raise AgentError("the store is away")
        self.put.append(name)
        return {}


def test_it_is_put_here_once_and_its_secrets_do_not_stay(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Repository(monkeypatch, tables=[])
    (places.runtime / "content-of-a-run-that-was-killed").mkdir()
    repository.broken = True
    with pytest.raises(AgentError, match="away"):
        content.begin(ORDER, places)
    assert list(places.runtime.iterdir()) == []
    repository.broken = False
    # what a run that failed put there is not taken for a site's own
    monkeypatch.setattr(mariadb.Server, "tables", lambda *_: ["half"])
    done = content.begin(ORDER, places)
    assert (done["state"], done["point"]) == ("done", "daily-2026-11-21")
    assert done["hosts"] == ["www.old.test"]
    assert content.begin(ORDER, places)["state"] == "known"
    assert repository.put == ["daily-2026-11-21"]
    assert list(places.runtime.iterdir()) == []
    assert "old-store" not in json.dumps(done)


def test_a_site_that_has_content_keeps_it(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository(monkeypatch, tables=["wp_posts"])
    assert content.begin(ORDER, places)["state"] == "kept"
    assert repository.put == []


def test_folders_that_come_later_are_made_and_the_code_is_told(
    places: Places, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    repository = Repository(monkeypatch, tables=[])
    whole: list[tuple[str, ...]] = []
    monkeypatch.setattr(content, "points", lambda _, parts: whole.append(parts) or POINTS)
    shared = tmp_path / "site" / "shared"
    backup = {"repository": "s3:https://store.test/b", "options": [], "part": "files"}
    backup |= {"folders": [str(shared)], "parts": ["files"]}
    for state in ("done", "known"):
        answer = content.begin({**ORDER, "backup": backup}, places)
        assert (answer["state"], answer["code"]) == (state, "0123456789abcdef")
    assert shared.is_dir()
    # a site without a database has points of files alone
    assert whole == [("files",)]
    assert repository.put == ["daily-2026-11-21"]


def test_a_point_of_another_release_is_not_put_here(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Repository(monkeypatch, tables=[])
    other, own = "f" * 64, "0123456789abcdef" + "f" * 48
    refused = content.begin({**ORDER, "release": other}, places)
    assert (refused["state"], refused["code"]) == ("refused", "0123456789abcdef")
    assert repository.put == []
    assert not (places.state / "content.json").exists()
    for state in ("done", "known"):
        assert content.begin({**ORDER, "release": own}, places)["state"] == state
    # what was put here is of that release for ever
    assert content.begin({**ORDER, "release": other}, places)["state"] == "refused"
    assert repository.put == ["daily-2026-11-21"]


@pytest.mark.parametrize("missing", ["backup", "password", "credentials"])
def test_half_an_order_is_refused(missing: str, places: Places) -> None:
    with pytest.raises(AgentError, match="not understood"):
        content.begin({key: value for key, value in ORDER.items() if key != missing}, places)
