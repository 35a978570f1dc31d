"""What the dashboard of a production deployment offers: the status page, carrying plugins there."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from textual.pilot import Pilot

from tests.tui.driving import at, driven, example, press, screen_text, until, wizard
from tests.unit.test_autoscaler_page import shown
from wizard.answers import loader
from wizard.autoscaler.serve import Server
from wizard.operations import dashboard
from wizard.operations.dashboard import Dashboard, to_text
from wizard.operations.session import Session
from wizard.operations.status import Status
from wizard.tui.app import WizardApp
from wizard.tui.desk import Desk
from wizard.tui.screens.base import Move
from wizard.tui.screens.dashboard import entries

STATUS = Status("shop", "https://127.77.0.11/", "HTTP 200 in 4 ms", "", ())


class Near(Dashboard):
    """The real page brought here by the real server, over a socket in place of SSH's channel."""

    def __init__(self, port: int) -> None:
        class Lines:
            def open(self) -> socket.socket:
                return socket.create_connection(("127.0.0.1", port))

            def close(self) -> None:
                pass

        self._lines: Any = Lines()
        self._server = dashboard._Server(("127.0.0.1", 0), self._lines)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"


@pytest.fixture
def fleet(session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A home with a production deployment, one it was made of, and one of another application."""
    for name, of in (
        ("shop", "rehearsal-production"),
        ("demo", "rehearsal"),
        ("other", "rehearsal-drupal"),
    ):
        deployment = session.home.deployment(name)
        deployment.create()
        loader.save(example(of), deployment.answers_file)
    monkeypatch.setattr("wizard.operations.status.status", lambda *_: STATUS)
    return session


@pytest.fixture
def server() -> Iterator[Server]:
    """An autoscaler's page."""
    served = Server(shown, 0)
    thread = threading.Thread(target=served.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield served
    served.shutdown()
    served.server_close()
    thread.join(10)


def ask(url: str) -> httpx.Response:
    """Ask as a browser of this computer does."""
    return httpx.get(url, trust_env=False)


async def choose(pilot: Pilot[None], app: WizardApp, key: str) -> None:
    """Open the dashboard of the production deployment, and choose an entry by keyboard."""
    app.desk.look_at("shop")
    app.screen.finish(Move("go", "dashboard"))  # type: ignore[attr-defined]
    await at(pilot, "dashboard")
    await until(pilot, lambda: app.focused is not None)
    number = [key for key, _ in entries("production")].index(key)
    await press(pilot, *["down"] * number, "enter")


def test_the_status_page_is_read_here_and_by_a_browser_as_long_as_it_is_shown(
    fleet: Session, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[Near] = []

    def near(_desk: Desk) -> Near:
        pages.append(Near(server.server_address[1]))
        return pages[0]

    monkeypatch.setattr(Desk, "page", near)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await choose(pilot, app, "page")
        await at(pilot, "page")
        await until(pilot, lambda: "scaler2 leads; webservers wanted: 2" in screen_text(app))
        text = screen_text(app)
        assert pages[0].url in text
        assert "asked for: 4, by anna@desk" in text
        assert (await asyncio.to_thread(ask, pages[0].url)).status_code == 200
        server.source = lambda: shown() | {"healthy": False, "problems": ["web4 is odd"]}
        await press(pilot, "f5")
        await until(pilot, lambda: "problem: web4 is odd" in screen_text(app))
        await press(pilot, "escape")
        await at(pilot, "dashboard")
        with pytest.raises(httpx.ConnectError):
            await asyncio.to_thread(ask, pages[0].url)

    driven(wizard(fleet), drive)


def test_a_page_that_cannot_be_opened_says_why(fleet: Session) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await choose(pilot, app, "page")
        await at(pilot, "page")
        # nothing was ever made here
        await until(pilot, lambda: "What to do:" in screen_text(app))

    driven(wizard(fleet), drive)


def test_the_page_as_text_fits_a_terminal() -> None:
    lines = to_text(shown(reports={"web1": None, "web4": b"odd"})).splitlines()
    assert lines[0].startswith("demo: NOT HEALTHY")
    assert "  problem: web1: it reports nothing" in lines
    assert all(len(line) <= 76 for line in lines), lines


def test_plugins_are_carried_from_a_deployment_of_the_same_application(
    fleet: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str | Path, ...]] = []

    def start(desk: Desk, *words: str | Path) -> None:
        started.append(words)
        desk._words, desk._started = words, desk.deployment

    monkeypatch.setattr(Desk, "start", start)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await choose(pilot, app, "carry")
        await at(pilot, "Pick")
        assert "other" not in screen_text(app).partition("translations of:")[2].split("Cancel")[0]
        await press(pilot, "enter")
        await at(pilot, "Ask")
        await press(pilot, "right", "enter")
        await at(pilot, "deploy")
        # what it was begins anew, be it that its deploy failed
        app.desk.repeat("deploy shop")

    driven(wizard(fleet), drive)
    assert started == [("carry", "demo", "shop", "--json")] * 2
