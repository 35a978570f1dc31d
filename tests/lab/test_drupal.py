"""Drupal from a release's archive: installed, upgraded, and back again when an upgrade fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.lab import drupal_release
from tests.lab.deployments import Browser, Rehearsal
from tests.lab.moodle_release import pack
from tests.lab.released import COPY, Released, destroyed
from tests.lab.test_own_code import files_of

pytestmark = pytest.mark.lab
CONTENT = bytes(range(256)) * 4096
PSQL = (
    "PGSERVICEFILE=/etc/build-usb/database-service.conf "
    "psql --no-psqlrc --tuples-only --no-align 'service=build-usb dbname=drupal'"
)

TITLE = 'Ü "q"; b'
PLANT = (
    """INSERT INTO node (nid, vid) VALUES (8, 21), (9, 22), (10, 23);
INSERT INTO node_revision (nid, vid, revision_uid, revision_log) VALUES
  (8, 20, 5, 'by Jo Doe'), (8, 21, 5, 'by Jo Doe'), (9, 22, 5, ''), (10, 23, 5, '');
INSERT INTO node_field_data (nid, vid, langcode, status, uid, title, default_langcode) VALUES
  (8, 21, 'en', 1, 5, 'Written', 1), (8, 21, 'de', 0, 5, 'Hush', 0), (9, 22, 'en', 0, 5, 'Hush', 1),
  (10, 23, 'en', 1, 5, 'Hush', 1);
INSERT INTO node_field_revision (nid, vid, langcode, uid, title)
  SELECT nid, vid, langcode, uid, title FROM node_field_data WHERE nid > 7
  UNION SELECT 8, 20, 'en', 5, 'Hush';
INSERT INTO node__body (deleted, entity_id, revision_id, langcode, body_value) VALUES
  (0, 8, 21, 'en', 'by jo@person.org, https://COPY/a'), (0, 8, 21, 'de', 'Hush'),
  (0, 9, 22, 'en', 'Hush'), (0, 10, 23, 'en', 'Hush'), (1, 8, 21, 'en', 'Hush');
INSERT INTO node_revision__body SELECT * FROM node__body;
INSERT INTO node_revision__body VALUES (0, 8, 20, 'en', 'Hush');
INSERT INTO node_access VALUES (10, 7, 'members', 1);
INSERT INTO path_alias VALUES (1, 1, 1, '/node/8', '/written'), (2, 2, 1, '/node/9', '/Hush'),
  (3, 3, 1, '/user/5', '/users/Jo Doe');
INSERT INTO comment_field_data VALUES
  (1, 1, 5, 'node', 8, 'Jo Doe', 'jo@person.org', 'https://person.org', '10.9.8.7'),
  (2, 0, 5, 'node', 8, 'Jo Doe', '', '', ''), (3, 1, 5, 'node', 9, 'Jo Doe', '', '', '');
INSERT INTO comment__comment_body VALUES (1, 'Fine'), (2, 'Hush'), (3, 'Hush');
INSERT INTO file_managed VALUES (1, 5, 'a.txt', 'public://a.txt', 1),
  (2, 5, 'Hush.txt', 'private://Hush.txt', 1), (3, 5, 'Hush.txt', 'public://Hush.txt', 0);
INSERT INTO watchdog VALUES (1, 'Jo Doe was here');
INSERT INTO key_value VALUES ('state', 'system.private_key', 's:13:"k3y-of-nobody";');
INSERT INTO config VALUES ('', 'captcha.settings', 'a:3:{s:8:"provider";s:5:"token";"""
    """s:5:"label";s:5:"Robot";s:10:"secret_key";s:13:"k3y-of-nobody";}'),
  ('', 'odd.settings', 's:13:"k3y-of-nobody";');
UPDATE config SET data = 'a:3:{s:4:"uuid";s:1:"x";s:4:"name";s:9:"TITLE";"""
    """s:4:"mail";s:13:"jo@person.org";}' WHERE name = 'system.site';
CREATE TABLE orders (id INT PRIMARY KEY, who VARCHAR(90));
INSERT INTO orders VALUES (1, 'Jo Doe, 1 Main Street');
"""
)


def packed(folder: Path, number: int, breaks: bool) -> tuple[Path, str]:
    archive = folder / f"drupal-11.3.{number}.tar.gz"
    contents = drupal_release.files(number, breaks=breaks)
    return archive, pack(archive, contents, f"drupal-11.3.{number}")


@pytest.fixture
def drupal(tmp_path: Path) -> Iterator[Released]:
    with destroyed(Released(tmp_path, "drupal", packed)) as found:
        yield found


def log_in(visitor: Browser, site: Rehearsal) -> None:
    assert answer_to(visitor, "editor", site.secrets()["admin_password"].reveal()) == "logged in"


def answer_to(visitor: Browser, name: str, password: str) -> str:
    login = {"name": name, "pass": password}
    return str(visitor.client.post("/user/login", data=login).text)


def test_drupal_is_installed_upgraded_and_back_when_an_upgrade_fails(drupal: Released) -> None:
    site = drupal.site
    drupal.values["database"] = {"engine": "postgresql"}
    drupal.deploy(1)
    with Browser(site.state()) as visitor:
        assert visitor.get("/").text == "My first site 11.3.1"
        assert visitor.get("/system/files/a.txt").status_code == 403
        log_in(visitor, site)
        added = visitor.client.post(
            "/node/add", data={"title": "Botany"}, files={"file": ("a.txt", CONTENT)}
        )
        assert added.text == "added"
        assert visitor.get("/sites/default/files/a.txt").content == CONTENT
        assert visitor.get("/system/files/a.txt").content == CONTENT
        # made when it is first asked for, and a file from then on
        for _ in range(2):
            assert visitor.get("/sites/default/files/styles/b.txt").text == "made small"
        assert visitor.get("/core/misc/drupal.js").text == "/* served */"
        closed = (
            "/sites/default/settings.php", "/core/install.php", "/update.php", "/composer.json",
            "/core/lib/Drupal.php", "/vendor/autoload.php", "/core/includes/install.inc",
            "/core/modules/system/system.install", "/autoload.php", "/.revision", "/private/a.txt",
        )  # fmt: skip
        assert {path: visitor.get(path).status_code for path in closed} == dict.fromkeys(
            closed, 404
        )
        site.on("web1", "echo '<?php echo 1;' > /srv/site/shared/sites/default/files/bad.php")
        assert visitor.get("/sites/default/files/bad.php").status_code == 403
        # another name gets no answer from nginx; Drupal itself would refuse it too
        with pytest.raises(httpx.RemoteProtocolError):
            visitor.client.get("/", headers={"Host": "www.other.test"})
        writable = (
            "for path in current current/sites/default current/sites/default/settings.php; do "
        )
        writable += "runuser -u www-data -- test -w /srv/site/$path && echo $path; done; true"
        assert site.on("web1", writable) == ""
        site.on("web1", "sed -n 's/^.* root //p' /etc/cron.d/build-usb-application | sh")
        ran = "SELECT count(*) FROM key_value WHERE name = 'system.cron_last'"
        assert site.on("db1", PSQL, ran).strip() == "1"

        upgraded = drupal.deploy(2)
        assert "is what was before" in upgraded.stdout
        live = drupal.values["application"]["source"]["release"]["sha256"]
        assert visitor.get("/").text == "My first site 11.3.2"
        assert visitor.get("/node").text == "Botany"
        titles = "SELECT title, changed FROM node_field_data"
        assert site.on("db1", PSQL, titles).strip() == "Botany|now"
        # who was logged in still is
        assert visitor.get("/system/files/a.txt").content == CONTENT

        failed = drupal.deploy(3, check=False, breaks=True)
        assert failed.returncode != 0
        assert "the upgrade failed at system_update_11203" in failed.stderr
        assert "was put back" in failed.stderr
        assert visitor.get("/").text == "My first site 11.3.2"
        assert visitor.get("/node").text == "Botany"
        assert visitor.get("/system/files/a.txt").content == CONTENT
        # a point tells what ran, not what was ordered last
        site.run("backup")
        known = json.loads(site.run("points", "--json").stdout)
        assert known[-1]["code"] == live[:16]
        assert known[0]["code"] not in ("", live[:16])
        shown = site.run("points", "--point", known[-1]["name"]).stdout
        assert f"of the code {live[:16]}" in shown
        drupal.deploy(2)
    assert json.loads(site.run("status", "--json").stdout)["healthy"]
    password = site.secrets()["admin_password"].reveal()
    found = site.on("web1", f"grep -rlF '{password}' /etc /srv /var/log; true")
    assert found == "", "the administrator's password is in no file"

    # another deployment begins with that point; of another release nothing is put there
    kept = files_of(site.on)
    refused = drupal.begin(1, "keeper", check=False)
    assert refused.returncode != 0
    assert f"was made of the release {live[:16]}" in refused.stderr
    assert "application.source.release.sha256" in refused.stderr
    assert f"name the release whose checksum begins with {live[:16]}" in refused.stderr
    assert "a database cannot be downgraded" in refused.stderr
    assert drupal.in_copy("db1", PSQL, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ).strip() == "0"  # fmt: skip
    begun = drupal.begin(2, "keeper")
    assert "texts in the database are as they were" in begun.stdout
    assert drupal.copy().content == known[-1]["name"]
    assert files_of(drupal.in_copy) == kept
    assert drupal.in_copy("db1", PSQL, "SELECT count(*) FROM sessions").strip() == "0"
    assert site.on("db1", PSQL, "SELECT count(*) FROM sessions").strip() == "1"
    with Browser(drupal.copy()) as visitor:
        assert visitor.host == COPY
        assert visitor.get("/").text == "My first site 11.3.2"
        assert visitor.get("/node").text == "Botany"
        assert visitor.get("/sites/default/files/a.txt").content == CONTENT
        assert visitor.get("/system/files/a.txt").status_code == 403
        # its own administrator was made; others log in as before
        assert answer_to(visitor, "editor", password) == "logged in"
        assert answer_to(visitor, "keeper", drupal.secret("admin_password")) == "logged in"
        assert visitor.get("/system/files/a.txt").content == CONTENT
        roles = "SELECT name FROM users_field_data JOIN user__roles ON uid = entity_id"
        assert drupal.in_copy("db1", PSQL, roles).strip() == "keeper"
        # once: who is logged in stays so, and a newer release has a restore point of its own
        assert "is what was before" in drupal.begin(3, "keeper").stdout
        assert visitor.get("/").text == "My first site 11.3.3"
        assert visitor.get("/system/files/a.txt").content == CONTENT
        assert drupal.in_copy("db1", PSQL, roles).strip() == "keeper"
    settings = "cat /srv/site/settings/drupal.php"
    salts = [
        [line for line in on("web1", settings).splitlines() if "hash_salt" in line]
        for on in (site.on, drupal.in_copy)
    ]
    assert len(salts[0]) == len(salts[1]) == 1
    assert salts[0] != salts[1]
    assert drupal.secret("database_password") in drupal.in_copy("web1", settings)


def test_drupal_begins_again_with_mariadb_where_it_was_killed(drupal: Released) -> None:
    site = drupal.site
    drupal.deploy(1)
    with Browser(site.state()) as visitor:
        log_in(visitor, site)
        # as an installation leaves it that was killed midway
        site.on(
            "db1",
            "mariadb drupal",
            "UPDATE key_value SET value = 's:4:\"half\";' WHERE name = 'install_task'",
        )
        site.on("web1", "rm /var/lib/build-usb/applied/release")
        drupal.deploy(1)
        assert visitor.get("/").text == "My first site 11.3.1"
        log_in(visitor, site)
        assert visitor.get("/node").text == ""
    found = site.on(
        "db1", "mariadb -N drupal", "SELECT value FROM key_value WHERE name = 'install_task'"
    )
    assert "done" in found

    # another deployment begins with it, whose administrator has the name of one who is there
    site.run("backup")
    old = site.secrets()["admin_password"].reveal()
    drupal.begin(1, "editor")
    assert drupal.in_copy("db1", "mariadb -N drupal", "SELECT count(*) FROM sessions") == "0\n"
    with Browser(drupal.copy()) as visitor:
        assert visitor.get("/").text == "My first site 11.3.1"
        assert answer_to(visitor, "editor", old) == "no"
        assert answer_to(visitor, "editor", drupal.secret("admin_password")) == "logged in"
    counted = "SELECT count(*) FROM users_field_data WHERE uid > 0"
    assert drupal.in_copy("db1", "mariadb -N drupal", counted) == "1\n"
    becomes_a_baseline(drupal)


def becomes_a_baseline(drupal: Released) -> None:
    """See that a baseline of the copy holds nobody and nothing private, and is a site again."""
    drupal.begin(2, "editor")
    with Browser(drupal.copy()) as visitor:
        answer_to(visitor, "editor", drupal.secret("admin_password"))
        visitor.client.post(
            "/node/add", data={"title": "Botany"}, files={"file": ("a.txt", CONTENT)}
        )
        visitor.get("/sites/default/files/styles/b.txt")
        drupal.in_copy("db1", "mariadb drupal", PLANT.replace("COPY", COPY).replace("TITLE", TITLE))
        assert visitor.get("/").text == f"{TITLE} 11.3.2"
    folder = drupal.baseline_of_copy("11.3.2", "orders")
    held = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    private = (
        "editor",
        "$2y$",
        "Hush",
        "Main Street",
        "Jo Doe",
        COPY,
        "person.org",
        "10.9.8.7",
        "k3y-of-nobody",
        "/users/",
        TITLE,
    )
    assert [word for word in private if word.encode() in held] == []
    for word in (b"Botany", b"Fine", b"/written", b"Robot"):
        assert word in held
    files = [str(path.relative_to(folder)) for path in folder.glob("files/**/*") if path.is_file()]
    assert files == ["files/shared/sites/default/files/a.txt"]
    assert (folder / files[0]).read_bytes() == CONTENT

    state = drupal.begin_with_baseline(2, "third", "third.rehearsal.test")
    mail = drupal.values["application"]["admin"]["email"]
    with Browser(state) as visitor:
        assert visitor.get("/").text == "Another site 11.3.2"
        assert visitor.get("/node").text == "Botany, Written"
        assert visitor.get("/texts").text == f"by {mail}, https://third.rehearsal.test/a"
        assert visitor.get("/sites/default/files/a.txt").content == CONTENT
        word = drupal.secret("admin_password", "third")
        assert answer_to(visitor, "editor", word) == "logged in"

    def asked(statement: str) -> str:
        return drupal.site.on("db1", "mariadb -N drupal", statement, "third")

    assert asked("SELECT uid, name FROM users_field_data ORDER BY uid").split() == [
        "0",
        "1",
        "editor",
    ]
    assert asked("SELECT DISTINCT uid FROM node_field_data") == "1\n"
    assert asked("SELECT roles_target_id FROM user__roles WHERE entity_id = 1") == "administrator\n"
    # a database cannot be downgraded
    said = "the database is of Drupal 11.3.2, the release of 11.3.1"
    drupal.is_not_downgraded("third", 1, said)
