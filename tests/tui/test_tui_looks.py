"""Sizes and looks: every screen at every size, the console's colours, cursor and title."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from tests.tui.driving import (
    CONSOLE,
    STARTED,
    at,
    driven,
    focus,
    ran,
    rehearsal_draft,
    screen_text,
    step,
    type_in,
    until,
    wizard,
)
from wizard.operations.session import Session
from wizard.tui import flow
from wizard.tui.app import WizardApp
from wizard.tui.looks import is_console
from wizard.tui.screens.base import Move


async def every_screen(pilot: Pilot[None], app: WizardApp, look: Callable[[], None]) -> None:
    """Visit every screen and dialog, with help and errors shown."""
    look()
    await pilot.press("f1")
    await pilot.pause()
    look()
    await pilot.press("f1", "enter")
    await at(pilot, "mode")
    app.desk.draft = rehearsal_draft()
    app.desk.draft.set("mode", "production")
    app.desk.draft.set("webserver.count", 3)
    app.desk.draft.set("backups.periods", ["daily"])
    app.desk.draft.set("notifications.email", "a@example.org")
    # something wrong is shown, too
    await type_in(pilot, app.screen.rows["name"].widget, "UPPER")
    await pilot.press("f2")
    await pilot.pause()
    look()
    await type_in(pilot, app.screen.rows["name"].widget, "lower")
    for wanted in (known for known in flow.applying(app.desk.draft) if known.asks):
        if wanted.id != "mode":
            app.screen.finish(Move("go", wanted.id))
            await at(pilot, wanted.id)
        look()
        await pilot.press("f1")
        await pilot.pause()
        look()
    app.screen.finish(Move("go", "review"))
    await until(pilot, lambda: step(app) == "review")
    look()
    app.desk.draft = rehearsal_draft()
    app.screen.finish(Move("go", "mode"))
    await at(pilot, "mode")
    app.screen.finish(Move("go", "review"))
    await at(pilot, "review")
    await until(pilot, lambda: not app.screen.query_one("#next").disabled)
    look()
    await pilot.press("f3")
    await at(pilot, "SaveFile")
    look()
    await pilot.press("escape")
    await at(pilot, "review")
    app.desk.deployment = "demo"
    for name in ("deploy", "done", "dashboard"):
        app.screen.finish(Move("go", name))
        await at(pilot, name)
        await pilot.pause(0.3)
        look()


def test_the_console_look_uses_the_eight_dark_colours_only(session: Session) -> None:
    styles: set[str] = set()

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        assert app.theme == "ansi-dark"
        for _ in range(3):
            for strip in app.screen._compositor.render_strips():
                for segment in strip:
                    if segment.style:
                        styles.update(
                            str(color.number)
                            for color in (segment.style.color, segment.style.bgcolor)
                            if color is not None and color.number is not None
                        )
                        for color in (segment.style.color, segment.style.bgcolor):
                            assert color is None or color.triplet is None, (segment, step(app))
            await pilot.press("enter")
            await pilot.pause(0.2)

    driven(wizard(session, CONSOLE), drive)
    assert styles <= {str(number) for number in range(8)}


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (132, 50)])
def test_every_size_shows_every_screen(size: tuple[int, int], session: Session) -> None:
    ran(session, STARTED)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        def look() -> None:
            text = screen_text(app).splitlines()
            assert len(text) == size[1]

        await pilot.press("down")
        await every_screen(pilot, app, look)

    driven(wizard(session), drive, size)


def test_resized_to_40x12_and_back(session: Session) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "mode")
        before = screen_text(app)
        await pilot.resize_terminal(40, 12)
        await pilot.pause()
        assert "Name of the deployment" in screen_text(app)
        await pilot.press("tab", "tab", "tab")
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        await focus(pilot, app.screen.rows["name"])
        await pilot.pause()
        assert screen_text(app).splitlines()[4:] == before.splitlines()[4:]

    driven(wizard(session), drive)


@pytest.mark.parametrize(
    ("environ", "console"),
    [
        ({"TERM": "linux"}, True),
        ({"TERM": "vt220"}, True),
        ({}, True),
        ({"TERM": "xterm-256color"}, False),
        ({"TERM": "linux", "BUILD_USB_LOOK": "modern"}, False),
        ({"TERM": "xterm", "BUILD_USB_LOOK": "console"}, True),
    ],
)
def test_the_look_follows_the_terminal(environ: dict[str, str], console: bool) -> None:
    assert is_console(environ) is console


def test_the_cursor_follows_the_focus(session: Session) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "mode")
        for _ in range(5):
            focused = app.focused
            assert focused is not None
            await pilot.pause()
            x, y = app.cursor_position
            assert focused.region.contains(x, y), focused
            await pilot.press("tab")

    driven(wizard(session, CONSOLE), drive)


def test_the_title_says_where_one_is(session: Session) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "mode")
        assert "1 of 12" in str(app.screen.query_one("#way", Static).content)

    driven(wizard(session), drive)
