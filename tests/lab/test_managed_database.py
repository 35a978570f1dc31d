"""A deployment with a managed database: an emulated cloud rents it, and a real server of the lab
stands behind it, with TLS of the cloud's authority and an administrator without all rights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulators.rented_database import RentedDatabase
from tests.lab import drupal_release
from tests.lab.laboratory import Laboratory
from tests.lab.moodle_release import pack
from tests.lab.test_cloud_deployment import Cloud, left, opened, page
from wizard.providers.base import Machine, ResourceKind

pytestmark = pytest.mark.lab

MANAGED = """database: {engine: mysql, managed: true}
backups: {periods: [daily]}
"""
HOSTS = {
    "digitalocean": "private-build-usb-demo.db.cloud.test",
    "aws": "build-usb-demo.rds.cloud.test",
}
PORTS = {"digitalocean": 25060, "aws": 3306}
CREATE = {"digitalocean": "POST /v2/databases$", "aws": "rds:CreateDBInstance"}
TABLES = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'wordpress'"
# by WordPress itself, on the machine that serves it
WORDPRESS = """
$_SERVER["HTTP_HOST"] = "www.cloud.test"; require "/usr/share/wordpress/wp-load.php";
"""
PUBLISH = """$id = wp_insert_post(["post_title" => "Kept elsewhere",
  "post_content" => "These words are in the managed database.", "post_status" => "publish"]);
echo $id . " " . parse_url(get_permalink($id), PHP_URL_PATH);"""
CIPHER = """global $wpdb; echo $wpdb->get_row("SHOW STATUS LIKE 'Ssl_cipher'")->Value;"""
# the right server by another name: what a thief of its address would look like
BY_ADDRESS = """mysqli_report(MYSQLI_REPORT_OFF); $link = mysqli_init();
echo @$link->real_connect("%ADDRESS%", DB_USER, DB_PASSWORD, DB_NAME, %PORT%, null, %FLAGS%)
  ? "connected" : "refused";"""
FLAGS = {
    "verified": "MYSQLI_CLIENT_SSL | MYSQLI_CLIENT_SSL_VERIFY_SERVER_CERT",
    "unverified": "MYSQLI_CLIENT_SSL | MYSQLI_CLIENT_SSL_DONT_VERIFY_SERVER_CERT",
    "without TLS": "0",
}

POSTGRESQL = MANAGED.replace("mysql", "postgresql")
# the application's own connection, and the same by another name and without TLS
ASKED = """require "/srv/site/settings/drupal.php"; $own = $databases["default"]["default"];
foreach (["host=%HOST%", "host=%ADDRESS%", "host=%HOST%;sslmode=disable"] as $where) {
    try {
        $link = new PDO("pgsql:$where;port=$own[port];dbname=$own[database]",
            $own["username"], $own["password"]);
        $asked = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        echo $link->query($asked)->fetchColumn(), " ";
    } catch (PDOException $error) { echo "refused "; }
}"""


@pytest.fixture(params=["digitalocean", "aws"])
def cloud(
    laboratory: Laboratory, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Cloud]:
    with opened(laboratory, tmp_path, request.param) as made:
        with made.answers.open("a") as answers:
            answers.write(MANAGED)
        yield made


def php(cloud: Cloud, web: Machine, code: str) -> str:
    command = ("runuser", "-u", "www-data", "--", "php", "-r", WORDPRESS + code)
    return cloud.laboratory.enter(web.id, *command)


def test_a_site_keeps_its_data_in_a_managed_database(cloud: Cloud) -> None:
    port = PORTS[cloud.name]
    planned = cloud.run("plan", cloud.answers).stdout
    assert "Managed database" in planned
    assert f"managed databases  {port}/tcp" in planned
    cloud.api.fail(CREATE[cloud.name], "lost")
    cloud.run("deploy", cloud.answers, "--json", "--yes")
    server = cloud.api.server
    assert isinstance(server, RentedDatabase)
    machines = {m.name: m for m in cloud.laboratory.provider.machines("demo")}
    web, database = machines["web1"], machines["db1"]

    # only the machines of the plan reach it
    probe = cloud.laboratory.provider.probe
    assert probe(web.id, server.address, port) == "open"
    assert probe(database.id, server.address, port) == "open"
    assert probe("visitor", server.address, port) == "filtered"
    assert probe("build-machine", server.address, port) == "filtered"
    # the machine that prepares it serves no database, and alone knows who administers it
    assert "mariadbd" not in cloud.laboratory.enter(database.id, "ps", "-eo", "comm")
    admin = "/etc/build-usb/database-admin.cnf"
    seen = cloud.laboratory.enter(database.id, "stat", "-c", "%a %U", admin)
    assert seen.split() == ["600", "root"]
    assert "database-admin" not in cloud.laboratory.enter(web.id, "ls", "/etc/build-usb")

    # over TLS, to that name only
    assert php(cloud, web, CIPHER).startswith("TLS_")
    tried = {
        how: php(
            cloud,
            web,
            BY_ADDRESS.replace("%ADDRESS%", server.address)
            .replace("%PORT%", str(port))
            .replace("%FLAGS%", flags),
        )
        for how, flags in FLAGS.items()
    }
    assert tried == {"verified": "refused", "unverified": "connected", "without TLS": "refused"}

    written, path = php(cloud, web, PUBLISH).split()
    assert "managed database" in page(cloud, web, path).text
    assert int(server.sql(TABLES)) >= 12
    # deploying again changes nothing, and the database stays
    cloud.run("deploy", cloud.answers, "--json", "--yes")
    assert "managed database" in page(cloud, web, path).text
    # an own one in its place would be empty
    other = cloud.folder / "own.yaml"
    other.write_text(cloud.answers.read_text().replace(MANAGED.splitlines()[0], ""))
    refused = cloud.run("deploy", other, "--json", "--yes", check=False)
    assert refused.returncode != 0
    assert "would be empty" in refused.stdout + refused.stderr

    cloud.run("backup")
    point = json.loads(cloud.run("points", "--json").stdout)[-1]
    assert point["whole"]
    php(cloud, web, f"wp_delete_post({written}, true);")
    assert page(cloud, web, f"{path}?fresh").status_code == 404
    cloud.run("restore", "--yes", point["name"])
    assert "managed database" in page(cloud, web, path).text
    assert json.loads(cloud.run("status", "--json").stdout)["healthy"]

    cloud.run("backup")
    # the object storage has those of other tests, too
    bucket = cloud.state().bucket
    destroyed = cloud.run("destroy", "--yes", "demo")
    assert "its backups stay in" in destroyed.stderr
    assert left(cloud.api) == {}
    found = cloud.laboratory.provider.resources("demo")
    assert not [resource for resource in found if resource.kind is ResourceKind.MACHINE]

    if cloud.name == "digitalocean":
        # from what is left of it another one begins, in a managed database again
        source = f"  source: {{kind: backup, period: manual, bucket: {bucket}-backups}}\ndomain:"
        cloud.answers.write_text(cloud.answers.read_text().replace("domain:", source, 1))
        cloud.run("deploy", cloud.answers, "--json", "--yes")
        assert isinstance(cloud.api.server, RentedDatabase)
        assert int(cloud.api.server.sql(TABLES)) >= 12
        web = next(m for m in cloud.laboratory.provider.machines("demo") if m.name == "web1")
        assert "managed database" in page(cloud, web, path).text
        assert json.loads(cloud.run("status", "--json").stdout)["healthy"]
        cloud.run("destroy", "--yes", "demo")
        assert left(cloud.api) == {}
    assert cloud.api.violations == []


@pytest.fixture(params=["digitalocean", "aws"])
def postgresql(
    laboratory: Laboratory, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Cloud]:
    with opened(laboratory, tmp_path, request.param) as made:
        archive = tmp_path / "drupal-11.3.1.tar.gz"
        digest = pack(archive, drupal_release.files(1), "drupal-11.3.1")
        text = made.answers.read_text().replace("kind: wordpress", "kind: drupal")
        source = f"  source: {{kind: fresh, release: {{file: {archive}, sha256: {digest}}}}}\n"
        text = text.replace("domain:", f"{source}domain:", 1)
        made.answers.write_text(text + POSTGRESQL)
        yield made


def test_drupal_keeps_its_data_in_a_managed_postgresql(postgresql: Cloud) -> None:
    cloud = postgresql
    cloud.run("deploy", cloud.answers, "--json", "--yes")
    server = cloud.api.server
    assert isinstance(server, RentedDatabase)
    machines = {m.name: m for m in cloud.laboratory.provider.machines("demo")}
    web, database = machines["web1"], machines["db1"]
    enter = cloud.laboratory.enter

    # the machine that prepares it serves no database, and alone knows who administers it
    assert "postgres" not in enter(database.id, "ps", "-eo", "comm")
    admin = "/etc/build-usb/database-service.conf"
    assert enter(database.id, "stat", "-c", "%a %U", admin).split() == ["600", "root"]
    assert "database-service" not in enter(web.id, "ls", "/etc/build-usb")
    # over TLS, to that name only
    name = HOSTS[cloud.name]
    code = ASKED.replace("%HOST%", name).replace("%ADDRESS%", server.address)
    tried = enter(web.id, "runuser", "-u", "www-data", "--", "php", "-r", code)
    assert tried.split() == ["TLSv1.3", "refused", "refused"]
    # the application's account may do nothing beside its database
    rights = "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = 'drupal'"
    assert server.sql(rights).strip() == "f|f|f"
    may = "SELECT has_database_privilege('public', 'drupal', 'CONNECT')"
    assert server.sql(may).strip() == "f"

    node = "INSERT INTO key_value (collection, name, value) VALUES ('kept', 'elsewhere', 'yes')"
    seen = "SELECT count(*) FROM key_value WHERE collection = 'kept'"
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    server.sql(node, "drupal")
    cloud.run("deploy", cloud.answers, "--json", "--yes")
    assert server.sql(seen, "drupal").strip() == "1"
    cloud.run("backup")
    point = json.loads(cloud.run("points", "--json").stdout)[-1]
    assert point["whole"]
    server.sql("DELETE FROM key_value WHERE collection = 'kept'", "drupal")
    cloud.run("restore", "--yes", point["name"])
    assert server.sql(seen, "drupal").strip() == "1"
    assert server.sql(owners, "drupal").strip() == "drupal"
    assert page(cloud, web, "/").text == "A site on a cloud 11.3.1"
    assert json.loads(cloud.run("status", "--json").stdout)["healthy"]

    destroyed = cloud.run("destroy", "--yes", "demo")
    assert "its backups stay in" in destroyed.stderr
    assert left(cloud.api) == {}
    assert cloud.api.violations == []
