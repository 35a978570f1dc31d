"""A deployment with a managed database: an emulated cloud rents it, and a real server of the lab
stands behind it, with TLS of the cloud's authority and an administrator without all rights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.emulators.rented_database import RentedDatabase
from tests.lab.laboratory import Laboratory
from tests.lab.test_cloud_deployment import Cloud, left, opened, trusting
from wizard.providers.base import Machine, ResourceKind

pytestmark = pytest.mark.lab

MANAGED = """database: {engine: mysql, managed: true}
backups: {periods: [daily]}
"""
PORTS = {"digitalocean": 25060, "aws": 3306}
CREATE = {"digitalocean": "POST /v2/databases$", "aws": "rds:CreateDBInstance"}
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


@pytest.fixture(params=["digitalocean"])
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


def page(cloud: Cloud, web: Machine, path: str) -> httpx.Response:
    with trusting(cloud) as visitor:
        return visitor.get(
            f"https://{web.access_address}{path}",
            headers={"Host": "www.cloud.test"},
            extensions={"sni_hostname": "www.cloud.test"},
        )


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
    tables = server.sql("SELECT COUNT(*) FROM information_schema.tables "
                        "WHERE table_schema = 'wordpress'")  # fmt: skip
    assert int(tables) >= 12
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

    destroyed = cloud.run("destroy", "--yes", "demo")
    assert "its backups stay in" in destroyed.stderr
    assert left(cloud.api) == {}
    found = cloud.laboratory.provider.resources("demo")
    assert not [resource for resource in found if resource.kind is ResourceKind.MACHINE]
    assert cloud.api.violations == []
