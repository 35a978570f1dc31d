"""A site's backup becomes a new deployment: another name, another domain, another provider."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.lab.deployments import Browser
from tests.lab.test_cloud_deployment import Cloud, cloud
from wizard.engine.state import load as load_state

__all__ = ["cloud"]
pytestmark = pytest.mark.lab

OLD, NEW = "www.cloud.test", "shop.cloud.test"
CONTENT = "/var/lib/wordpress/wp-content"
# what WordPress writes by itself, and what a deployment has of its own
OWN = (
    "transient",
    "'cron'",
    "session_tokens",
    "build_usb_administrator",
    "recovery_",
    "_edit_lock",
)
PLANT = r"""<?php
$_SERVER['HTTP_HOST'] = 'www.cloud.test';
$_SERVER['REQUEST_URI'] = '/';
require '/usr/share/wordpress/wp-load.php';
class Gone {
    public $u = 'https://www.cloud.test/ü';
    protected $p = ['https://www.cloud.test' => 1.1];
}
update_option('planted', [
    'url' => 'https://www.cloud.test/',
    'deep' => [serialize(['x' => 'www.cloud.test'])],
    'object' => new Gone(),
    'mail' => 'info@www.cloud.test',
    'other' => 'https://not-www.cloud.test/',
    'json' => json_encode(['u' => 'https://www.cloud.test/ü']),
    'q' => '?u=https%3A%2F%2Fwww.cloud.test',
]);
wp_create_user('author', 'a password that is kept', 'author@example.org');
"""


class Visitor(Browser):
    """A visitor who finds the site's name at an address of this computer."""

    def __init__(self, state: Any, address: str) -> None:
        super().__init__(state)

        class Transport(httpx.HTTPTransport):
            def handle_request(self, request: httpx.Request) -> httpx.Response:
                there = httpx.Request(
                    request.method,
                    request.url.copy_with(host=address),
                    headers=request.headers,
                    stream=request.stream,
                    extensions={**request.extensions, "sni_hostname": request.url.host},
                )
                return super().handle_request(there)

        trust = self.client._transport._pool._ssl_context  # type: ignore[attr-defined]
        self.client.close()
        self.client = httpx.Client(
            transport=Transport(verify=trust), timeout=60, base_url=self.url, trust_env=False
        )


class Site:
    """One of the two deployments, on the lab's machines of now."""

    def __init__(self, cloud: Cloud, name: str) -> None:
        state = load_state(cloud.folder / "home" / "deployments" / name / "state.json")
        assert state is not None
        self.cloud, self.name, self.state = cloud, name, state
        machines = {m.name: m for m in cloud.laboratory.provider.machines("demo")}
        self.web, self.database = machines["web1"].id, machines["db1"].id
        self.address = machines["web1"].access_address

    def on(self, machine: str, command: str) -> str:
        return self.cloud.laboratory.enter(machine, "sh", "-c", command)

    def visit(self) -> Visitor:
        return Visitor(self.state, self.address)

    def secret(self, name: str) -> Any:
        from wizard.secrets import Secret

        shown = self.cloud.run("secret", name, "--deployment", self.name).stdout
        return Secret(shown.strip())

    def files(self) -> str:
        return self.on(
            self.web, f"cd {CONTENT} && find . -type f -print0 | sort -z | xargs -0 sha256sum"
        )

    def rows(self) -> str:
        return self.on(
            self.database,
            "mariadb-dump --compact --no-create-info --skip-extended-insert --order-by-primary "
            "wordpress",
        )

    def prefix(self) -> str:
        (found,) = re.findall(r"(?m)^(\w+_)usermeta$", self.on(
            self.database, "mariadb -NBe 'SHOW TABLES' wordpress"))  # fmt: skip
        return found


def comparable(rows: str, prefix: str, password: str) -> list[str]:
    """Return the rows with what is meant to differ made the same, and lengths taken out."""
    rows = rows.replace(prefix, "PREFIX_").replace(password, "PASSWORD")
    rows = re.sub(r"(?<![\w.@-])www\.cloud\.test|(?<=\\n)www\.cloud\.test", NEW, rows)
    rows = re.sub(r"(?<=%2F)www\.cloud\.test", NEW, rows)
    rows = re.sub(r"\bs:\d+:", "s:N:", rows)
    return [line for line in rows.splitlines() if not any(word in line for word in OWN)]


def hashed(site: Site) -> str:
    return site.on(
        site.database,
        f"mariadb -NBe \"SELECT user_pass FROM {site.prefix()}users WHERE user_login = 'editor'\" "
        "wordpress",
    ).strip()


@pytest.mark.parametrize("cloud", ["digitalocean"], indirect=True)
def test_a_backup_of_a_site_that_is_gone_lives_elsewhere(cloud: Cloud, tmp_path: Path) -> None:
    with cloud.answers.open("a") as answers:
        answers.write("backups: {periods: [daily]}\n")
    cloud.run("deploy", cloud.answers, "--json", "--yes")
    old = Site(cloud, "demo")
    film = os.urandom(50_000_000)
    with old.visit() as person:
        person.log_in("editor", old.secret("admin_password"))
        source = person.upload(film, "film.mp4")
        assert source.startswith(f"https://{OLD}/wp-content/uploads/")
        person.publish("Before", f'<p>See <a href="{source}">the film</a>.</p>')
    old.on(
        old.web,
        f"cat > /tmp/plant.php <<'E'\n{PLANT}E\nrunuser -u www-data php /tmp/plant.php",
    )
    # what WordPress does by itself each minute would make the two differ
    old.on(old.web, "systemctl stop cron")
    cloud.run("backup", "demo")
    files, rows, prefix = old.files(), old.rows(), old.prefix()
    wanted = comparable(rows, prefix, hashed(old))
    old_password = hashed(old)
    bucket = cloud.state().bucket
    cloud.run("destroy", "--yes", "--without-last-backup", "demo")

    values = yaml.safe_load(cloud.answers.read_text())
    del values["object_storage"]
    values["name"] = "copy"
    values["provider"] = {
        "name": "aws", "region": "eu-central-1", "credentials": {"environment": "AWS"}
    }  # fmt: skip
    values["dns"]["credentials"] = {"environment": "DIGITALOCEAN"}
    values["domain"]["name"] = NEW
    values["application"]["source"] = {"kind": "backup", "period": "manual", "deployment": "gone"}
    answers_file = tmp_path / "copy.yaml"

    def deploy(check: bool = True) -> Any:
        answers_file.write_text(yaml.safe_dump(values))
        return cloud.run("deploy", answers_file, "--json", "--yes", check=check)

    # what cannot be reached is said before anything is rented
    refused = deploy(check=False)
    assert "application.source.storage.credentials" in refused.stderr
    values["application"]["source"]["storage"] = {
        "provider": "digitalocean", "region": "fra1", "credentials": {"environment": "SPACES"}
    }  # fmt: skip
    refused = deploy(check=False)
    assert "no bucket holds backups of gone" in refused.stderr
    # there may be others of that name in the store
    values["application"]["source"] |= {"deployment": "demo", "bucket": f"{bucket}-backups"}
    assert not cloud.laboratory.provider.machines("demo")
    events = [json.loads(line) for line in deploy().stdout.splitlines()]
    assert events[-1]["kind"] == "run-done"

    new = Site(cloud, "copy")
    assert new.files() == files
    assert new.prefix() != prefix
    now = new.rows()
    got = comparable(now, new.prefix(), hashed(new))
    assert got == wanted
    assert not re.findall(rf"(?<![@-]){re.escape(OLD)}", now), "the old name is gone"
    assert hashed(new) != old_password
    with new.visit() as person:
        front = person.get("/")
        assert "Before" in front.text
        assert OLD not in front.text
        moved = person.get(source.replace(OLD, NEW))
        assert hashlib.sha256(moved.content).digest() == hashlib.sha256(film).digest()
        person.log_in("editor", new.secret("admin_password"))
    with new.visit() as author:
        from wizard.secrets import Secret

        author.log_in("author", Secret("a password that is kept"))
    state = load_state(cloud.folder / "home" / "deployments" / "copy" / "state.json")
    assert state is not None
    assert state.content.startswith("manual-")
    # again: the site that lives is left alone, and nothing of the old one is needed any more
    cloud.environment.pop("SPACES")
    changed = new.on(new.database, f"mariadb wordpress -NBe \"UPDATE {new.prefix()}options SET "
                     "option_value = 'Later' WHERE option_name = 'blogname'\"")  # fmt: skip
    deploy()
    assert "Later" in new.rows(), changed
    assert "content-" not in new.on(new.database, "ls /run/build-usb")
    cloud.run("destroy", "--yes", "copy")
