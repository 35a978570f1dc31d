"""Own PHP with PostgreSQL in production mode: the database knows the webservers there are, and no
others, while they come and go under a steady load; sessions and files are in common."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.emulators.git_server import GitServer
from tests.lab.deployments import NAME, Browser
from tests.lab.production import ANSWERS, TTL, Site, begun, deployed, told
from tests.lab.test_own_code import TOKEN
from tests.lab.test_postgresql import PSQL, SETTINGS, TRIED

pytestmark = pytest.mark.lab

INDEX = r"""<?php
$env = parse_ini_file(__DIR__ . '/../.env', false, INI_SCANNER_RAW);
$db = new PDO("pgsql:host={$env['DB_HOST']};port={$env['DB_PORT']};dbname={$env['DB_NAME']};"
    . "sslmode=verify-full;sslrootcert={$env['DB_CA']}", $env['DB_USER'], $env['DB_PASSWORD']);
if (isset($_GET['write'])) {
    $db->exec('CREATE TABLE IF NOT EXISTS words (word TEXT)');
    $db->prepare('INSERT INTO words VALUES (?)')->execute([$_GET['write']]);
}
if (isset($_GET['read'])) {
    exit($db->query("SELECT string_agg(word, ' ' ORDER BY word) FROM words")->fetchColumn());
}
echo $db->query('SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()')->fetchColumn();
echo '</html>';
"""
SESSION = """<?php
session_start();
$_SESSION['name'] = $_GET['name'] ?? $_SESSION['name'] ?? 'nobody';
if (isset($_GET['count'])) {
    $count = $_SESSION['count'] ?? 0;
    usleep(20000);
    $_SESSION['count'] = $count + 1;
}
if (isset($_GET['out'])) {
    session_destroy();
}
echo isset($_GET['id']) ? session_id() : "{$_SESSION['name']} " . ($_SESSION['count'] ?? 0);
"""
UPLOAD = """<?php
$to = __DIR__ . '/files/' . $_GET['to'];
echo @move_uploaded_file($_FILES['file']['tmp_name'], $to) ? 'kept' : 'failed';
"""
LET_IN = "awk '/^hostssl/ {print $2, $3, $4}' /etc/postgresql/17/main/pg_hba.conf"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    values: dict[str, Any] = yaml.safe_load(ANSWERS.read_text())
    values["application"]["kind"] = "php"
    values["database"] = {"engine": "postgresql"}
    values["scaling"]["autoscalers"] = 1
    (tmp_path / "served").mkdir()
    with GitServer(tmp_path / "served", TOKEN) as server:
        code = {
            "public/index.php": INDEX,
            "public/session.php": SESSION,
            "public/upload.php": UPLOAD,
            "public/files/first.txt": "of the repository",
            "env.example": SETTINGS,
        }
        server.commit("site", code, "one")
        values["application"]["source"] = {
            "kind": "repository",
            "url": f"{server.url}/site.git",
            "credentials": {"environment": "TOKEN"},
            "docroot": "public",
            "writable": ["public/files"],
            "environment_template": "env.example",
        }
        answers = tmp_path / "answers.yaml"
        answers.write_text(yaml.safe_dump(values))
        trusted = {"GIT_SSL_CAINFO": str(server.certificate), "TOKEN": TOKEN}
        with deployed(tmp_path, answers, **trusted) as made:
            yield made


def let_in(site: Site) -> set[str]:
    return set(site.rehearsal.on("db1", LET_IN).splitlines())


def webservers(site: Site) -> set[str]:
    """Return what the database has to let in: the account of the webservers there are."""
    machines = site.laboratory.provider.machines(NAME)
    return {f"php php {m.private_address}/32" for m in machines if m.name.startswith("web")}


def ask(site: Site, name: str, path: str, more: str = "", times: int = 1) -> str:
    """Return what one webserver answers; `times` requests come at once."""
    url = f"'https://{site.host}{path}'"
    curl = f"curl -sk --resolve {site.host}:443:127.0.0.1 {more} {url}"
    if times == 1:
        return site.rehearsal.on(name, curl)
    return site.rehearsal.on(name, f"for i in $(seq {times}); do {curl} & done; wait")


def upload(site: Site, name: str, to: str) -> str:
    return ask(site, name, f"/upload.php?to={to}", "-F file=@/etc/hostname")


def sessions_and_files_are_the_same(site: Site, one: str, other: str) -> str:
    """Return the session's cookie, as an option of curl."""
    assert ask(site, one, "/files/first.txt") == "of the repository"
    assert ask(site, other, "/files/first.txt") == "of the repository"
    number = ask(site, one, "/session.php?name=jo&id")
    cookie = f"-b PHPSESSID={number}"
    assert ask(site, other, "/session.php", cookie) == "jo 0"
    with ThreadPoolExecutor() as both:
        path = "/session.php?count"
        done = [both.submit(ask, site, name, path, cookie, 12) for name in (one, other)]
        assert all(future.result() for future in done)
    assert ask(site, one, "/session.php", cookie) == "jo 24"
    # a name that a visitor makes up is no session's
    assert ask(site, one, "/session.php?id", "-b PHPSESSID=madeupbysomebody") != "madeupbysomebody"
    out = f"-b PHPSESSID={ask(site, one, '/session.php?name=max&id')}"
    ask(site, other, "/session.php?out", out)
    assert ask(site, one, "/session.php", out) == "nobody 0"
    table = site.rehearsal.on("db1", f"{TRIED} {PSQL}", "SELECT * FROM build_usb_sessions")
    assert len(table.splitlines()) >= 2
    assert number not in table, "who reads a backup can take over no session"

    assert upload(site, one, "of-one.txt") == "kept"
    assert ask(site, other, "/files/of-one.txt") == one + "\n"
    # nothing is written below the mount, where it would be lost
    site.rehearsal.on(one, "systemctl stop build-usb-uploads")
    assert upload(site, one, "lost.txt") == "failed"
    assert site.rehearsal.on(one, "find /srv/site/shared") == "/srv/site/shared\n"
    site.rehearsal.on(one, "systemctl start build-usb-uploads")
    site.until("it is written again", lambda: upload(site, one, "again.txt") == "kept", 15)
    return cookie


def test_the_database_knows_the_webservers_that_there_are(site: Site, tmp_path: Path) -> None:
    assert len(let_in(site)) == 2
    assert let_in(site) == webservers(site)
    with Browser(site.rehearsal.state()) as visitor:
        assert visitor.get("/").text == "TLSv1.3</html>"
        visitor.get("/?write=kept")
        site.until("two serve", lambda: len(site.serving()) == 2, 60)
        one, other = sorted(site.serving())
        cookie = sessions_and_files_are_the_same(site, one, other)
        site.visitors.take()
        site.rehearsal.run("scale", "3")
        up = site.until("three serve", lambda: len(site.serving()) == 3, 240)
        assert len(let_in(site)) == 3
        assert let_in(site) == webservers(site)
        (new,) = {*site.serving()} - {one, other}
        assert ask(site, new, "/files/of-one.txt") == one + "\n"
        assert upload(site, new, "of-new.txt") == "kept"
        assert ask(site, new, "/session.php?name=max", cookie) == "max 24"
        site.rehearsal.run("scale", "2")
        down = site.until(
            "two are let in", lambda: len(webservers(site)) == 2 == len(let_in(site)), TTL + 120
        )
        assert let_in(site) == webservers(site)
        tally = site.visitors.take()
        told("PostgreSQL, scale 2 to 3 and back", tally, serving=up, removed=down)
        assert tally.failed == 0, tally.reasons[-5:]
        left = site.serving()[0]
        assert ask(site, left, "/files/of-new.txt") == new + "\n"
        assert ask(site, left, "/session.php", cookie) == "max 24"

        site.rehearsal.run("backup")
        points = json.loads(site.rehearsal.run("points", "--json").stdout)
        assert upload(site, left, "late.txt") == "kept"
        visitor.get("/?write=late")
        assert visitor.get("/?read").text == "kept late"
        site.rehearsal.run("restore", "--yes", points[-1]["name"])
        assert visitor.get("/?read").text == "kept"
        found = site.rehearsal.on(left, "ls /srv/site/shared/public/files").split()
        assert found == ["again.txt", "first.txt", "of-new.txt", "of-one.txt"]
        assert upload(site, left, "later.txt") == "kept"
        owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'words'"
        assert site.rehearsal.on("db1", f"{TRIED} {PSQL}", owner).strip() == "php"

    # another one begins with all of it, on all its webservers
    values: dict[str, Any] = yaml.safe_load((tmp_path / "answers.yaml").read_text())
    code = values["application"]["source"]
    code.pop("kind")
    values["application"]["source"] = {"code": code}
    trusted = str(tmp_path / "served" / "certificate.pem")
    with begun(site, tmp_path, values, GIT_SSL_CAINFO=trusted, TOKEN=TOKEN) as copy:
        both = ("web1", "web2")
        site.until("copy serves", lambda: {copy.ask(n, "/?read") for n in both} == {"kept"}, 60)
        for name in both:
            assert copy.ask(name, "/files/of-one.txt") == one + "\n"
            assert copy.ask(name, "/files/later.txt") == site.rehearsal.on(left, "hostname")
        site.until("copy is healthy", lambda: copy.status()["healthy"], 90)
