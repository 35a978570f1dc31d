"""What an autoscaler has to know to work as a build machine for webservers, and the context of it.

A station is one JSON document in a file of root's on the autoscaler: the answers, the network,
the machines that only the build machine makes, and of the secrets those that webservers need.
Not in it: the administrator's password, the build machine's key, and what opens the build home.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from wizard.answers import loader
from wizard.dns.base import Edge
from wizard.engine import fleets, open, origin, scaler_credentials
from wizard.engine.code import SETTINGS
from wizard.engine.context import Context
from wizard.engine.repository import Code
from wizard.engine.state import MachineState, State
from wizard.errors import HomeError
from wizard.home import keys
from wizard.home.home import Home
from wizard.home.vault import Vault
from wizard.machines.job import CodeSettings
from wizard.plan.build import build
from wizard.plan.model import Plan
from wizard.providers.base import (
    AcmeAuthority,
    DatabaseFacts,
    Door,
    FileSystem,
    ManagedDatabase,
    Network,
    ProviderFacts,
    Size,
)
from wizard.rules import Role
from wizard.secrets import Secret

_VERSION = 3
_OWN_KEY = "scaler_key"
OTHER_LOGIN = "other_login"
"""The public key of the build machine, which may log in to what an autoscaler makes."""
_CARRIED = ("database_password", "salts", "backup_password", "fleet_seed")


@dataclass(frozen=True)
class Station:
    """A station as read; `values` are those of the document."""

    name: str
    deployment: str
    values: dict[str, Any]


def logins(context: Context) -> tuple[str, ...]:
    """Return the public keys that may log in to a machine: in production mode the build machine's
    and the autoscalers', the own one first."""
    own = keys.key_pair(context.secrets, "ssh_key").public
    if context.plan.mode != "production":
        return (own,)
    other = context.secrets.get(OTHER_LOGIN)
    return own, other.reveal() if other else keys.key_pair(context.secrets, _OWN_KEY).public


def administrator(context: Context) -> str:
    """Return the public key of the build machine, whoever asks."""
    other = context.secrets.get(OTHER_LOGIN)
    return other.reveal() if other else keys.key_pair(context.secrets, "ssh_key").public


def document(
    context: Context, name: str, identities: dict[str, Secret], settings: Secret | None = None
) -> Secret:
    """Return the station of the autoscaler `name`; `identities` are the machines' (age), `settings`
    the settings file of own code."""
    assert context.network is not None
    plan, secrets = context.plan, context.secrets
    fleets.seed(context)  # made now, if that was not done before
    answers, credentials = scaler_credentials.carried(context.answers, context.credentials)
    own = secrets.get(open.STORAGE_KEY)
    if own is not None and "object-storage" in credentials:
        # the user's own opens more than an autoscaler may
        credentials["object-storage"] = own
    lasting = [m for m in context.state.machines.values() if m.role is not Role.WEBSERVER]
    machines = [
        asdict(m)
        | {"host_key": keys.key_pair(secrets, f"host_key.{m.name}").public, "rotated": True}
        for m in sorted(lasting, key=lambda m: m.name)
    ]
    taken = {n: s for n, s in secrets.items() if n in _CARRIED or n.startswith("database_tls.")}
    taken |= {f"age_identity.{n}": identity for n, identity in identities.items()}
    if settings is not None:
        taken[SETTINGS] = settings
    taken["ssh_key"] = keys.key_pair(secrets, _OWN_KEY).private
    taken[OTHER_LOGIN] = Secret(keys.key_pair(secrets, "ssh_key").public)
    door = context.services.door
    authority = None if origin.is_chosen(context) else open.authority(answers, context.services)
    values = {
        "version": _VERSION,
        "name": name,
        "deployment": plan.deployment,
        "answers": loader.dumps(answers),
        "bucket": plan.bucket.name,
        "recipe": context.recipe,
        "code": asdict(context.code.settings) if context.code else None,
        "facts": _facts(plan),
        "edge": asdict(plan.edge) if plan.edge else None,
        "network": asdict(context.network),
        "file_system": asdict(context.file_system) if context.file_system else None,
        "build_machine_at": context.state.build_machine_at,
        "database": _database(context.database),
        "authority": asdict(authority) if authority else None,
        "apis": open.other_apis(),
        "door": {"url": door.url, "token": door.token.reveal()} if door else None,
        "machines": machines,
        "secrets": {n: secret.reveal() for n, secret in sorted(taken.items())},
        "credentials": {n: secret.reveal() for n, secret in sorted(credentials.items())},
    }
    return Secret(json.dumps(values, indent=1, sort_keys=True) + "\n")


def read(path: Path) -> Station:
    """Return the station in a file. HomeError if there is none that can be used."""
    try:
        values: dict[str, Any] = json.loads(path.read_text())
        if values["version"] != _VERSION:
            raise ValueError("another version of the program wrote it")
        return Station(values["name"], values["deployment"], values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HomeError(
            "what an autoscaler has to know cannot be read",
            where=str(path),
            why=str(error),
            cure="deploy again: it is written anew",
        ) from error


def open_station(station: Station, folder: Path) -> Context:
    """Return the context of this autoscaler's work, connected; `folder` (of the memory, not of the
    disk) is for what a build home keeps and is of no use after the process."""
    values = station.values
    # where vendors are asked is the build machine's word: this machine was given no environment
    os.environ.update(values["apis"])
    answers = loader.loads(values["answers"], "the station")
    home = Home.open(folder)
    vault = Vault(keys.generate_age_identity())
    deployment = home.deployment(station.deployment)
    deployment.create()
    secrets, credentials = deployment.vault(vault), home.vault(vault)
    for store, name in ((secrets, "secrets"), (credentials, "credentials")):
        store.update({key: Secret(text) for key, text in values[name].items()})
    account = scaler_credentials.account(answers, credentials)
    door = values["door"] and Door(values["door"]["url"], Secret(values["door"]["token"]))
    provider = open.provider(answers.provider.name, home, account, door)
    told = values["edge"]
    edge = Edge(**{**told, "networks": tuple(told["networks"]), "wrong": ()}) if told else None
    plan = build(answers, _facts_of(values["facts"]), values["bucket"], edge)
    machines = {
        m["name"]: MachineState(**{**m, "role": Role(m["role"])}) for m in values["machines"]
    }
    context = Context(
        answers=answers,
        plan=plan,
        home=deployment,
        secrets=secrets,
        credentials=credentials,
        journal=deployment.open_journal(),
        provider=provider,
        state=State(
            plan.deployment,
            plan.bucket.name,
            build_machine_at=values["build_machine_at"],
            machines=machines,
        ),
        network=Network(**values["network"]),
        file_system=_file_system(values["file_system"]),
        inside=True,
        recipe=values["recipe"],
        code=_code(values["code"], folder),
        database=ManagedDatabase(**values["database"], id="", user="", password=Secret(""))
        if values["database"]
        else None,
    )
    context.connect(lambda _what, _done, _total: None)
    if values["authority"]:
        authority = AcmeAuthority(**values["authority"])
        context.services = replace(context.services, acme=authority)
        context.answers = answers.model_copy(
            update={"tls": answers.tls.model_copy(update={"authority": None})}
        )
    return context


def _code(values: dict[str, Any] | None, folder: Path) -> Code | None:
    """Return own code as an autoscaler knows it; its archive is in the bucket."""
    if values is None:
        return None
    return Code(CodeSettings(**{**values, "writable": tuple(values["writable"])}), folder)


def _file_system(values: dict[str, Any] | None) -> FileSystem | None:
    """Return the file system that webservers mount; autoscalers ask nobody for it."""
    if values is None:
        return None
    targets = tuple((network, address) for network, address in values["targets"])
    return FileSystem(**{**values, "targets": targets})


def _database(found: ManagedDatabase | None) -> dict[str, Any] | None:
    """Return where webservers find a managed database; not who administers it."""
    if found is None:
        return None
    return {key: getattr(found, key) for key in ("name", "host", "port", "authority")}


def _facts(plan: Plan) -> dict[str, Any]:
    """Return what the plan was made of, so that autoscalers need no right to ask for it, and go on
    when the provider offers something else."""

    def plain(size: Size) -> dict[str, Any]:
        return asdict(size) | {"monthly_price": str(size.monthly_price)}

    rented = plan.database
    return {
        "region": plan.region,
        "image": plan.machines[0].image,
        "sizes": {m.role: plain(m.size) for m in plan.machines},
        "database": {"size": plain(rented.size), "port": rented.port} if rented else None,
    }


def _facts_of(values: dict[str, Any]) -> ProviderFacts:
    def size(told: dict[str, Any]) -> Size:
        return Size(**told | {"monthly_price": Decimal(told["monthly_price"])})

    sizes = {Role(role): size(told) for role, told in values["sizes"].items()}
    rented = values["database"]
    database = size(rented["size"]) if rented else None
    return ProviderFacts(
        regions=(values["region"],),
        images=(values["image"],),
        sizes=tuple(sizes.values()),
        currency="",
        default_size={role: known.name for role, known in sizes.items()},
        bucket_monthly_price=Decimal(0),
        disk_monthly_price=Decimal(0),
        ipv6=True,
        databases=DatabaseFacts((database,), database.name, rented["port"]) if database else None,
    )
