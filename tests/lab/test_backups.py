"""Temporal backups of a running site: made, listed, put back, killed, doubted, kept private."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.deployments import NAME, PASSPHRASE, REHEARSAL, Browser, Rehearsal
from wizard.machines.places import AGENT_PATH

pytestmark = pytest.mark.lab
UPLOADS = "/var/lib/wordpress/wp-content/uploads"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    folder = tmp_path_factory.mktemp("backups")
    rehearsal = Rehearsal(folder / "home", folder / "user")
    rehearsal.user.mkdir()
    values = yaml.safe_load(REHEARSAL.read_text())
    values["backups"] = {"periods": ["hourly", "daily"], "keep": {"hourly": 2}}
    answers = folder / "answers.yaml"
    answers.write_text(yaml.safe_dump(values))
    rehearsal.run("deploy", answers, "--json")
    yield rehearsal
    rehearsal.run("destroy", "--yes", NAME)


def points(site: Rehearsal) -> list[dict[str, Any]]:
    return list(json.loads(site.run("points", "--json").stdout))


def back_up(site: Rehearsal) -> str:
    before = {point["name"] for point in points(site)}
    site.run("backup")
    (new,) = [point for point in points(site) if point["name"] not in before]
    assert new["whole"]
    return str(new["name"])


def tables(site: Rehearsal) -> str:
    """Return a checksum of every row, but for what WordPress writes by itself all the time."""
    names = site.on("db1", "mariadb -NBe 'SHOW TABLES' wordpress").split()
    kept = ", ".join(f"`{n}`" for n in names if not n.endswith(("_options", "_usermeta")))
    return site.on("db1", f"mariadb -NB wordpress -e 'CHECKSUM TABLE {kept}'".replace("`", ""))


def files(site: Rehearsal) -> str:
    return site.on(
        "web1",
        "cd /var/lib/wordpress/wp-content && find . -type f|sort|xargs -d'\\n' sha256sum",
    )


def test_a_deployment_begins_with_a_whole_restore_point(site: Rehearsal) -> None:
    (first,) = points(site)
    assert first["period"] == "hourly"
    assert first["whole"]
    assert first["parts"]["database"]["bytes"] > 10_000


def test_what_was_changed_and_deleted_since_comes_back(site: Rehearsal) -> None:
    state = site.state()
    with Browser(state) as browser:
        browser.log_in(state.admin_user, site.secrets()["admin_password"])
        kept = browser.publish("Before", "This was there.")
        upload = "head -c 50000000 /dev/urandom > {0}/film.bin; chown www-data: {0}/film.bin"
        site.on("web1", f"mkdir -p {UPLOADS}; " + upload.format(UPLOADS))
        then = tables(site), files(site)
        point = back_up(site)
        later = browser.publish("After", "This came later.")
        site.on("web1", f"rm {UPLOADS}/film.bin; echo new > {UPLOADS}/later.txt")
        site.on("db1", "mariadb wordpress -e \"DROP TABLE $(mariadb -NBe "
                       "'SHOW TABLES' wordpress | grep _comments)\"")  # fmt: skip
        done = site.run("restore", "--yes", point, "--json")
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert events[-1]["kind"] == "run-done"
        assert (tables(site), files(site)) == then
        assert "This was there." in browser.get(kept.removeprefix(browser.url)).text
        assert browser.get(later.removeprefix(browser.url)).status_code == 404
    assert [p["period"] for p in points(site)][-2:] == ["manual", "manual"], "the safety point"
    assert json.loads(site.run("status", "--json").stdout)["healthy"]


def test_restoring_can_be_killed_and_run_again(site: Rehearsal) -> None:
    then = tables(site), files(site)
    point = back_up(site)
    site.on("web1", f"rm {UPLOADS}/film.bin")
    for seconds in (3.0, 7.0):
        running = subprocess.Popen(
            site.argv("restore", "--yes", point), env=site.environment, start_new_session=True
        )
        time.sleep(seconds)
        running.kill()
        running.wait()
    site.run("restore", "--yes", point)
    assert (tables(site), files(site)) == then


def test_backups_killed_midway_block_nothing_and_are_no_success(site: Rehearsal) -> None:
    before = len([p for p in points(site) if p["whole"]])
    for tenths in (2, 5, 9):
        site.on(
            "db1",
            f"timeout --signal=KILL 0.{tenths} {AGENT_PATH} backup daily; "
            "pkill -KILL restic; pkill -KILL mariadb-dump; true",
        )
    assert len([p for p in points(site) if p["whole"]]) == before
    assert back_up(site)


def test_two_at_once_are_one_after_the_other(site: Rehearsal) -> None:
    answer = site.on(
        "db1",
        f"{AGENT_PATH} backup manual --point manual-2026-01-01T000001 & "
        f"{AGENT_PATH} backup manual --point manual-2026-01-01T000002 & wait",
    )
    assert [json.loads(line)["ok"] for line in answer.splitlines()] == [True, True]


def test_old_ones_are_forgotten_by_period(site: Rehearsal) -> None:
    for hour in (1, 2, 3):
        site.on("db1", f"{AGENT_PATH} backup hourly --point hourly-2026-01-01T0{hour}00")
        site.on("web1", f"{AGENT_PATH} backup hourly --point hourly-2026-01-01T0{hour}00")
    kept = [p["name"] for p in points(site) if p["period"] == "hourly" and p["whole"]]
    assert kept[-2:] == ["hourly-2026-01-01T0200", "hourly-2026-01-01T0300"]
    assert len([p for p in points(site) if p["period"] == "manual"]) > 2, "people's own stay"


def test_a_backup_that_fails_shows_in_status(site: Rehearsal) -> None:
    site.on("db1", "mv /etc/build-usb/backup-password /root/")
    site.on("db1", f"{AGENT_PATH} backup daily; true")
    shown = site.run("status", check=False)
    assert shown.returncode != 0
    assert "backup-daily" in shown.stdout
    site.on("db1", "mv /root/backup-password /etc/build-usb/")
    site.on("db1", f"{AGENT_PATH} backup daily")
    assert site.run("status").returncode == 0


def test_nothing_of_the_site_can_be_read_in_the_bucket(site: Rehearsal, tmp_path: Path) -> None:
    """The store sees neither passwords nor content: all of it is encrypted by restic."""
    from wizard.home.home import Home
    from wizard.operations import session
    from wizard.secrets import Secret

    home = Home.open(site.home)
    opened = session.Session(home, home.unlock(Secret(PASSPHRASE)))
    deployment = home.deployment(NAME)
    context = session.make_context(opened, deployment, session.read_answers(deployment))
    context.connect(lambda *_: None)
    assert context.backups is not None
    words = [b"This was there.", b"CREATE TABLE", b"wp-content"]
    words += [secret.reveal().encode() for secret in site.secrets().values()]
    for key in context.backups.keys(""):
        stored = context.backups.get(key)
        assert stored is not None
        assert not [word for word in words if word in stored.data], key


def test_a_point_that_is_not_there_is_refused_by_name(site: Rehearsal) -> None:
    refused = site.run("restore", "--yes", "daily-1999-01-01", check=False)
    assert refused.returncode == 2
    assert "daily-1999-01-01" in refused.stderr
    assert "choose one of: " in refused.stderr
