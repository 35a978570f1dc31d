"""The screens by keyboard, at 80x24 unless a test says otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from tests.tui.driving import (
    CONSOLE,
    EXAMPLES,
    MODERN,
    PASSPHRASE,
    at,
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
from wizard.events import Event, EventKind
from wizard.operations.session import Session
from wizard.paths import config_templates
from wizard.tui import flow
from wizard.tui.app import WizardApp
from wizard.tui.draft import Draft
from wizard.tui.looks import is_console
from wizard.tui.screens.base import Move
from wizard.tui.screens.form import FormScreen
from wizard.tui.widgets import Choice

Drive = Callable[[Pilot[None], WizardApp], Awaitable[None]]


def driven(app: WizardApp, drive: Drive, size: tuple[int, int] = (80, 24)) -> None:
    """Run the application and drive it."""

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await at(pilot, "welcome")
            await drive(pilot, app)

    asyncio.run(run())


def rehearsal_draft() -> Draft:
    answers = example("rehearsal").model_dump(mode="json", exclude_defaults=True)
    answers.pop("version", None)
    return Draft({"mode": "development", **answers})


async def review(pilot: Pilot[None], app: WizardApp) -> None:
    """Go to the review of a rehearsal."""
    await pilot.press("enter")
    await at(pilot, "mode")
    app.desk.draft = rehearsal_draft()
    await to_step(pilot, "review")
    await until(pilot, lambda: not app.screen.query_one("#next").disabled)


# -- journeys ------------------------------------------------------------------------------------


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
        assert "Not yet; works in this version: development" in text

    driven(wizard(session), drive)


def test_what_this_version_cannot_do_is_refused_by_name(session: Session, tmp_path: Path) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "mode")
        app.desk.draft = rehearsal_draft()
        app.desk.draft.set("application.kind", "moodle")
        await to_step(pilot, "review")
        await until(pilot, lambda: "cannot be deployed" in screen_text(app))
        text = screen_text(app)
        assert "application.kind: asked for 'moodle'" in text
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


def test_quitting_saves_what_was_typed(session: Session) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "mode")
        await pilot.press(*"shop", "ctrl+q")

    driven(wizard(session), drive)
    found = Draft.load(session.home.path / "draft.yaml")
    assert found is not None
    assert (found.get("name"), found.step) == ("shop", "mode")


# -- a run ---------------------------------------------------------------------------------------


def events(session: Session, *found: Event) -> None:
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


def test_a_failed_run_says_why_and_what_can_be_done(session: Session) -> None:
    events(
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
    events(session, STARTED)

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
    events(session, STARTED)

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


# -- sizes and looks -----------------------------------------------------------------------------

# ASCII, Latin-1 and what both Debian's Lat15 fonts and kbd's default8x16 have
SAFE = {chr(code) for code in (*range(0x20, 0x7F), *range(0xA1, 0x100))}
SAFE |= set("─│┌┐└┘├┤┬┴┼═║╔╗╚╝█░▒■▲▼▶◀←↑→↓•") | {"\u00a0", "\n"}


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


def test_the_console_look_draws_safe_glyphs_only(session: Session) -> None:
    events(session, STARTED, Event(EventKind.STEP_FAILED, "no", step="create"))
    found: dict[str, str] = {}

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        def look() -> None:
            for glyph in set(screen_text(app)) - SAFE:
                found[glyph] = step(app)

        await pilot.press("down")  # the deployment is the first entry
        await every_screen(pilot, app, look)

    driven(wizard(session, CONSOLE), drive)
    assert found == {}


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
    events(session, STARTED)

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
