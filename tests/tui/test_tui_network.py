"""The network screen by keyboard, and the same as line prompts."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tests.tui.driving import CONSOLE, at, screen_text, step, until, wizard
from tests.unit.recorded_network import OFFLINE, Recorded
from wizard.operations.session import Session
from wizard.paths import config_templates
from wizard.secrets import Secret
from wizard.stick import orders
from wizard.stick.network import Network, Said, run
from wizard.tui.app import WizardApp
from wizard.tui.draft import Draft
from wizard.tui.online import Online
from wizard.tui.plain_network import see_to
from wizard.tui.screens.network import NetworkScreen

PASSWORD = "a quiet password"
ONLINE = ("connected:full:enabled:enabled", "eth0:ethernet:connected:Wired connection 1")
Drive = Callable[[Pilot[None], WizardApp], Awaitable[None]]


@pytest.fixture(autouse=True)
def calm_network() -> None:
    """These tests say themselves how the network is."""


def driven(
    session: Session, computer: Recorded, drive: Drive, size: tuple[int, int] = (80, 24)
) -> WizardApp:
    app = wizard(session, CONSOLE)
    app.desk.online = Online(Network(computer))

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await at(pilot, "welcome")
            await drive(pilot, app)

    asyncio.run(run())
    return app


async def to_network(pilot: Pilot[None], app: WizardApp) -> NetworkScreen:
    """Begin a new deployment and wait until the networks are listed."""
    await pilot.press("enter")
    await at(pilot, "network")
    screen = app.screen
    assert isinstance(screen, NetworkScreen)
    await until(pilot, lambda: "Cafe" in screen_text(app))
    return screen


def test_where_all_is_well_nobody_is_asked(session: Session) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "mode")

    driven(session, Recorded(*ONLINE), drive)


@pytest.mark.parametrize("size", [(80, 24), (40, 12)])
def test_without_a_network_one_goes_on_all_the_same(
    session: Session, size: tuple[int, int]
) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "network")
        await until(pilot, lambda: app.screen._busy is False)  # type: ignore[attr-defined]
        await pilot.press("f2")
        await at(pilot, "mode")
        # once is enough
        await pilot.press("escape")
        await at(pilot, "welcome")
        await pilot.press("enter")
        await until(pilot, lambda: step(app) in ("mode", "Ask"))

    driven(session, Recorded(*OFFLINE), drive, size)


def test_a_network_is_joined_by_keyboard(session: Session) -> None:
    computer = Recorded(*OFFLINE)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await to_network(pilot, app)
        text = screen_text(app)
        assert "! There is no connection" in text
        assert "Home" in text
        assert "\x1b" not in text
        # the list has the focus; New is the third
        await pilot.press("down", "down", "enter")
        await at(pilot, "Typed")
        await pilot.press(*PASSWORD)
        assert PASSWORD not in screen_text(app)
        computer.general, computer.devices = ONLINE
        await pilot.press("enter")
        await at(pilot, "network")
        await until(pilot, lambda: "Joined New" in screen_text(app))
        assert "The network is well" in screen_text(app)
        await pilot.press("enter")  # the focus is on the way on
        await at(pilot, "mode")

    driven(session, computer, drive)
    assert computer.profiles == [f"build-usb-wifi-{b'New'.hex()}"]
    assert len(computer.secrets) == 1
    assert not any(PASSWORD in word for argv in computer.argv for word in argv)


def test_a_wrong_password_is_said_in_words_and_nothing_is_kept(session: Session) -> None:
    said = "Error: Connection activation failed: Secrets were required, but not provided"
    computer = Recorded(*OFFLINE, joins=Said(4, "", said))

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await to_network(pilot, app)
        await pilot.press("down", "down", "enter")
        await at(pilot, "Typed")
        await pilot.press(*PASSWORD, "enter")
        await at(pilot, "Tell")
        assert "wrong password" in screen_text(app)
        await pilot.press("enter")
        await at(pilot, "network")
        # an enterprise network is refused by name
        await until(pilot, lambda: app.screen._busy is False)  # type: ignore[attr-defined]
        app.screen.query_one("#networks").focus()
        await pilot.press(*["down"] * 4, "enter")
        await at(pilot, "Tell")
        assert "Office" in screen_text(app)
        assert "802.1X" in screen_text(app)

    driven(session, computer, drive)
    assert computer.profiles == []


def test_hidden_forgotten_switched_off(session: Session) -> None:
    computer = Recorded(*OFFLINE)
    computer.profiles = [f"build-usb-wifi-{b'Home'.hex()}"]

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        screen = await to_network(pilot, app)
        await pilot.press("enter")
        await at(pilot, "Ask")
        await pilot.press("tab", "enter")  # Forget it
        await at(pilot, "network")
        await until(pilot, lambda: computer.profiles == [])
        await until(pilot, lambda: screen._busy is False)
        screen.query_one("#networks").focus()
        await pilot.press("end", "enter")
        await at(pilot, "Typed")
        await pilot.press(*"secret-cellar", "enter")
        await at(pilot, "Ask")
        await pilot.press("tab", "enter")
        await at(pilot, "Typed")
        assert isinstance(app.screen.query_one("#typed", Input), Input)
        await pilot.press(*PASSWORD, "enter")
        await until(pilot, lambda: bool(computer.profiles))
        await at(pilot, "network")
        computer.general = "disconnected:none:enabled:disabled"
        await until(pilot, lambda: screen._busy is False)
        await pilot.press("f5")
        await until(pilot, lambda: "Switch Wi-Fi on" in screen_text(app))

    driven(session, computer, drive)
    assert computer.profiles == [f"build-usb-wifi-{b'secret-cellar'.hex()}"]
    added = next(argv for argv in computer.argv if "add" in argv)
    assert added[added.index("802-11-wireless.hidden") + 1] == "yes"


def test_a_slow_scan_stops_nobody(session: Session) -> None:
    """Keys work while nmcli takes its time, and leaving does not wait for it."""
    ended = threading.Event()
    computer = Recorded(*OFFLINE)
    quick = computer.__call__

    class Slow(Recorded):
        def __call__(
            self, argv: Sequence[str], seconds: float, secret: Secret | None = None
        ) -> Said:
            if "list" in argv:
                ended.wait(20)
            return quick(argv, seconds, secret)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "network")
        await until(pilot, lambda: "up to 10 seconds" in screen_text(app))
        await pilot.press("f1")
        assert "USB tethering" in screen_text(app)
        await pilot.press("f2")
        await at(pilot, "mode")
        ended.set()

    driven(session, Slow(*OFFLINE), drive)


def test_closing_the_wizard_does_not_wait_for_a_scan(session: Session) -> None:
    class Slow(Recorded):
        def __call__(
            self, argv: Sequence[str], seconds: float, secret: Secret | None = None
        ) -> Said:
            if "list" in argv:
                return run(("sleep", "60"), 90)
            return super().__call__(argv, seconds, secret)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pilot.press("enter")
        await at(pilot, "network")
        await until(pilot, lambda: "up to 10 seconds" in screen_text(app))
        await pilot.press("ctrl+q")

    begun = time.monotonic()
    driven(session, Slow(*OFFLINE), drive)
    assert time.monotonic() - begun < 30


def test_a_cloud_that_is_chosen_is_looked_for_once(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = Online(Network(Recorded(*ONLINE)))
    # loopback has no server of that name and port: refused at once
    monkeypatch.setenv("BUILD_USB_DIGITALOCEAN_URL", "https://127.0.0.1:9/")
    assert not online.trouble(Draft())
    cloud = Draft({"provider": {"name": "digitalocean"}})
    assert online.trouble(cloud)
    assert not online.trouble(cloud)
    assert "does not answer" in online.look(cloud).trouble


def test_answers_on_a_stick_are_offered_and_opened_only_when_asked(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stick").mkdir()
    source = config_templates() / "answers" / "rehearsal.yaml"
    (tmp_path / "stick" / "answers.yaml").write_bytes(source.read_bytes())
    monkeypatch.setenv(orders.VARIABLE, str(tmp_path / "stick"))

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        assert "Open the answers found on this stick" in screen_text(app)
        assert app.desk.draft.values == {}
        await pilot.press("home", "enter")
        await at(pilot, "mode")
        assert app.desk.draft.get("application.title") == "My first site"

    driven(session, Recorded(*ONLINE), drive)


# -- line prompts --------------------------------------------------------------------------------


def conversation(computer: Recorded, replies: list[str]) -> str:
    heard: list[str] = []

    def ask(prompt: str) -> str:
        heard.append(prompt)
        return replies.pop(0)

    see_to(Online(Network(computer)), Draft(), heard.append, ask, ask)
    assert replies == []
    return "\n".join(heard)


def test_plain_joins_forgets_and_goes_on() -> None:
    computer = Recorded(*OFFLINE)
    heard = conversation(computer, ["again", "3", PASSWORD, "forget 3", "99", "what?", "5", ""])
    assert "! There is no connection. What to do:" in heard
    assert "New, signal 60 %, WPA3" in heard
    assert "not possible: networks that ask for a user's name" in heard
    assert "this network cannot be joined" in heard
    assert len(computer.secrets) == 1
    assert computer.profiles == []
    assert PASSWORD not in heard


def test_plain_hidden_and_switched_off() -> None:
    computer = Recorded(*OFFLINE)
    conversation(computer, ["name secret cellar", PASSWORD, ""])
    assert computer.profiles == [f"build-usb-wifi-{b'secret cellar'.hex()}"]
    off = Recorded("disconnected:none:enabled:disabled", OFFLINE[1])
    assert "Wi-Fi cannot be switched on" in conversation(off, ["on", ""])
    assert conversation(Recorded(*ONLINE), []) == ""
