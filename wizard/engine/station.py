"""What an autoscaler has to know to work as a build machine for webservers, and the context of it.

A station is one JSON document in a file of root's on the autoscaler: the answers, the network,
the machines that only the build machine makes, and of the secrets those that webservers need.
Not in it: the administrator's password, the build machine's key, and what opens the build home.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from wizard.answers import loader
from wizard.answers.model import Answers
from wizard.answers.sections import CredentialSource
from wizard.engine import fleets, open
from wizard.engine.context import Context
from wizard.engine.state import MachineState, State
from wizard.errors import HomeError
from wizard.home import keys
from wizard.home.home import Home
from wizard.home.store import SecretStore
from wizard.home.vault import Vault
from wizard.plan.build import build
from wizard.providers.base import Door, ManagedDatabase, Network, Services
from wizard.rules import Role
from wizard.secrets import Secret

_VERSION = 1
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


def document(context: Context, name: str, identities: dict[str, Secret]) -> Secret:
    """Return the station of the autoscaler `name`; `identities` are the machines' (age)."""
    assert context.network is not None
    plan, secrets = context.plan, context.secrets
    fleets.seed(context)  # made now, if that was not done before
    answers, credentials = _carried(context.answers, context.credentials)
    lasting = [m for m in context.state.machines.values() if m.role is not Role.WEBSERVER]
    machines = [
        asdict(m)
        | {"host_key": keys.key_pair(secrets, f"host_key.{m.name}").public, "rotated": True}
        for m in sorted(lasting, key=lambda m: m.name)
    ]
    taken = {n: s for n, s in secrets.items() if n in _CARRIED or n.startswith("database_tls.")}
    taken |= {f"age_identity.{n}": identity for n, identity in identities.items()}
    taken["ssh_key"] = keys.key_pair(secrets, _OWN_KEY).private
    taken[OTHER_LOGIN] = Secret(keys.key_pair(secrets, "ssh_key").public)
    door = context.services.door
    values = {
        "version": _VERSION,
        "name": name,
        "deployment": plan.deployment,
        "answers": loader.dumps(answers),
        "bucket": plan.bucket.name,
        "network": asdict(context.network),
        "database": _database(context.database),
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
    answers = loader.loads(values["answers"], "the station")
    home = Home.open(folder)
    vault = Vault(keys.generate_age_identity())
    deployment = home.deployment(station.deployment)
    deployment.create()
    secrets, credentials = deployment.vault(vault), home.vault(vault)
    for store, name in ((secrets, "secrets"), (credentials, "credentials")):
        store.update({key: Secret(text) for key, text in values[name].items()})
    account = open.account(answers, credentials)
    door = values["door"] and Door(values["door"]["url"], Secret(values["door"]["token"]))
    provider = open.provider(answers.provider.name, home, account, door)
    edge = None
    if answers.dns.proxied:
        edge = open.dns(answers, Services(), credentials).edge()
    plan = build(answers, provider.facts(), values["bucket"], edge)
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
        state=State(plan.deployment, plan.bucket.name, machines=machines),
        network=Network(**values["network"]),
        inside=True,
        database=ManagedDatabase(**values["database"], id="", user="", password=Secret(""))
        if values["database"]
        else None,
    )
    context.connect(lambda _what, _done, _total: None)
    return context


def _database(found: ManagedDatabase | None) -> dict[str, Any] | None:
    """Return where webservers find a managed database; not who administers it."""
    if found is None:
        return None
    return {key: getattr(found, key) for key in ("name", "host", "port", "authority")}


def _carried(answers: Answers, credentials: SecretStore) -> tuple[Answers, dict[str, Secret]]:
    """Return the answers with every credential named as one of the home, and these."""
    values = yaml.safe_load(loader.dumps(answers))
    taken: dict[str, Secret] = {}

    def take(source: CredentialSource | None, *path: str) -> None:
        if source is None:
            return
        name = "-".join(path).replace("_", "-")
        taken[name] = open.credential(source, credentials, ".".join(path))
        place = values
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = {"home": name}

    take(answers.provider.credentials, "provider", "credentials")
    take(answers.dns.credentials, "dns", "credentials")
    take(answers.object_storage.credentials, "object_storage", "credentials")
    if answers.dns.rfc2136 is not None:
        take(answers.dns.rfc2136.key, "dns", "rfc2136", "key")
    return loader.loads(yaml.safe_dump(values), "the answers"), taken
