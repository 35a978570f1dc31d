"""Runs that were started: failed, vanished, refused, and destroying one."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from tests.tui.driving import (
    STARTED,
    at,
    driven,
    ran,
    rehearsal_draft,
    screen_text,
    step,
    to_step,
    until,
    wizard,
)
from wizard.events import Event, EventKind
from wizard.operations.session import Session
from wizard.tui.app import WizardApp
from wizard.tui.screens.base import Move


async def review(pilot: Pilot[None], app: WizardApp) -> None:
    """Go to the review of a rehearsal."""
    await pilot.press("enter")
    await at(pilot, "mode")
    app.desk.draft = rehearsal_draft()
    await to_step(pilot, "review")
    await until(pilot, lambda: not app.screen.query_one("#next").disabled)


def test_a_failed_run_says_why_and_what_can_be_done(session: Session) -> None:
    ran(
        session,
        STARTED,
        Event(EventKind.STEP_DONE, "10.0.0.0/24", step="network", seconds=1),
        Event(EventKind.STEP_FAILED, "no route", step="create", machine="web1"),
        Event(EventKind.RUN_FAILED, "web1 cannot be reached\n  why: no route"),
    )

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        app.desk.deployment = "demo"
        app.screen.finish(Move("go", "deploy"))
        await at(pilot, "deploy")
        await until(pilot, lambda: "FAILED" in screen_text(app))
        text = screen_text(app)
        assert "why: no route" in text
        assert "[ Try again ]" in text
        assert "[ Stop ]" not in text
        assert "100%" in text

    driven(wizard(session), drive)


def test_a_run_that_vanished_is_not_called_running(session: Session) -> None:
    ran(session, STARTED)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        app.desk.deployment = "demo"
        app.screen.finish(Move("go", "deploy"))
        await at(pilot, "deploy")
        await until(pilot, lambda: "without saying why" in screen_text(app))

    driven(wizard(session), drive)


def test_a_deployment_that_cannot_begin_says_why(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine really starts here, and really refuses: the passphrase is not the home's."""

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await review(pilot, app)
        await pilot.press("f2")
        await at(pilot, "Ask")
        assert "0.00 EUR" in screen_text(app)
        await pilot.press("right", "enter")
        await at(pilot, "deploy")
        await until(pilot, lambda: "FAILED" in screen_text(app))
        assert "passphrase" in screen_text(app)
        assert app.desk.run is not None
        app.desk.run.let_go()

    driven(wizard(session), drive)


def test_destroying_wants_the_name(session: Session) -> None:
    ran(session, STARTED)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "dashboard")
        await until(pilot, lambda: "Asking" not in screen_text(app))
        await pilot.press("end", "enter")
        await at(pilot, "TypeName")
        await pilot.press(*"dem", "enter")
        await pilot.pause()
        assert step(app) == "TypeName"
        await pilot.press("tab", "tab", "enter")
        await pilot.pause()
        assert step(app) == "TypeName"
        assert "Type demo to go on" in screen_text(app)
        await pilot.press("escape")
        await at(pilot, "dashboard")

    driven(wizard(session), drive)
