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
from wizard.home.home import Home
from wizard.machines.places import AGENT_PATH
from wizard.operations import session
from wizard.secrets import Secret
from wizard.storage.base import Bucket

pytestmark = pytest.mark.lab
UPLOADS = "/var/lib/wordpress/wp-content/uploads"
CRON_LOCK = "/tmp/build-usb-wordpress-cron.lock"


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
    # what WordPress does by itself each minute (pings after publishing) would change rows between
    # two looks at them, and an hour that begins would add a point
    rehearsal.on("web1", f"rm /etc/cron.d/build-usb-application; flock {CRON_LOCK} true")
    for machine in ("web1", "db1"):
        rehearsal.on(machine, "rm /etc/cron.d/build-usb-backup")
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


BREAKS_ONCE = r"""#!/bin/sh
case " $* " in *" restore "*)
  if [ ! -e /run/broken-once ]; then touch /run/broken-once; echo "no space" >&2; exit 1; fi
esac
exec /usr/bin/restic.real "$@"
"""


def test_a_restore_that_fails_leaves_what_ran_before(site: Rehearsal) -> None:
    point = back_up(site)
    site.on("web1", f"echo newer > {UPLOADS}/newer.txt")
    site.on("db1", "mariadb wordpress -e 'CREATE TABLE newer (number INT)'")
    then = tables(site), files(site)
    site.on("web1", "mv /usr/bin/restic /usr/bin/restic.real && cat > /usr/bin/restic"
                    " && chmod +x /usr/bin/restic", BREAKS_ONCE)  # fmt: skip
    failed = site.run("restore", "--yes", point, check=False)
    assert failed.returncode == 9, failed.stderr
    assert "the site is open, with what ran before" in failed.stderr
    assert "no space" in failed.stderr
    assert (tables(site), files(site)) == then
    with Browser(site.state()) as visitor:
        assert visitor.get("/").status_code == 200
    site.on("web1", "mv /usr/bin/restic.real /usr/bin/restic")
    site.run("restore", "--yes", point)
    assert "newer.txt" not in files(site)


def test_backups_killed_midway_block_nothing_and_are_no_success(site: Rehearsal) -> None:
    before = [p["name"] for p in points(site) if p["whole"]]
    # from before anything was asked until the dump is read back
    moments = " ".join(f"{0.2 + tenths * 0.2:.1f}" for tenths in range(20))
    killed = (
        f"for moment in {moments}; do timeout --signal=KILL $moment {AGENT_PATH} backup hourly "
        "--point hourly-2026-01-02T0100 >/dev/null && echo ended; pkill -KILL restic; "
        "pkill -KILL mariadb-dump; done; true"
    )
    ended = site.on("db1", killed).count("ended")
    assert ended < 20
    assert [p["name"] for p in points(site) if p["whole"]] == before
    # the other machine could not know that locks are of the dead, and waited half an hour for one
    # that was held alone
    for machine in ("db1", "web1"):
        answer = site.on(machine, f"{AGENT_PATH} backup hourly --point hourly-2026-01-02T0100")
        made = json.loads(answer)
        assert made["ok"], made
        assert "later" not in made, "its own locks of the dead are taken away"
    assert back_up(site)


def test_two_at_once_are_one_after_the_other(site: Rehearsal) -> None:
    answer = site.on(
        "db1",
        f"{AGENT_PATH} backup manual --point manual-2026-01-01T000001 & "
        f"{AGENT_PATH} backup manual --point manual-2026-01-01T000002 & wait",
    )
    assert [json.loads(line)["ok"] for line in answer.splitlines()] == [True, True]


def test_the_same_point_made_twice_at_once_is_one(site: Rehearsal) -> None:
    command = f"{AGENT_PATH} backup manual --point manual-2026-01-01T000003"
    for machine in ("db1", "web1"):
        answer = site.on(machine, f"{command} & {command} & wait")
        assert [json.loads(line)["ok"] for line in answer.splitlines()] == [True, True]
    (made,) = [p for p in points(site) if p["name"] == "manual-2026-01-01T000003"]
    assert made["whole"]


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


def bucket(site: Rehearsal) -> Bucket:
    """Return the bucket that the points are in."""
    home = Home.open(site.home)
    opened = session.Session(home, home.unlock(Secret(PASSPHRASE)))
    deployment = home.deployment(NAME)
    context = session.make_context(opened, deployment, session.read_answers(deployment))
    context.connect(lambda *_: None)
    assert context.backups is not None
    return context.backups


def check(site: Rehearsal, machine: str, period: str = "daily") -> dict[str, Any]:
    """Run a period's check on a machine as cron does, and return what it found."""
    return dict(json.loads(site.on(machine, f"{AGENT_PATH} check {period} || true")))


def test_a_check_restores_the_newest_point_beside_what_runs(site: Rehearsal) -> None:
    for machine in ("db1", "web1"):
        site.on(machine, f"{AGENT_PATH} backup daily")
    then = tables(site), files(site)
    loaded, restored = check(site, "db1"), check(site, "web1")
    assert loaded["ok"], loaded
    assert restored["ok"], restored
    assert loaded["how"] == "loaded"
    assert loaded["tables"] >= 12
    assert restored["how"] == "restored"
    count = site.on("web1", "find -L /var/lib/wordpress/wp-content -type f | wc -l")
    assert 0 < restored["files"] <= int(count)
    assert loaded["point"] == restored["point"] == points(site)[-1]["name"]
    assert (tables(site), files(site)) == then
    assert "_check" not in site.on("db1", "mariadb -NBe 'SHOW DATABASES'")
    assert "build-usb-check" not in site.on("web1", "ls /var/tmp")
    shown = site.run("status").stdout
    assert f"db1: {loaded['point']} made, {loaded['point']} tried" in shown
    done = site.run("backup", "--check", "--json")
    last = json.loads(done.stdout.splitlines()[-1])
    assert {"check:database", "check:files"} <= set(last["data"]["steps"])


def test_a_check_finds_a_pack_that_is_corrupted(site: Rehearsal) -> None:
    kept = bucket(site)
    whole = {}
    for key in kept.keys("data/"):
        stored = kept.get(key)
        assert stored is not None
        whole[key] = stored.data
    # most of what the films are in, and where dumps are
    for key, data in whole.items():
        middle = len(data) // 3
        kept.put(key, data[:middle] + bytes(16) + data[middle + 16 :])
    try:
        for machine in ("db1", "web1"):
            found = check(site, machine)
            assert not found["ok"], found
            assert "cannot be restored" in found["problem"]
        shown = site.run("status", check=False)
        assert shown.returncode != 0
        assert shown.stdout.count("problem: check-daily: daily-") == 2
    finally:
        for key, data in whole.items():
            kept.put(key, data)
    for machine in ("db1", "web1"):
        assert check(site, machine)["ok"]
    assert site.run("status").returncode == 0


def test_one_file_of_a_point_is_looked_for_put_back_and_fetched(
    site: Rehearsal, tmp_path: Path
) -> None:
    odd = "a [odd] *name*.txt"
    there = f"cd {UPLOADS} && "
    made = f"mkdir -p gone/deep && printf %s kept > 'gone/deep/{odd}' && chown -R www-data: gone"
    site.on("web1", f"{there}{made} && chmod 0751 gone/deep && chmod 0640 gone/deep/*")
    point = back_up(site)
    site.on("web1", f"{there}rm -r gone && echo later > beside.txt")
    then = tables(site)
    path = f"uploads/gone/deep/{odd}"

    shown = site.run("points", "--point", point, "--path", "uploads/gone/deep").stdout
    assert odd in shown
    (dump, kept) = json.loads(site.run("points", "--point", point, "--json").stdout)
    assert (dump["part"], kept["part"]) == ("database", "files")
    assert [entry["name"] for entry in dump["entries"]] == ["database.sql"]
    site.run("restore", "--yes", point, "--file", path)
    look = "stat -c '%U %a' gone/deep gone/deep/*; cat gone/deep/*; ls -A gone/deep; cat beside.txt"
    found = site.on("web1", there + look)
    assert found.splitlines() == ["www-data 751", "www-data 640", f"kept{odd}", "later"]
    assert tables(site) == then

    for name, words in ((path, b"kept"), ("database.sql", b"-- Dump completed")):
        copy = tmp_path / name.rpartition("/")[2]
        site.run("restore", point, "--file", name, "--to", copy)
        assert words in copy.read_bytes()
        assert copy.stat().st_mode & 0o077 == 0
    again = site.run("restore", point, "--file", path, "--to", tmp_path / odd, check=False)
    assert "is there already" in again.stderr

    site.on("web1", f"cd {UPLOADS} && rm -r gone && ln -s /etc gone")
    for named, refused in (
        (path, "gone is not a folder now"),
        ("uploads/nothing.txt", f"/uploads/nothing.txt is not in {point}"),
        ("uploads/gone", "is a dir in"),
        ("/etc/passwd", "is in none of the folders kept"),
        ("../../etc/passwd", "is not the path of a file"),
    ):
        failed = site.run("restore", "--yes", point, "--file", named, check=False)
        assert failed.returncode != 0, named
        assert refused in failed.stderr, failed.stderr
    assert not site.on("web1", "ls /etc/deep; true")
    site.on("web1", f"cd {UPLOADS} && rm gone beside.txt")


def test_nothing_of_the_site_can_be_read_in_the_bucket(site: Rehearsal) -> None:
    """The store sees neither passwords nor content: all of it is encrypted by restic."""
    kept = bucket(site)
    words = [b"This was there.", b"CREATE TABLE", b"wp-content"]
    words += [secret.reveal().encode() for secret in site.secrets().values()]
    for key in kept.keys(""):
        stored = kept.get(key)
        assert stored is not None
        assert not [word for word in words if word in stored.data], key


def test_a_point_that_is_not_there_is_refused_by_name(site: Rehearsal) -> None:
    refused = site.run("restore", "--yes", "daily-1999-01-01", check=False)
    assert refused.returncode == 2
    assert "daily-1999-01-01" in refused.stderr
    assert "choose one of: " in refused.stderr
