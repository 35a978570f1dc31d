"""Managed databases of DigitalOcean: made once, reached by whom the rules say, and gone again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from tests.contract import accounts
from tests.contract.scenario import persist
from tests.emulators.digitalocean import TOKEN, DigitalOceanEmulator
from tests.emulators.digitalocean_databases import OFFERED
from tests.emulators.digitalocean_values import error
from tests.emulators.server import Reply
from wizard.errors import InterruptedRunError, ProviderError, TransientError
from wizard.events import silent
from wizard.providers.base import DatabaseSpec, ResourceKind
from wizard.providers.digitalocean import DigitalOceanProvider
from wizard.rules import Rented, Role, Rule, from_role
from wizard.secrets import Secret

REACH = tuple(
    Rule(Rented.DATABASE, 25060, from_role(role), "the database")
    for role in (Role.WEBSERVER, Role.DATABASE)
)


@pytest.fixture
def api() -> Iterator[DigitalOceanEmulator]:
    with accounts.digitalocean(steps=3) as emulator:
        yield emulator


@pytest.fixture
def provider(api: DigitalOceanEmulator) -> DigitalOceanProvider:
    return opened(api)


def opened(api: DigitalOceanEmulator, **changes: Any) -> DigitalOceanProvider:
    return accounts.opened_account(api, **{"database": "mysql", **changes})


def spec(
    provider: DigitalOceanProvider, deployment: str = "demo", engine: str = "mysql"
) -> DatabaseSpec:
    facts = provider.facts().databases
    assert facts is not None
    return DatabaseSpec(
        deployment=deployment,
        engine=engine,
        size=facts.sizes[0],
        port=facts.port,
        region="fra1",
        network_id=provider.ensure_network(deployment).id,
        rules=REACH,
        password=Secret("not used here"),
    )


def delete(provider: DigitalOceanProvider) -> None:
    for resource in provider.resources("demo"):
        if resource.kind is ResourceKind.DATABASE:
            persist(lambda resource=resource: provider.delete(resource))  # type: ignore[misc]


def test_sizes_are_those_with_a_price(api: DigitalOceanEmulator) -> None:
    found = opened(api).facts()
    assert found.databases is not None
    assert [(s.name, s.monthly_price) for s in found.databases.sizes] == [
        ("db-s-1vcpu-1gb", Decimal("15.15")),
        ("db-s-2vcpu-4gb", Decimal("60.90")),
    ]
    assert any("has no prices of managed databases" in note for note in found.notes)
    # who asks for none is not told, and the API is not asked
    asked = len(api.calls("/databases/options"))
    assert opened(api, database="").facts().databases is None
    assert len(api.calls("/databases/options")) == asked
    assert opened(api, region="nyc3").facts().databases is None


def test_a_database_is_made_once_and_told_whole(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    wanted = spec(provider)
    seen: list[str] = []
    with ThreadPoolExecutor(3) as pool:
        made = list(
            pool.map(
                lambda _: provider.ensure_database(wanted, lambda what, *_: seen.append(what)),
                range(3),
            )
        )
    (cluster,) = api.databases.values()
    assert {database.id for database in made} == {cluster["id"]}
    assert cluster["tags"] == ["build-usb:demo"]
    assert cluster["private_network_uuid"] == wanted.network_id
    first = made[0]
    assert first.host.startswith("private-build-usb-demo")
    assert (first.port, first.user) == (25060, "doadmin")
    assert first.password.reveal() == cluster["_password"]
    assert first.authority == api.authority.certificate
    assert cluster["_password"] not in repr(first)
    assert "waiting for the database: creating" in seen
    assert [r.kind for r in provider.resources("demo")].count(ResourceKind.DATABASE) == 1
    assert provider.resources("other") == []


def test_postgresql_is_of_the_newest_version_that_backups_know(api: DigitalOceanEmulator) -> None:
    provider = opened(api, database="postgresql")
    made = provider.ensure_database(spec(provider, engine="postgresql"), silent)
    (cluster,) = api.databases.values()
    # 18 is offered, and the pg_dump of Debian 13 refuses it
    assert (cluster["engine"], cluster["version"]) == ("pg", "17")
    assert (made.port, made.user, made.first) == (25060, "doadmin", "defaultdb")


def test_versions_that_no_backup_knows_are_refused(
    api: DigitalOceanEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = opened(api, database="postgresql")
    wanted = spec(provider, engine="postgresql")
    monkeypatch.setitem(OFFERED["pg"], "versions", ["18"])
    with pytest.raises(ProviderError, match="no version of postgresql") as caught:
        provider.ensure_database(wanted, silent)
    assert caught.value.where == "database.engine"
    assert api.databases == {}


def test_only_the_roles_of_the_rules_may_reach_it(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    made = provider.ensure_database(spec(provider), silent)

    def sources() -> list[tuple[str, str]]:
        return [(rule["type"], rule["value"]) for rule in api.database_rules[made.id]]

    tags = [("tag", "build-usb:demo:webserver"), ("tag", "build-usb:demo:database")]
    assert sources() == tags
    # what a person added is taken away again
    api.database_rules[made.id].append({"type": "ip_addr", "value": "0.0.0.0/0"})
    provider.ensure_database(spec(provider), silent)
    assert sources() == tags
    before = len(api.calls("^PUT"))
    provider.ensure_database(spec(provider), silent)
    assert len(api.calls("^PUT")) == before


@pytest.mark.parametrize("kind", ["lost", "html", "truncated"])
def test_a_lost_answer_makes_one(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider, kind: str
) -> None:
    wanted = spec(provider)
    api.fail("POST /v2/databases$", kind)
    with pytest.raises(ProviderError):
        provider.ensure_database(wanted, silent)
    # another run, as after kill -9
    again = opened(api).ensure_database(wanted, silent)
    assert list(api.databases) == [again.id]


def test_a_run_that_is_stopped_finds_what_it_began(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    stop = threading.Event()

    def progress(*_: object) -> None:
        raise InterruptedRunError("stopped")

    with pytest.raises(InterruptedRunError):
        provider.ensure_database(spec(provider), progress)
    assert not stop.is_set()
    made = opened(api).ensure_database(spec(provider), silent)
    assert list(api.databases) == [made.id]


def test_a_limit_that_is_reached_is_said(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    api.database_limit = 0
    with pytest.raises(ProviderError, match="create the database") as caught:
        provider.ensure_database(spec(provider), silent)
    assert "limit" in caught.value.why
    assert not isinstance(caught.value, TransientError)


def test_a_password_that_is_hidden_names_the_scope(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    api.sees_passwords = False
    with pytest.raises(ProviderError) as caught:
        provider.ensure_database(spec(provider), silent)
    assert "database:view_credentials" in caught.value.cure


REPLIES = {
    "404": error(404, "not_found", "gone"),
    "409": error(409, "conflict", "busy"),
    "423": error(423, "locked", "busy"),
    "429": error(429, "too_many_requests", "slow down"),
    "500": error(500, "server_error", "oops"),
    "503": error(503, "service_unavailable", "oops"),
}


@pytest.mark.parametrize("said", [*REPLIES, "lost"])
def test_every_delete_survives_what_the_api_says(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider, said: str
) -> None:
    provider.ensure_database(spec(provider), silent)
    if said == "lost":
        api.fail("^DELETE /v2/databases", "lost")
    else:
        api.fail("^DELETE /v2/databases", reply=REPLIES[said])
    if said == "404":
        # said to be gone, and there: that cannot be believed
        resource = next(r for r in provider.resources("demo") if r.kind is ResourceKind.DATABASE)
        with pytest.raises(TransientError):
            provider.delete(resource)
    delete(provider)
    assert api.databases == {}
    delete(provider)


def test_a_database_goes_before_the_network_it_is_in(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    provider.ensure_database(spec(provider), silent)
    found = sorted(provider.resources("demo"), key=lambda r: list(ResourceKind).index(r.kind))
    assert [r.kind for r in found] == [ResourceKind.DATABASE, ResourceKind.NETWORK]
    for resource in found:
        provider.delete(resource)
    assert (api.databases, api.vpcs) == ({}, {})


def test_scopes_for_databases_are_asked_of_who_rents_one(api: DigitalOceanEmulator) -> None:
    kinds = ("droplet", "vpc", "firewall", "tag", "snapshot", "ssh_key", "spaces_key", "account",
             "project")  # fmt: skip
    verbs = ("read", "create", "update", "delete")
    few = {f"{kind}:{verb}" for kind in kinds for verb in verbs} | {
        "regions:read", "sizes:read", "image:read", "project:assign_resource"
    }  # fmt: skip
    api.tokens[TOKEN] = frozenset(few)
    assert opened(api, database="").standing(silent).lacking == ()
    assert opened(api, database="").resources("demo") == []
    lacking = opened(api).standing(silent).lacking
    assert lacking == ("database:create", "database:delete", "database:read")
    with pytest.raises(ProviderError, match="may not read") as caught:
        opened(api).prepare(silent)
    assert "database:read" in caught.value.why
    # who cannot look does not say that nothing is there
    with pytest.raises(ProviderError):
        opened(api).resources("demo")


@pytest.mark.parametrize(
    "body",
    [
        {"database": {"id": "1", "name": "x", "status": "online"}},
        {"database": {"id": "1", "name": "x", "status": "online", "private_connection": None}},
        {"database": {}},
        [],
    ],
)
def test_senseless_databases_are_a_clear_error(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider, body: Any
) -> None:
    wanted = spec(provider)
    api.fail("GET /v2/databases/[0-9a-f-]{36}$", reply=Reply(200, body), times=9)
    with pytest.raises(ProviderError) as caught:
        provider.ensure_database(wanted, silent)
    assert caught.value.code == "senseless"


@pytest.mark.parametrize("ca", [{}, {"certificate": "%%%"}, {"certificate": "aGVsbG8="}])
def test_an_authority_that_is_none_is_a_clear_error(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider, ca: Any
) -> None:
    api.fail("GET /v2/databases/.*/ca$", reply=Reply(200, {"ca": ca}))
    with pytest.raises(ProviderError) as caught:
        provider.ensure_database(spec(provider), silent)
    assert caught.value.code == "senseless"
