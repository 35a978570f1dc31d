"""Who else is in the deployment, from `peers.json` in the shared configuration.

Anybody who can write to the bucket can write that file, so it is data of a stranger: it may name
machines inside the deployment's network and nothing else, and a file with anything wrong in it
changes nothing at all.
"""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

from wizard.agent import config as machine
from wizard.agent.config import Config, Peer
from wizard.agent.errors import AgentError

VERSION = 1
# 100 peers take about 12 kB, indented
MAXIMUM_BYTES = 65536
MAXIMUM_PEERS = 100


def parse(data: bytes, config: Config) -> tuple[Peer, ...]:
    """Return the other machines named in `data`, sorted; AgentError if anything in it is wrong.

    The machine's own entry is expected and left out.
    """
    if len(data) > MAXIMUM_BYTES:
        raise AgentError(f"larger than {MAXIMUM_BYTES} bytes")
    try:
        document = json.loads(data.decode("utf-8"))
    # too deeply nested is a RecursionError; a UnicodeDecodeError is a ValueError
    except (ValueError, RecursionError) as error:
        raise AgentError("not JSON in UTF-8, or only a part of it") from error
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise AgentError(f"not a JSON object of version {VERSION}")
    entries = document.get("peers")
    if not isinstance(entries, list):
        raise AgentError("has no list of peers")
    if len(entries) > MAXIMUM_PEERS:
        raise AgentError(f"names more than {MAXIMUM_PEERS} peers")
    peers = [_peer(entry, config) for entry in entries]
    if len({p.name for p in peers}) < len(peers) or len({p.address for p in peers}) < len(peers):
        raise AgentError("names a peer or an address twice")
    others = [peer for peer in peers if peer.name != config.name]
    return tuple(sorted(others, key=lambda peer: peer.name))


def _peer(entry: Any, config: Config) -> Peer:
    if not isinstance(entry, dict):
        raise AgentError("a peer is not an object")
    name, role, text = (entry.get(key) for key in ("name", "role", "address"))
    if not isinstance(name, str) or not machine.NAME.fullmatch(name):
        raise AgentError("a peer has no valid name")
    if role not in machine.ROLES:
        raise AgentError(f"peer {name} has an unknown role")
    try:
        # only text: the module would take whole numbers for addresses as well
        address = ipaddress.IPv4Address(text if isinstance(text, str) else "")
    except ValueError as error:
        raise AgentError(f"peer {name} has no IPv4 address") from error
    network = ipaddress.ip_network(config.network_cidr)
    inside = isinstance(network, ipaddress.IPv4Network) and address in network
    if not inside or address in (network.network_address, network.broadcast_address):
        raise AgentError(f"peer {name} is not inside the deployment's network")
    if (name == config.name) != (str(address) == config.private_address):
        raise AgentError(f"peer {name} claims this machine's name or address")
    return Peer(name, role, str(address))


def serialize(peers: tuple[Peer, ...]) -> bytes:
    """Return the document that `parse` reads, for the copy of the last good peers."""
    entries = [{"name": p.name, "role": p.role, "address": p.address} for p in peers]
    return json.dumps({"version": VERSION, "peers": entries}).encode()


def last_good(config: Config, config_file: Path, copy: Path) -> tuple[Peer, ...]:
    """Return the peers to go by while the shared file cannot be used.

    The copy of the last good file, or the deploy's own list if the deploy ran after that.
    """
    try:
        if copy.stat().st_mtime >= config_file.stat().st_mtime:
            return parse(copy.read_bytes(), config)
    except (OSError, AgentError):
        pass
    return config.peers
