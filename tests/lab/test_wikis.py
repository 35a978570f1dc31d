"""MediaWiki as own PHP: deployed fresh, written to, kept, and begun anew under another domain."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from tests.lab import mediawiki
from tests.lab.deployments import Browser
from tests.lab.test_own_code import COPY, Own, files_of, own

__all__ = ["own"]
pytestmark = pytest.mark.lab

FILM = 50_000_000
# but for what MediaWiki writes by itself: sessions, who came last, what its updates have looked at
DUMP = "mariadb-dump --compact --order-by-primary --skip-extended-insert {} php".format(
    " ".join(f"--ignore-table=php.{name}" for name in ("objectcache", "user", "job", "updatelog"))
)


class Wiki(Browser):
    """Somebody who talks to the wiki by its API."""

    def ask(self, **values: Any) -> Any:
        answer = self.client.post(
            "/api.php",
            data={"format": "json", **{k: v for k, v in values.items() if k != "files"}},
            files=values.get("files"),
        )
        assert answer.status_code == 200, answer.text[:2000]
        found = answer.json()
        assert "error" not in found, found
        return found

    def token(self, kind: str) -> str:
        tokens = self.ask(action="query", meta="tokens", type=kind)["query"]["tokens"]
        return str(tokens[f"{kind}token"])

    def log_in_as(self, name: str, password: str) -> str:
        login = self.ask(
            action="login", lgname=name, lgpassword=password, lgtoken=self.token("login")
        )
        return str(login["login"]["result"])

    def write(self, title: str, text: str) -> None:
        done = self.ask(action="edit", title=title, text=text, token=self.token("csrf"))
        assert done["edit"]["result"] == "Success", done


def test_a_wiki_of_debian_is_own_php(own: Own, tmp_path: Path) -> None:
    site = own.site
    own.values["application"]["kind"] = "php"
    own.values["application"]["title"] = "Our wiki"
    own.values["application"]["source"] |= {
        "docroot": "public",
        "writable": ["public/images"],
        "environment_template": "env.example",
        "health_path": "/api.php",
        "prepare": True,
    }
    own.values["backups"] = {"periods": ["daily"]}
    own.server.commit_folder("site", mediawiki.repository(tmp_path), "MediaWiki")
    own.deploy()

    state = site.state()
    password = site.secrets()["admin_password"].reveal()
    film = os.urandom(FILM)
    with Wiki(state) as wiki:
        assert "Our wiki" in wiki.get("/index.php/Main_Page").text
        assert wiki.get("/prepare.php").status_code == 404
        assert wiki.log_in_as(state.admin_user.title(), password) == "Success"
        wiki.write("Harbour", "Ships come and go.")
        kept = wiki.ask(
            action="upload",
            filename="Film.mp4",
            token=wiki.token("csrf"),
            files={"file": ("Film.mp4", film, "video/mp4")},
        )
        assert kept["upload"]["result"] == "Success", kept
        assert "Ships come and go." in wiki.get("/index.php/Harbour").text
        # behind a program's name
        assert wiki.get("/rest.php/v1/page/Harbour").json()["source"] == "Ships come and go."

    site.run("backup")
    files, rows = files_of(site.on), site.on("db1", DUMP)
    copy = own.begin()
    assert files_of(copy.on) == files
    assert copy.on("db1", DUMP) == rows
    with Wiki(copy.state()) as wiki:
        assert wiki.host == COPY
        assert "Ships come and go." in wiki.get("/index.php/Harbour").text
        path = wiki.ask(action="query", titles="File:Film.mp4", prop="imageinfo", iiprop="url")
        (page,) = path["query"]["pages"].values()
        url = page["imageinfo"][0]["url"]
        assert url.startswith(f"https://{COPY}/images/")
        shown = wiki.get(url.removeprefix(f"https://{COPY}"))
        assert hashlib.sha256(shown.content).digest() == hashlib.sha256(film).digest()
        assert state.hosts[0] not in wiki.get("/index.php/Main_Page").text
        assert wiki.log_in_as(state.admin_user.title(), copy.secret("admin_password")) == "Success"
    assert copy.on("db1", f"mariadb-dump php | grep -c {state.hosts[0]}; true") == "0\n"
