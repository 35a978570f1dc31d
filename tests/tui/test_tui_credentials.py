"""Credentials by keyboard: typed unseen, kept in the build home, tried out on emulated APIs."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.events import Paste
from textual.pilot import Pilot

from tests.emulators.cloudflare import READ_DNS, READ_ZONE, CloudflareEmulator, Token
from tests.emulators.digitalocean import TOKEN, DigitalOceanEmulator
from tests.emulators.nameserver import NameServer
from tests.emulators.server import Reply
from tests.tui.driving import (
    PASSPHRASE,
    answer,
    at,
    focus,
    held,
    onward,
    screen_text,
    step,
    until,
    wizard,
)
from wizard.operations import checks
from wizard.operations.session import Session
from wizard.secrets import Secret
from wizard.tui.app import WizardApp
from wizard.tui.draft import Draft
from wizard.tui.plain import Prompts
from wizard.tui.screens.checked import CheckedScreen
from wizard.tui.screens.form import FormScreen

Drive = Callable[[Pilot[None], WizardApp], Awaitable[None]]
DNS_TOKEN = "good-token-of-cloudflare"
WRONG = "dop_v1_fedcba9876543210"
SERVERS = ("ada.ns.cloudflare.com", "bob.ns.cloudflare.com")


@pytest.fixture
def ocean(monkeypatch: pytest.MonkeyPatch) -> Iterator[DigitalOceanEmulator]:
    with DigitalOceanEmulator() as emulator:
        monkeypatch.setenv("BUILD_USB_DIGITALOCEAN_URL", emulator.url)
        yield emulator
        assert emulator.violations == []


@pytest.fixture
def flare(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudflareEmulator]:
    with CloudflareEmulator() as emulator:
        monkeypatch.setenv("BUILD_USB_CLOUDFLARE_URL", emulator.url)
        emulator.add_zone("example.org")
        yield emulator


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    with NameServer(lambda _name: (0, []), {"example.org": SERVERS}) as server:
        monkeypatch.setenv("BUILD_USB_RESOLVER", "{}:{}".format(*server.address))
        yield server


@pytest.fixture(autouse=True)
def nothing_left(session: Session) -> Iterator[None]:
    """No token is in any file of the home, the encrypted ones aside."""
    yield
    for path in session.home.path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not [t for t in (TOKEN, WRONG, DNS_TOKEN) if t.encode() in data], path


def driven(session: Session, drive: Drive, draft: dict[str, Any], begin: str) -> WizardApp:
    """Run the application from a step on and drive it."""
    app = wizard(session)

    async def run() -> None:
        async with app.run_test(size=(80, 24)) as pilot:
            await at(pilot, "welcome")
            await pilot.press("enter")
            await at(pilot, "mode")
            app.desk.draft = Draft(draft)
            while step(app) != begin:
                await onward(pilot)
            await drive(pilot, app)

    asyncio.run(run())
    return app


def form(app: WizardApp) -> FormScreen:
    assert isinstance(app.screen, FormScreen)
    return app.screen


async def typed(pilot: Pilot[None], app: WizardApp, key: str, text: str) -> None:
    """Type into a question; what is not drawn stays unseen after every key."""
    row = form(app).rows[key]
    await focus(pilot, row)
    await pilot.press("home", "shift+end", "delete")
    await pilot.press(*text[:4])
    assert text.startswith("file") or text[:4] not in screen_text(app)
    await pilot.press(*text[4:])
    assert text.startswith("file:") or text not in screen_text(app)


async def pasted(pilot: Pilot[None], app: WizardApp, key: str, text: str) -> None:
    """Paste into a question, as tokens are."""
    row = form(app).rows[key]
    await focus(pilot, row)
    await pilot.press("home", "shift+end", "delete")
    row.widget.post_message(Paste(text))
    await pilot.pause()
    assert text not in screen_text(app)


async def left(pilot: Pilot[None], app: WizardApp) -> None:
    """Press F2 and wait until the next step or the end of the check is shown."""
    present = step(app)
    await pilot.press("f2")
    await until(pilot, lambda: step(app) not in (present, "Screen") or held(app))


def cloud(**provider: Any) -> dict[str, Any]:
    return {"name": "demo", "mode": "development", "provider": {"name": "digitalocean", **provider}}


# -- the provider's token ------------------------------------------------------------------------


def test_a_good_token_is_kept_and_tells_regions_and_prices(
    session: Session, ocean: DigitalOceanEmulator
) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await typed(pilot, app, "provider.credentials", TOKEN)
        assert app.desk.draft.get("provider.credentials") is None
        await left(pilot, app)
        await at(pilot, "sizes")
        assert app.desk.draft.get("provider.credentials") == {"home": "digitalocean-token"}
        await until(pilot, lambda: "jo@example.org, team Shop" in screen_text(app))
        assert app.desk.draft.get("provider.region") == "ams3"
        sizes = form(app).rows["machines.sizes.webserver"].field.options
        assert "12.00 USD a month" in " ".join(option.label for option in sizes)
        assert TOKEN not in screen_text(app)
        # what was found good is not asked again
        asked = len(ocean.requests)
        await pilot.press("escape")
        await at(pilot, "provider")
        assert "home:digitalocean-token" in screen_text(app)
        await left(pilot, app)
        await at(pilot, "sizes")
        assert len(ocean.requests) == asked

    driven(session, drive, cloud(), "provider")
    assert session.credentials.get("digitalocean-token") == Secret(TOKEN)
    assert "digitalocean-token" in (session.home.path / "draft.yaml").read_text()


def test_sizes_are_those_of_the_region(session: Session, ocean: DigitalOceanEmulator) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pasted(pilot, app, "provider.credentials", TOKEN)
        await left(pilot, app)
        await at(pilot, "sizes")

        def offered() -> list[object]:
            rows = form(app).rows
            return [option.value for option in rows["machines.sizes.webserver"].field.options]

        assert "g-2vcpu-8gb" not in offered()
        before = app.screen
        await answer(pilot, form(app).rows["provider.region"], "nyc3")
        await until(pilot, lambda: step(app) == "sizes" and app.screen is not before)
        assert "g-2vcpu-8gb" in offered()
        assert form(app).rows["provider.region"].widget.value == "nyc3"

    driven(session, drive, cloud(), "provider")


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda o: o.tokens.clear(), "name a valid API token"),
        (lambda o: o.tokens.update({TOKEN: frozenset({"account:read"})}), "lacks rights"),
        (lambda o: o.fail(".*", reply=Reply(429, {}, {"retry-after": "17"}), times=99), "wait 17"),
        (lambda o: o.fail(".*", reply=Reply(500, {}), times=99), "run again in a moment"),
        (lambda o: o.fail(".*", reply=Reply(200, {}), delay=2, times=99), "does not answer"),
        (lambda o: o.fail(".*", "html", times=99), "makes no sense"),
    ],
    ids=["wrong", "rights", "429", "500", "time-out", "html"],
)
def test_what_is_wrong_is_said_under_the_field_and_traps_nobody(
    prepare: Callable[[DigitalOceanEmulator], None],
    said: str,
    session: Session,
    ocean: DigitalOceanEmulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare(ocean)
    if said == "does not answer":
        monkeypatch.setattr(checks, "TIMEOUT", 0.5)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pasted(pilot, app, "provider.credentials", TOKEN)
        await left(pilot, app)
        assert step(app) == "provider"
        text = " ".join(screen_text(app).split())
        assert said in text
        assert "F2 goes on all the same" in text
        assert TOKEN not in text
        row = form(app).rows["provider.credentials"]
        assert row.failed
        assert app.focused is row.widget
        await pilot.press("f2")
        await at(pilot, "sizes")

    driven(session, drive, cloud(), "provider")


def test_a_wrong_token_is_typed_anew(session: Session, ocean: DigitalOceanEmulator) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pasted(pilot, app, "provider.credentials", WRONG)
        await left(pilot, app)
        assert held(app)
        await pasted(pilot, app, "provider.credentials", TOKEN)
        assert not held(app)
        await left(pilot, app)
        await at(pilot, "sizes")

    driven(session, drive, cloud(), "provider")
    assert session.credentials.get("digitalocean-token") == Secret(TOKEN)
    assert session.credentials.names() == ["digitalocean-token"]


def test_what_others_use_is_not_replaced(session: Session, ocean: DigitalOceanEmulator) -> None:
    session.credentials.set("digitalocean-token", Secret(WRONG))
    other = session.home.path / "answers" / "other.yaml"
    other.parent.mkdir()
    other.write_text("provider:\n  credentials:\n    home: digitalocean-token\n")

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pasted(pilot, app, "provider.credentials", TOKEN)
        await left(pilot, app)
        await at(pilot, "sizes")
        assert app.desk.draft.get("provider.credentials") == {"home": "digitalocean-token-2"}

    driven(session, drive, cloud(), "provider")
    assert session.credentials.get("digitalocean-token") == Secret(WRONG)


def test_a_file_is_shown_as_it_is_typed(
    session: Session, ocean: DigitalOceanEmulator, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await typed(pilot, app, "provider.credentials", "file:/tm")
        assert "file:/tm" in screen_text(app)
        await typed(pilot, app, "provider.credentials", f"file:{path}")
        await left(pilot, app)
        await at(pilot, "sizes")
        assert app.desk.draft.get("provider.credentials") == {"file": str(path)}

    driven(session, drive, cloud(), "provider")
    assert session.credentials.names() == []


def test_a_check_is_stopped_by_escape_and_left_by_quitting(
    session: Session, ocean: DigitalOceanEmulator
) -> None:
    ocean.fail(".*", reply=Reply(500, {}), delay=3, times=99)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pasted(pilot, app, "provider.credentials", TOKEN)
        await pilot.press("f2")
        screen = app.screen
        assert isinstance(screen, CheckedScreen)
        await until(pilot, lambda: "Checking:" in screen_text(app))
        await pilot.press("f2")  # once more changes nothing
        assert screen.checking
        await pilot.press("escape")
        assert "The check was stopped" in screen_text(app)
        assert step(app) == "provider"
        # another answer, another check
        await pasted(pilot, app, "provider.credentials", WRONG)
        await pilot.press("f2")
        await until(pilot, lambda: screen.checking)

    began = time.monotonic()
    driven(session, drive, cloud(), "provider")
    assert time.monotonic() - began < 20


def test_the_screen_lives_while_the_api_is_slow(
    session: Session, ocean: DigitalOceanEmulator
) -> None:
    ocean.fail("GET /v2/account$", reply=Reply(200, {"account": ocean.account}), delay=4)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pasted(pilot, app, "provider.credentials", TOKEN)
        await pilot.press("f2")
        await pilot.press("f1")
        assert app.screen.query_one("#help").display
        assert isinstance(app.screen, CheckedScreen)
        assert app.screen.checking
        await at(pilot, "sizes")

    driven(session, drive, cloud(), "provider")


# -- the zone ------------------------------------------------------------------------------------


ZONED: dict[str, Any] = {
    "name": "demo",
    "mode": "development",
    "provider": {"name": "local", "region": "here"},
    "dns": {"provider": "cloudflare", "zone": "example.org"},
    "domain": {"name": "www.example.org"},
}


def test_a_good_zone(session: Session, flare: CloudflareEmulator, world: NameServer) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pasted(pilot, app, "dns.credentials", DNS_TOKEN)
        await left(pilot, app)
        await at(pilot, "application")
        assert app.desk.draft.get("dns.credentials") == {"home": "cloudflare-token"}
        await until(pilot, lambda: "cloudflare serves example.org" in screen_text(app))

    driven(session, drive, copy.deepcopy(ZONED), "domain")


@pytest.mark.parametrize(
    ("prepare", "key", "said"),
    [
        (lambda f, w: f.zones.clear(), "dns.zone", "add the zone at Cloudflare"),
        (lambda f, w: setattr(w, "servers", {}), "dns.zone", "is not delegated"),
        (
            lambda f, w: setattr(w, "servers", {"example.org": ("ns1.elsewhere.net",)}),
            "dns.zone",
            "delegated elsewhere",
        ),
        (
            lambda f, w: f.tokens.update({DNS_TOKEN: Token(frozenset({READ_ZONE, READ_DNS}))}),
            "dns.credentials",
            "Zone / DNS / Edit",
        ),
        (lambda f, w: f.tokens.clear(), "dns.credentials", "name a valid API token"),
        (
            lambda f, w: f.fail(".*", reply=Reply(429, {}, {"retry-after": "9"}), times=9),
            "dns.credentials",
            "wait 9 seconds",
        ),
        (lambda f, w: f.fail(".*", "html", times=9), "dns.credentials", "makes no sense"),
    ],
    ids=["no zone", "nobody", "elsewhere", "rights", "wrong", "429", "html"],
)
def test_what_is_wrong_with_the_zone_is_said_where_it_belongs(
    prepare: Callable[[CloudflareEmulator, NameServer], None],
    key: str,
    said: str,
    session: Session,
    flare: CloudflareEmulator,
    world: NameServer,
) -> None:
    prepare(flare, world)

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await pasted(pilot, app, "dns.credentials", DNS_TOKEN)
        await left(pilot, app)
        assert step(app) == "domain"
        assert app.focused is form(app).rows[key].widget
        assert said in " ".join(screen_text(app).split())
        assert DNS_TOKEN not in screen_text(app)
        await pilot.press("f2")
        await at(pilot, "application")

    driven(session, drive, copy.deepcopy(ZONED), "domain")


# -- line prompts --------------------------------------------------------------------------------


def test_line_prompts_take_a_token_unseen_and_try_it_out(
    session: Session, ocean: DigitalOceanEmulator
) -> None:
    heard: list[str] = []
    unseen = iter([PASSPHRASE, WRONG, TOKEN])
    spoken = iter(["", "", "", "digitalocean", "t", "n", "t"])

    def ask(prompt: str) -> str:
        heard.append(prompt)
        reply = next(spoken, None)
        if reply is None:
            raise EOFError
        return reply

    prompts = Prompts(session.home.path, heard.append, ask, lambda _prompt: next(unseen))
    with pytest.raises(EOFError):
        prompts.run()
    text = "\n".join(heard)
    assert "! provider.credentials: cannot" in text
    assert "Go on all the same?" in text
    assert "jo@example.org" in text
    assert "[fra1]" in text or "fra1" in text
    assert TOKEN not in text
    assert WRONG not in text
    assert session.credentials.get("digitalocean-token") == Secret(TOKEN)
