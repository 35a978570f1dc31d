"""MediaWiki and DokuWiki as own PHP: deployed fresh, written to, kept, and begun anew under other
domains, with backups and with baselines."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.lab import dokuwiki, mediawiki
from tests.lab.deployments import Browser
from tests.lab.test_own_code import COPY, Copy, Own, files_of, own

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
    own.values["baselines"] = {"rows": list(mediawiki.SHARED)}
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
        shown = wiki.get(url_of(wiki))
        assert hashlib.sha256(shown.content).digest() == hashlib.sha256(film).digest()
        assert state.hosts[0] not in wiki.get("/index.php/Main_Page").text
        assert wiki.log_in_as(state.admin_user.title(), copy.secret("admin_password")) == "Success"
    assert copy.on("db1", f"mariadb-dump php | grep -c {state.hosts[0]}; true") == "0\n"
    becomes_a_baseline(own, film)


def becomes_a_baseline(own: Own, film: bytes) -> None:
    """See that a baseline of the wiki holds nobody and nothing private, and is a wiki again."""
    site = own.site
    with Wiki(site.state()) as wiki:
        password = site.secrets()["admin_password"].reveal()
        assert wiki.log_in_as(site.state().admin_user.title(), password) == "Success"
        # a second version of a page, which hides what it said before
        wiki.write("Plans", "Jo Doe will buy the harbour.")
        wiki.write("Plans", "Write to jo@person.org, see https://www.rehearsal.test/index.php")
    made = site.run("baseline", "create", "demo", "--licence", "CC-BY-SA-4.0")
    assert "nothing was found" in made.stderr, made.stderr[-3000:]
    assert "watchlist" in made.stderr
    folder = site.home / "baselines" / "demo"
    manifest = json.loads((folder / "baseline.json").read_text())
    assert manifest["application"] == "php"
    assert site.on("web1", "readlink /srv/site/current").strip().endswith(
        manifest["application_version"]
    )  # fmt: skip
    held = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    private = ("Editor", "editor", "pbkdf2", "Jo Doe", "person.org", "www.rehearsal.test")
    assert [word for word in private if word.encode() in held.replace(film, b"")] == []
    (kept,) = folder.rglob("Film.mp4")
    assert kept.read_bytes() == film
    left = "SELECT User FROM mysql.user; SHOW DATABASES"
    assert not re.findall("build_usb_load|_baseline", site.on("db1", "mariadb -NB", left))

    third = own.begin_with_baseline("third", "third.rehearsal.test")
    with Wiki(third.state()) as wiki:
        assert "Ships come and go." in wiki.get("/index.php/Harbour").text
        plans = wiki.get("/index.php/Plans").text
        assert "https://third.rehearsal.test/index.php" in plans
        assert "editor@" in plans
        assert "Author " in wiki.get("/index.php?title=Plans&action=history").text
        assert hashlib.sha256(wiki.get(url_of(wiki)).content).digest() == (
            hashlib.sha256(film).digest()
        )
        password = third.secret("admin_password")
        assert wiki.log_in_as(third.state().admin_user.title(), password) == "Success"
        wiki.write("Harbour", "Ships stay.")
        assert "Ships stay." in wiki.get("/index.php/Harbour").text


def url_of(wiki: Wiki) -> str:
    """Return the path that the film is at."""
    found = wiki.ask(action="query", titles="File:Film.mp4", prop="imageinfo", iiprop="url")
    (page,) = found["query"]["pages"].values()
    url = str(page["imageinfo"][0]["url"])
    assert url.startswith(f"https://{wiki.host}/images/")
    return url.removeprefix(f"https://{wiki.host}")


class Doku(Browser):
    """Somebody who uses the wiki's forms."""

    def log_in_as(self, name: str, password: str) -> bool:
        login = {"do": "login", "id": "start", "u": name, "p": password}
        self.client.post("/doku.php", data=login)
        return "do=logout" in self.get("/doku.php?id=start").text

    def form(self, page: str) -> dict[str, str]:
        """Return the hidden fields of a page's form to edit it."""
        text = self.get(f"/doku.php?id={page}&do=edit").text
        fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', text)
        return dict(fields)

    def write(self, page: str, text: str) -> None:
        data = {**self.form(page), "id": page, "wikitext": text, "do[save]": "1"}
        self.client.post("/doku.php", data=data)

    def upload(self, name: str, content: bytes) -> None:
        asked = {"call": "mediaupload", "ns": "", "qqfile": name}
        asked["sectok"] = self.form("start")["sectok"]
        done = self.client.post("/lib/exe/ajax.php", params=asked, content=content)
        assert done.json().get("success"), done.text

    def page(self, name: str) -> str:
        return str(self.get(f"/doku.php?id={name}").text)


KEPT = "cd /srv/site/shared && find data/pages data/media -type f | sort | xargs sha256sum"


def test_a_wiki_in_files_alone_needs_no_database(own: Own, tmp_path: Path) -> None:
    site = own.site
    own.values["application"]["kind"] = "php"
    own.values["application"]["title"] = "Our notes"
    own.values["application"]["source"] |= {
        "docroot": "public",
        "writable": list(dokuwiki.WRITABLE),
        "environment_template": "env.example",
        "health_path": "/doku.php",
        "prepare": True,
        "database": False,
    }
    own.values["backups"] = {"periods": ["daily"]}
    own.values["baselines"] = {"without": list(dokuwiki.PRIVATE)}
    own.server.commit_folder("site", dokuwiki.repository(tmp_path), "DokuWiki")
    own.deploy()

    state = site.state()
    assert sorted(state.machines) == ["web1"]
    password = site.secrets()["admin_password"].reveal()
    film = os.urandom(FILM)
    with Doku(state) as wiki:
        assert "Our notes" in wiki.page("start")
        assert not wiki.log_in_as(state.admin_user, "a guess")
        assert wiki.log_in_as(state.admin_user, password)
        wiki.write("plans", "Jo Doe will buy the harbour.")
        wiki.write("plans", f"Write to jo@person.org, see https://{state.hosts[0]}/doku.php")
        wiki.write("harbour", "Ships come and go. {{film.mp4}}")
        wiki.upload("film.mp4", film)
        assert "Ships come and go." in wiki.page("harbour")

    site.run("backup")
    kept = site.on("web1", KEPT)
    copy = own.begin()
    assert copy.on("web1", KEPT) == kept
    holds(copy, film, password=copy.secret("admin_password"))

    # who may be written to is named in a page, which nobody cleans: it is refused by file and line
    made = site.run("baseline", "create", "demo", "--licence", "CC-BY-SA-4.0")
    assert "files/shared/data/pages/plans.txt:1: e-mail address" in made.stderr
    with Doku(state) as wiki:
        assert wiki.log_in_as(state.admin_user, password)
        wiki.write("plans", f"See https://{state.hosts[0]}/doku.php?id=harbour")
    site.run("baseline", "create", "demo", "--licence", "CC-BY-SA-4.0")
    folder = site.home / "baselines" / "demo"
    held = {str(path.relative_to(folder / "files/shared")): path.read_bytes()
            for path in (folder / "files").rglob("*") if path.is_file()}  # fmt: skip
    pages = {f"data/pages/{name}.txt" for name in ("harbour", "plans", "start")}
    assert set(held) == {*pages, "data/media/film.mp4"}
    assert not [path for path, data in held.items() if state.hosts[0].encode() in data]
    third = own.begin_with_baseline("third", "third.rehearsal.test")
    holds(third, film, password=third.secret("admin_password"))
    with Doku(third.state()) as wiki:
        assert "https://third.rehearsal.test/doku.php?id=harbour" in wiki.page("plans")


def holds(copy: Copy, film: bytes, password: str) -> None:
    """See that a copy has the pages, the film and its own administrator."""
    state = copy.state()
    with Doku(state) as wiki:
        assert wiki.host == copy.state().hosts[0]
        assert "Ships come and go." in wiki.page("harbour")
        shown = wiki.get("/lib/exe/fetch.php?media=film.mp4").content
        assert hashlib.sha256(shown).digest() == hashlib.sha256(film).digest()
        assert wiki.log_in_as(state.admin_user, password)
        wiki.write("harbour", "Ships stay.")
        assert "Ships stay." in wiki.page("harbour")
