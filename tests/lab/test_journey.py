"""The whole way of a person: from the first key to a served site and to nothing being left; by
keyboard inside the program, and in a real terminal with the wizard killed on the way.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.lab import leftovers
from tests.lab.deployments import PASSPHRASE, Browser, Rehearsal
from tests.lab.terminal import Terminal
from tests.tui.driving import MODERN, at, example, fill, screen_text, step, until
from wizard.engine import state as states
from wizard.home.home import Home
from wizard.tui.app import WizardApp
from wizard.tui.runs import holder

pytestmark = pytest.mark.lab

DEPLOYED = 240.0
"""Seconds a rehearsal may take on a busy computer."""


@pytest.fixture
def rehearsal(tmp_path: Path, base_tree: Path) -> Iterator[Rehearsal]:
    """A home to be made by the wizard; nothing of it may be left."""
    tmp_path.chmod(0o700)
    user = tmp_path / "user"
    user.mkdir()
    made = Rehearsal(tmp_path / "home", user)
    yield made
    if (made.home / "deployments" / "demo" / "answers.yaml").exists():
        # a run that was left alone may still be under way
        ends = time.monotonic() + DEPLOYED
        while holder(made.home / "deployments" / "demo") and time.monotonic() < ends:
            time.sleep(0.2)
        made.run("destroy", "--yes")
    assert leftovers.of(made.home) == {}


async def within(pilot: Pilot[None], true: Callable[[], bool], seconds: float = DEPLOYED) -> None:
    ends = time.monotonic() + seconds
    while not true():
        app = pilot.app
        assert isinstance(app, WizardApp)
        assert time.monotonic() < ends, screen_text(app)
        assert "FAILED" not in screen_text(app), screen_text(app)
        await pilot.pause(0.1)
    await pilot.pause()


def test_from_the_first_key_to_a_site_and_to_nothing_left(rehearsal: Rehearsal) -> None:
    wanted = example("rehearsal")
    app = WizardApp(rehearsal.home, MODERN)

    def healthy() -> bool:
        return "demo: healthy" in screen_text(app) and "HTTP 200" in screen_text(app)

    async def run() -> None:
        async with app.run_test(size=(80, 24)) as pilot:
            await at(pilot, "welcome")
            await pilot.press("enter")
            await at(pilot, "home")
            await pilot.press(*PASSPHRASE, "enter", *PASSPHRASE, "enter")
            await within(pilot, lambda: step(app) == "mode", 30)
            while (present := step(app)) != "review":
                await fill(pilot, wanted)
                await pilot.press("f2")
                await until(pilot, lambda present=present: step(app) not in (present, "Screen"))
            await until(pilot, lambda: not app.screen.query_one("#next").disabled)
            assert "Price per month: 0.00 EUR" in screen_text(app) or "demo" in screen_text(app)
            await pilot.press("f2")
            await at(pilot, "Ask")
            await pilot.press("right", "enter")
            await at(pilot, "deploy")
            await within(pilot, lambda: "web1" in screen_text(app))
            await within(pilot, lambda: "DONE after" in screen_text(app))
            await pilot.press("enter")
            await at(pilot, "done")
            state = states.load(app.desk.folder().state_file)
            assert state is not None
            assert state.url in screen_text(app)
            with Browser(state) as visitor:
                assert "My first site" in visitor.get("/").text
                password = app.desk.secret("admin_password")
                assert password is not None
                assert password.reveal() not in screen_text(app)
                await pilot.press("f3")
                await until(pilot, lambda: password.reveal() in screen_text(app))
                visitor.log_in(state.admin_user, password)
            await pilot.press("f2")
            await at(pilot, "dashboard")
            await within(pilot, healthy, 60)
            assert "valid for" in screen_text(app)
            await pilot.press("end", "enter")
            await at(pilot, "TypeName")
            await pilot.press(*"demo", "enter")
            await at(pilot, "deploy")
            await within(pilot, lambda: "DONE after" in screen_text(app), 60)
            await pilot.press("enter")
            await at(pilot, "welcome")
            assert app.desk.run is not None
            app.desk.run.let_go()
            assert "demo" not in screen_text(app).partition("Build home")[2].partition("\n")[2]

    asyncio.run(run())
    assert Home.open(rehearsal.home).deployments() == []


def open_example(terminal: Terminal) -> None:
    """Walk from the first key to the review with the ready-made answers of a rehearsal."""
    terminal.wait_at("New deployment")
    terminal.press("Down")
    terminal.wait_at("Open saved answers")
    terminal.press("Enter")
    terminal.wait_at("example: cloud-development")
    listed = re.findall(r"example: (\S+)", terminal.screen())
    wanted = listed.index("rehearsal")
    # looked at again afterwards: a key pressed before the dialog has the focus is for nobody
    for _ in range(30):
        found = re.search(r"example: (\S+)", terminal.still())
        steps = wanted - listed.index(found[1]) if found else -1
        if steps == 0:
            break
        terminal.press(*["Down" if steps > 0 else "Up"] * abs(steps))
    terminal.press("Enter")
    terminal.wait_at("Passphrase")
    terminal.type(PASSPHRASE)
    terminal.press("Enter")
    terminal.wait_at("The same again")
    terminal.type(PASSPHRASE)
    terminal.press("Enter")
    shown = terminal.wait("Build USB - Name and mode")
    while "Build USB - Review" not in shown:
        shown = terminal.press_until_changed("F2")
    terminal.wait("Machines")


def test_in_a_real_terminal_killed_on_the_way_and_resized(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    environ = dict(rehearsal.environment)
    environ.pop("BUILD_USB_PASSPHRASE")  # typed here
    terminal = Terminal(tmp_path, environ, rehearsal.argv())
    try:
        open_example(terminal)
        terminal.press("F2")
        terminal.wait_at("[ Not yet ]")
        terminal.press("Right", "Enter")
        # the plan behind the question names the machines too
        shown = terminal.wait("deploy demo: running", DEPLOYED)
        assert "web1" in shown
        terminal.kill()
    finally:
        terminal.close()

    terminal = Terminal(tmp_path, environ, rehearsal.argv())
    try:
        terminal.wait_at("See how far 'deploy demo' is")
        terminal.press("Enter")
        shown = terminal.wait("running")
        assert "db1" in shown
        terminal.resize(40, 12)
        shown = terminal.wait(lambda text: len(text.rstrip("\n").splitlines()) <= 12)
        assert "web1" in shown
        terminal.resize(80, 24)
        terminal.wait("[ Leave it running ]")
        # stop it: pressed once, agreed to once
        terminal.press("Tab", "Tab", "Enter")
        terminal.wait_at("[ Go on ]")
        terminal.press("Right", "Enter")
        shown = terminal.wait_at("[ Try again ]", DEPLOYED)
        assert "stopped before everything was done" in shown
        # the passphrase died with the first wizard: asked for, then one is where one was
        terminal.press("Left", "Left", "Left", "Enter")
        terminal.wait_at("Passphrase")
        terminal.type(PASSPHRASE)
        terminal.press("Enter")
        terminal.wait_at("[ Try again ]")
        terminal.press("Left", "Left", "Left", "Enter")
        terminal.wait("Type demo to go on")
        terminal.wait_at("│" + 20 * " ")
        terminal.type("demo")
        terminal.press("Enter")
        terminal.wait_at("[ Go on ]", DEPLOYED)
        assert "destroy demo: DONE" in terminal.screen()
        terminal.press("Enter")
        shown = terminal.wait("New deployment")
        assert "'demo'" not in shown
        terminal.press("C-q")
    finally:
        terminal.close()
    assert Home.open(rehearsal.home).deployments() == []


def test_on_the_linux_console_to_the_review(tmp_path: Path) -> None:
    user = tmp_path / "user"
    user.mkdir()
    tmp_path.chmod(0o700)
    made = Rehearsal(tmp_path / "home", user)
    environ = {k: v for k, v in made.environment.items() if k != "BUILD_USB_PASSPHRASE"}
    terminal = Terminal(tmp_path, {**environ, "TERM": "linux"}, made.argv())
    try:
        open_example(terminal)
        shown = terminal.wait("Machines")
        assert "[ Deploy ]" in shown
        assert max(map(ord, shown)) < 0x2600
        os.kill(terminal.pid, 0)
    finally:
        terminal.close()
