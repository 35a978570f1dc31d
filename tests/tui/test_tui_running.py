"""The end of the way by keyboard: a run that fails, a site that is there, what runs."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.tui.driving import (
    CONSOLE,
    MODERN,
    PASSPHRASE,
    at,
    example,
    focus,
    screen_text,
    step,
    type_in,
    until,
    wizard,
)
from wizard.answers import loader
from wizard.engine import state as states
from wizard.engine.state import MachineState, State
from wizard.events import Event, EventKind
from wizard.home.home import DeploymentHome
from wizard.home.lock import locked
from wizard.operations.session import Session
from wizard.operations.status import MachineStatus, Status
from wizard.rules import Role
from wizard.secrets import Secret
from wizard.tui import qr
from wizard.tui.app import WizardApp
from wizard.tui.desk import Desk
from wizard.tui.screens import running
from wizard.tui.screens.base import Move
from wizard.tui.screens.dashboard import entries

Drive = Callable[[Pilot[None], WizardApp], Awaitable[None]]

STEPS = [
    {"id": "network", "title": "private network", "machine": "", "expected": 1, "needs": []},
    {
        "id": "create",
        "title": "create",
        "machine": "web1",
        "expected": 59,
        "needs": ["network"],
    },
]
STARTED = Event(EventKind.RUN_STARTED, "deploy demo", data={"steps": STEPS})
PARTS = {
    "what": "nginx does not start",
    "where": "web1",
    "why": "\n".join(f"line {number} of its log" for number in range(40)),
    "cure": "look at it: build-usb ssh web1",
}
FAILED = (
    STARTED,
    Event(EventKind.STEP_STARTED, "create", step="create", machine="web1"),
    Event(EventKind.STEP_FAILED, "nginx does not start", step="create", machine="web1"),
    Event(EventKind.RUN_FAILED, "web1: nginx does not start", data=PARTS),
)
STATE = State(
    deployment="demo",
    bucket="b",
    provider="local",
    hosts=("www.rehearsal.test",),
    application="wordpress",
    admin_user="editor",
    url="https://127.77.0.11/",
    machines={
        name: MachineState(name, name, role, "10.77.0.11", "10.77.0.11", "127.77.0.11")
        for name, role in (("web1", Role.WEBSERVER), ("db1", Role.DATABASE))
    },
)


def driven(app: WizardApp, drive: Drive, size: tuple[int, int] = (80, 24)) -> None:
    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await at(pilot, "welcome")
            app.desk.deployment = "demo"
            await drive(pilot, app)

    asyncio.run(run())


@pytest.fixture
def deployed(session: Session) -> DeploymentHome:
    """A deployment as a finished run leaves it in the home."""
    deployment = session.home.deployment("demo")
    deployment.create()
    loader.save(example("rehearsal"), deployment.answers_file)
    states.save(deployment.state_file, STATE)
    return deployment


def told(deployment: DeploymentHome, *found: Event) -> None:
    deployment.events_file.write_text("".join(event.to_json() + "\n" for event in found))


def offered(mode: str) -> list[str]:
    return [key for key, _ in entries(mode)]


async def go(pilot: Pilot[None], app: WizardApp, name: str) -> None:
    app.screen.finish(Move("go", name))
    await at(pilot, name)


# -- a run ---------------------------------------------------------------------------------------


def test_a_run_shows_what_happens_now_and_how_long_it_takes(
    session: Session, deployed: DeploymentHome
) -> None:
    progress = Event(EventKind.PROGRESS, "nginx", step="create", machine="web1", done=1, total=2)
    told(deployed, *FAILED[:2], progress)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await go(pilot, app, "deploy")
        await until(pilot, lambda: "of about 1:00" in screen_text(app))
        text = screen_text(app)
        assert re.search(r"web1 +█{10}░{10} +50%  create: nginx", text)
        assert "[ Leave it running ]" in text
        assert "[ Try again ]" not in text

    with locked(deployed.folder / "lock", "deploy demo"):
        driven(wizard(session), drive)


def test_a_failure_says_what_where_why_and_cure_and_all_of_it_can_be_read(
    session: Session, deployed: DeploymentHome
) -> None:
    told(deployed, *FAILED)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await go(pilot, app, "deploy")
        await until(pilot, lambda: "FAILED after" in screen_text(app))
        text = screen_text(app)
        for part in ("nginx does not start", "create on web1", "line 0 of its log"):
            assert part in text
        for button in ("Leave for later", "Destroy", "Shell on web1", "Log", "Try again"):
            assert f"[ {button} ]" in text
        assert app.focused is app.screen.query_one("#again")
        assert "What to do: look at it" in text
        assert "line 39 of its log" not in text
        app.screen.query_one("#body").focus()
        await pilot.press("end")
        await until(pilot, lambda: "line 39 of its log" in screen_text(app))

    driven(wizard(session), drive)


def test_the_log_is_opened_scrolled_and_closed(session: Session, deployed: DeploymentHome) -> None:
    lines = [Event(EventKind.LOG, f"word {number}", step="network") for number in range(100)]
    told(deployed, STARTED, *lines, *FAILED[1:])

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await go(pilot, app, "deploy")
        await until(pilot, lambda: "FAILED after" in screen_text(app))
        assert "word 99" not in screen_text(app)
        await pilot.press("f4")
        await until(pilot, lambda: "word 99" in screen_text(app))
        await pilot.press("home")
        await until(pilot, lambda: "word 0" in screen_text(app))
        # out of the log, not out of the screen
        await pilot.press("escape")
        await until(pilot, lambda: "What to do" in screen_text(app))
        assert step(app) == "deploy"
        assert app.focused is app.screen.query_one("#again")
        await pilot.press("escape")
        await at(pilot, "welcome")

    driven(wizard(session), drive)


def test_a_step_that_failed_is_shown_while_others_still_end(
    session: Session, deployed: DeploymentHome
) -> None:
    told(deployed, *FAILED[:3])

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await go(pilot, app, "deploy")
        await until(pilot, lambda: "a step FAILED" in screen_text(app))

    with locked(deployed.folder / "lock", "deploy demo"):
        driven(wizard(session), drive)


def test_trying_again_asks_for_the_passphrase_where_it_is_not_known(
    session: Session, deployed: DeploymentHome
) -> None:
    told(deployed, *FAILED)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await go(pilot, app, "deploy")
        await until(pilot, lambda: "FAILED after" in screen_text(app))
        await pilot.press("enter")
        await at(pilot, "home")
        await pilot.press(*PASSPHRASE, "enter")
        await at(pilot, "deploy")
        assert app.desk.session is not None

    driven(WizardApp(session.home.path, MODERN), drive)


def test_a_failed_deployment_can_be_destroyed_by_its_name(
    session: Session, deployed: DeploymentHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(deployed, *FAILED)
    started: list[str] = []

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        monkeypatch.setattr(app.desk, "start", lambda *words: started.append(words[0]))
        await go(pilot, app, "deploy")
        await until(pilot, lambda: "FAILED after" in screen_text(app))
        app.screen.query_one("#destroy").focus()
        await pilot.press("enter")
        await at(pilot, "TypeName")
        await pilot.press(*"demo", "enter")
        await until(pilot, lambda: started == ["destroy"])

    driven(wizard(session), drive)


def test_a_run_that_could_not_begin_is_repeated_and_never_a_destroy(session: Session) -> None:
    app = wizard(session)
    desk = app.desk
    desk.deployment = "demo"
    started: list[tuple[object, ...]] = []
    start = desk.start

    def note(*words: str | Path) -> None:
        started.append(words)
        desk._words, desk._started = words, desk.deployment

    desk.start = note  # type: ignore[method-assign]
    assert start
    desk.start("deploy", Path("new.yaml"), "--json")
    desk.repeat("deploy demo")
    assert started[-1][1] == Path("new.yaml")
    desk.destroy()
    desk.repeat("deploy demo")
    assert started[-1][:2] == ("deploy", desk.folder().answers_file)


def test_a_shell_suspends_the_wizard_and_its_failure_can_be_read(
    session: Session, deployed: DeploymentHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell itself is met in a real terminal: here the wizard has none to hand over."""
    told(deployed, *FAILED)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await go(pilot, app, "deploy")
        await until(pilot, lambda: "FAILED after" in screen_text(app))
        app.screen.query_one("#shell").focus()
        await pilot.press("enter")
        await until(pilot, lambda: "build-usb ssh web1" in screen_text(app))

    driven(wizard(session), drive)


# -- the end -------------------------------------------------------------------------------------


def decoded(lines: list[str], folder: Path, cell: tuple[int, int], ink: dict[str, int]) -> str:
    """Return what a scanner reads off a screen with these characters, black on white."""
    wide, high = cell
    rows = []
    for line in lines:
        for y in range(high):
            part = 1 if y < high // 2 else 2
            rows.append(b"".join((b"\0" if ink.get(c, 0) & part else b"\xff") * wide for c in line))
    picture = folder / "code.pgm"
    # the dark screen around it
    margin = 20
    width = len(rows[0]) + 2 * margin
    edge = [b"\x20" * width] * margin
    body = [b"\x20" * margin + row + b"\x20" * margin for row in rows]
    data = b"".join([*edge, *body, *edge])
    picture.write_bytes(b"P5 %d %d 255\n" % (width, len(data) // width) + data)
    return subprocess.run(
        ["zbarimg", "--quiet", "--raw", picture], capture_output=True, text=True, check=True
    ).stdout.strip()


INK = {"▀": 1, "▄": 2, "█": 3}


@pytest.mark.parametrize("halves", [True, False])
@pytest.mark.parametrize(
    "url", ["https://127.77.0.11/", "https://www.a-much-longer-name-of-a-site.example.org/"]
)
def test_the_code_on_the_screen_is_read_by_a_scanner(
    url: str, halves: bool, tmp_path: Path
) -> None:
    lines = qr.drawn(url, halves=halves)
    # a character of a console is twice as high as wide
    assert decoded(lines, tmp_path, (4, 8), INK) == url


@pytest.mark.parametrize(
    ("look", "size", "shown"),
    [
        (MODERN, (80, 24), True),
        (MODERN, (60, 24), False),
        (MODERN, (80, 16), False),
        (CONSOLE, (80, 25), False),
        (CONSOLE, (128, 48), True),
    ],
)
def test_the_code_is_shown_whole_or_not_at_all(
    look: dict[str, str],
    size: tuple[int, int],
    shown: bool,
    session: Session,
    deployed: DeploymentHome,
    tmp_path: Path,
) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await go(pilot, app, "done")
        await pilot.pause()
        code = app.screen.query_one("#code")
        assert code.display is shown
        text = screen_text(app)
        assert "https://127.77.0.11/wp-login.php" in text
        if shown:
            left, top, wide, high = code.region
            lines = [line[left : left + wide] for line in text.splitlines()[top : top + high]]
            assert decoded(lines, tmp_path, (4, 8), INK) == STATE.url
        if look is CONSOLE:
            assert not set(text) & set("▀▄")

    driven(wizard(session, look), drive, size)


def test_the_password_is_shown_on_request_only(session: Session, deployed: DeploymentHome) -> None:
    session.secrets(deployed).set("admin_password", Secret("made-for-this-site"))

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await go(pilot, app, "done")
        assert "made-for-this-site" not in screen_text(app)
        await pilot.press("f3")
        await until(pilot, lambda: "made-for-this-site" in screen_text(app))
        await pilot.press("f3")
        await until(pilot, lambda: "made-for-this-site" not in screen_text(app))

    driven(wizard(session), drive)


# -- what runs -----------------------------------------------------------------------------------

HEALTH = {
    "load": [0.25, 0.1, 0.1],
    "memory_available": 750,
    "memory_total": 1000,
    "disk_used": 7,
    "uptime": 7300,
}
STATUS = Status(
    deployment="demo",
    url="https://127.77.0.11/",
    site="HTTP 200 in 40 ms",
    dns="www.rehearsal.test -> 10.77.0.11",
    machines=(
        MachineStatus(
            "web1",
            "webserver",
            "10.77.0.11",
            "running",
            {"health": {**HEALTH, "certificate_days": 89}},
        ),
        MachineStatus("db1", "database", "10.77.0.12", "stopped", {}, ("it is stopped",)),
    ),
)


def test_the_dashboard_shows_each_machine_and_asks_again_by_itself(
    session: Session, deployed: DeploymentHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def status(*_: object) -> Status:
        asked.append(1)
        return replace(STATUS, site=f"HTTP 200 in {len(asked)} ms")

    monkeypatch.setattr("wizard.operations.status.status", status)
    monkeypatch.setattr("wizard.tui.screens.dashboard.EVERY", 0.2)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await go(pilot, app, "dashboard")
        await until(pilot, lambda: "HTTP 200 in 3 ms" in screen_text(app))
        text = screen_text(app)
        assert "NOT HEALTHY" in text
        assert "valid for 89 more days" in text
        assert re.search(r"web1 +webserver +running +10\.77\.0\.11 +0\.25 +25% +7% +2 h", text)
        assert "problem: it is stopped" in text

    driven(wizard(session), drive)


def test_the_dashboard_is_not_blocked_by_a_cloud_that_does_not_answer(
    session: Session, deployed: DeploymentHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()

    def status(*_: object) -> Status:
        answered.wait(20)
        raise RuntimeError("odd")

    monkeypatch.setattr("wizard.operations.status.status", status)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await go(pilot, app, "dashboard")
        await pilot.press("down", "down")
        await until(pilot, lambda: app.screen.query_one("#menu").highlighted == 2)
        assert "Asking" in screen_text(app)
        answered.set()
        # a fault in asking ends neither the screen nor the wizard
        await until(pilot, lambda: "could not be asked: RuntimeError" in screen_text(app))

    driven(wizard(session), drive)


def test_a_number_of_webservers_is_asked_for(
    session: Session, deployed: DeploymentHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("wizard.operations.status.status", lambda *_: STATUS)
    monkeypatch.setattr("wizard.operations.scaling.ask", lambda _s, _d, what: asked.append(what))

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        async def choose() -> None:
            app.screen.query_one("#menu").focus()
            app.screen.query_one("#menu").highlighted = offered("production").index("scale")
            await pilot.press("enter")

        await go(pilot, app, "dashboard")
        # there are no autoscalers in development
        assert "Webservers: more" not in screen_text(app)
        await go(pilot, app, "welcome")
        text = deployed.answers_file.read_text().replace("mode: development", "mode: production")
        assert "mode: production" in text
        deployed.answers_file.write_text(
            f"{text}\nwebserver: {{count: 2}}\nscaling: {{minimum: 2, maximum: 3}}\n"
        )
        await go(pilot, app, "dashboard")
        await choose()
        await until(pilot, lambda: "3 webservers" in screen_text(app))
        await pilot.press("end", "enter")
        await until(pilot, lambda: "Asked for: 3 webservers" in screen_text(app))

    driven(wizard(session), drive)
    assert asked == ["3"]


def test_restore_points_are_listed_made_and_put_back(
    session: Session, deployed: DeploymentHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [
        {"name": "daily-2026-11-20", "whole": True},
        {"name": "daily-2026-11-21", "whole": False},
        {"name": "daily-2026-11-22", "whole": True},
    ]
    started: list[tuple[str, ...]] = []
    monkeypatch.setattr("wizard.operations.status.status", lambda *_: STATUS)
    monkeypatch.setattr("wizard.operations.points.points", lambda *_: known)
    monkeypatch.setattr(Desk, "start", lambda _desk, *words: started.append(words))

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        async def open_points() -> None:
            await go(pilot, app, "dashboard")
            menu = app.screen.query_one("#menu")
            menu.highlighted = offered("development").index("backup")
            await pilot.press("enter")
            await until(pilot, lambda: "Restore points of demo" in screen_text(app))

        await open_points()
        text = screen_text(app)
        assert text.index("daily-2026-11-22") < text.index("daily-2026-11-20")
        assert "daily-2026-11-21" not in text
        await pilot.press("enter")
        await until(pilot, lambda: started == [("backup", "demo", "--json")])
        await open_points()
        await pilot.press("down", "enter")
        await until(pilot, lambda: "Type demo to go on" in screen_text(app))
        await pilot.press(*"demo", "enter")
        await until(pilot, lambda: len(started) == 2)
        words = ("restore", "daily-2026-11-22", "--deployment", "demo", "--yes", "--json")
        assert started[1] == words

    driven(wizard(session), drive)


def test_changed_answers_show_what_they_change(
    session: Session, deployed: DeploymentHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wizard.operations.status.status", lambda *_: STATUS)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await go(pilot, app, "dashboard")
        await pilot.press("down", "down", "enter")
        await at(pilot, "mode")
        await go(pilot, app, "application")
        title = app.screen.rows["application.title"]
        await focus(pilot, title)
        await type_in(pilot, title.widget, "Another title")
        await go(pilot, app, "review")
        await until(pilot, lambda: "What changes against what runs" in screen_text(app))
        text = screen_text(app)
        assert "application.title: 'My first site' -> 'Another title'" in text
        assert "! application.title: change it in the settings of the site" in text
        assert "begin with !" in text

    driven(wizard(session), drive)


def test_one_machine_needs_no_picking_and_two_do(
    session: Session, deployed: DeploymentHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wizard.operations.status.status", lambda *_: STATUS)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await go(pilot, app, "dashboard")
        await pilot.press("enter")
        await at(pilot, running.Pick.__name__)
        assert "db1" in screen_text(app)
        await pilot.press("escape")
        await at(pilot, "dashboard")

    driven(wizard(session), drive)


def test_importing_the_wizard_does_not_import_the_code_maker() -> None:
    code = "import sys, wizard.tui.app; sys.exit('segno' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
