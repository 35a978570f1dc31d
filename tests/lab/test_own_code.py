"""Own PHP from a git repository: deployed, released anew without a failed request, gone back to."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.emulators.git_server import GitServer
from tests.lab.deployments import REHEARSAL, Browser, Rehearsal
from wizard.engine.state import load as load_state
from wizard.home.home import Home

pytestmark = pytest.mark.lab
TOKEN = "token-of-the-repository-4711"
COPY = "copy.rehearsal.test"
INDEX = """<?php
require __DIR__ . '/../vendor/autoload.php';
$env = parse_ini_file(__DIR__ . '/../.env', false, INI_SCANNER_RAW);
$db = new PDO("mysql:host={$env['DB_HOST']};port={$env['DB_PORT']};dbname={$env['DB_NAME']}",
    $env['DB_USER'], $env['DB_PASSWORD'], [PDO::MYSQL_ATTR_SSL_CA => $env['DB_CA']]);
$db->exec('CREATE TABLE IF NOT EXISTS visits (at INT)');
if (isset($_GET['visit'])) {
    $db->exec('INSERT INTO visits VALUES (1)');
    file_put_contents(__DIR__ . '/files/visit.txt', 'written');
}
echo House\\Greeting::word(), ' REVISION, visits ';
echo $db->query('SELECT COUNT(*) FROM visits')->fetchColumn();
"""
COMPOSER = {
    "name": "house/site",
    "repositories": [{"type": "path", "url": "packages/greeting"}, {"packagist.org": False}],
    "require": {"house/greeting": "*"},
    "scripts": {"post-install-cmd": "touch ran"},
}
GREETING = {"name": "house/greeting", "version": "1.0.0", "autoload": {"psr-4": {"House\\": ""}}}
LOCK = {
    "content-hash": "0" * 32,
    "packages": [
        {
            **GREETING,
            "dist": {"type": "path", "url": "packages/greeting", "reference": "a"},
            "transport-options": {"symlink": False, "relative": True},
            "type": "library",
        }
    ],
    "packages-dev": [],
    "aliases": [],
    "minimum-stability": "stable",
    "stability-flags": {},
    "prefer-stable": False,
    "prefer-lowest": False,
    "platform": {},
    "platform-dev": {},
    "plugin-api-version": "2.6.0",
}
ROWS = "mariadb-dump --compact --order-by-primary php"
SETTINGS = """DB_HOST=${DATABASE_HOST}
DB_PORT=${DATABASE_PORT}
DB_NAME=${DATABASE_NAME}
DB_USER=${DATABASE_USER}
DB_PASSWORD=${DATABASE_PASSWORD}
DB_CA=${DATABASE_CERTIFICATE}
URL=${SITE_URL}
OTHER=${NOT_OURS}
"""


def files(revision: str, health: str = "echo 'well';") -> dict[str, str]:
    return {
        "public/index.php": INDEX.replace("REVISION", revision),
        "public/health.php": f"<?php {health}",
        "public/style.css": f"/* {revision} */",
        "public/files/kept.txt": "of the repository",
        "env.example": SETTINGS,
        "composer.json": json.dumps(COMPOSER),
        "composer.lock": json.dumps(LOCK),
        "packages/greeting/composer.json": json.dumps(GREETING),
        "packages/greeting/Greeting.php": """<?php
namespace House;
class Greeting { static function word() { return 'release'; } }
""",
        "cron.php": "<?php file_put_contents(__DIR__ . '/public/files/cron.txt', 'ran');",
    }


def files_of(on: Callable[[str, str], str]) -> str:
    """Return what is kept on a webserver: each file's sum, owner and mode."""
    found = "cd /srv/site/shared && find . -type f ! -name .revision -print0 | sort -z"
    return on("web1", f'{found} | xargs -0 sh -c \'sha256sum "$@"; stat -c "%U %a %n" "$@"\' x')


@contextmanager
def asking(browser: Browser) -> Iterator[list[tuple[int, str]]]:
    """Ask for the front page without a pause, as many visitors do."""
    answers: list[tuple[int, str]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                page = browser.client.get("/")
                answers.append((page.status_code, page.text.partition(",")[0]))
            except httpx.HTTPError as error:
                answers.append((0, repr(error)))

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield answers
    finally:
        stop.set()
        asker.join()


@dataclass
class Copy:
    """Another deployment of the home, and what was said when it was deployed."""

    own: Own
    name: str
    said: str

    def state(self) -> Any:
        return load_state(self.own.site.home / "deployments" / self.name / "state.json")

    def on(self, machine: str, command: str, stdin: str = "") -> str:
        words = ("ssh", "--deployment", self.name, machine, command)
        return self.own.site.run(*words, stdin=stdin).stdout

    def secret(self, name: str) -> str:
        return self.own.site.run("secret", name, "--deployment", self.name).stdout.strip()


@dataclass
class Own:
    """A rehearsal of own code, the answers it is deployed with, and the git server."""

    site: Rehearsal
    server: GitServer
    values: dict[str, Any]
    folder: Path

    def begin(self, **code: Any) -> Copy:
        """Deploy `copy`, which begins with the last point of `demo`: another name and domain."""
        source = {"kind": "backup", "period": "manual", "deployment": "demo"}
        return self._begun("copy", COPY, source, **code)

    def begin_with_baseline(self, name: str, domain: str) -> Copy:
        """Publish the baseline of `demo` to a repository on this computer and deploy with it."""
        repository = self.folder / "baseline.git"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", repository], check=True)
        self.site.run("baseline", "publish", "demo", "--to", repository)
        return self._begun(name, domain, {"kind": "baseline", "repository": str(repository)})

    def _begun(self, name: str, domain: str, source: dict[str, Any], **code: Any) -> Copy:
        named = {k: v for k, v in self.values["application"]["source"].items() if k != "kind"}
        values = {**self.values, "name": name, "domain": {"name": domain}, "backups": {}}
        application = {**self.values["application"], "source": {**source, "code": named | code}}
        answers = self.folder / f"{name}.yaml"
        answers.write_text(yaml.safe_dump({**values, "application": application}))
        done = self.site.run("deploy", answers, "--json", "--yes",
            GIT_SSL_CAINFO=str(self.server.certificate), TOKEN=TOKEN)  # fmt: skip
        return Copy(self, name, done.stdout)

    def deploy(self, check: bool = True, **source: Any) -> Any:
        self.values["application"]["source"].update(source)
        answers = self.folder / "answers.yaml"
        answers.write_text(yaml.safe_dump(self.values))
        return self.site.run(
            "deploy", answers, "--json", check=check,
            GIT_SSL_CAINFO=str(self.server.certificate), TOKEN=TOKEN,
        )  # fmt: skip


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Own]:
    site = Rehearsal(tmp_path / "home", tmp_path / "user")
    for folder in (site.user, tmp_path / "served"):
        folder.mkdir()
    values: dict[str, Any] = yaml.safe_load(REHEARSAL.read_text())
    with GitServer(tmp_path / "served", TOKEN) as server:
        source = {"kind": "repository", "credentials": {"environment": "TOKEN"}}
        values["application"]["source"] = {**source, "url": f"{server.url}/site.git"}
        try:
            yield Own(site, server, values, tmp_path)
        finally:
            for name in Home.open(site.home).deployments():
                site.run("destroy", "--yes", name)


def test_own_code_is_released_and_gone_back_to(own: Own) -> None:
    site = own.site
    own.values["application"]["kind"] = "php"
    own.values["application"]["source"] |= {
        "composer": True,
        "writable": ["public/files"],
        "environment_template": "env.example",
        "health_path": "/health.php",
        "cron": "* * * * *",
    }
    own.values["backups"] = {"periods": ["daily"]}
    first = own.server.commit("site", files("one"), "one")
    # what is wrong with the repository is said before anything is made
    refused = own.deploy(check=False, docroot="www")
    assert "there is no folder www" in refused.stderr
    assert not (site.home / "deployments" / "demo" / "state.json").exists()
    own.deploy(docroot="public")
    with Browser(site.state()) as visitor:
        assert visitor.get("/?visit").text == "release one, visits 1"
        assert visitor.get("/files/kept.txt").text == "of the repository"
        assert visitor.get("/files/visit.txt").text == "written"
        hidden = ("/.env", "/../.env", "/files/.revision", "/env.example")
        assert {visitor.get(path).status_code for path in hidden} <= {404, 400, 200}
        assert all("DB_PASSWORD" not in visitor.get(path).text for path in hidden)
        site.on("web1", "echo '<?php echo 1;' > /srv/site/shared/public/files/bad.php")
        assert visitor.get("/files/bad.php").status_code == 403

        second = own.server.commit("site", files("two"), "two")
        with asking(visitor) as seen:
            own.deploy()
        assert {status for status, _ in seen} == {200}, [s for s in seen if s[0] != 200][:3]
        assert [seen[0][1], seen[-1][1]] == ["release one", "release two"]
        assert visitor.get("/style.css").text == "/* two */"
        assert visitor.get("/files/visit.txt").text == "written"
        site.run("backup")
        point = [p["name"] for p in json.loads(site.run("points", "--json").stdout)][-1]

        # a release that is not well is not live
        own.server.commit("site", files("three", "http_response_code(500);"), "three")
        with asking(visitor) as seen:
            failed = own.deploy(check=False)
        assert failed.returncode != 0
        assert "answers 500" in failed.stderr
        assert "is live again" in failed.stderr
        assert visitor.get("/?visit").text == "release two, visits 2"
        gone = {k: v for k, v in files("four").items() if not k.startswith("packages/")}
        own.server.commit("site", gone, "four")
        failed = own.deploy(check=False)
        assert "composer cannot install what" in failed.stderr
        assert 'Source path "packages/greeting" is not found' in failed.stderr
        assert visitor.get("/").text == "release two, visits 2"
        left = "find /srv/site/current/ ! -user root; ls -d /srv/site/current/ran; true"
        assert site.on("web1", left) == "", "PHP writes to no code, and no script was run"

        own.deploy(revision=first)
        assert visitor.get("/").text == "release one, visits 2"
        site.run("restore", "--yes", point)
        assert visitor.get("/").text == "release one, visits 1"
    config = site.on("web1", "cat /srv/site/current/.env")
    assert site.secrets()["database_password"].reveal() in config
    assert "OTHER=${NOT_OURS}" in config
    found = site.on("web1", f"grep -rl {TOKEN} /etc /srv /var/lib /root /usr/local; true")
    assert found == "", "machines get no credentials"
    assert json.loads(site.run("status", "--json").stdout)["healthy"]

    # another deployment begins with what this one is now, and with other code
    site.run("backup")
    told = json.loads(site.run("points", "--json").stdout)[-1]
    kept, rows = files_of(site.on), site.on("db1", ROWS)
    copy = own.begin(revision=second)
    assert f"made of the code {told['code']}, this is" in copy.said
    assert "texts in the database are as they were" in copy.said
    assert copy.state().content == told["name"]
    assert (files_of(copy.on), copy.on("db1", ROWS)) == (kept, rows)
    with Browser(copy.state()) as visitor:
        assert visitor.host == COPY
        assert visitor.get("/?visit").text == "release two, visits 2"
        assert visitor.get("/files/kept.txt").text == "of the repository"
        own.begin(revision=first)
        assert visitor.get("/").text == "release one, visits 2"
    config = copy.on("web1", "cat /srv/site/current/.env")
    assert f"URL=https://{COPY}" in config
    assert copy.secret("database_password") in config
    old = {name: secret.reveal() for name, secret in site.secrets().items()}
    for name in ("database_password", "application_key", "admin_password"):
        assert copy.secret(name) != old[name]


def test_files_alone_need_one_machine_and_no_database(own: Own) -> None:
    own.values["application"]["kind"] = "static"
    own.values["backups"] = {"periods": ["daily"]}
    own.server.commit("site", {"index.html": "<h1>Pages</h1>", "a.php": "<?php secret"}, "one")
    own.deploy()
    assert sorted(own.site.state().machines) == ["web1"]
    with Browser(own.site.state()) as visitor:
        assert visitor.get("/").text == "<h1>Pages</h1>"
        assert visitor.get("/a.php").status_code == 404

    own.site.on("web1", "echo kept > /srv/site/shared/kept.txt")
    own.site.run("backup")
    kept = files_of(own.site.on)
    assert "kept.txt" in kept
    copy = own.begin()
    assert sorted(copy.state().machines) == ["web1"]
    assert files_of(copy.on) == kept
    with Browser(copy.state()) as visitor:
        assert visitor.get("/").text == "<h1>Pages</h1>"
