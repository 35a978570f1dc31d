"""A running site becomes a baseline that may be shared, and a new site begins with it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.emulators.git_server import GitServer
from tests.lab.deployments import REHEARSAL, Browser, Rehearsal
from wizard.engine.state import load as load_state
from wizard.home.home import Home
from wizard.secrets import Secret

pytestmark = pytest.mark.lab
TOKEN = "token-of-the-baselines-4711"
OLD, NEW = "www.rehearsal.test", "shop.rehearsal.test"
CONTENT = "/var/lib/wordpress/wp-content"
PLANT = r"""<?php
$_SERVER['HTTP_HOST'] = 'www.rehearsal.test';
$_SERVER['REQUEST_URI'] = '/';
require '/usr/share/wordpress/wp-load.php';
global $wpdb;
update_option('planted', [
    'url' => 'https://www.rehearsal.test/',
    'deep' => [serialize(['x' => 'www.rehearsal.test', 'mail' => 'deep@shop.org'])],
    'other' => 'https://not-www.rehearsal.test/',
    'umlaut' => 'ü https://www.rehearsal.test/ü',
]);
update_option('service_api_key', 'sk_live_' . str_repeat('a1', 12));
set_transient('noise', 'www.rehearsal.test', 3600);
$author = wp_create_user('author', 'a password that is nobodys', 'author@person.org');
$post = wp_insert_post(['post_title' => 'By the author', 'post_status' => 'publish',
    'post_author' => $author,
    'post_content' => 'Write to info@shop.org, see https://www.rehearsal.test/about']);
wp_insert_post(['post_title' => 'A private thought', 'post_status' => 'private',
    'post_content' => 'hush']);
wp_insert_comment(['comment_post_ID' => $post, 'comment_content' => 'Well said',
    'comment_approved' => 1, 'comment_author' => 'Jo Doe',
    'comment_author_email' => 'jo@person.org', 'comment_author_IP' => '203.0.113.77']);
$orders = "{$wpdb->prefix}shop_orders";
$wpdb->query("CREATE TABLE $orders (id INT PRIMARY KEY, who VARCHAR(90)) ENGINE=InnoDB");
$wpdb->query("INSERT INTO $orders VALUES (1, 'Jo Doe, 1 Main Street')");
"""


@dataclass
class Site:
    """One of the deployments of a build home."""

    rehearsal: Rehearsal
    name: str

    def __post_init__(self) -> None:
        state = load_state(self.rehearsal.home / "deployments" / self.name / "state.json")
        assert state is not None
        self.state = state

    def on(self, machine: str, command: str, stdin: str = "") -> str:
        return self.rehearsal.on(machine, command, stdin, self.name)

    def sql(self, statement: str) -> str:
        return self.on("db1", "mariadb -NB wordpress", statement)

    def secret(self, name: str) -> Secret:
        shown = self.rehearsal.run("secret", name, "--deployment", self.name)
        return Secret(shown.stdout.strip())

    def prefix(self) -> str:
        (found,) = re.findall(r"(?m)^(\w+_)usermeta$", self.sql("SHOW TABLES"))
        return found

    def rows(self, *tables: str) -> str:
        prefix = self.prefix()
        names = " ".join(f"{prefix}{table}" for table in tables)
        return self.on(
            "db1",
            "mariadb-dump --compact --no-create-info --skip-extended-insert --order-by-primary "
            f"wordpress {names}",
        ).replace(prefix, "PREFIX_")

    def files(self) -> dict[str, str]:
        lines = self.on("web1", f"cd {CONTENT} && find . -type f -print0 | xargs -0 sha256sum")
        return {line[66:]: line[:64] for line in lines.splitlines()}


@dataclass
class Made:
    """A site with a past, its baseline, and a git server that has it."""

    site: Site
    server: GitServer
    folder: Path
    film: bytes
    link: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("baselines")
    rehearsal = Rehearsal(folder / "home", folder / "user")
    served = folder / "served"
    for place in (rehearsal.user, served):
        place.mkdir()
    rehearsal.deploy()
    site = Site(rehearsal, "demo")
    film = os.urandom(5_000_000)
    with Browser(site.state) as person:
        person.log_in(site.state.admin_user, site.secret("admin_password"))
        link = person.upload(film, "film.mp4")
        person.publish("Before", f'<p>See <a href="{link}">the film</a>.</p>')
    site.on("web1", "cat > /tmp/plant.php; runuser -u www-data php /tmp/plant.php", PLANT)
    site.on(
        "web1",
        f"cd {CONTENT} && mkdir -p plugins/own cache && echo '<?php // Plugin Name: Own' > "
        "plugins/own/own.php && echo 'x' > cache/page.html && echo 'went wrong' > debug.log && "
        f"echo 'body{{background:url(https://{OLD}/a.png)}}' > plugins/own/own.css && "
        "chown -R www-data: plugins cache",
    )
    # what WordPress does by itself each minute would make the two differ
    site.on("web1", "systemctl stop cron")
    with GitServer(served, TOKEN) as server:
        yield Made(site, server, folder, film, link)
        names = Home.open(rehearsal.home).deployments()
        for name in names:
            rehearsal.run("destroy", "--yes", "--without-last-backup", name)


def everything(folder: Path) -> bytes:
    paths = [p for p in folder.rglob("*") if p.is_file() and ".git" not in p.parts]
    return b"\n".join(p.read_bytes() for p in paths if p.stat().st_size < 4_000_000)


def comparable(rows: str, password: str = "-") -> list[str]:
    """Return rows with what is meant to differ made the same, and lengths taken out."""
    for name in (OLD, r"127\.77\.\d+\.\d+"):
        rows = re.sub(rf"(?<![\w.@-]){name}", NEW, rows)
    rows = re.sub(r"[\w.]+@(?:shop|person)\.org|editor@\S+?\.\w+", "MAIL", rows)
    return re.sub(r"\bs:\d+:", "s:N:", rows).splitlines()


def test_a_site_becomes_a_baseline_and_a_baseline_a_site(made: Made, tmp_path: Path) -> None:
    site, rehearsal = made.site, made.site.rehearsal
    before = site.rows("users", "options", "posts", "comments"), site.files()
    done = rehearsal.run("baseline", "create", "demo", "--licence", "GPL-2.0-or-later")
    assert "nothing was found" in done.stderr, done.stderr[-3000:]
    assert "shop_orders" in done.stderr
    folder = rehearsal.home / "baselines" / "demo"
    manifest = json.loads((folder / "baseline.json").read_text())
    assert (manifest["application"], manifest["licence"]) == ("wordpress", "GPL-2.0-or-later")

    # nothing private, nothing of this site's own
    held = everything(folder).replace(f"not-{OLD}".encode(), b"")
    for word in (OLD, "127.77.", "person.org", "shop.org", "Jo Doe", "203.0.113.77", "hush",
                 "sk_live_", "$P$", "$wp$", "went wrong", site.state.admin_user + "@",
                 site.prefix()):  # fmt: skip
        at = held.find(word.encode())
        assert at < 0, held[at - 200 : at + 200]
    assert "Well said" in held.decode(errors="replace")
    assert (site.rows("users", "options", "posts", "comments"), site.files()) == before
    assert site.sql("SHOW DATABASES LIKE '%baseline%'") == ""

    # what must not be published keeps it from being published
    planted = folder / "files/wp-content/plugins/own/own.php"
    clean = planted.read_text()
    planted.write_text(clean + "// token: ghp_" + "a1B2" * 9 + "\n")
    url = f"{made.server.url}/shop.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main",
                    str(made.server.folder / "shop.git")], check=True)  # fmt: skip
    trust = {"GIT_SSL_CAINFO": str(made.server.certificate), "TOKEN": TOKEN}
    publish = ("baseline", "publish", "demo", "--to", url, "--credentials", "environment:TOKEN")
    refused = rehearsal.run(*publish, "--json", check=False, **trust)
    assert refused.returncode == 3
    assert "own.php:2: GitHub token" in refused.stderr
    planted.write_text(clean)
    published = json.loads(rehearsal.run(*publish, "--json", **trust).stdout)

    # another site begins with it
    values = yaml.safe_load(REHEARSAL.read_text())
    values["name"] = "copy"
    values["domain"]["name"] = NEW
    values["application"]["title"] = "Another shop"
    values["application"]["source"] = {
        "kind": "baseline", "repository": url, "credentials": {"environment": "TOKEN"},
        "signers": [published["signer"]],
    }  # fmt: skip
    answers = tmp_path / "copy.yaml"
    answers.write_text(yaml.safe_dump(values))
    rehearsal.run("deploy", answers, "--json", **trust)
    new = Site(rehearsal, "copy")
    assert new.state.content == f"baseline {published['commit'][:12]}"
    for machine, path in (("web1", "/var/lib/build-usb"), ("db1", "/var/lib/build-usb")):
        assert "incoming" not in new.on(machine, f"ls {path}")
    assert "build_usb_load" not in new.on("db1", "mariadb -NBe 'SELECT User FROM mysql.user'")

    mine, theirs = site.files(), new.files()
    own = {"./plugins/own/own.css", "./cache/page.html", "./debug.log"}
    assert {p: s for p, s in mine.items() if p not in own} == {
        p: s for p, s in theirs.items() if p not in own
    }
    assert NEW in new.on("web1", f"cat {CONTENT}/plugins/own/own.css")
    gone = "private|revision|draft"
    kept = [r for r in comparable(site.rows("posts")) if not re.search(gone, r)]
    now = new.rows("posts")
    first = r"(?m)^(INSERT INTO `PREFIX_posts` VALUES \(\d+,)\d+,"
    by_first = re.sub(first, r"\g<1>1,", "\n".join(kept))
    assert comparable(now) == by_first.splitlines()
    options = new.rows("options")
    assert OLD not in re.sub(f"not-{OLD}", "", options + now)
    assert "Another shop" in options
    assert f's:{len(f"https://{NEW}/")}:\\"https://{NEW}/\\"' in options
    users = new.sql(f"SELECT ID, user_login, user_email FROM {new.prefix()}users")
    assert users.split() == ["1", new.state.admin_user, values["application"]["admin"]["email"]]
    with Browser(new.state) as person:
        front = person.get("/")
        assert "By the author" in front.text
        assert "Another shop" in front.text
        assert OLD not in front.text
        path = re.sub(r"^https://[^/]+", "", made.link)
        assert (
            hashlib.sha256(person.get(path).content).digest() == hashlib.sha256(made.film).digest()
        )
        person.log_in(new.state.admin_user, new.secret("admin_password"))
    # again: the site that lives is left alone, and the repository is not needed any more
    again: Any = rehearsal.run("deploy", answers, "--json")
    assert json.loads(again.stdout.splitlines()[-1])["kind"] == "run-done"
