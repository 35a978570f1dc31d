"""The stick's screens and prompts, against a helper that only pretends to have a stick."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tests.tui import stick_helper
from tests.tui.driving import MODERN, PASSPHRASE, at, screen_text, until
from wizard.secrets import Secret
from wizard.stick import settings
from wizard.stick.client import Stick
from wizard.tui import flow
from wizard.tui.app import WizardApp
from wizard.tui.desk import Desk
from wizard.tui.onstick import OnStick
from wizard.tui.plain_stick import begin


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"phase": "absent", "passphrase": "", "told": []}))
    known = {"us": "English (US)", "de": "German"}
    monkeypatch.setattr(settings, "keyboards", lambda: known)
    return path


def on_stick(desk: Desk, state: Path) -> OnStick:
    return OnStick(desk, Stick([sys.executable, stick_helper.__file__, str(state)]))


def told(state: Path) -> list[list[str]]:
    found: list[list[str]] = json.loads(state.read_text())["told"]
    return found


def driven(
    app: WizardApp, first: flow.Step, drive: Callable[[Pilot[None], WizardApp], Awaitable[None]]
) -> None:
    app.desk.first_step = lambda: first  # type: ignore[method-assign]

    async def run() -> None:
        async with app.run_test(size=(80, 24)) as pilot:
            await at(pilot, first.id)
            await drive(pilot, app)

    asyncio.run(run())


async def fill(pilot: Pilot[None], **values: str) -> None:
    for name, value in values.items():
        field = pilot.app.screen.query_one(f"#{name}", Input)
        field.value = value
    await pilot.pause()


def test_from_keyboard_to_recovery_key(tmp_path: Path, state: Path) -> None:
    app = WizardApp(tmp_path / "home", MODERN)
    app.desk.stick = on_stick(app.desk, state)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await fill(pilot, keyboard="german", timezone="Europe/Berlin")
        await pilot.press("f2")
        await until(pilot, lambda: "'german' is not known" in screen_text(app))
        await fill(pilot, keyboard="de")
        await pilot.press("f2")
        await at(pilot, "volume")
        assert ["keyboard", "de"] in told(state)
        assert ["remember", "de", "Europe/Berlin", "C.UTF-8"] in told(state)
        assert "14.0 GB of Acme Flash" in screen_text(app)
        await fill(pilot, first="short", second="short")
        assert "5 of at least 12 characters" in screen_text(app)
        await pilot.press("f2")
        await until(pilot, lambda: "too weak" in screen_text(app))
        await fill(pilot, first=PASSPHRASE, second=PASSPHRASE)
        assert "strong" in screen_text(app)
        await pilot.press("f2")
        await at(pilot, "TypeName")
        assert stick_helper.KEY in screen_text(app)
        await fill(pilot, typed="34567")
        await pilot.press("enter")
        await at(pilot, "welcome")
        assert app.desk.session is not None
        assert stick_helper.KEY not in screen_text(app)

    driven(app, flow.STICK, drive)
    # both keys open the home that was made in the volume
    home = app.desk.open_home()
    home.unlock(Secret(PASSPHRASE))
    home.recover(Secret(stick_helper.KEY), Secret("another passphrase"))


def test_opened_forgotten_and_without(tmp_path: Path, state: Path) -> None:
    values = {"phase": "locked", "passphrase": PASSPHRASE, "told": []}
    state.write_text(json.dumps(values))
    app = WizardApp(tmp_path / "home", MODERN)
    app.desk.stick = on_stick(app.desk, state)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await fill(pilot, first="a wrong passphrase")
        await pilot.press("f2")
        await until(pilot, lambda: "wrong passphrase" in screen_text(app))
        await pilot.click("#without")
        await at(pilot, "Ask")
        assert "memory only" in screen_text(app)
        await pilot.press("escape")
        await at(pilot, "volume")
        await fill(pilot, first=PASSPHRASE)
        await pilot.press("f2")
        await at(pilot, "welcome")

    driven(app, flow.VOLUME, drive)


@pytest.mark.parametrize(("phase", "done"), [("absent", "made"), ("locked", "opened")])
def test_no_volume_on_a_write_protected_stick(
    tmp_path: Path, state: Path, phase: str, done: str
) -> None:
    """Neither front end asks for a passphrase that could not be used: both say why, what is lost,
    and go on in memory."""
    state.write_text(json.dumps({"phase": phase, "protected": True, "told": []}))
    app = WizardApp(tmp_path / "home", MODERN)
    app.desk.stick = on_stick(app.desk, state)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        shown = " ".join(screen_text(app).split())
        assert "(Acme Flash) is write-protected" in shown
        assert f"No encrypted volume can be {done}" in shown
        assert "all of it is lost" in shown
        assert not app.screen.query(Input)
        await pilot.press("f2")
        await at(pilot, "welcome")

    driven(app, flow.VOLUME, drive)
    person = Person(("Keyboard", "de"))
    begin(on_stick(Desk(tmp_path / "home"), state), person.heard.append, person.ask, person.ask)
    heard = "\n".join(person.heard)
    assert f"No encrypted volume can be {done}" in heard
    assert "all of it is lost" in heard
    assert not [
        asked for asked in ("Make the", "Open it", "assphrase (", "Enter to") if asked in heard
    ]
    assert not [command for command, *_ in told(state) if command in ("create", "open")]


class Person:
    """Answers prompts by how they begin, in turn."""

    def __init__(self, *replies: tuple[str, str]) -> None:
        self.replies = list(replies)
        self.heard: list[str] = []

    def ask(self, prompt: str) -> str:
        self.heard.append(prompt)
        if self.replies and prompt.startswith(self.replies[0][0]):
            return self.replies.pop(0)[1]
        return ""


def test_by_line_prompts(tmp_path: Path, state: Path) -> None:
    desk = Desk(tmp_path / "home")
    person = Person(
        ("Keyboard", "?"),
        ("Keyboard", "xx"),
        ("Keyboard", "de"),
        ("Make", "n"),
        ("Go on in memory only?", "n"),
        ("New passphrase", PASSPHRASE),
        ("The same", "something else"),
        ("New passphrase", PASSPHRASE),
        ("The same", PASSPHRASE),
        ("Its last five", "?"),
        ("Its last five", "34567"),
    )
    begin(on_stick(desk, state), person.heard.append, person.ask, person.ask)
    assert person.replies == []
    assert desk.session is not None
    heard = "\n".join(person.heard)
    assert stick_helper.KEY in heard
    assert "'xx' is not known" in heard
    assert "all of it is lost" in heard
    assert PASSPHRASE not in heard


def test_nothing_of_it_on_an_ordinary_computer(tmp_path: Path) -> None:
    assert Desk(tmp_path).first_step() is flow.STEPS[0]
