"""Joomla from a release's archive: installed, upgraded, and back again when an upgrade fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab import joomla_release
from tests.lab.deployments import REHEARSAL, Browser, Rehearsal

pytestmark = pytest.mark.lab
CONTENT = bytes(range(256)) * 4096


class Joomla:
    """A rehearsal of Joomla, and the releases that it is given."""

    def __init__(self, folder: Path) -> None:
        self.site = Rehearsal(folder / "home", folder / "user")
        self.site.user.mkdir()
        self.folder = folder
        self.values: dict[str, Any] = yaml.safe_load(REHEARSAL.read_text())
        self.values["application"]["kind"] = "joomla"
        self.values["backups"] = {"periods": ["daily"]}

    def deploy(self, number: int, check: bool = True, breaks: bool = False) -> Any:
        archive = self.folder / f"Joomla_6.0.{number}-Stable-Full_Package.tar.gz"
        digest = joomla_release.pack(archive, joomla_release.files(number, breaks=breaks))
        release = {"file": str(archive), "sha256": digest}
        self.values["application"]["source"] = {"kind": "fresh", "release": release}
        answers = self.folder / "answers.yaml"
        answers.write_text(yaml.safe_dump(self.values))
        return self.site.run("deploy", answers, "--json", check=check)

    def database(self, statement: str) -> str:
        return self.site.on("db1", "mariadb -N joomla", statement)


@pytest.fixture
def joomla(tmp_path: Path) -> Iterator[Joomla]:
    found = Joomla(tmp_path)
    try:
        yield found
    finally:
        found.site.run("destroy", "--yes", "demo")


def test_joomla_is_installed_upgraded_and_back_when_an_upgrade_fails(joomla: Joomla) -> None:
    site = joomla.site
    joomla.deploy(1)
    password = site.secrets()["admin_password"].reveal()
    login = {"username": "editor", "passwd": password}
    with Browser(site.state()) as visitor:
        assert visitor.get("/").text == "My first site 6.0.1"
        assert visitor.get("/administrator/").text == "log in"
        assert visitor.client.post("/administrator/index.php", data=login).text == "logged in"
        added = visitor.client.post(
            "/administrator/index.php", data={"title": "Botany"}, files={"file": ("a.bin", CONTENT)}
        )
        assert added.text == "added"
        assert visitor.get("/images/a.bin").content == CONTENT
        assert visitor.get("/blog").text == "Botany"
        assert visitor.get("/media/system.js").text == "/* served */"
        closed = (
            "/configuration.php", "/installation/index.php", "/cli/joomla.php", "/htaccess.txt",
            "/libraries/src/Version.php", "/administrator/manifests/files/joomla.xml", "/.revision",
            "/includes/framework.php", "/administrator/cache/autoload_psr4.php",
        )  # fmt: skip
        assert {path: visitor.get(path).status_code for path in closed} == dict.fromkeys(
            closed, 404
        )
        site.on("web1", "echo '<?php echo 1;' > /srv/site/shared/images/bad.php")
        assert visitor.get("/images/bad.php").status_code == 403
        writable = "for path in current current/configuration.php current/index.php; do "
        writable += "runuser -u www-data -- test -w /srv/site/$path && echo $path; done; true"
        assert site.on("web1", writable) == ""
        # the copy that was installed in is gone, with what it wrote
        assert site.on("web1", "ls /srv/site/scratch").split() == ["logs", "temporary"]
        site.on("web1", "sed -n 's/^.* root //p' /etc/cron.d/build-usb-application | sh")
        site.on("web1", "test -e /srv/site/scratch/temporary/scheduler-ran")

        upgraded = joomla.deploy(2)
        assert "is what was before" in upgraded.stdout
        assert visitor.get("/").text == "My first site 6.0.2"
        content = next(t for t in joomla.database("SHOW TABLES").split() if t.endswith("_content"))
        assert joomla.database(f"SELECT title, language FROM {content}").split() == ["Botany", "*"]
        # who was logged in still is
        assert visitor.get("/administrator/").text == "welcome editor"

        failed = joomla.deploy(3, check=False, breaks=True)
        assert failed.returncode != 0
        assert "the upgrade failed" in failed.stderr
        assert "was put back" in failed.stderr
        assert visitor.get("/").text == "My first site 6.0.2"
        assert visitor.get("/blog").text == "Botany"
        assert visitor.get("/images/a.bin").content == CONTENT
        joomla.deploy(2)

        # an installation that was killed midway is begun again
        users = next(t for t in joomla.database("SHOW TABLES").split() if t.endswith("_users"))
        joomla.database(f"DELETE FROM {users}")
        site.on("web1", "rm /var/lib/build-usb/applied/release")
        joomla.deploy(2)
        assert visitor.client.post("/administrator/index.php", data=login).text == "logged in"
        assert visitor.get("/blog").text == ""
    assert json.loads(site.run("status", "--json").stdout)["healthy"]
    found = site.on("web1", f"grep -rlF '{password}' /etc /srv /var/log; true")
    assert found == "", "the administrator's password is in no file"
