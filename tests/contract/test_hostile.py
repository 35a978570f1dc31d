"""Whatever an API answers in the midst of a deployment, it works or ends in a clear error: a web
page, half a body, values of another kind, absurd numbers, what is missing, fields that nobody
knows."""

from __future__ import annotations

import copy
import json
import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.contract.accounts import opened_account
from tests.contract.at_digitalocean import database_spec, spec
from tests.contract.scenario import destroy, make
from tests.emulators.cloudflare import CloudflareEmulator
from tests.emulators.digitalocean import TOKEN, DigitalOceanEmulator
from tests.emulators.server import Emulator, Reply, Request
from wizard.dns.base import Gate, RecordSet, Wanted
from wizard.dns.cloudflare import Cloudflare
from wizard.dns.digitalocean import DigitalOcean
from wizard.dns.hosted import HostedDns
from wizard.errors import BuildUsbError
from wizard.events import silent
from wizard.machines.certificates import private_key
from wizard.providers import digitalocean_databases, digitalocean_droplets, digitalocean_reserved
from wizard.secrets import Secret

ZONE = "example.org"
WWW = RecordSet(f"www.{ZONE}", ("192.0.2.1", "2001:db8::1"), 120)
GATE = Gate((f"{WWW.name}/login",), ("jo@example.org",))
KEY = private_key()
ABSURD = (None, "", "?", -1, 0, 1e308, 10**30, True, [], {}, [None], [[]], {"id": {}}, "9" * 5000)
SEEDS = range(60, 100)


def rent(api: DigitalOceanEmulator) -> None:
    provider = opened_account(api, database="mysql", reserved=True)
    provider.standing(silent)
    provider.prepare(silent)
    provider.facts()
    make(provider, lambda network, name="web1", **more: spec(network, name, ipv6=True, **more))
    provider.ensure_database(database_spec(provider), silent)
    known = provider.ensure_storage_key("demo", ("bucket",), None)
    provider.ensure_storage_key("demo", ("bucket",), known)
    provider.group("demo", ("bucket",))
    provider.snapshot(provider.machines("demo")[0].id, "copy")
    destroy(provider)


def name(dns: HostedDns) -> None:
    dns.zone()
    dns.name_servers()
    dns.ensure_record("demo", WWW)
    dns.records("demo")
    dns.ensure_record("demo", RecordSet(WWW.name, WWW.addresses[:1], 60))
    dns.delete_record("demo", WWW.name)


def at_digitalocean(api: DigitalOceanEmulator) -> None:
    name(DigitalOcean(ZONE, Secret(TOKEN), url=api.url, pause=lambda _seconds: None))


def at_cloudflare(api: CloudflareEmulator) -> None:
    token = Secret(next(iter(api.tokens)))
    dns = Cloudflare(ZONE, token, url=api.url, pause=lambda _seconds: None)
    name(dns)
    dns.edge(Wanted(origin=True, access=True))
    dns.access().ensure("demo", GATE)
    dns.access().ensure("demo", GATE)
    dns.origin().certificate(KEY, (WWW.name,))
    dns.origin().certificate(KEY, (WWW.name,))
    dns.origin().revoke(KEY)
    dns.access().remove("demo")


@contextmanager
def digitalocean() -> Iterator[DigitalOceanEmulator]:
    with DigitalOceanEmulator(None, steps=0) as api:
        api.add_domain(ZONE)
        yield api


@contextmanager
def cloudflare() -> Iterator[CloudflareEmulator]:
    with CloudflareEmulator(None) as api:
        api.add_zone(ZONE)
        yield api


CLIENTS: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "droplets": (digitalocean, rent),
    "domains": (digitalocean, at_digitalocean),
    "cloudflare": (cloudflare, at_cloudflare),
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (digitalocean_droplets, digitalocean_databases):
        monkeypatch.setattr(module, "_BIRTH", 1.0)
        monkeypatch.setattr(module, "_DEATH", 1.0)
    monkeypatch.setattr(digitalocean_droplets, "_SNAPSHOT", 1.0)
    monkeypatch.setattr(digitalocean_reserved, "_ASSIGNMENT", 1.0)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where something is in an answer."""
    yield path
    inner = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        inner = enumerate(value[:2])
    for key, one in inner:
        yield from places(one, (*path, key))


def spoiled(body: Any, chance: random.Random) -> tuple[Any, str]:
    """Return an answer with one thing in it changed, and in words what."""
    path = chance.choice(list(places(body)))
    if not path:
        new = chance.choice(ABSURD)
        return new, f"all of it is {str(new)[:60]!r}"
    changed = copy.deepcopy(body)
    inside = changed
    for key in path[:-1]:
        inside = inside[key]
    if isinstance(inside, dict) and chance.random() < 0.25:
        del inside[path[-1]]
        return changed, f"{path} is missing"
    inside[path[-1]] = new = chance.choice(ABSURD)
    return changed, f"{path} is {str(new)[:60]!r}"


def with_more(value: Any) -> Any:
    """Return an answer with fields that nobody knows in every object."""
    if isinstance(value, dict):
        known = {key: with_more(one) for key, one in value.items()}
        return {**known, "novelty": {"deep": [1, None, "x"]}, "": 0}
    return [with_more(one) for one in value] if isinstance(value, list) else value


def requests_of(client: str) -> int:
    opened, work = CLIENTS[client]
    with opened() as api:
        work(api)
        return len(api.requests)


def outcome(work: Callable[[Any], None], api: Emulator) -> str:
    """Return how it ended: "" if it worked, "error" for one that says what to do, else a crash."""
    try:
        work(api)
    except BuildUsbError as error:
        return "error" if error.cure else f"no cure: {error}"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{error!r} at {where.filename}:{where.lineno}"
    return ""


@pytest.mark.parametrize("client", CLIENTS)
def test_a_changed_answer_is_never_a_crash(client: str) -> None:
    opened, work = CLIENTS[client]
    count = requests_of(client)
    ended: list[str] = []
    for seed in SEEDS:
        chance = random.Random(seed)
        number = chance.randrange(count)
        told: list[str] = []

        def spoil(request: Request, reply: Reply, chance: Any = chance, told: Any = told) -> Reply:
            if told or len(api.requests) <= number or not isinstance(reply.body, dict):  # noqa: B023
                return reply
            body, what = spoiled(json.loads(json.dumps(reply.body)), chance)
            told.append(f"seed {seed}, {request.line}: {what}")  # noqa: B023
            return Reply(reply.status, json.dumps(body).encode(), reply.headers)

        with opened() as api:
            api.spoil = spoil
            ended.append(outcome(work, api))
            if ended[-1] not in ("", "error"):
                ended[-1] = f"{told[0]}: {ended[-1]}"
    assert [one for one in ended if one not in ("", "error")] == []
    assert ended.count("error") > len(SEEDS) // 10


@pytest.mark.parametrize("kind", ["html", "truncated"])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_page_or_half_an_answer_is_a_clear_error_wherever_it_comes(
    client: str, kind: str
) -> None:
    opened, work = CLIENTS[client]
    ended: list[str] = []
    for number in range(requests_of(client)):
        with opened() as api:
            api.fail("", times=number)
            api.fail("", kind)
            ended.append(outcome(work, api))
    # what was deleted needs no answer, and what may pass is asked again
    assert set(ended) <= {"", "error"}
    assert ended.count("error") > len(ended) // 3


@pytest.mark.parametrize("client", CLIENTS)
def test_fields_that_nobody_knows_are_no_matter(client: str) -> None:
    opened, work = CLIENTS[client]
    with opened() as api:
        api.spoil = lambda _request, reply: Reply(
            reply.status,
            with_more(reply.body) if isinstance(reply.body, dict) else reply.body,
            reply.headers,
        )
        work(api)
