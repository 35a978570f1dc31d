"""What is asked of clouds and DNS providers before anything is made, and how it is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.emulators import openapi
from tests.emulators.aws_identity import Key
from tests.emulators.cloudflare import (
    EDIT_ACCESS,
    EDIT_CERTIFICATES,
    EDIT_DNS,
    EVERYTHING,
    READ_DNS,
    READ_SETTINGS,
    READ_ZONE,
    CloudflareEmulator,
    Token,
)
from tests.emulators.digitalocean import TOKEN, DigitalOceanEmulator
from tests.emulators.mail_server import PASSWORD, USER, MailServer
from tests.emulators.nameserver import NameServer
from tests.emulators.route53 import Route53Emulator
from tests.emulators.server import Reply
from tests.lab.deployments import REHEARSAL
from wizard.answers.loader import loads
from wizard.answers.model import Answers
from wizard.errors import AnswersError, InterruptedRunError
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


def found_with(changes: dict[str, str], more: str, tmp_path: Path) -> Checked:
    """Check the answers with these changes, and `more` at their end."""
    text = ANSWERS
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return checks.check(loads(text + more, "a.yaml"), Home(tmp_path), None, silent)


PROXIED = {"zone: example.org, cred": "zone: example.org, proxied: true, cred"}
GATED = """
tls: {authority: cloudflare-origin}
gateway: {enabled: true, users: [{name: jo, email: jo@example.org}]}
"""


def test_what_proxies_may_do_is_asked_where_it_is_wanted(
    ocean: DigitalOceanEmulator, flare: CloudflareEmulator, world: NameServer, tmp_path: Path
) -> None:
    found = found_with(PROXIED, GATED, tmp_path)
    assert found.good
    (told,) = [f for f in found.findings if f.key == "dns.proxied"]
    assert "certificates of their authority may be ordered, their gate may be made" in told.what
    for lacking, name in (
        (EDIT_ACCESS, "Account / Access: Apps and Policies / Edit for this zone's account"),
        (EDIT_CERTIFICATES, "Zone / SSL and Certificates / Edit for this zone"),
        (READ_SETTINGS, "Zone / Zone Settings / Read for this zone"),
    ):
        flare.tokens[CLOUDFLARE_TOKEN] = Token(EVERYTHING - {lacking})
        found = found_with(PROXIED, GATED, tmp_path)
        wrong = [f for f in found.findings if f.level is Level.BAD]
        assert wrong
        assert {f.key for f in wrong} == {"dns.proxied"}
        assert all(name in f.what for f in wrong)
        if lacking != READ_SETTINGS:
            # who does not want it need not be able to
            assert found_with(PROXIED, "", tmp_path).good
    flare.tokens[CLOUDFLARE_TOKEN] = Token()
    flare.settings["ssl"] = "flexible"
    assert "must be 'strict'" in worst(found_with(PROXIED, GATED, tmp_path)).what
    assert (flare.certificates, flare.applications, flare.policies) == ({}, {}, {})


PRODUCTION = {"mode: development": "mode: production"}
THEIRS = """
webserver: {count: 2}
scaling: {credentials: {provider: {environment: AUTOSCALER}, dns: {environment: AUTOSCALER_DNS}}}
"""


def test_the_autoscalers_own_credentials_are_checked_too(
    ocean: DigitalOceanEmulator,
    flare: CloudflareEmulator,
    world: NameServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AUTOSCALER", "of-autoscalers")
    monkeypatch.setenv("AUTOSCALER_DNS", "token-of-autoscalers")
    few = {"droplet:read", "droplet:create", "droplet:update", "droplet:delete", "actions:read"}
    few |= {"snapshot:read", "snapshot:delete", "ssh_key:read"}
    ocean.tokens["of-autoscalers"] = frozenset(few)
    flare.tokens["token-of-autoscalers"] = Token(frozenset({READ_ZONE, READ_DNS, EDIT_DNS}))
    found = found_with(PRODUCTION, THEIRS, tmp_path)
    assert found.good
    assert {f.key for f in found.findings} > {
        "scaling.credentials.provider",
        "scaling.credentials.dns",
    }

    ocean.tokens["of-autoscalers"] = frozenset(few - {"droplet:delete", "snapshot:read"})
    finding = worst(found_with(PRODUCTION, THEIRS, tmp_path))
    assert finding.key == "scaling.credentials.provider"
    assert finding.what == "the token lacks rights: droplet:delete, snapshot:read"
    ocean.tokens["of-autoscalers"] = frozenset(few)
    flare.tokens["token-of-autoscalers"] = Token(frozenset({READ_ZONE, READ_DNS}))
    finding = worst(found_with(PRODUCTION, THEIRS, tmp_path))
    assert finding.key == "scaling.credentials.dns"
    assert "Zone / DNS / Edit" in finding.cure
    del flare.tokens["token-of-autoscalers"]
    assert worst(found_with(PRODUCTION, THEIRS, tmp_path)).key == "scaling.credentials.dns"
    del ocean.tokens["of-autoscalers"]
    assert worst(found_with(PRODUCTION, THEIRS, tmp_path)).key == "scaling.credentials.provider"
    # the build machine's, named as if it were another
    monkeypatch.setenv("AUTOSCALER", TOKEN)
    assert "the build machine's" in worst(found_with(PRODUCTION, THEIRS, tmp_path)).what


def test_rights_are_those_that_the_whole_of_the_answers_takes(
    ocean: DigitalOceanEmulator, flare: CloudflareEmulator, world: NameServer, tmp_path: Path
) -> None:
    ocean.tokens[TOKEN] = frozenset(every_scope())
    reserved = {"region: fra1": "region: fra1, reserved_address: true"}
    assert found_with({}, "", tmp_path).good
    assert "reserved_ip:create" in worst(found_with(reserved, "", tmp_path)).what
    managed = "database: {engine: mysql, managed: true}\n"
    assert "database:create" in worst(found_with({}, managed, tmp_path)).what


def test_a_rehearsal_asks_nobody(tmp_path: Path) -> None:
    rehearsal = loads(Path("config-templates/answers/rehearsal.yaml").read_text(), "r.yaml")
    found = checks.check(rehearsal, Home(tmp_path), None, silent)
    assert found.good
    assert found.facts is not None
    assert "rehearsal" in checks.to_text(found)


def every_scope() -> set[str]:
    names = ["account:read", "regions:read", "sizes:read", "image:read", "actions:read"]
    for kind in (
        "droplet",
        "vpc",
        "firewall",
        "tag",
        "ssh_key",
        "spaces_key",
        "snapshot",
        "domain",
    ):
        names += [f"{kind}:{verb}" for verb in ("read", "create", "update", "delete")]
    names += [f"project:{verb}" for verb in ("read", "create", "assign_resource", "delete")]
    return set(names)


# -- the mail server ------------------------------------------------------------------------------


def told(server: MailServer) -> str:
    return (
        "notifications: {email: jo@example.org, smtp: {host: localhost.test, user: "
        f"{USER}, sender: us@example.net, port: {server.port}, password: {{environment: MAIL}}}}}}"
    )


def test_a_mail_account_is_tried_out_and_a_test_mail_sent_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: found(host.removesuffix(".test"), *a, **k)
    )
    with MailServer("localhost.test") as server:
        trusted = tmp_path / "trusted.pem"
        trusted.write_text(server.certificate)
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        rehearsal = loads(REHEARSAL.read_text() + told(server), "a.yaml")

        def check(**options: bool) -> checks.Finding:
            (finding,) = checks.check(rehearsal, Home(tmp_path), None, silent, **options).findings
            return finding

        assert "MAIL is not set" in check().what
        monkeypatch.setenv("MAIL", "a wrong one")
        assert check().level is Level.BAD
        assert "535" in check().why
        monkeypatch.setenv("MAIL", PASSWORD)
        assert check().level is Level.GOOD
        assert server.messages == []
        assert check(test_mail=True).level is Level.GOOD
        assert "this is a test mail" in server.texts()[0]
        assert rehearsal.notifications.smtp is not None
        assert rehearsal.notifications.smtp.password in checks.sources(rehearsal)


def test_rights_for_health_checks_are_tried_where_they_are_chosen(
    world: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Route53Emulator() as amazon:
        monkeypatch.setenv("BUILD_USB_ROUTE53_URL", amazon.url)
        monkeypatch.setenv("CF", "AKIDGOOD:a-secret-key")
        amazon.add_zone("example.org", "ns.example.net")
        world.servers["example.org"] = ("ns.example.net",)
        plain = "provider: cloudflare", "provider: route53"
        checked = "provider: cloudflare", "provider: route53, health_checked: true"
        found = zone(*checked)
        assert found.good, found
        (told,) = [f for f in found.findings if f.key == "dns.health_checked"]
        assert "may be listed and deleted" in told.what
        for denied in ("ListHealthChecks", "DeleteHealthCheck"):
            amazon.keys["AKIDGOOD"] = Key(denied=frozenset({denied}))
            assert f"route53:{denied}" in worst(zone(*checked)).cure
            # who does not want it need not be able to
            assert zone(*plain).good
        assert amazon.checks.held == {}
        assert amazon.accepted == 0


def test_health_checks_are_refused_where_nobody_asks() -> None:
    with pytest.raises(AnswersError, match="only route53 asks webservers whether they are well"):
        answers("provider: cloudflare", "provider: cloudflare, health_checked: true")
    text = REHEARSAL.read_text()
    changed = text.replace("provider: rfc2136", "provider: route53\n  health_checked: true")
    assert changed != text
    with pytest.raises(AnswersError, match="Route 53 cannot reach the machines of a rehearsal"):
        loads(changed, "a.yaml")
