"""Questions on the screen: what is wrong, help, choices, what cannot be done yet."""

from __future__ import annotations

from pathlib import Path

from textual.pilot import Pilot

from tests.tui.driving import (
    at,
    driven,
    focus,
    rehearsal_draft,
    screen_text,
    step,
    to_step,
    type_in,
    until,
    wizard,
)
from wizard.operations.session import Session
from wizard.tui import flow
from wizard.tui.app import WizardApp
from wizard.tui.draft import Draft
from wizard.tui.screens.form import FormScreen
from wizard.tui.widgets import Choice


def test_what_is_wrong_is_said_under_the_field_and_goes_when_it_is_right(session: Session) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "mode")
        row = app.screen.rows["name"]
        await type_in(pilot, row.widget, "UPPER")
        await pilot.press("f2")
        await pilot.pause()
        assert step(app) == "mode"
        lines = screen_text(app).splitlines()
        below = next(n for n, line in enumerate(lines) if "UPPER" in line)
        assert "found 'UPPER'; allowed" in lines[below + 1]
        await type_in(pilot, row.widget, "lower")
        await pilot.pause()
        assert "allowed" not in screen_text(app)

    driven(wizard(session), drive)


def test_every_field_has_help(session: Session) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "mode")
        app.desk.draft = rehearsal_draft()
        for wanted in flow.applying(app.desk.draft):
            if not wanted.asks:
                continue
            await to_step(pilot, wanted.id)
            screen = app.screen
            assert isinstance(screen, FormScreen)
            for row in screen.shown:
                await focus(pilot, row)
                assert row.field.meaning in screen.help_text()
                assert f"file: {row.field.key}" in screen.help_text()
        await pilot.press("f1")
        await pilot.pause()
        assert "In the answers file: notifications" in screen_text(app)
        await pilot.press("f1")
        await pilot.pause()
        assert "In the answers file" not in screen_text(app)

    driven(wizard(session), drive)


def test_choices_are_made_by_arrows_and_space_only(session: Session) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "mode")
        mode = app.screen.rows["mode"].widget
        assert isinstance(mode, Choice)
        await focus(pilot, app.screen.rows["mode"])
        # passing through changes nothing
        await pilot.press("down", "down")
        assert app.focused is not mode
        assert mode.value == "development"
        await pilot.press("up", "down", "space")
        await pilot.pause()
        assert mode.value == "production"
        text = screen_text(app)
        assert "(*) production" in text
        assert "scaler1" in text

    driven(wizard(session), drive)


def test_what_this_version_cannot_do_is_refused_by_name(session: Session, tmp_path: Path) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "mode")
        app.desk.draft = rehearsal_draft()
        app.desk.draft.set("webserver.kind", "apache")
        await to_step(pilot, "review")
        await until(pilot, lambda: "cannot be deployed" in screen_text(app))
        text = screen_text(app)
        assert "webserver.kind: asked for 'apache'" in text
        await pilot.press("f2")
        await pilot.pause()
        assert step(app) == "review"

    driven(wizard(session), drive)


def test_unfinished_answers_lead_back_to_the_question(session: Session) -> None:
    Draft({"name": "shop"}, step="review").save(session.home.path / "draft.yaml")

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "review")
        assert "not complete" in screen_text(app)
        await pilot.press("enter")
        await at(pilot, "provider")

    driven(wizard(session), drive)
