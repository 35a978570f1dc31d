"""The machine's configuration: /etc/build-usb/machine.json, written by the deploy, root only.

It is trusted (only root and the build machine write it), yet read strictly: a mistake here could
lock the build machine out, so nothing is changed by halves on a file that is not understood.
"""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wizard.agent import backup, mail
from wizard.agent.errors import AgentError

VERSION = 1
ROLES = ("webserver", "database", "autoscaler")
SOURCE_KINDS = ("anyone", "build-machine", "role", "networks")
KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/]+={0,2}", re.ASCII)
# a DNS label: also safe as a file name, which is what a machine's own name becomes
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


@dataclass(frozen=True)
class Peer:
    """Another machine of the deployment."""

    name: str
    role: str
    address: str


@dataclass(frozen=True)
class Allowed:
    """One rule of the plan: `protocol` to `port` from a kind of source."""

    port: int
    protocol: str
    kind: str
    role: str = ""
    networks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Edge:
    """The proxies in front of the site: where their networks are asked for, and what they were
    at the time of the deploy."""

    url: str
    networks: tuple[str, ...]


@dataclass(frozen=True)
class Config:
    """What the agent knows for certain about its machine.

    `ipv6` is the address that names lead to beside the public one, or empty; `build_machine` an
    address or network, as it was at `build_machine_at` (seconds since 1970; 0: not told), and
    `administrator` the public key (`ssh-ed25519 AAAA…`) whose word counts when it has moved;
    `shared_config` a mount point and `shared_config_unit` the systemd unit that mounts it;
    `registry` the mount point that the machine's entry goes to;
    `services` are units (patterns allowed) that must be active; `certificate` a PEM file, or empty;
    `files` the file that names the plugins and themes of all webservers that are here, or empty;
    `backup` what this machine backs up; `mail` how people are told, if they are.
    """

    deployment: str
    name: str
    role: str
    private_address: str
    network_cidr: str
    build_machine: str
    ssh_port: int
    firewall: bool
    rules: tuple[Allowed, ...]
    peers: tuple[Peer, ...]
    shared_config: Path
    shared_config_unit: str
    registry: Path
    hosts: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    certificate: str = ""
    files: str = ""
    edge: Edge | None = None
    backup: backup.Backup | None = None
    ipv6: str = ""
    mail: mail.Mail | None = None
    build_machine_at: int = 0
    administrator: str = ""


def load(path: Path) -> Config:
    """Read the configuration; AgentError says what is wrong and what to do."""
    try:
        return parse(json.loads(path.read_bytes()))
    except OSError as error:
        raise AgentError(
            f"cannot read {path}: {error.strerror}; run the agent as root, or deploy again"
        ) from error
    except (ValueError, RecursionError, AgentError) as error:
        raise AgentError(f"{path} is wrong: {error}; deploy again to write it anew") from error


def parse(values: Any) -> Config:
    """Turn the file's JSON into a Config; AgentError names the first key that is wrong."""
    if not isinstance(values, dict):
        raise AgentError("it is not a JSON object")
    if values.get("version") != VERSION:
        raise AgentError(f"version is {values.get('version')!r}, this agent reads {VERSION}")
    role = _text(values, "role")
    if role not in ROLES:
        raise AgentError(f"role {role!r} is unknown")
    network = _text(values, "network_cidr")
    _network(network)
    address = _text(values, "private_address")
    _network(address)
    build_machine = _text(values, "build_machine")
    _network(build_machine)
    shared = _absolute(values, "shared_config")
    registry = _absolute(values, "registry") if "registry" in values else shared
    config = Config(
        deployment=_text(values, "deployment"),
        name=_name(values, "name"),
        role=role,
        private_address=address,
        network_cidr=network,
        build_machine=build_machine,
        ssh_port=_port(values, "ssh_port"),
        firewall=_flag(values, "firewall"),
        rules=tuple(_allowed(rule) for rule in _objects(values, "rules")),
        peers=tuple(_peer(peer) for peer in _objects(values, "peers")),
        shared_config=shared,
        shared_config_unit=_text(values, "shared_config_unit"),
        registry=registry,
        hosts=_texts(values, "hosts"),
        services=_texts(values, "services"),
        certificate=_text(values, "certificate", empty=True),
        files=str(values.get("files", "")),
        edge=_edge(values.get("edge")),
        backup=backup.parse(values.get("backup")),
        ipv6=_text(values, "ipv6", empty=True),
        mail=mail.parse(values.get("mail")),
        build_machine_at=_seconds(values, "build_machine_at"),
        administrator=_key(values, "administrator"),
    )
    # ufw closes everything else: without this rule nobody could repair the machine
    if not any(r.kind == "build-machine" and r.port == config.ssh_port for r in config.rules):
        raise AgentError("no rule lets the build machine reach the SSH port")
    return config


def _allowed(values: dict[str, Any]) -> Allowed:
    source = values.get("source")
    if not isinstance(source, dict) or source.get("kind") not in SOURCE_KINDS:
        raise AgentError("a rule's source is unknown")
    if values.get("protocol") not in ("tcp", "udp"):
        raise AgentError("a rule's protocol is neither tcp nor udp")
    kind = source["kind"]
    if kind == "role" and source.get("role") not in ROLES:
        raise AgentError("a rule's role is unknown")
    networks = _texts(source, "networks")
    return Allowed(
        port=_port(values, "port"),
        protocol=values["protocol"],
        kind=kind,
        role=source["role"] if kind == "role" else "",
        networks=tuple(str(_network(text)) for text in networks) if kind == "networks" else (),
    )


def _edge(values: Any) -> Edge | None:
    if values is None:
        return None
    if not isinstance(values, dict):
        raise AgentError("edge is not an object")
    networks = tuple(str(_network(text)) for text in _texts(values, "networks"))
    url = _text(values, "url")
    if not networks or not url.startswith(("https://", "http://")):
        raise AgentError("edge names no networks, or no address to ask for them")
    return Edge(url, networks)


def _peer(values: dict[str, Any]) -> Peer:
    role = _text(values, "role")
    if role not in ROLES:
        raise AgentError(f"a peer's role {role!r} is unknown")
    address = _text(values, "address")
    _network(address)
    return Peer(_name(values, "name"), role, address)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise AgentError(f"{text!r} is not an address or network") from error


def _absolute(values: dict[str, Any], key: str) -> Path:
    found = Path(_text(values, key))
    if not found.is_absolute() or ".." in found.parts:
        raise AgentError(f"{key} is not an absolute path")
    return found


def _text(values: dict[str, Any], key: str, *, empty: bool = False) -> str:
    value = values.get(key, "" if empty else None)
    if not isinstance(value, str) or not (value or empty):
        raise AgentError(f"{key} is not a text")
    return value


def _texts(values: dict[str, Any], key: str) -> tuple[str, ...]:
    value = values.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise AgentError(f"{key} is not a list of texts")
    return tuple(value)


def _name(values: dict[str, Any], key: str) -> str:
    value = _text(values, key)
    if not NAME.fullmatch(value):
        raise AgentError(f"{key} {value!r} is not a machine's name")
    return value


def _flag(values: dict[str, Any], key: str) -> bool:
    value = values.get(key)
    if not isinstance(value, bool):
        raise AgentError(f"{key} is neither true nor false")
    return value


def _port(values: dict[str, Any], key: str) -> int:
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 65536:
        raise AgentError(f"{key} is not a port")
    return value


def _seconds(values: dict[str, Any], key: str) -> int:
    value = values.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise AgentError(f"{key} is not a number of seconds")
    return value


def _key(values: dict[str, Any], key: str) -> str:
    value = _text(values, key, empty=True)
    if value and not KEY.fullmatch(value):
        raise AgentError(f"{key} is not a public key")
    return value


def _objects(values: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = values.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise AgentError(f"{key} is not a list of objects")
    return value
