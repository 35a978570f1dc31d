"""Zero Trust Access: a deployment's own gate, and nobody else's."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.contract import accounts
from tests.contract.accounts import CLOUDFLARE_TOKEN as TOKEN
from tests.contract.accounts import ZONE
from tests.contract.accounts import opened_zone as opened
from tests.emulators.cloudflare import (
    EDIT_ACCESS,
    EVERYTHING,
    CloudflareEmulator,
    Token,
    failure,
)
from tests.emulators.server import Reply
from wizard.dns.base import Gate, Wanted
from wizard.dns.cloudflare import Cloudflare
from wizard.dns.cloudflare_access import ZeroTrust
from wizard.errors import ProviderError, TransientError
from wizard.secrets import Secret

GATE = Gate(
    (f"www.{ZONE}/wp-login.php", f"www.{ZONE}/wp-admin"), ("jo@example.net", "kim@example.net")
)
NAME = f"build-usb.demo.{ZONE}"


@pytest.fixture
def api() -> Iterator[CloudflareEmulator]:
    with accounts.cloudflare() as emulator:
        yield emulator


@pytest.fixture
def access(api: CloudflareEmulator) -> ZeroTrust:
    return opened(api).access()


def test_a_gate_is_made_once_and_removed(api: CloudflareEmulator, access: ZeroTrust) -> None:
    assert access.ensure("demo", GATE)
    assert not access.ensure("demo", GATE)
    assert api.places() == list(GATE.places)
    (policy,) = api.policies.values()
    assert policy["decision"] == "allow"
    assert [rule["email"]["email"] for rule in policy["include"]] == list(GATE.emails)
    assert access.remove("demo")
    assert not access.remove("demo")
    assert (api.applications, api.policies) == ({}, {})


def test_a_gate_changes_with_the_answers(api: CloudflareEmulator, access: ZeroTrust) -> None:
    access.ensure("demo", GATE)
    (policy,), (application,) = api.policies, api.applications
    other = Gate((f"{ZONE}/secret",), (), ("example.net",))
    assert access.ensure("demo", other)
    assert api.places() == [f"{ZONE}/secret"]
    assert api.policies[policy]["include"] == [{"email_domain": {"domain": "example.net"}}]
    # the same policy and application, so that sessions go on
    assert set(api.applications) == {application}
    assert not access.ensure("demo", other)


def test_an_application_holds_five_places(api: CloudflareEmulator, access: ZeroTrust) -> None:
    many = replace(GATE, places=tuple(f"www.{ZONE}/{n}" for n in range(12)))
    access.ensure("demo", many)
    assert sorted(a["name"] for a in api.applications.values()) == [
        f"{NAME}.{n}" for n in (1, 2, 3)
    ]
    assert sorted(api.places()) == sorted(many.places)
    assert len(api.policies) == 1
    assert access.ensure("demo", GATE)
    assert sorted(api.places()) == sorted(GATE.places)
    access.remove("demo")
    assert api.applications == {}


def test_what_a_person_changed_is_put_back(api: CloudflareEmulator, access: ZeroTrust) -> None:
    access.ensure("demo", GATE)
    (policy,), (application,) = api.policies.values(), api.applications.values()
    changes = (
        (policy, {"include": [{"everyone": {}}]}),
        (policy, {"decision": "bypass"}),
        (policy, {"require": [{"geo": {"country_code": "PT"}}]}),
        (application, {"policies": []}),
        (application, {"destinations": []}),
        (application, {"session_duration": "730h"}),
    )
    for thing, change in changes:
        thing |= change
        kept = api.policies if thing is policy else api.applications
        kept[thing["id"]] = thing
        assert access.ensure("demo", GATE), change
        assert not access.ensure("demo", GATE)


def test_others_gates_are_left_alone(api: CloudflareEmulator, access: ZeroTrust) -> None:
    for name in ("demo2", "other"):
        access.ensure(name, GATE)
    api.add_zone("example.com")
    elsewhere = Cloudflare("example.com", Secret(TOKEN), url=api.url).access()
    elsewhere.ensure("demo", Gate(("example.com/a",), ("jo@example.net",)))
    application = next(iter(api.applications.values()))
    api.applications["by-hand"] = {**application, "id": "by-hand", "name": f"{NAME}.mine"}
    before = dict(api.applications), dict(api.policies)
    access.ensure("demo", GATE)
    access.remove("demo")
    assert (api.applications, api.policies) == before


@pytest.mark.parametrize("kind", ["lost", "html", "truncated"])
@pytest.mark.parametrize(
    "match", ["POST .*policies", "POST .*apps", "GET .*apps", "GET .*policies"]
)
def test_a_broken_answer_leaves_one_gate(
    api: CloudflareEmulator, access: ZeroTrust, match: str, kind: str
) -> None:
    api.fail(match, kind)
    with pytest.raises(ProviderError) as error:
        access.ensure("demo", GATE)
    assert error.value.cure
    access.ensure("demo", GATE)
    assert (len(api.applications), len(api.policies)) == (1, 1)


@pytest.mark.parametrize("match", ["DELETE .*policies/", "DELETE .*apps/"])
@pytest.mark.parametrize("status", [404, 409, 429, 500, "lost"])
def test_every_delete_survives_what_the_api_says(
    api: CloudflareEmulator, access: ZeroTrust, match: str, status: int | str
) -> None:
    access.ensure("demo", GATE)
    if status == "lost":
        api.fail(match, "lost")
    else:
        api.fail(match, reply=failure(int(status), 1, "not now"))
    if status == 404 and "policies" in match:
        access.remove("demo")
    else:
        with pytest.raises(TransientError):
            access.remove("demo")
    access.remove("demo")
    assert (api.applications, api.policies) == ({}, {})


def test_what_was_made_twice_is_made_one(api: CloudflareEmulator, access: ZeroTrust) -> None:
    access.ensure("demo", GATE)
    for things, number in itertools.product((api.policies, api.applications), "12"):
        first = next(iter(things.values()))
        things[number] = {**first, "id": number}
    assert access.ensure("demo", GATE)
    assert (len(api.applications), len(api.policies)) == (1, 1)
    assert not access.ensure("demo", GATE)


@pytest.mark.parametrize("result", [None, "text", {}, [None], [{}], [{"id": 7, "name": NAME}]])
@pytest.mark.parametrize("match", ["GET .*apps", "GET .*policies"])
def test_senseless_lists_are_a_clear_error(
    api: CloudflareEmulator, access: ZeroTrust, match: str, result: object
) -> None:
    api.fail(match, reply=Reply(200, {"success": True, "result": result}))
    with pytest.raises(ProviderError, match="makes no sense"):
        access.ensure("demo", GATE)


def test_the_missing_right_is_named_before_anything_is_made(api: CloudflareEmulator) -> None:
    assert opened(api).edge(Wanted(access=True)).wrong == ()
    api.tokens[TOKEN] = Token(EVERYTHING - {EDIT_ACCESS})
    assert opened(api).edge().wrong == ()
    (wrong,) = opened(api).edge(Wanted(access=True)).wrong
    assert "Account / Access: Apps and Policies / Edit" in wrong


def test_an_account_without_zero_trust_is_told_how_to_begin(api: CloudflareEmulator) -> None:
    api.zero_trust = False
    (wrong,) = opened(api).edge(Wanted(access=True)).wrong
    assert "open Zero Trust in Cloudflare's dashboard" in wrong
