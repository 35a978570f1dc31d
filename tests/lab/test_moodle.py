"""Moodle from a release's archive: installed, upgraded, and back again when an upgrade fails."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.lab import moodle_release
from tests.lab.deployments import Browser
from tests.lab.released import COPY, Released, destroyed
from tests.lab.test_own_code import files_of

pytestmark = pytest.mark.lab
CONTENT = bytes(range(256)) * 4096
SUMMARY = '<a href="https://OLD/pluginfile.php/x">see</a> not-OLD a@OLD'
PLANT = f"""INSERT INTO PREFIX_user (id, mnethostid, username, email, firstname, lastname, lastip)
  VALUES (5, 1, 'jo', 'jo@person.org', 'Jo Doe', 'Doe', '10.9.8.7');
INSERT INTO PREFIX_page VALUES (1, 2, 'Written', 'by jo@person.org, https://COPY/b');
INSERT INTO PREFIX_course_modules (id, course, module, instance)
  SELECT 1, 2, id, 1 FROM PREFIX_modules WHERE name = 'page';
INSERT INTO PREFIX_course_modules (id, course, module, instance)
  SELECT 2, 2, id, 1 FROM PREFIX_modules WHERE name = 'lti';
INSERT INTO PREFIX_context VALUES (7, 30, 5), (8, 70, 1), (9, 70, 2);
INSERT INTO PREFIX_block_instances (blockname, parentcontextid, configdata) VALUES
  ('html', 7, 'Hush'), ('rss_client', 1, 'Hush');
INSERT INTO PREFIX_enrol VALUES (1, 'manual', 0, 2, NULL, NULL), (2, 'self', 0, 2, 'Hush', 3),
  (3, 'lti', 0, 2, NULL, NULL);
INSERT INTO PREFIX_user_enrolments VALUES (1, 1, 5);
INSERT INTO PREFIX_assign_submission VALUES (1, 5, 'Hush');
INSERT INTO PREFIX_files (contenthash, pathnamehash, contextid, component, filearea, itemid,
  filepath, filename) VALUES
  ('{"0" * 40}', 'a', 7, 'user', 'private', 0, '/', 'Hush.txt'),
  ('{"0" * 40}', 'b', 1, 'user', 'draft', 0, '/', 'Hush.txt'),
  ('{"0" * 40}', 'c', 9, 'mod_lti', 'intro', 0, '/', 'Hush.txt'),
  ('{"0" * 40}', 'd', 8, 'backup', 'activity', 0, '/', 'Hush.mbz');
INSERT INTO PREFIX_config VALUES ('smtppass', 'k3y-of-nobody'), ('passwordpolicy', '1'),
  ('supportname', 'Jo Doe'), ('tokenduration', '7257600');
INSERT INTO PREFIX_config_plugins (plugin, name, value) VALUES
  ('mnet', 'openssl', 'k3y-of-nobody'), ('auth_ldap', 'host_url', 'Hush'),
  ('aiprovider_open', 'apikey', 'k3y-of-nobody');
"""
SERVICE = "PGSERVICEFILE=/etc/build-usb/database-service.conf"


def packed(folder: Path, number: int, breaks: bool) -> tuple[Path, str]:
    archive = folder / f"moodle-5.0.{number}.tgz"
    return archive, moodle_release.pack(archive, moodle_release.files(number, breaks=breaks))


@pytest.fixture
def moodle(tmp_path: Path) -> Iterator[Released]:
    with destroyed(Released(tmp_path, "moodle", packed)) as found:
        yield found


def rows(on: Callable[[str, str], str]) -> tuple[str, str]:
    """Return all rows of a deployment's database (PostgreSQL), and the prefix of its tables."""
    dump = "pg_dump --data-only --column-inserts --no-comments 'service=build-usb dbname=moodle'"
    found = on("db1", f"{SERVICE} {dump}")
    (prefix,) = set(re.findall(r"INSERT INTO public\.(\w+?_)", found))
    return found, prefix


def comparable(found: tuple[str, str], old: str) -> list[str]:
    """Return rows with what is meant to differ made the same."""
    text, prefix = found
    own = ("user", "user_id_seq", "config", "sessions", "block_instances", "files")
    lines = [line for line in text.splitlines() if line.startswith(("INSERT", "SELECT pg_catalog"))]
    lines = [
        line for line in lines if not any(re.search(rf"\.{prefix}{name}\b", line) for name in own)
    ]
    name = rf"(?<![\w.@-]){re.escape(old)}"
    return sorted(re.sub(name, COPY, line.replace(prefix, "PREFIX_")) for line in lines)


def test_moodle_is_installed_upgraded_and_back_when_an_upgrade_fails(moodle: Released) -> None:
    site = moodle.site
    moodle.deploy(1)
    secrets = site.secrets()
    with Browser(site.state()) as visitor:
        assert site.state().hosts[0] not in visitor.url
        assert visitor.url in visitor.get("/login/index.php").text, "its address is one of its own"
        login = {"username": "editor", "password": secrets["admin_password"].reveal()}
        assert visitor.client.post("/login/index.php", data=login).text == "logged in"
        made = visitor.client.post(
            "/course/index.php", data={"fullname": "Botany"}, files={"file": CONTENT}
        )
        name = made.text
        # what stands behind a program's name is somebody's file, whatever it is called
        assert visitor.get(f"/pluginfile.php/{name}/tests/version.php").content == CONTENT
        closed = (
            "/config.php", "/version.php", "/admin/cli/upgrade.php", "/admin/cli/cron.php/x",
            "/lib/tests/fixtures/data.txt", "/moodledata/written", "/.revision",
        )  # fmt: skip
        assert {path: visitor.get(path).status_code for path in closed} == dict.fromkeys(
            closed, 404
        )
        assert site.on("web1", "su -s /bin/sh www-data -c 'touch /srv/site/current/x' || echo no")
        site.on("web1", "sed -n 's/^.* root //p' /etc/cron.d/build-usb-application | sh")
        site.on("web1", "test -e /srv/site/shared/moodledata/cron-ran")

        upgraded = moodle.deploy(2)
        assert "is what was before" in upgraded.stdout
        assert visitor.get("/course/index.php").text == "Botany"
        version = site.on(
            "db1",
            "mariadb -N moodle",
            "SELECT value FROM $TABLE".replace("$TABLE", _config(site.on)),
        )
        assert "2025041402.00" in version

        failed = moodle.deploy(3, check=False, breaks=True)
        assert failed.returncode != 0
        assert "the upgrade of courses failed" in failed.stderr
        assert "was put back" in failed.stderr
        assert visitor.get("/course/index.php").text == "Botany"
        assert visitor.get("/login/index.php").status_code == 200
        assert visitor.get(f"/pluginfile.php/{name}/a.bin").content == CONTENT
        moodle.deploy(2)
    assert json.loads(site.run("status", "--json").stdout)["healthy"]
    found = site.on(
        "web1", f"grep -rlF '{secrets['admin_password'].reveal()}' /etc /srv /var/log; true"
    )
    assert found == "", "the administrator's password is in no file"

    # it goes into production as a copy, with all that is in it
    live = {**moodle.values, "name": "copy", "domain": {"name": COPY}}
    answers = moodle.folder / "copy.yaml"
    answers.write_text(yaml.safe_dump(live))
    promote = ("promote", "demo", answers, "--yes", "--json")
    examined = site.run(*promote, "--by", "backup", "--until", "check-test")
    assert "logging in works" in examined.stdout
    site.run("promote", "demo", "--undo", "--yes", "--json")
    becomes_a_baseline(moodle)


def becomes_a_baseline(moodle: Released) -> None:
    """See that a baseline of a copy holds nobody and nothing private, and is a site again."""
    moodle.site.run("backup")
    moodle.begin(2, "editor")
    prefix = _config(moodle.in_copy).removesuffix("config")
    with Browser(moodle.copy()) as visitor:
        course = {"fullname": "Zoology", "summary": f"https://{COPY}/a, jo@person.org"}
        file = f"see https://{COPY}/".encode() + CONTENT
        made = visitor.client.post("/course/index.php", data=course, files={"file": file})
        name = made.text
    moodle.in_copy("db1", "mariadb moodle", PLANT.replace("PREFIX_", prefix).replace("COPY", COPY))
    moodle.in_copy("web1", "echo Hush > /srv/site/shared/moodledata/filedir/" + "0" * 40)
    folder = moodle.baseline_of_copy("5.0.2", "assign_submission")
    rows = b"".join(path.read_bytes() for path in folder.glob("database/*"))
    files = {path.name: path.read_bytes() for path in folder.glob("files/**/*") if path.is_file()}
    private = ("editor", "$2y$", "Hush", "Jo Doe", "Admin User", COPY, "person.org", "10.9.8.7",
               "k3y-of-nobody", "My first site")  # fmt: skip
    assert [word for word in private if word.encode() in rows] == []
    assert b"passwordpolicy" in rows
    # files stay as they are: they are found by what is in them
    assert files == {hashlib.sha1(data).hexdigest(): data for data in (CONTENT, file)}

    state = moodle.begin_with_baseline(2, "third", "third.rehearsal.test")
    third = "third.rehearsal.test"
    mail = moodle.values["application"]["admin"]["email"]
    with Browser(state) as visitor:
        assert visitor.get("/login/index.php").text.startswith("Another site https://")
        assert visitor.get("/course/index.php").text == "Botany, Zoology"
        summary = f"https://{third}/a, {mail}"
        # in a text, and in a block, where it is packed
        assert visitor.get("/course/index.php?summaries").text == f"\n{summary}\n\n{summary}"
        assert visitor.get("/course/index.php?pages").text == f"by {mail}, https://{third}/b"
        assert visitor.get(f"/pluginfile.php/{name}/a.bin").content == file
        assert visitor.get("/course/index.php?files").text.split()[1] == name
        assert "lost" not in visitor.get("/course/index.php?files").text
        word = moodle.secret("admin_password", "third")
        login = {"username": "editor", "password": word}
        assert visitor.client.post("/login/index.php", data=login).text == "logged in"

    def asked(statement: str) -> str:
        own = _config(lambda *order: moodle.site.on(*order, "third")).removesuffix("config")
        statement = statement.replace("PREFIX_", own)
        return moodle.site.on("db1", "mariadb -N moodle", statement, "third")

    assert asked("SELECT id, username FROM PREFIX_user ORDER BY id") == "1\tguest\n2\teditor\n"
    assert asked("SELECT value FROM PREFIX_config WHERE name = 'siteadmins'") == "2\n"
    assert asked("SELECT DISTINCT userid FROM PREFIX_files") == "2\n"
    assert asked("SELECT enrol, status FROM PREFIX_enrol") == "manual\t0\nself\t1\n"
    assert asked("SELECT contextlevel, instanceid FROM PREFIX_context ORDER BY id").split() == [
        "10", "0", "70", "1",
    ]  # fmt: skip
    # a database cannot be downgraded
    said = "is OLDER than the version that made these databases"
    moodle.is_not_downgraded("third", 1, said)


def _config(on: Callable[[str, str, str], str]) -> str:
    tables = on("db1", "mariadb -N moodle", "SHOW TABLES").split()
    return next(table for table in tables if table.endswith("_config"))


def test_moodle_keeps_its_data_in_postgresql_too(moodle: Released) -> None:
    moodle.values["database"] = {"engine": "postgresql"}
    moodle.deploy(1)
    site = moodle.site
    old = site.state().hosts[0]
    login = {"username": "editor", "password": site.secrets()["admin_password"].reveal()}
    with Browser(site.state()) as visitor:
        assert visitor.client.post("/login/index.php", data=login).text == "logged in"
        course = {"fullname": "Botany", "summary": SUMMARY.replace("OLD", old)}
        # a page that names the site is somebody's file
        file = f"see https://{old}/".encode() + CONTENT
        made = visitor.client.post("/course/index.php", data=course, files={"file": file})
        name = made.text
        moodle.deploy(2)
        failed = moodle.deploy(3, check=False, breaks=True)
        assert "was put back" in failed.stderr
        assert visitor.get("/course/index.php").text == "Botany"
    psql = f"{SERVICE} psql -XAt 'service=build-usb dbname=moodle'"
    before = rows(site.on)
    version = f"SELECT value FROM {before[1]}config WHERE name = 'version'"
    assert site.on("db1", psql, version).strip() == "2025041402.00"

    # another deployment begins with a backup of it
    site.run("backup")
    kept = files_of(site.on)
    refused = moodle.begin(1, "keeper", check=False)
    assert "application.source.release.sha256" in refused.stderr
    assert "texts in the database" not in moodle.begin(2, "keeper").stdout
    assert files_of(moodle.in_copy) == kept
    got = rows(moodle.in_copy)
    assert got[1] != before[1]
    assert comparable(got, COPY) == comparable(before, old)
    named = [line for line in got[0].splitlines() if re.search(rf"(?<![@-]){re.escape(old)}", line)]
    # what files are called is a part of the digests that they are found by
    assert [line for line in named if f".{got[1]}files " not in line] == [], "the old name is gone"
    identifier = "SELECT value FROM PREFIXconfig WHERE name = 'siteidentifier'"
    assert moodle.in_copy("db1", psql, identifier.replace("PREFIX", got[1])) == ""
    with Browser(moodle.copy()) as visitor:
        assert visitor.get("/login/index.php").text.startswith(f"My first site {visitor.url}<")
        assert visitor.get("/course/index.php").text == "Botany"
        moved = SUMMARY.replace("OLD", COPY).replace(f"not-{COPY} a@{COPY}", f"not-{old} a@{old}")
        # in a text, and in a block, where it is packed
        assert visitor.get("/course/index.php?summaries").text == f"{moved}\n{moved}"
        assert visitor.get(f"/pluginfile.php/{name}/a.bin").content == file
        # nobody was logged in; its own administrator was made, others log in as before
        sessions = f"SELECT count(*) FROM {got[1]}sessions"
        assert moodle.in_copy("db1", psql, sessions).strip() == "0"
        assert visitor.client.post("/login/index.php", data=login).text == "logged in"
        own = {"username": "keeper", "password": moodle.secret("admin_password")}
        assert visitor.client.post("/login/index.php", data=own).text == "logged in"
        admins = f"SELECT value FROM {got[1]}config WHERE name = 'siteadmins'"
        assert moodle.in_copy("db1", psql, admins).strip() == "2,3"
        # once: a newer release has a restore point of its own, and who is logged in stays so
        assert "is what was before" in moodle.begin(3, "keeper").stdout
        assert moodle.in_copy("db1", psql, sessions).strip() == "2"
        # tables made from now on have numbers and names of their own
        again = {"fullname": "Zoology"}
        visitor.client.post("/course/index.php", data=again, files={"file": CONTENT})
        assert visitor.get("/course/index.php").text == "Botany, Zoology"
    sequences = f"SELECT count(*) FROM pg_sequences WHERE sequencename NOT LIKE '{got[1]}%'"
    assert moodle.in_copy("db1", psql, sequences).strip() == "0"
