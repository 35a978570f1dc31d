"""Drupal from a release's archive: installed, upgraded, and back again when an upgrade fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.lab import drupal_release
from tests.lab.deployments import REHEARSAL, Browser, Rehearsal
from tests.lab.moodle_release import pack

pytestmark = pytest.mark.lab
CONTENT = bytes(range(256)) * 4096
PSQL = (
    "PGSERVICEFILE=/etc/build-usb/database-service.conf "
    "psql --no-psqlrc --tuples-only --no-align 'service=build-usb dbname=drupal'"
)


class Drupal:
    """A rehearsal of Drupal, and the releases that it is given."""

    def __init__(self, folder: Path) -> None:
        self.site = Rehearsal(folder / "home", folder / "user")
        self.site.user.mkdir()
        self.folder = folder
        self.values: dict[str, Any] = yaml.safe_load(REHEARSAL.read_text())
        self.values["application"]["kind"] = "drupal"
        self.values["backups"] = {"periods": ["daily"]}

    def deploy(self, number: int, check: bool = True, breaks: bool = False) -> Any:
        archive = self.folder / f"drupal-11.3.{number}.tar.gz"
        contents = drupal_release.files(number, breaks=breaks)
        digest = pack(archive, contents, f"drupal-11.3.{number}")
        release = {"file": str(archive), "sha256": digest}
        self.values["application"]["source"] = {"kind": "fresh", "release": release}
        answers = self.folder / "answers.yaml"
        answers.write_text(yaml.safe_dump(self.values))
        return self.site.run("deploy", answers, "--json", check=check)


@pytest.fixture
def drupal(tmp_path: Path) -> Iterator[Drupal]:
    found = Drupal(tmp_path)
    try:
        yield found
    finally:
        found.site.run("destroy", "--yes", "demo")


def log_in(visitor: Browser, site: Rehearsal) -> None:
    login = {"name": "editor", "pass": site.secrets()["admin_password"].reveal()}
    assert visitor.client.post("/user/login", data=login).text == "logged in"


def test_drupal_is_installed_upgraded_and_back_when_an_upgrade_fails(drupal: Drupal) -> None:
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
        titles = "SELECT title, langcode FROM node_field_data"
        assert site.on("db1", PSQL, titles).strip() == "Botany|en"
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


def test_drupal_begins_again_with_mariadb_where_it_was_killed(drupal: Drupal) -> None:
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
