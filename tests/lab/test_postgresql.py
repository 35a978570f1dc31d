"""Own PHP with PostgreSQL: over TLS alone, backed up, and put back: in place, and on a machine that
takes the place of one that is lost."""

from __future__ import annotations

import json

import pytest

from tests.lab.deployments import Browser
from tests.lab.test_own_code import Own, own
from wizard.providers.base import Resource, ResourceKind

__all__ = ["own"]  # a fixture
pytestmark = pytest.mark.lab

INDEX = r"""<?php
$env = parse_ini_file(__DIR__ . '/../.env', false, INI_SCANNER_RAW);
function connect($env, $mode, $password = null) {
    $db = new PDO("pgsql:host={$env['DB_HOST']};port={$env['DB_PORT']};dbname={$env['DB_NAME']};"
        . "sslmode=$mode;sslrootcert={$env['DB_CA']}",
        $env['DB_USER'], $password ?? $env['DB_PASSWORD']);
    return $db;
}
if (isset($_GET['mode'])) {
    try {
        connect($env, $_GET['mode'], $_GET['password'] ?? null);
        exit('connected');
    } catch (PDOException $error) {
        exit('refused');
    }
}
$db = connect($env, 'verify-full');
$db->exec('CREATE TABLE IF NOT EXISTS visits (id SERIAL PRIMARY KEY, name TEXT, raw BYTEA,
    at TIMESTAMPTZ DEFAULT now())');
if (isset($_GET['visit'])) {
    $put = $db->prepare("INSERT INTO visits (name, raw) VALUES (?, decode(?, 'hex'))");
    $put->execute([$_GET['visit'], bin2hex(random_bytes(300))]);
}
echo $db->query('SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()')->fetchColumn(), ' ',
    $db->query('SELECT COUNT(*) FROM visits')->fetchColumn(), ' ',
    implode(' ', $db->query('SELECT name FROM visits ORDER BY name')->fetchAll(PDO::FETCH_COLUMN));
"""
SETTINGS = """DB_HOST=${DATABASE_HOST}
DB_PORT=${DATABASE_PORT}
DB_NAME=${DATABASE_NAME}
DB_USER=${DATABASE_USER}
DB_PASSWORD=${DATABASE_PASSWORD}
DB_CA=${DATABASE_CERTIFICATE}
"""
ROWS = "SELECT md5(string_agg(v::text, E'\\n' ORDER BY id)), count(*), max(id) FROM visits v"
PSQL = "psql --no-psqlrc --tuples-only --no-align 'service=build-usb dbname=php'"
TRIED = "PGSERVICEFILE=/etc/build-usb/database-service.conf"


def rows(site: Own) -> str:
    return site.site.on("db1", f"{TRIED} {PSQL}", ROWS)


def test_own_php_keeps_its_data_in_postgresql(own: Own) -> None:
    site = own.site
    own.values["application"]["kind"] = "php"
    own.values["application"]["source"] |= {
        "docroot": "public",
        "environment_template": "env.example",
    }
    own.values["database"] = {"engine": "postgresql"}
    own.values["backups"] = {"periods": ["daily"]}
    own.server.commit("site", {"public/index.php": INDEX, "env.example": SETTINGS}, "one")
    own.deploy()
    with Browser(site.state()) as visitor:
        for name in ("Ärger", "zebra", "Anna", "Zoë"):
            seen = visitor.get("/", params={"visit": name}).text
        # as people sort, not as bytes do
        assert seen == "TLSv1.3 4 Anna Ärger zebra Zoë"
        tried = {mode: visitor.get(f"/?mode={mode}").text for mode in ("verify-full", "disable")}
        assert tried == {"verify-full": "connected", "disable": "refused"}
        assert visitor.get("/?mode=verify-full&password=other").text == "refused"
        # the server listens to its own network alone, at the port of the answers
        listening = site.on("db1", "ss -Htln 'sport = :2035' | awk '{print $4}'").split()
        assert listening == [f"{site.state().machines['db1'].private_address}:2035"]
        assert "mariadb" not in site.on("db1", "ps -eo comm")
        changed = own.deploy().stdout
        assert "pid" in site.on("db1", f"{TRIED} {PSQL}", "SELECT 'pid'")
        assert json.loads(changed.splitlines()[-1])

        before = rows(own)
        site.run("backup")
        point = [p["name"] for p in json.loads(site.run("points", "--json").stdout)][-1]
        visitor.get("/?visit=late")
        site.on("db1", f"{TRIED} {PSQL}", "CREATE TABLE newer (id INT); DROP TABLE visits CASCADE")
        # somebody who does not let go of it holds nothing up
        site.on("db1", f"{TRIED} systemd-run -q --setenv={TRIED} {PSQL} -c 'SELECT pg_sleep(600)'")
        site.run("restore", "--yes", point)
        assert rows(own) == before
        assert site.on("db1", f"{TRIED} {PSQL}", "SELECT to_regclass('newer')").strip() == ""
        # the tables are the application's, and it goes on counting
        assert visitor.get("/?visit=next").text.split()[1] == "5"

        # a database with data is not left for another kind of it
        own.values["database"] = {"engine": "mariadb"}
        refused = own.deploy(check=False)
        assert refused.returncode != 0
        assert "would be empty" in refused.stderr
        own.values["database"] = {"engine": "postgresql"}

    # the machine is lost: another takes its place, and gets the point
    db1 = site.state().machines["db1"]
    site.provider().delete(Resource(ResourceKind.MACHINE, db1.id, "db1", "demo"))
    own.deploy()
    assert site.state().machines["db1"].id != db1.id
    with Browser(site.state()) as visitor:
        assert visitor.get("/").text == "TLSv1.3 0 "
        site.run("restore", "--yes", point)
        assert rows(own) == before
        assert visitor.get("/").text == "TLSv1.3 4 Anna Ärger zebra Zoë"
    assert json.loads(site.run("status", "--json").stdout)["healthy"]

    # another deployment begins with it
    site.run("backup")
    copy = own.begin()
    assert copy.on("db1", f"{TRIED} {PSQL}", ROWS) == before
    with Browser(copy.state()) as visitor:
        assert visitor.host != site.state().hosts[0]
        # the tables are its application's, and it goes on counting
        assert visitor.get("/?visit=next").text == "TLSv1.3 5 Anna Ärger next zebra Zoë"
