"""Drives the wizard by its keyboard, as a person would."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from textual import events
from textual.keys import _character_to_key
from textual.pilot import Pilot
from textual.widgets import Input

from wizard.answers import loader
from wizard.answers.model import Answers
from wizard.events import Event, EventKind
from wizard.operations.session import Session
from wizard.paths import config_templates
from wizard.tui import fields
from wizard.tui.app import WizardApp
from wizard.tui.draft import Draft
from wizard.tui.screens.base import Dialog, StepScreen
from wizard.tui.screens.checked import CheckedScreen
from wizard.tui.screens.form import FormScreen, Row
from wizard.tui.widgets import Choice

PASSPHRASE = "correct horse battery staple"
EXAMPLES = sorted(path.stem for path in (config_templates() / "answers").glob("*.yaml"))
MODERN = {"TERM": "xterm-256color"}
CONSOLE = {"TERM": "linux"}
DEADLINE = 60.0

Drive = Callable[[Pilot[None], WizardApp], Awaitable[None]]


def wizard(session: Session, look: dict[str, str] = MODERN) -> WizardApp:
    """Return the application with an open home."""
    app = WizardApp(session.home.path, look)
    app.desk.home = session.home
    app.desk.session = session
    return app


def driven(app: WizardApp, drive: Drive, size: tuple[int, int] = (80, 24)) -> None:
    """Run the application and drive it."""

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await at(pilot, "welcome")
            await drive(pilot, app)

    asyncio.run(run())


def rehearsal_draft() -> Draft:
    """Return the answers of the rehearsal, as a draft."""
    answers = example("rehearsal").model_dump(mode="json", exclude_defaults=True)
    answers.pop("version", None)
    return Draft({"mode": "development", **answers})


async def until(pilot: Pilot[None], true: Callable[[], bool]) -> None:
    """Wait until something is so; fails after a deadline."""
    ends = time.monotonic() + DEADLINE
    while not true():
        if time.monotonic() > ends:
            app = pilot.app
            assert isinstance(app, WizardApp)
            raise app._exception or AssertionError(f"not so in {DEADLINE} s:\n{screen_text(app)}")
        await pilot.pause(0.01)
    await pilot.pause()


def step(app: WizardApp) -> str:
    """Return the id of the step that is shown, or the name of a dialog's class."""
    screen = app.screen
    return screen.step.id if isinstance(screen, StepScreen) else type(screen).__name__


async def at(pilot: Pilot[None], wanted: str) -> None:
    """Wait for a step, or for a dialog by its class's name."""
    app = pilot.app
    assert isinstance(app, WizardApp)
    await until(pilot, lambda: step(app) == wanted and app.screen.is_mounted)
    await until(pilot, lambda: isinstance(app.screen, StepScreen | Dialog))


async def to_step(pilot: Pilot[None], wanted: str, most: int = 20) -> None:
    """Press F2 until a step is reached."""
    app = pilot.app
    assert isinstance(app, WizardApp)
    for _ in range(most):
        if step(app) == wanted:
            return
        await onward(pilot)
    raise AssertionError(f"{wanted} was not reached")


async def press(pilot: Pilot[None], *keys: str) -> None:
    """Press keys as fast as they are handled; `pilot.press` waits 40 ms or more after each."""
    app = pilot.app
    driver = app._driver
    assert driver is not None
    for key in keys:
        name = _character_to_key(key) if len(key) == 1 else key
        driver.send_message(events.Key(name, key if len(key) == 1 else None))
    # to the application, from there to what has the focus, from there what it says of it
    for _ in range(3):
        await pilot._wait_for_screen()


async def onward(pilot: Pilot[None]) -> None:
    """Press F2 until another step is shown: twice where a check says that something is wrong."""
    app = pilot.app
    assert isinstance(app, WizardApp)
    present = step(app)
    await pilot.press("f2")
    await until(pilot, lambda: step(app) not in (present, "Screen") or held(app))
    if step(app) == present:
        await pilot.press("f2")
        await until(pilot, lambda: step(app) not in (present, "Screen"))


def held(app: WizardApp) -> bool:
    """Say whether the end of a check is shown, and the step waits to be left all the same."""
    return isinstance(app.screen, CheckedScreen) and app.screen.told


async def focus(pilot: Pilot[None], row: Row) -> None:
    """Press Tab until a question has the focus."""
    for _ in range(60):
        if pilot.app.focused is row.widget:
            return
        await press(pilot, "tab")
    raise AssertionError(f"{row.field.key} cannot be reached by Tab")


async def answer(pilot: Pilot[None], row: Row, value: object) -> None:
    """Answer one question by keyboard."""
    await focus(pilot, row)
    widget = row.widget
    if isinstance(widget, Choice):
        target = widget.values.index(value)
        while (widget.highlighted or 0) != target:
            await press(pilot, "down" if (widget.highlighted or 0) < target else "up")
        await press(pilot, "space")
        await until(pilot, lambda: bool(widget.value == value))
        return
    assert isinstance(widget, Input)
    await type_in(pilot, widget, fields.to_text(row.field, value))


async def type_in(pilot: Pilot[None], widget: Input, text: str) -> None:
    """Replace what is in an input."""
    # keys that are no text take the long way through the bindings, and would come after it
    await press(pilot, "home", "shift+end", "delete")
    await until(pilot, lambda: not widget.value)
    await press(pilot, *text)
    await until(pilot, lambda: widget.value == text)


def value_of(answers: Answers, key: str) -> object:
    """Return the value at a key as plain data, None where its section is not there."""
    place: object = answers.model_dump(mode="json")
    for part in key.split("."):
        if not isinstance(place, dict):
            return None
        place = place.get(part)
    return place


async def fill(pilot: Pilot[None], answers: Answers) -> None:
    """Answer every question of the shown step as `answers` do."""
    screen = pilot.app.screen
    assert isinstance(screen, FormScreen)
    # the focus is set when the screen is there
    await until(pilot, lambda: pilot.app.focused is not None)
    done: set[str] = set()
    while True:
        # an answer may show or hide what comes after it
        rows = [row for row in screen.shown if row.field.key not in done]
        if not rows:
            return
        row = rows[0]
        done.add(row.field.key)
        value = value_of(answers, row.field.key)
        present = screen.desk.draft.get(row.field.key, row.field.default)
        if isinstance(present, tuple):
            present = list(present)
        if present != value:
            await answer(pilot, row, value)
            await pilot.pause()


def example(name: str) -> Answers:
    """Return ready-made answers."""
    return loader.load(config_templates() / "answers" / f"{name}.yaml")


def screen_text(app: WizardApp) -> str:
    """Return what is drawn, line by line."""
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in lines)


def saved(path: Path) -> str:
    """Return an answers file as it is written, comments of hand-written ones left out."""
    return loader.dumps(loader.load(path))


def ran(session: Session, *found: Event) -> None:
    """Make a deployment whose run said this."""
    deployment = session.home.deployment("demo")
    deployment.create()
    loader.save(example("rehearsal"), deployment.answers_file)
    deployment.events_file.write_text("".join(event.to_json() + "\n" for event in found))


STEPS = [
    {"id": "network", "title": "private network", "machine": "", "expected": 1, "needs": []},
    {
        "id": "create",
        "title": "create web1",
        "machine": "web1",
        "expected": 9,
        "needs": ["network"],
    },
]
STARTED = Event(EventKind.RUN_STARTED, "deploy demo", data={"steps": STEPS})
