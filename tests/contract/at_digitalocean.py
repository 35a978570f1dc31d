"""What tests of the emulated DigitalOcean ask for: a machine, a database, a whole deployment."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from tests.contract.scenario import make
from tests.emulators.digitalocean import DigitalOceanEmulator
from wizard.providers.base import DatabaseSpec, MachineSpec, Size
from wizard.providers.digitalocean import DigitalOceanProvider
from wizard.rules import Rented, Role, Rule, from_role
from wizard.secrets import Secret

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJJJ demo"


def spec(network: str, name: str = "web1", **changes: Any) -> MachineSpec:
    wanted = MachineSpec(
        deployment="demo",
        name=name,
        role=Role.WEBSERVER,
        size="s-1vcpu-1gb",
        image="debian-13",
        region="fra1",
        network_id=network,
        user_data=Secret("#cloud-config\n{}\n"),
        authorized_key=KEY,
    )
    return replace(wanted, **changes)


def database_spec(provider: DigitalOceanProvider) -> DatabaseSpec:
    reach = [from_role(role) for role in (Role.WEBSERVER, Role.DATABASE)]
    return DatabaseSpec(
        deployment="demo",
        engine="mysql",
        size=Size("db-s-1vcpu-1gb", 1, 1024, 10, Decimal(15)),
        port=25060,
        region="fra1",
        network_id=provider.ensure_network("demo").id,
        rules=tuple(Rule(Rented.DATABASE, 25060, source, "the database") for source in reach),
        password=Secret("not used here"),
    )


def deploy(provider: DigitalOceanProvider) -> None:
    """Everything of a deployment, as the engine asks for it."""
    make(provider, spec)


def left(api: DigitalOceanEmulator) -> dict[str, int]:
    names = ("droplets", "vpcs", "firewalls", "tags", "keys", "snapshots")
    return {name: len(getattr(api, name)) for name in names if getattr(api, name)}
