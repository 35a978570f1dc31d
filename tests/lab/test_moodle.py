"""Moodle from a release's archive: installed, upgraded, and back again when an upgrade fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab import moodle_release
from tests.lab.deployments import REHEARSAL, Browser, Rehearsal

pytestmark = pytest.mark.lab
CONTENT = bytes(range(256)) * 4096
SERVICE = "PGSERVICEFILE=/etc/build-usb/database-service.conf"


class Moodle:
    """A rehearsal of Moodle, and the releases that it is given."""

    def __init__(self, folder: Path) -> None:
        self.site = Rehearsal(folder / "home", folder / "user")
        self.site.user.mkdir()
        self.folder = folder
        self.values: dict[str, Any] = yaml.safe_load(REHEARSAL.read_text())
        self.values["application"]["kind"] = "moodle"
        self.values["backups"] = {"periods": ["daily"]}

    def deploy(self, number: int, check: bool = True, breaks: bool = False) -> Any:
        archive = self.folder / f"moodle-5.0.{number}.tgz"
        digest = moodle_release.pack(archive, moodle_release.files(number, breaks=breaks))
        release = {"file": str(archive), "sha256": digest}
        self.values["application"]["source"] = {"kind": "fresh", "release": release}
        answers = self.folder / "answers.yaml"
        answers.write_text(yaml.safe_dump(self.values))
        return self.site.run("deploy", answers, "--json", check=check)

    def postgresql(self, statement: str) -> str:
        return self.site.on(
            "db1", f"{SERVICE} psql -XAt 'service=build-usb dbname=moodle'", statement
        )

    def database(self, statement: str) -> str:
        return self.site.on("db1", "mariadb -N moodle", stdin=statement)


@pytest.fixture
def moodle(tmp_path: Path) -> Iterator[Moodle]:
    found = Moodle(tmp_path)
    try:
        yield found
    finally:
        found.site.run("destroy", "--yes", "demo")


def test_moodle_is_installed_upgraded_and_back_when_an_upgrade_fails(moodle: Moodle) -> None:
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
        version = moodle.database("SELECT value FROM $TABLE".replace("$TABLE", _config(moodle)))
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


def _config(moodle: Moodle) -> str:
    tables = moodle.database("SHOW TABLES").split()
    return next(table for table in tables if table.endswith("_config"))


def test_moodle_keeps_its_data_in_postgresql_too(moodle: Moodle) -> None:
    moodle.values["database"] = {"engine": "postgresql"}
    moodle.deploy(1)
    with Browser(moodle.site.state()) as visitor:
        login = {
            "username": "editor",
            "password": moodle.site.secrets()["admin_password"].reveal(),
        }
        assert visitor.client.post("/login/index.php", data=login).text == "logged in"
        visitor.client.post(
            "/course/index.php", data={"fullname": "Botany"}, files={"file": CONTENT}
        )
        moodle.deploy(2)
        failed = moodle.deploy(3, check=False, breaks=True)
        assert "was put back" in failed.stderr
        assert visitor.get("/course/index.php").text == "Botany"
    tables = moodle.postgresql("SELECT tablename FROM pg_tables WHERE tableowner = 'moodle'")
    config = next(table for table in tables.split() if table.endswith("_config"))
    version = moodle.postgresql(f"SELECT value FROM {config} WHERE name = 'version'")
    assert version.strip() == "2025041402.00"
