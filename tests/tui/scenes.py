"""One walk over every screen, always with the same content: what snapshots, glyph tests and the
screenshots of the README are made of."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, chdir
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import yaml
from textual.pilot import Pilot
from textual.widgets import Input

from tests.tui.driving import at, example, press, screen_text, until
from tests.unit.test_autoscaler_page import shown
from wizard.answers import loader
from wizard.engine import state as states
from wizard.engine.state import MachineState, State
from wizard.events import Event, EventKind
from wizard.home.home import DeploymentHome, Home
from wizard.home.lock import locked
from wizard.home.vault import Vault
from wizard.operations import promotion as promotions
from wizard.operations.session import Session
from wizard.operations.status import MachineStatus, Status
from wizard.rules import Role
from wizard.tui import flow, runs
from wizard.tui.app import WizardApp
from wizard.tui.desk import Desk
from wizard.tui.draft import Draft
from wizard.tui.online import Online
from wizard.tui.screens.base import Move
from wizard.tui.screens.form import FormScreen

Look = Callable[[str, WizardApp], None]
"""What is done at each scene: its name and the application that shows it."""

AT = "2026-11-22T10:00:{:02d}+00:00"
ELAPSED = 17.0
MACHINES = {
    "web1": MachineState("web1", "web1", Role.WEBSERVER, "10.77.0.11", "10.77.0.11", "127.77.0.11"),
    "db1": MachineState("db1", "db1", Role.DATABASE, "10.77.0.12", "10.77.0.12", "127.77.0.12"),
}
STATE = State(
    deployment="demo",
    bucket="build-usb-demo",
    provider="local",
    mode="development",
    hosts=("www.rehearsal.test",),
    application="wordpress",
    admin_user="editor",
    url="https://127.77.0.11/",
    machines=MACHINES,
)
HEALTH = {
    "load": [0.25, 0.1, 0.1],
    "memory_available": 750,
    "memory_total": 1000,
    "disk_used": 7,
    "uptime": 7300,
    "certificate_days": 89,
}
STATUS = Status(
    deployment="demo",
    url=STATE.url,
    site="HTTP 200 in 40 ms",
    dns="www.rehearsal.test -> 10.77.0.11",
    machines=tuple(
        MachineStatus(m.name, str(m.role), m.private_address, "running", {"health": HEALTH})
        for m in MACHINES.values()
    ),
)
_STEPS = [
    {"id": i, "title": title, "machine": machine, "expected": seconds, "needs": needs}
    for i, title, machine, seconds, needs in (
        ("provider", "local provider", "", 2, []),
        ("network", "private network", "", 1, ["provider"]),
        ("firewall", "firewall", "", 1, ["network"]),
        ("bucket", "bucket", "", 1, ["provider"]),
        ("create:web1", "create", "web1", 1, ["firewall"]),
        ("create:db1", "create", "db1", 1, ["firewall"]),
        ("contact:web1", "first contact", "web1", 4, ["create:web1"]),
        ("contact:db1", "first contact", "db1", 4, ["create:db1"]),
        ("configure:web1", "configure", "web1", 12, ["contact:web1"]),
        ("configure:db1", "configure", "db1", 10, ["contact:db1"]),
        ("certificate", "certificate", "web1", 6, ["configure:web1"]),
    )
]


def _event(second: int, kind: EventKind, message: str = "", step: str = "", **more: object) -> str:
    machine = step.partition(":")[2]
    return Event(kind, message, step, machine, at=AT.format(second), **more).to_json()  # type: ignore[arg-type]


def _under_way() -> list[str]:
    done = EventKind.STEP_DONE
    lines = [_event(0, EventKind.RUN_STARTED, "deploy demo", data={"steps": _STEPS})]
    ended = (
        ("provider", "its lab runs", 2),
        ("network", "10.77.0.0/24", 1),
        ("bucket", "build-usb-demo", 1),
        ("firewall", "9 rules", 1),
        ("create:web1", "10.77.0.11", 1),
        ("create:db1", "10.77.0.12", 1),
        ("contact:db1", "its host key is ours now", 3),
        ("contact:web1", "its host key is ours now", 4),
    )
    for second, (step, said, seconds) in enumerate(ended, start=2):
        lines.append(_event(second, EventKind.STEP_STARTED, step=step))
        lines.append(_event(second, done, said, step, seconds=seconds))
    working = (("configure:web1", "nginx: site", 21, 34), ("configure:db1", "MariaDB", 9, 19))
    for step, said, number, total in working:
        lines.append(_event(13, EventKind.STEP_STARTED, step=step))
        lines.append(_event(14, EventKind.PROGRESS, said, step, done=number, total=total))
    return lines


def _failed() -> list[str]:
    why = {
        "what": "web1 cannot be configured",
        "where": "web1",
        "why": "apt-get: the mirror did not answer within 60 s",
        "cure": "check the network of this computer, then try again: it continues",
    }
    return [
        *_under_way(),
        _event(16, EventKind.STEP_FAILED, "the mirror did not answer", "configure:web1"),
        _event(17, EventKind.RUN_FAILED, f"{why['what']}\n  why: {why['why']}", data=why),
    ]


def walk(
    folder: Path,
    vault: Vault,
    environ: dict[str, str],
    look: Look,
    size: tuple[int, int] = (80, 24),
) -> None:
    """Show every screen of the wizard in turn, and call `look` at each.

    `folder` holds an unlocked `home`; the wizard is started in it, so that no path depends on it.
    """
    with ExitStack() as stack:
        stack.enter_context(chdir(folder))
        stack.enter_context(patch.object(Online, "trouble", lambda _self, _draft: False))
        stack.enter_context(patch.object(runs.Progress, "elapsed", ELAPSED))
        stack.enter_context(patch("wizard.operations.status.status", lambda *_: STATUS))
        # the bucket's name depends on the home's key
        stack.enter_context(patch.object(Home, "recipient", lambda _self: "age1example"))
        stack.enter_context(patch.object(time, "strftime", lambda _format: "10:01:00"))
        stack.enter_context(patch.dict(os.environ, {"BUILD_USB_ANSWERS": "", **environ}))
        asyncio.run(_walk(Session(Home.open(Path("home")), vault), environ, look, size))


async def _walk(
    session: Session, environ: dict[str, str], look: Look, size: tuple[int, int]
) -> None:
    app = WizardApp(Path("home"), environ)
    app.desk.home, app.desk.session = session.home, session
    async with app.run_test(size=size) as pilot:

        async def seen(name: str) -> None:
            # a cursor that blinks would be there or not
            for blinking in app.screen.query(Input):
                blinking.cursor_blink = False
            await pilot.pause()
            app.screen._on_timer_update()
            look(name, app)

        await at(pilot, "welcome")
        await seen("welcome")
        await _forms(pilot, app, seen)
        await _rest(pilot, app, session.home.deployment("demo"), seen)


Seen = Callable[[str], Awaitable[None]]


async def _go(pilot: Pilot[None], app: WizardApp, step: str) -> None:
    app.screen.finish(Move("go", step))  # type: ignore[attr-defined]
    await at(pilot, step)
    await until(pilot, lambda: app.focused is not None)


async def _forms(pilot: Pilot[None], app: WizardApp, seen: Seen) -> None:
    await _go(pilot, app, "mode")
    app.desk.draft = draft("cloud-production")
    for known in [known for known in flow.applying(app.desk.draft) if known.asks]:
        if known.id in ("mode", "provider", "sizes"):
            # facts of clouds are asked over the network: the rehearsal's are not
            app.desk.draft = draft("rehearsal" if known.id == "sizes" else "cloud-production")
        await _go(pilot, app, "welcome")
        await _go(pilot, app, known.id)
        await seen(known.id)
        if known.id == "sizes":
            app.desk.draft = draft("cloud-production")
        if known.id == "mode":
            await _mistake(pilot, app, seen)
    await press(pilot, "f1")
    await seen("help")


async def _mistake(pilot: Pilot[None], app: WizardApp, seen: Seen) -> None:
    screen = app.screen
    assert isinstance(screen, FormScreen)
    field = screen.rows["name"].widget
    assert isinstance(field, Input)
    right = field.value
    field.value = "UPPER case"
    await pilot.pause()
    await press(pilot, "f2")
    await until(pilot, lambda: "! found" in screen_text(app))
    await seen("mistake")
    field.value = right
    await pilot.pause()


async def _rest(pilot: Pilot[None], app: WizardApp, deployment: DeploymentHome, seen: Seen) -> None:
    app.desk.draft = Draft({"name": "demo", "mode": "development"})
    await _go(pilot, app, "review")
    await seen("review-unfinished")
    app.desk.draft = draft("rehearsal")
    await _go(pilot, app, "mode")
    await _go(pilot, app, "review")
    await until(pilot, lambda: not app.screen.query_one("#next").disabled)
    await seen("review")
    await press(pilot, "f2")
    await at(pilot, "Ask")
    await seen("review-ask")
    await press(pilot, "escape")
    await at(pilot, "review")
    deployment.create()
    loader.save(example("rehearsal"), deployment.answers_file)
    states.save(deployment.state_file, STATE)
    app.desk.deployment = "demo"
    deployment.events_file.write_text("\n".join(_under_way()) + "\n")
    with locked(deployment.folder / "lock", "deploy demo"):
        await _go(pilot, app, "deploy")
        await until(pilot, lambda: "running" in screen_text(app))
        await seen("deploy")
        await _go(pilot, app, "welcome")
        await seen("welcome-under-way")
    deployment.events_file.write_text("\n".join(_failed()) + "\n")
    await _go(pilot, app, "deploy")
    await until(pilot, lambda: "FAILED" in screen_text(app))
    await seen("deploy-failed")
    await _go(pilot, app, "done")
    await seen("done")
    await _go(pilot, app, "dashboard")
    await until(pilot, lambda: "asked at" in screen_text(app))
    await seen("dashboard")
    await _promotion(pilot, app, deployment, seen)


async def _promotion(
    pilot: Pilot[None], app: WizardApp, deployment: DeploymentHome, seen: Seen
) -> None:
    app.desk.look_at("demo")
    promoting = app.desk.promoting
    values = yaml.safe_load(loader.dumps(example("rehearsal-production")))
    values["name"], values["domain"]["name"] = "shop", "shop.rehearsal.test"
    answers = loader.loads(yaml.safe_dump(values), "shop")
    promoting.production = app.desk.save_answers(answers)
    await _go(pilot, app, "promote")
    await seen("promote")
    promoting.begin(test_domain="test.shop.rehearsal.test", by="baseline", ends=True)
    await _go(pilot, app, "promotion")
    await until(pilot, lambda: "Price per month" in screen_text(app))
    await seen("promotion")
    begun = promotions.known(deployment.home, "demo")
    assert begun is not None
    came = (("copy", "/home/baselines/demo 0123456789abcdef"), ("test", "https://127.77.0.14/"))
    tested = replace(begun, done=came, begun="check-test")
    promotions.keep(deployment.home, tested)
    await _go(pilot, app, "welcome")
    await _go(pilot, app, "promotion")
    await until(pilot, lambda: "Price per month" in screen_text(app))
    await seen("promotion-at-check")
    app.desk.look_at("demo", "promote")
    events = deployment.promotion / "events.jsonl"
    under_way = [line.replace("deploy demo", "deploy shop-test") for line in _under_way()]
    events.write_text("\n".join(under_way) + "\n")
    promotions.keep(deployment.home, replace(begun, done=came[:1], begun="test"))
    with locked(deployment.promotion / "lock", "promote demo"):
        await _go(pilot, app, "promoting")
        await until(pilot, lambda: "running" in screen_text(app))
        await seen("promoting")
    promotions.keep(deployment.home, tested)
    why = "web1: /nowhere/ (on /) answers 404\nweb1: /gone.png (on /about/) answers 404"
    cure = (
        "look at it in a browser; then change the development site and begin anew (--undo), or go "
        "on in spite of it (--past-check)"
    )
    found = {"what": "shop-test is not as it should be: 2 problems", "why": why, "cure": cure}
    found["where"] = "https://127.77.0.14/"
    one = {"id": "examine", "title": "examine shop-test"}
    lines = [
        _event(0, EventKind.RUN_STARTED, "examine shop-test", data={"steps": [one]}),
        _event(1, EventKind.STEP_STARTED, step="examine"),
        _event(17, EventKind.STEP_FAILED, found["what"], step="examine"),
        _event(17, EventKind.RUN_FAILED, found["what"], data=found),
    ]
    events.write_text("\n".join(lines) + "\n")
    await _go(pilot, app, "promoting")
    await until(pilot, lambda: "FAILED" in screen_text(app))
    await seen("promoting-failed")
    await _fleet(pilot, app, deployment, seen)


class _Page:
    """The status page, as far as a picture of it needs one."""

    url = "http://127.0.0.1:41234/"

    def facts(self) -> dict[str, object]:
        """Return what an autoscaler would say, at a time of its own."""
        return shown() | {"events": [{"at": AT.format(0), "text": "web4 is built and serves"}]}

    def serve(self) -> None:
        """Do nothing."""

    end = close = serve


async def _fleet(
    pilot: Pilot[None], app: WizardApp, deployment: DeploymentHome, seen: Seen
) -> None:
    loader.save(example("rehearsal-production"), deployment.answers_file)
    app.desk.look_at("demo")
    await _go(pilot, app, "dashboard")
    await until(pilot, lambda: "asked at" in screen_text(app))
    await seen("dashboard-production")
    with patch.object(Desk, "page", lambda _desk: _Page()):
        await _go(pilot, app, "page")
        await until(pilot, lambda: "backed up" in screen_text(app))
    await seen("page")


def draft(name: str) -> Draft:
    """Return a draft with all that a ready-made example decides."""
    values = example(name).model_dump(mode="json", exclude_defaults=True)
    values.pop("version", None)
    return Draft({"mode": "development", **values})
