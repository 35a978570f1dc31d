"""What is asked of clouds and DNS providers before anything is made, and how it is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.emulators import openapi
from tests.emulators.cloudflare import EVERYTHING, READ_DNS, READ_ZONE, CloudflareEmulator, Token
from tests.emulators.digitalocean import TOKEN, DigitalOceanEmulator
from tests.emulators.nameserver import NameServer
from tests.emulators.server import Reply
from wizard.answers.loader import loads
from wizard.answers.model import Answers
from wizard.errors import InterruptedRunError
from wizard.events import silent
from wizard.home.home import Home
from wizard.operations import checks
from wizard.operations.checks import Checked, Level

CLOUDFLARE_TOKEN = "good-token-of-cloudflare"
CLOUDFLARE_SERVERS = ("ada.ns.cloudflare.com", "bob.ns.cloudflare.com")
ANSWERS = """
version: 1
name: demo
mode: development
provider: {name: digitalocean, region: fra1, credentials: {environment: TOKEN}}
application:
  {kind: wordpress, title: A site, admin: {user: jo, email: jo@example.org}, source: {kind: fresh}}
domain: {name: www.example.org}
dns: {provider: cloudflare, zone: example.org, credentials: {environment: CF}}
object_storage: {credentials: {environment: KEYS}}
ssh: {build_machine: 203.0.113.7}
"""


@pytest.fixture
def ocean(monkeypatch: pytest.MonkeyPatch) -> Iterator[DigitalOceanEmulator]:
    with DigitalOceanEmulator(openapi.document("digitalocean")) as emulator:
        monkeypatch.setenv("BUILD_USB_DIGITALOCEAN_URL", emulator.url)
        monkeypatch.setenv("TOKEN", TOKEN)
        monkeypatch.setenv("KEYS", "ACCESS:SECRET")
        yield emulator
        assert emulator.violations == []
        # a check changes nothing
        made = (emulator.droplets, emulator.vpcs, emulator.firewalls, emulator.tags, emulator.keys)
        assert not any(made)


@pytest.fixture
def flare(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudflareEmulator]:
    with CloudflareEmulator(openapi.document("cloudflare")) as emulator:
        monkeypatch.setenv("BUILD_USB_CLOUDFLARE_URL", emulator.url)
        monkeypatch.setenv("CF", CLOUDFLARE_TOKEN)
        emulator.add_zone("example.org")
        yield emulator
        assert emulator.violations == []


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    """The resolver; its `servers` say who serves what."""
    with NameServer(lambda _name: (0, []), {"example.org": CLOUDFLARE_SERVERS}) as server:
        monkeypatch.setenv("BUILD_USB_RESOLVER", "{}:{}".format(*server.address))
        yield server


def answers(old: str = "", new: str = "") -> Answers:
    assert old in ANSWERS
    return loads(ANSWERS.replace(old, new) if old else ANSWERS, "a.yaml")


def cloud(tmp_path: Path, region: str = "fra1") -> Checked:
    own = answers().provider
    return checks.check_cloud(
        own.name, own.credentials, region, Home(tmp_path), None, checks.limited(silent, never())
    )


def zone(old: str = "", new: str = "") -> Checked:
    found = answers(old, new)
    own = found.provider
    return checks.check_dns(found.dns, own.name, own.credentials, None, silent)


def never() -> threading.Event:
    return threading.Event()


def worst(checked: Checked) -> checks.Finding:
    """Return the only finding that is not good."""
    found = [finding for finding in checked.findings if finding.level is not Level.GOOD]
    assert len(found) == 1, checked
    return found[0]


# -- the cloud -----------------------------------------------------------------------------------


def test_a_good_token(ocean: DigitalOceanEmulator, tmp_path: Path) -> None:
    found = cloud(tmp_path)
    assert found.good
    assert "jo@example.org, team Shop" in found.findings[0].what
    assert found.facts is not None
    assert "fra1" in found.facts.regions
    assert found.facts.sizes


@pytest.mark.parametrize(
    "lacking",
    [{"droplet:create"}, {"droplet:delete", "vpc:read"}, {"tag:create"}, {"firewall:update"}],
)
def test_rights_that_are_lacking_are_named(
    lacking: set[str], ocean: DigitalOceanEmulator, tmp_path: Path
) -> None:
    ocean.tokens[TOKEN] = frozenset(every_scope() - lacking)
    finding = worst(cloud(tmp_path))
    assert finding.key == "provider.credentials"
    assert finding.level is Level.BAD
    assert finding.what == f"the token lacks rights: {', '.join(sorted(lacking))}"
    assert "add them to the token" in finding.cure


def test_a_token_that_may_only_read(ocean: DigitalOceanEmulator, tmp_path: Path) -> None:
    ocean.tokens[TOKEN] = frozenset(s for s in every_scope() if s.endswith(":read"))
    found = cloud(tmp_path)
    assert "droplet:create, droplet:delete, droplet:update" in worst(found).what
    assert found.facts is not None


def test_a_token_that_may_nothing(ocean: DigitalOceanEmulator, tmp_path: Path) -> None:
    ocean.tokens[TOKEN] = frozenset()
    found = cloud(tmp_path)
    assert "regions:read" in worst(found).what
    assert found.facts is None


def test_whose_token_it_is_need_not_be_told(ocean: DigitalOceanEmulator, tmp_path: Path) -> None:
    ocean.tokens[TOKEN] = frozenset(every_scope() - {"account:read"})
    assert cloud(tmp_path).good


def test_a_locked_account(ocean: DigitalOceanEmulator, tmp_path: Path) -> None:
    ocean.account |= {"status": "locked", "status_message": "unpaid"}
    finding = worst(cloud(tmp_path))
    assert "locked" in finding.what
    assert finding.why == "unpaid"


def error(status: int, **headers: str) -> dict[str, Any]:
    return {"reply": Reply(status, {"id": "x", "message": "no"}, headers), "times": 99}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (error(401), "name a valid API token"),
        (error(429, **{"retry-after": "17"}), "wait 17 seconds"),
        (error(500), "run again in a moment"),
        ({"kind": "html", "times": 99}, "makes no sense"),
        ({"kind": "lost", "times": 99}, "does not answer"),
        ({"kind": "truncated", "times": 99}, "makes no sense|does not answer"),
        ({"reply": Reply(200, {}), "delay": 1.0, "times": 99}, "does not answer"),
    ],
    ids=["401", "429", "500", "html", "lost", "truncated", "time-out"],
)
def test_what_goes_wrong_is_told_with_its_cure(
    fault: dict[str, Any],
    said: str,
    ocean: DigitalOceanEmulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "TIMEOUT", 0.3)
    kind = fault.pop("kind", "")
    ocean.fail(".*", kind, **fault)
    finding = worst(cloud(tmp_path))
    assert finding.key == "provider.credentials"
    assert any(word in str(finding) for word in said.split("|"))
    assert finding.cure
    assert TOKEN not in str(finding)


def test_a_variable_that_is_not_set(
    ocean: DigitalOceanEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOKEN")
    assert "export TOKEN=" in worst(cloud(tmp_path)).cure


def test_a_region_that_there_is_not(ocean: DigitalOceanEmulator, tmp_path: Path) -> None:
    finding = worst(cloud(tmp_path, "mars1"))
    assert finding.key == "provider.region"
    assert "fra1" in finding.cure


def test_a_check_can_be_stopped(ocean: DigitalOceanEmulator, tmp_path: Path) -> None:
    stop = threading.Event()
    own = answers().provider

    def progress(_what: str, done: float, _total: float) -> None:
        if done == 3:
            stop.set()

    with pytest.raises(InterruptedRunError):
        checks.check_cloud(
            own.name, own.credentials, "", Home(tmp_path), None, checks.limited(progress, stop)
        )
    assert len(ocean.requests) < 6


def test_a_check_that_takes_too_long_ends(
    ocean: DigitalOceanEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "DEADLINE", -1.0)
    assert "takes longer" in worst(cloud(tmp_path)).what


# -- the zone ------------------------------------------------------------------------------------


def test_a_good_zone(flare: CloudflareEmulator, world: NameServer) -> None:
    found = zone()
    assert found.good
    assert [f.key for f in found.findings] == ["dns.zone", "dns.zone"]


def test_the_longest_zone_that_holds_it(flare: CloudflareEmulator, world: NameServer) -> None:
    deeper = (
        "dns: {provider: cloudflare, zone: example.org",
        "dns: {provider: cloudflare, zone: www.example.org",
    )
    assert "serves example.org, which holds www.example.org" in zone(*deeper).findings[0].what
    flare.add_zone("www.example.org")
    world.servers = {"www.example.org": CLOUDFLARE_SERVERS}
    found = zone(*deeper)
    assert found.good
    assert "serves www.example.org," in found.findings[0].what


def test_a_zone_that_is_not_there(flare: CloudflareEmulator, world: NameServer) -> None:
    flare.zones.clear()
    finding = worst(zone())
    assert finding.key == "dns.zone"
    assert "add the zone at Cloudflare" in finding.cure


@pytest.mark.parametrize(
    ("servers", "level", "said"),
    [
        ((), Level.BAD, "is not delegated"),
        (("ns1.elsewhere.net",), Level.BAD, "the world asks ns1.elsewhere.net"),
        ((CLOUDFLARE_SERVERS[0], "ns1.elsewhere.net"), Level.WARNING, "ns1.elsewhere.net too"),
        (CLOUDFLARE_SERVERS[:1], Level.WARNING, "fewer of its servers"),
    ],
)
def test_a_zone_that_the_world_asks_others_for(
    servers: tuple[str, ...],
    level: Level,
    said: str,
    flare: CloudflareEmulator,
    world: NameServer,
) -> None:
    world.servers = {"example.org": servers}
    finding = worst(zone())
    assert (finding.key, finding.level) == ("dns.zone", level)
    assert said in str(finding)
    assert ", ".join(CLOUDFLARE_SERVERS) in finding.cure


def test_capitals_and_dots_do_not_matter(flare: CloudflareEmulator, world: NameServer) -> None:
    world.servers = {"example.org": tuple(name.upper() for name in CLOUDFLARE_SERVERS)}
    assert zone().good


def test_no_resolver_is_no_reason_not_to_go_on(
    flare: CloudflareEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent_one:
        monkeypatch.setattr("wizard.dns.delegation._PATIENCE", 0.3)
        monkeypatch.setenv("BUILD_USB_RESOLVER", "{}:{}".format(*silent_one.getsockname()))
        assert worst(zone()).level is Level.WARNING
    monkeypatch.setenv("BUILD_USB_RESOLVER", "nonsense")
    assert "ADDRESS:PORT" in worst(zone()).cure


@pytest.mark.parametrize(
    ("token", "key", "said"),
    [
        (Token(EVERYTHING, "expired"), "dns.credentials", "the token is expired"),
        (Token(frozenset({READ_ZONE, READ_DNS})), "dns.credentials", "Zone / DNS / Edit"),
        (Token(frozenset()), "dns.zone", "Zone / Zone / Read"),
    ],
)
def test_a_dns_token_that_is_not_good(
    token: Token, key: str, said: str, flare: CloudflareEmulator, world: NameServer
) -> None:
    flare.tokens[CLOUDFLARE_TOKEN] = token
    finding = worst(zone())
    assert finding.key == key
    assert said in str(finding)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (error(429, **{"retry-after": "17"}), "wait 17 seconds"),
        (error(500), "run again in a moment"),
        ({"kind": "html", "times": 99}, "makes no sense"),
        ({"kind": "lost", "times": 99}, "does not answer"),
        ({"reply": Reply(200, {}), "delay": 1.0, "times": 99}, "does not answer"),
    ],
    ids=["429", "500", "html", "lost", "time-out"],
)
def test_what_goes_wrong_with_dns_is_told_with_its_cure(
    fault: dict[str, Any],
    said: str,
    flare: CloudflareEmulator,
    world: NameServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "TIMEOUT", 0.3)
    kind = fault.pop("kind", "")
    flare.fail(".*", kind, **fault)
    finding = worst(zone())
    assert finding.key == "dns.credentials"
    assert said in str(finding)
    assert finding.cure
    assert CLOUDFLARE_TOKEN not in str(finding)


def test_the_domain_of_the_same_vendor(ocean: DigitalOceanEmulator, world: NameServer) -> None:
    same = (
        "{provider: cloudflare, zone: example.org, credentials: {environment: CF}}",
        "{provider: digitalocean, zone: example.org}",
    )
    assert "add the domain at DigitalOcean" in worst(zone(*same)).cure
    ocean.domains["example.org"] = {
        1: {
            "id": 1,
            "type": "NS",
            "name": "@",
            "data": "ns1.digitalocean.com",
            "ttl": 1800,
            "priority": None,
            "port": None,
            "weight": None,
            "flags": None,
            "tag": None,
        }
    }
    world.servers = {"example.org": ("ns1.digitalocean.com",)}
    assert zone(*same).good


# -- all of it -----------------------------------------------------------------------------------


def test_all_of_it(
    ocean: DigitalOceanEmulator,
    flare: CloudflareEmulator,
    world: NameServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = checks.check(answers(), Home(tmp_path), None, silent)
    assert found.good
    assert not found.bad
    assert checks.to_plain(found)["findings"][0]["level"] == "good"
    monkeypatch.setenv("KEYS", "no-colon-in-it")
    found = checks.check(answers(), Home(tmp_path), None, silent)
    assert found.bad
    text = checks.to_text(found)
    assert "bad      object_storage.credentials: " in text
    assert "what to do: join the two by a colon" in text
    assert "no-colon-in-it" not in text


def test_a_rehearsal_asks_nobody(tmp_path: Path) -> None:
    rehearsal = loads(Path("config-templates/answers/rehearsal.yaml").read_text(), "r.yaml")
    found = checks.check(rehearsal, Home(tmp_path), None, silent)
    assert found.good
    assert found.facts is not None
    assert "rehearsal" in checks.to_text(found)


def every_scope() -> set[str]:
    names = ["account:read", "regions:read", "sizes:read", "image:read", "actions:read"]
    for kind in ("droplet", "vpc", "firewall", "tag", "ssh_key", "snapshot", "domain"):
        names += [f"{kind}:{verb}" for verb in ("read", "create", "update", "delete")]
    return set(names)
