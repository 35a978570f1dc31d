"""What tests of the emulated Amazon ask for: a machine, a database, a whole deployment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tests.contract.scenario import BUILDER, make
from tests.emulators.aws import TOKEN, AwsEmulator
from wizard.errors import ProviderError
from wizard.providers.aws import AwsProvider
from wizard.providers.aws_databases import PORTS
from wizard.providers.base import Account, DatabaseSpec, MachineSpec, Size
from wizard.rules import Rented, Role, Rule, from_role
from wizard.secrets import Secret

REGION = "eu-central-1"
ANSWERS = """
version: 1
name: demo
mode: development
provider: {name: aws, region: eu-central-1, credentials: {environment: AWS}}
application: {kind: wordpress, title: T, admin: {user: editor, email: editor@example.org}}
domain: {name: www.example.org}
dns: {zone: example.org, provider: cloudflare, credentials: {environment: CLOUDFLARE}}
ssh: {build_machine: 198.51.100.7}
"""


@contextmanager
def account() -> Iterator[AwsEmulator]:
    """An account at Amazon."""
    with AwsEmulator() as emulator:
        yield emulator
        assert emulator.violations == []


def opened(api: AwsEmulator, token: str = TOKEN, **changes: Any) -> AwsProvider:
    account = replace(Account(Secret(token), REGION, lambda: BUILDER, api.url), **changes)
    return AwsProvider(account, pause=lambda _seconds: None)


def spec(network: str, name: str = "web1", **changes: Any) -> MachineSpec:
    wanted = MachineSpec(
        deployment="demo",
        name=name,
        role=Role.WEBSERVER,
        size="t3.small",
        image="debian-13",
        region=REGION,
        network_id=network,
        user_data=Secret("#cloud-config\n{}\n"),
    )
    return replace(wanted, **changes)


def database_spec(provider: AwsProvider, engine: str = "mysql") -> DatabaseSpec:
    return DatabaseSpec(
        deployment="demo",
        engine=engine,
        size=Size("db.t4g.micro", 2, 1024, 20, Decimal("15.88")),
        port=PORTS[engine],
        region=REGION,
        network_id=provider.ensure_network("demo").id,
        rules=tuple(
            Rule(Rented.DATABASE, PORTS[engine], from_role(role), "the database")
            for role in (Role.WEBSERVER, Role.DATABASE)
        ),
        password=Secret("Abcdefgh23456789"),
    )


def deploy(provider: AwsProvider) -> None:
    """Everything of a deployment, as the engine asks for it."""
    make(provider, spec)
    provider.ensure_file_system("demo")


WHOLE = {
    "instances": 2,
    "vpcs": 1,
    "gateways": 1,
    "groups": 4,
    "roles": 1,
    "profiles": 1,
    "file systems": 1,
    "mount targets": 2,
}


def trouble(act: Callable[[], Any]) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        act()
    assert caught.value.cure
    return caught.value
