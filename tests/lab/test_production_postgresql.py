"""Own PHP with PostgreSQL in production mode: the database knows the webservers there are, and no
others, while they come and go under a steady load."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.emulators.git_server import GitServer
from tests.lab.deployments import NAME, Browser
from tests.lab.production import ANSWERS, TTL, Site, deployed, told
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
LET_IN = "awk '/^hostssl/ {print $2, $3, $4}' /etc/postgresql/17/main/pg_hba.conf"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    values: dict[str, Any] = yaml.safe_load(ANSWERS.read_text())
    values["application"]["kind"] = "php"
    values["database"] = {"engine": "postgresql"}
    values["scaling"]["autoscalers"] = 1
    (tmp_path / "served").mkdir()
    with GitServer(tmp_path / "served", TOKEN) as server:
        server.commit("site", {"public/index.php": INDEX, "env.example": SETTINGS}, "one")
        values["application"]["source"] = {
            "kind": "repository",
            "url": f"{server.url}/site.git",
            "credentials": {"environment": "TOKEN"},
            "docroot": "public",
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


def test_the_database_knows_the_webservers_that_there_are(site: Site) -> None:
    assert len(let_in(site)) == 2
    assert let_in(site) == webservers(site)
    with Browser(site.rehearsal.state()) as visitor:
        assert visitor.get("/").text == "TLSv1.3</html>"
        visitor.get("/?write=kept")
        site.visitors.take()
        site.rehearsal.run("scale", "3")
        up = site.until("three serve", lambda: len(site.serving()) == 3, 240)
        assert len(let_in(site)) == 3
        assert let_in(site) == webservers(site)
        site.rehearsal.run("scale", "2")
        down = site.until(
            "two are let in", lambda: len(webservers(site)) == 2 == len(let_in(site)), TTL + 120
        )
        assert let_in(site) == webservers(site)
        tally = site.visitors.take()
        told("PostgreSQL, scale 2 to 3 and back", tally, serving=up, removed=down)
        assert tally.failed == 0, tally.reasons[-5:]

        site.rehearsal.run("backup")
        points = json.loads(site.rehearsal.run("points", "--json").stdout)
        visitor.get("/?write=late")
        assert visitor.get("/?read").text == "kept late"
        site.rehearsal.run("restore", "--yes", points[-1]["name"])
        assert visitor.get("/?read").text == "kept"
        owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'words'"
        assert site.rehearsal.on("db1", f"{TRIED} {PSQL}", owner).strip() == "php"
