"""A site goes from development into production mode: examined on the way, killed at each step and
gone on with; its plugins are on every webserver, also on those that come later."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from textual.pilot import Pilot

from tests.lab.deployments import PASSPHRASE, REHEARSAL, Browser, Rehearsal
from tests.lab.production import ANSWERS
from tests.lab.test_journey import within
from tests.tui.driving import MODERN, at, screen_text, until
from wizard.engine.state import State
from wizard.engine.state import load as load_state
from wizard.home.home import Home
from wizard.secrets import Secret
from wizard.tui.app import WizardApp
from wizard.tui.runs import holder
from wizard.tui.widgets import Menu

pytestmark = pytest.mark.lab
CONTENT = "/var/lib/wordpress/wp-content"
PLUGIN = f"{CONTENT}/plugins/greeting"
CODE = """<?php
/* Plugin Name: Greeting */
add_action('wp_footer', function () { echo "<p>Says VERSION</p>"; });
"""
ACTIVATE = """<?php
$_SERVER['HTTP_HOST'] = 'www.rehearsal.test';
$_SERVER['REQUEST_URI'] = '/';
require '/usr/share/wordpress/wp-load.php';
require_once ABSPATH . 'wp-admin/includes/plugin.php';
update_option('active_plugins', ['greeting/greeting.php']);
wp_create_user('author', 'a password that is kept', 'author@example.org');
"""


@dataclass
class Way:
    """The build home of all, and the answers of production."""

    rehearsal: Rehearsal
    folder: Path

    def state(self, name: str) -> State:
        found = load_state(self.rehearsal.home / "deployments" / name / "state.json")
        assert found is not None
        return found

    def on(self, name: str, machine: str, command: str, stdin: str = "") -> str:
        return self.rehearsal.on(machine, command, stdin, name)

    def secret(self, name: str) -> Secret:
        shown = self.rehearsal.run("secret", "admin_password", "--deployment", name)
        return Secret(shown.stdout.strip())

    def write(self, version: str, name: str = "demo") -> None:
        """Write the plugin on the development machine, as an editor's upgrade does."""
        code = CODE.replace("VERSION", version)
        into = f"mkdir -p {PLUGIN} && cat > {PLUGIN}/greeting.php && chown -R www-data: {PLUGIN}"
        self.on(name, "web1", into, code)

    def record(self) -> Any:
        return json.loads(self.rehearsal.run("promote", "demo", "--show", "--json").stdout)

    def answers(self, name: str, domain: str) -> Path:
        values = yaml.safe_load(ANSWERS.read_text())
        values["name"] = name
        values["domain"]["name"] = domain
        values["scaling"] |= {"autoscalers": 1, "minimum": 1, "maximum": 3}
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    def killed(self, step: str, *words: str | Path, after: int) -> None:
        """Promote, and be killed in a step, when so many steps of its run are done."""
        process = subprocess.Popen(
            self.rehearsal.argv("promote", "demo", *words, "--yes", "--json", "--until", step),
            env=self.rehearsal.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert process.stdout
        ends, done = time.monotonic() + 300, 0
        while done < after and (line := process.stdout.readline()):
            done += '"step-done"' in line
        while not after and self.record()["begun"] != step and time.monotonic() < ends:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait()
        assert self.record()["begun"] == step

    def go_on(self, step: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Go on with the promotion, to a step."""
        return self.rehearsal.run("promote", "demo", *words, "--json", "--until", step, check=check)


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    folder = tmp_path_factory.mktemp("promotion")
    rehearsal = Rehearsal(folder / "home", folder / "user")
    rehearsal.user.mkdir()
    made = Way(rehearsal, folder)
    answers = yaml.safe_load(REHEARSAL.read_text()) | {"backups": {"periods": ["daily"]}}
    (folder / "demo.yaml").write_text(yaml.safe_dump(answers))
    rehearsal.run("deploy", folder / "demo.yaml", "--json")
    made.write("hello")
    made.on("demo", "web1", "cat > /tmp/a.php; runuser -u www-data php /tmp/a.php", ACTIVATE)
    with Browser(made.state("demo")) as editor:
        editor.log_in("editor", made.secret("demo"))
        editor.publish("Written in peace", "<p>Ready to go.</p>")
    yield made
    for name in Home.open(rehearsal.home).deployments():
        # production is not destroyed without a last restore point
        last = () if name == "shop" else ("--without-last-backup",)
        rehearsal.run("destroy", "--yes", *last, name)


def shown(way: Way, name: str, machine: str) -> str:
    """Return what the plugin says on a webserver; the post is there as well."""
    host = way.state(name).hosts[0]
    page = way.on(name, machine, f"curl -sk --resolve {host}:443:127.0.0.1 'https://{host}/?x=y'")
    assert "Written in peace" in page
    return page.partition("<p>Says ")[2].partition("</p>")[0]


def test_a_way_that_is_gone_back(way: Way) -> None:
    run, answers = way.rehearsal.run, way.answers("other", "other.rehearsal.test")
    way.write("hello, <a href='/nowhere/'>nowhere</a>")
    way.killed("copy", answers, "--by", "backup", after=1)
    way.go_on("copy")
    way.killed("test", after=6)
    way.go_on("test")
    # accounts are of the copy too; only the administrator is the new deployment's
    with Browser(way.state("other-test")) as author:
        author.log_in("author", Secret("a password that is kept"))
    way.killed("check-test", after=0)
    found = way.go_on("check-test", check=False)
    assert found.returncode != 0
    assert "/nowhere/ answers 404" in found.stderr
    assert "--past-check" in found.stderr
    way.go_on("check-test", "--past-check")
    record = way.record()
    assert record["done"]["check-test"].startswith("passed by decision")
    assert record["can_be_undone"]
    run("promote", "demo", "--undo", "--json")
    assert way.record() is None
    assert Home.open(way.rehearsal.home).deployments() == ["demo"]
    way.write("hello")
    assert shown(way, "demo", "web1") == "hello"


def test_the_wizard_leads_to_an_examined_test_and_back(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By keyboard: saved answers, a run that is killed and gone on with, and the way back."""
    for name, value in way.rehearsal.environment.items():
        monkeypatch.setenv(name, value)
    folder = way.rehearsal.home / "answers"
    folder.mkdir(mode=0o700, exist_ok=True)
    way.answers("other", "other.rehearsal.test").rename(folder / "other.yaml")
    app = WizardApp(way.rehearsal.home, MODERN)
    record = Home.open(way.rehearsal.home).deployment("demo").promotion

    async def chosen(pilot: Pilot[None], words: str) -> None:
        menu = app.screen.query_one("#menu", Menu)
        texts = [str(option.prompt) for option in menu.options]
        number = next(n for n, text in enumerate(texts) if text.startswith(words))
        await pilot.press("home", *["down"] * number, "enter")

    async def drive(pilot: Pilot[None]) -> None:
        await at(pilot, "welcome")
        await pilot.press("enter")
        await at(pilot, "home")
        await pilot.press(*PASSPHRASE, "enter")
        await at(pilot, "dashboard")
        await chosen(pilot, "Promote")
        await at(pilot, "Pick")
        await pilot.press("end", "enter")
        await at(pilot, "promote")
        await pilot.press("f2")
        await at(pilot, "promotion")
        await chosen(pilot, "Go on until the test")
        await at(pilot, "promoting")
        await within(pilot, lambda: "deploy other-test: running" in screen_text(app))
        await within(pilot, lambda: "web1" in screen_text(app))
        working = holder(record)
        assert working is not None
        os.kill(working.pid, signal.SIGKILL)
        await until(pilot, lambda: "[ Try again ]" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: "FAILED" not in screen_text(app))
        await within(pilot, lambda: "DONE. Next comes: deploy production" in screen_text(app))
        await pilot.press("enter")
        await at(pilot, "promotion")
        assert "done  check-test" in screen_text(app)
        await chosen(pilot, "Undo")
        await at(pilot, "Ask")
        await pilot.press("right", "enter")
        await at(pilot, "promoting")
        await within(pilot, lambda: "Undone: demo is as it was" in screen_text(app))
        await pilot.press("enter")
        await at(pilot, "dashboard")
        assert app.desk.run is None

    async def run() -> None:
        async with app.run_test(size=(80, 24)) as pilot:
            await drive(pilot)

    asyncio.run(run())
    assert way.record() is None
    assert Home.open(way.rehearsal.home).deployments() == ["demo"]


def test_a_site_goes_into_production_mode(way: Way) -> None:
    run, answers = way.rehearsal.run, way.answers("shop", "shop.rehearsal.test")
    run("promote", "demo", answers, "--end-development", "--yes", "--json", "--until", "check-test")
    way.killed("production", after=12)
    too_late = run("promote", "demo", "--undo", check=False)
    assert too_late.returncode == 2
    assert "cannot be undone" in too_late.stderr
    way.go_on("production")
    way.killed("check-production", after=0)
    way.go_on("check-production")
    way.killed("end-test", after=2)
    way.go_on("end-test")
    assert Home.open(way.rehearsal.home).deployments() == ["demo", "shop"]

    state = way.state("shop")
    package = way.on("shop", "web1", f"find {CONTENT} -type l | sort")
    for machine in ("web1", "web2"):
        assert shown(way, "shop", machine) == "hello"
        assert way.on("shop", machine, f"find {CONTENT} -type l | sort") == package
        assert "Build USB" in way.on("shop", machine, f"cat {CONTENT}/mu-plugins/build-usb.php")
    status = json.loads(run("status", "shop", "--json").stdout)
    assert status["files"] == f"{state.content} ({state.files[:12]}), on 2 of 2"
    # what would be on one webserver only is refused by WordPress
    with Browser(state) as editor:
        editor.log_in("editor", way.secret("shop"))
        assert editor.get("/wp-admin/plugins.php").status_code == 200
        assert editor.get("/wp-admin/plugin-install.php").status_code == 403


def test_plugins_are_changed_on_all_webservers(way: Way) -> None:
    run = way.rehearsal.run
    # a site that does not answer with them has those of before again
    order = {
        "folder": CONTENT, "passing": ["uploads"], "digest": "bad", "host": "shop.rehearsal.test",
        "health_path": "/nowhere/",
    }  # fmt: skip
    put = "tar -C /tmp -cf /srv/site/archives/bad.tar -T /dev/null; " + (
        "python3 -I /usr/local/lib/build-usb/files.py put 2>&1; "
        f"cat {CONTENT}/.build-usb-files; rm /srv/site/archives/bad.tar"
    )
    said = way.on("shop", "web2", put, json.dumps(order))
    assert "answers 404 with the new files: those of before are live again" in said
    assert way.state("shop").files in said
    assert shown(way, "shop", "web2") == "hello"

    way.write("good morning")
    run("carry", "demo", "shop", "--json")
    for machine in ("web1", "web2"):
        assert shown(way, "shop", machine) == "good morning"
    # a restore point of before does not bring the old ones back on one of them
    first = json.loads(run("points", "shop", "--json").stdout)[0]["name"]
    run("restore", first, "--deployment", "shop", "--yes", "--json")
    for machine in ("web1", "web2"):
        assert shown(way, "shop", machine) == "good morning"
    # and who comes later has them
    run("scale", "3", "shop")
    ends = time.monotonic() + 240
    while len(web := _serving(run("status", "shop", "--json", check=False).stdout)) < 3:
        assert time.monotonic() < ends, web
        time.sleep(2)
    assert shown(way, "shop", web[-1]) == "good morning"
    # no step of a deploy changes any of it
    way.go_on("end-development")
    assert Home.open(way.rehearsal.home).deployments() == ["shop"]


def _serving(status: str) -> list[str]:
    fleet = json.loads(status)["fleet"]["webservers"]
    return [w["name"] for w in fleet if w["phase"] == "serving" and w["published"]]
