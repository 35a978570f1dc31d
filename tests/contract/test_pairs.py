"""The templates of every pair of a cloud and a DNS provider, in both modes: right, planned, and
carried out against the emulated APIs as far as no machine has to boot."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.emulators import aws, digitalocean, knot, openapi
from tests.emulators.address import AddressTeller
from tests.emulators.aws import AwsEmulator
from tests.emulators.cloudflare import CloudflareEmulator
from tests.emulators.digitalocean import DigitalOceanEmulator
from tests.emulators.nameserver import NameServer
from tests.emulators.route53 import Route53Emulator
from wizard.answers import loader, support
from wizard.answers.model import Answers
from wizard.dns import propagation
from wizard.dns.exchange import Address
from wizard.dns.rfc2136 import Rfc2136
from wizard.engine import deploy, destroy, graph, open, state, whereabouts
from wizard.engine.context import Context
from wizard.errors import UsageError
from wizard.events import Event
from wizard.home.home import Home
from wizard.home.vault import Vault
from wizard.operations import session as sessions
from wizard.operations.template import DNS, REGIONS, template
from wizard.plan.build import build
from wizard.plan.render import to_text
from wizard.providers.base import Services
from wizard.rules import Role
from wizard.secrets import Secret

ZONE = knot.ZONE
PAIRS = [(provider, dns) for provider in REGIONS for dns in DNS]


@dataclass
class World:
    """What a pair of vendors is asked."""

    cloud: Any
    names: Any

    def served(self, name: str) -> list[str]:
        """Return the addresses that DNS answers with."""
        if isinstance(self.names, knot.Knot):
            return self.names.ask(name)
        found: list[str] = self.names.lookup(name)[1]
        return found


def names_of(dns: str, cloud: Any, stack: ExitStack, folder: Path) -> tuple[Any, Address]:
    """Begin to serve the zone; returns who does, and the name server's address."""
    if dns == "rfc2136":
        server = stack.enter_context(knot.served(folder))
        return server, (server.server.address, server.server.port)
    api: Any
    if dns == "route53":
        api = stack.enter_context(Route53Emulator(delay=0))
        api.add_zone(ZONE)
    elif dns == "cloudflare":
        api = stack.enter_context(CloudflareEmulator(openapi.document("cloudflare")))
        api.add_zone(ZONE)
    else:
        document = openapi.document("digitalocean")
        own = isinstance(cloud, DigitalOceanEmulator)
        api = cloud if own else stack.enter_context(DigitalOceanEmulator(document))
        api.add_domain(ZONE)
    return api, stack.enter_context(NameServer(api.lookup)).address


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    return Home.open(tmp_path_factory.mktemp("made") / "home").create_identity(Secret("x" * 30))


@pytest.fixture
def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    provider, dns = request.getfixturevalue("pair")
    with ExitStack() as stack:
        cloud: Any = None
        if provider == "aws":
            cloud = stack.enter_context(AwsEmulator(steps=0))
        elif provider == "digitalocean":
            cloud = stack.enter_context(
                DigitalOceanEmulator(openapi.document("digitalocean"), steps=0)
            )
        names, address = names_of(dns, cloud, stack, tmp_path)
        # they are not at port 53
        monkeypatch.setattr(propagation, "servers_named", lambda *_: [address])
        monkeypatch.setattr(Rfc2136, "_name_servers", lambda _self: [address])
        for vendor, api in ((provider, cloud), (dns, names)):
            if api is not None and hasattr(api, "url"):
                monkeypatch.setenv(f"BUILD_USB_{vendor.upper()}_URL", api.url)
        teller = stack.enter_context(AddressTeller("8.8.4.4"))
        for name, value in (
            (whereabouts.VARIABLE, teller.url),
            ("AWS_KEYS", aws.TOKEN),
            ("ROUTE53_KEYS", aws.TOKEN),
            ("DIGITALOCEAN_TOKEN", digitalocean.TOKEN),
            ("SPACES_KEYS", "access:secret"),
            ("CLOUDFLARE_TOKEN", "good-token-of-cloudflare"),
            ("TSIG_KEY", knot.KEY.reveal()),
        ):
            monkeypatch.setenv(name, value)
        yield World(cloud, names)
        for api in (cloud, names):
            assert getattr(api, "violations", []) == []


def answers_of(pair: tuple[str, str], production: bool, world: World | None = None) -> Answers:
    text = template(*pair, production=production).replace("example.org", ZONE)
    if world is not None:
        # the emulated vendors know one credential: autoscalers are given the same, by its name
        text = text.replace("AUTOSCALER_TOKEN", "DIGITALOCEAN_TOKEN").replace("AUTOSCALER_", "")
    answers = loader.loads(text, "pair.yaml")
    if world is not None and answers.dns.rfc2136 is not None:
        server = world.names.server
        own = answers.dns.rfc2136.model_copy(
            update={"server": server.address, "port": server.port, "key_name": server.key_name}
        )
        section = answers.dns.model_copy(update={"rfc2136": own})
        # the server knows one key
        theirs = answers.scaling.credentials.model_copy(update={"dns_key_name": None})
        scaling = answers.scaling.model_copy(update={"credentials": theirs})
        answers = answers.model_copy(update={"dns": section, "scaling": scaling})
    return answers


def context_of(answers: Answers, tmp_path: Path, vault: Vault, world: World) -> Context:
    home = Home.open(tmp_path / "home")
    deployment = home.deployment(answers.name)
    deployment.create()
    context = sessions.make_context(sessions.Session(home, vault), deployment, answers)
    if answers.provider.name == "local":
        own = isinstance(world.names, knot.Knot)
        context.services = Services(dns=world.names.server if own else None)
        context.dns = open.dns(answers, context.services, context.credentials)
        for number, machine in enumerate(context.plan.machines, start=11):
            address = f"10.77.0.{number}"
            made = (machine.name, machine.name, machine.role, address, address, "127.0.0.1")
            context.update(lambda known, made=made: known.with_machine(state.MachineState(*made)))
    return context


def replay(context: Context) -> None:
    """Carry out what is asked of the vendors: all but buckets and what happens on machines."""
    wanted = {"dns", "gate", "origin"}
    if context.plan.provider != "local":
        wanted |= {"provider", "network", "firewall"}
        wanted |= {f"create:{machine.name}" for machine in context.plan.machines}
    steps = [step for step in deploy.steps(context) if step.id in wanted]
    cut = [replace(s, needs=tuple(need for need in s.needs if need in wanted)) for s in steps]
    graph.run(cut, list[Event]().append, threading.Event())
    # what lies between has been left out
    last = [replace(step, needs=()) for step in deploy.steps(context) if step.id == "publish"]
    graph.run(last, list[Event]().append, threading.Event())


@pytest.mark.parametrize("production", [False, True])
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_a_template_is_right_and_says_what_does_not_work_yet(
    pair: tuple[str, str], production: bool
) -> None:
    answers = answers_of(pair, production)
    assert (answers.provider.name, answers.dns.provider) == pair
    assert support.unsupported(answers) == []


def test_unknown_names_are_refused_with_those_there_are() -> None:
    for pair in (("hetzner", "cloudflare"), ("aws", "none")):
        with pytest.raises(UsageError) as error:
            template(*pair)
        assert "digitalocean" in error.value.cure


def checked_and_back(answers: Answers, context: Context, world: World) -> None:
    """Have a deployment answer with what is well alone, and plainly again, by the same steps; and
    see that nothing of it outlives the deployment."""
    names: Route53Emulator = world.names
    (record,) = context.plan.records
    plain, expected = context.plan, sorted(world.served(record.name))
    section = answers.dns.model_copy(update={"health_checked": True})
    checked = answers.model_copy(update={"dns": section})
    context.plan = build(checked, context.provider.facts(), plain.bucket.name)
    for _ in range(2):
        replay(context)
        assert names.checks.asked() == expected
        assert sorted(world.served(record.name)) == expected
    context.plan = plain
    replay(context)
    assert names.checks.held == {}
    assert sorted(world.served(record.name)) == expected
    context.plan = build(checked, context.provider.facts(), plain.bucket.name)
    replay(context)
    step = graph.Step("dns", "names", lambda report: destroy._dns(context, report))
    graph.run([step], list[Event]().append, threading.Event())
    assert names.checks.held == {}
    assert world.served(record.name) == []
    context.plan = plain
    replay(context)


@pytest.mark.parametrize("production", [False, True])
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_a_pair_is_planned_and_carried_out(
    pair: tuple[str, str], production: bool, world: World, tmp_path: Path, vault: Vault
) -> None:
    answers = answers_of(pair, production, world)
    context = context_of(answers, tmp_path, vault, world)
    text = to_text(context.plan)
    assert pair[1] in text
    replay(context)
    (record,) = context.plan.records
    webservers = context.plan.of_role(Role.WEBSERVER)
    assert len(webservers) == (2 if production else 1)
    expected = sorted(context.state.machines[m.name].public_address for m in webservers)
    proxied = answers.dns.proxied
    assert sorted(world.served(record.name)) == (
        sorted(world.names.proxies) if proxied else expected
    )
    if proxied:
        assert len(world.names.certificates) == 1
        assert {place.partition("/")[0] for place in world.names.places()} == {record.name}
    if pair == ("aws", "route53"):
        checked_and_back(answers, context, world)
    if not production:
        before = dict(context.state.machines)
        replay(context)
        assert context.state.machines == before
