"""From the first key to answers: typed, kept, continued, opened, saved. By keyboard, at 80x24."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tests.tui.driving import (
    EXAMPLES,
    MODERN,
    PASSPHRASE,
    at,
    driven,
    example,
    fill,
    focus,
    onward,
    saved,
    screen_text,
    step,
    to_step,
    type_in,
    until,
    wizard,
)
from wizard.answers import loader
from wizard.answers.loader import load
from wizard.operations.session import Session
from wizard.paths import config_templates
from wizard.tui.app import WizardApp
from wizard.tui.draft import Draft


@pytest.mark.parametrize("name", EXAMPLES)
def test_typing_an_example_gives_the_identical_file(
    name: str, session: Session, tmp_path: Path
) -> None:
    wanted = example(name)
    target = tmp_path / "typed.yaml"

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "mode")
        while step(app) != "review":
            await fill(pilot, wanted)
            await onward(pilot)
        await pilot.press("f3")
        await at(pilot, "SaveFile")
        await type_in(pilot, app.screen.query_one(Input), str(target))
        await pilot.press("enter")
        await at(pilot, "review")

    driven(wizard(session), drive)
    assert target.read_text() == loader.dumps(wanted)
    assert saved(target) == saved(config_templates() / "answers" / f"{name}.yaml")


def test_a_new_home_from_the_first_key(tmp_path: Path) -> None:
    home = tmp_path / "home"

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        assert not home.exists()
        await pilot.press("enter")
        await at(pilot, "home")
        assert not home.exists()
        await pilot.press(*"short", "enter", *"short", "enter")
        await until(pilot, lambda: "too weak" in screen_text(app))
        await type_in(pilot, app.screen.query_one("#first", Input), PASSPHRASE)
        await pilot.press("enter")
        await type_in(pilot, app.screen.query_one("#second", Input), PASSPHRASE + "x")
        await pilot.press("enter")
        assert "differ" in screen_text(app)
        assert PASSPHRASE not in screen_text(app)
        await pilot.press("tab")
        await type_in(pilot, app.screen.query_one("#second", Input), PASSPHRASE)
        await pilot.press("enter")
        await at(pilot, "mode")

    driven(WizardApp(home, MODERN), drive)
    assert (home / "identity.age").is_file()


def test_a_wrong_passphrase_is_said_and_may_be_typed_again(session: Session) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "home")
        await pilot.press(*"wrong wrong wrong", "enter")
        await until(pilot, lambda: "wrong passphrase" in screen_text(app))
        await type_in(pilot, app.screen.query_one("#first", Input), PASSPHRASE)
        await pilot.press("enter")
        await at(pilot, "mode")

    driven(WizardApp(session.home.path, MODERN), drive)


# -- back, forward, killed and continued ---------------------------------------------------------


def test_back_and_forward_keep_everything(session: Session) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "mode")
        await pilot.press(*"shop", "f2")
        await at(pilot, "provider")
        await pilot.press("escape")
        await at(pilot, "mode")
        assert "shop" in screen_text(app)
        await to_step(pilot, "domain")
        zone = app.screen.rows["dns.zone"]
        await focus(pilot, zone)
        # not right, and yet not lost
        await type_in(pilot, zone.widget, "Not A Zone")
        await pilot.press("escape")
        await at(pilot, "sizes")
        await pilot.press("f2")
        await at(pilot, "domain")
        assert "Not A Zone" in screen_text(app)
        await pilot.press("f2")
        await pilot.pause()
        assert step(app) == "domain"
        assert "allowed" in screen_text(app)

    driven(wizard(session), drive)


def test_a_killed_wizard_continues_where_it_was(session: Session) -> None:
    async def first(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "mode")
        await pilot.press(*"shop")
        await to_step(pilot, "domain")

    driven(wizard(session), first)

    async def second(pilot: Pilot[None], app: WizardApp) -> None:
        assert "Continue with the unfinished answers" in screen_text(app)
        await pilot.press("enter")
        await at(pilot, "domain")
        assert app.desk.draft.get("name") == "shop"
        await pilot.press("escape")
        await at(pilot, "sizes")

    driven(wizard(session), second)


def test_beginning_anew_asks_before_it_forgets(session: Session) -> None:
    Draft({"name": "shop"}, step="domain").save(session.home.path / "draft.yaml")

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("down", "enter")
        await at(pilot, "Ask")
        await pilot.press("escape")
        await at(pilot, "welcome")
        await pilot.press("enter")
        await at(pilot, "Ask")
        await pilot.press("right", "enter")
        await at(pilot, "mode")
        assert app.desk.draft.get("name") == "demo"

    driven(wizard(session), drive)


def test_a_damaged_draft_is_explained(session: Session) -> None:
    (session.home.path / "draft.yaml").write_text("- [")

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "Tell")
        assert "damaged" in screen_text(app)
        await pilot.press("enter")
        await at(pilot, "welcome")

    driven(wizard(session), drive)


def test_saved_answers_are_opened_changed_and_saved(session: Session, tmp_path: Path) -> None:
    target = tmp_path / "changed.yaml"

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("down", "enter")
        await at(pilot, "OpenFile")
        await pilot.press(*["tab"] * 1)
        await type_in(
            pilot,
            app.screen.query_one("#path", Input),
            str(config_templates() / "answers" / "rehearsal.yaml"),
        )
        await pilot.press("enter")
        await at(pilot, "mode")
        await type_in(pilot, app.screen.rows["name"].widget, "shop")
        await to_step(pilot, "review")
        await pilot.press("f3")
        await at(pilot, "SaveFile")
        await type_in(pilot, app.screen.query_one(Input), str(target))
        await pilot.press("tab", "right", "enter")
        await at(pilot, "review")

    driven(wizard(session), drive)
    wanted = (config_templates() / "answers" / "rehearsal.yaml").read_text()
    assert load(target) == loader.loads(wanted.replace("name: demo", "name: shop"), "wanted")


def test_a_wrong_file_is_explained_with_all_its_problems(session: Session, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nname: UPPER\nmode: none\n")

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("down", "enter")
        await at(pilot, "OpenFile")
        await pilot.press("tab")
        await type_in(pilot, app.screen.query_one("#path", Input), str(bad))
        await pilot.press("enter")
        await at(pilot, "Tell")
        text = screen_text(app)
        assert "bad.yaml:2" in text
        assert "bad.yaml:3" in text

    driven(wizard(session), drive)


# -- forms ---------------------------------------------------------------------------------------


def test_quitting_saves_what_was_typed(session: Session) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "mode")
        await pilot.press(*"shop", "ctrl+q")

    driven(wizard(session), drive)
    found = Draft.load(session.home.path / "draft.yaml")
    assert found is not None
    assert (found.get("name"), found.step) == ("shop", "mode")
