"""What ufw should hold and what it holds, as sets. Pure.

One `Opening` is one line in one of ufw's two rule files and one `ufw allow` command, so that sets
can be compared exactly: traffic from anyone over IPv4 and over IPv6 are two openings.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from wizard.agent.config import Config, Peer
from wizard.agent.errors import AgentError

COMMENT = "build-usb"
"""What our rules in ufw carry; rules without it are not ours and never changed."""
_ANYONE = ("0.0.0.0/0", "::/0")


@dataclass(frozen=True)
class Opening:
    """Traffic let in: `protocol` to `port` from the network `source` (CIDR, IPv4 or IPv6)."""

    source: str
    port: int
    protocol: str

    @property
    def arguments(self) -> list[str]:
        """What follows `ufw allow`, or `ufw delete allow`."""
        return ["proto", self.protocol, "from", self.source, "to", "any", "port", str(self.port)]

    def __str__(self) -> str:
        return f"{self.port}/{self.protocol} from {self.source}"


@dataclass(frozen=True)
class Held:
    """What ufw's rule files hold: ours, and the others as readable lines.

    `same` are the openings that someone else's rule speaks about too (allowing or denying).
    """

    ours: frozenset[Opening]
    foreign: tuple[str, ...]
    same: frozenset[Opening]
    denied: frozenset[Opening]


@dataclass(frozen=True)
class Change:
    """What to do, in this order: add all, then delete. `blocked` cannot be added because somebody
    else's rule for the same traffic denies it."""

    add: tuple[Opening, ...]
    delete: tuple[Opening, ...]
    blocked: tuple[Opening, ...]

    def __bool__(self) -> bool:
        return bool(self.add or self.delete)


def wanted(config: Config, peers: Iterable[Peer], *, ipv6: bool) -> frozenset[Opening]:
    """Return every opening that the rules make with these peers."""
    peers = tuple(peers)
    result: set[Opening] = set()
    for rule in config.rules:
        if rule.kind == "anyone":
            sources: Iterable[str] = _ANYONE
        elif rule.kind == "build-machine":
            sources = (config.build_machine,)
        elif rule.kind == "role":
            sources = (peer.address for peer in peers if peer.role == rule.role)
        else:
            sources = rule.networks
        for source in sources:
            network = ipaddress.ip_network(source)
            if network.version == 4 or ipv6:
                result.add(Opening(str(network), rule.port, rule.protocol))
    return frozenset(result)


def parse(rule_files: str) -> Held:
    """Read the text of ufw's user.rules (and user6.rules).

    ufw keeps each rule it was given as `### tuple ### ACTION PROTOCOL PORT TO FROM-PORT FROM
    DIRECTION`, two application names before the direction if it has such, ` comment=HEX` after.
    """
    ours: set[Opening] = set()
    same: set[Opening] = set()
    denied: set[Opening] = set()
    foreign: list[str] = []
    for line in rule_files.splitlines():
        if not line.startswith("### tuple ###"):
            continue
        text, _, comment = line.removeprefix("### tuple ###").partition(" comment=")
        fields = text.split()
        openings = _openings(fields)
        if openings and fields[0] == "allow" and comment.strip() == COMMENT.encode().hex():
            ours.update(openings)
            continue
        foreign.append(" ".join(fields))
        same.update(openings)
        if openings and not fields[0].startswith("allow"):
            denied.update(openings)
    return Held(frozenset(ours), tuple(foreign), frozenset(same), frozenset(denied))


def _openings(fields: list[str]) -> list[Opening]:
    if len(fields) != 7:
        return []
    action, protocol, port, target, source_port, source, direction = fields
    if action.startswith("route:") or direction != "in" or source_port != "any":
        return []
    if target not in _ANYONE or not port.isdecimal():
        return []
    try:
        network = str(ipaddress.ip_network(source))
    except ValueError:
        return []
    protocols = ("tcp", "udp") if protocol == "any" else (protocol,)
    return [Opening(network, int(port), protocol) for protocol in protocols]


def difference(wanted: frozenset[Opening], held: Held, first: str) -> Change:
    """Return how to get from what ufw holds to what it should; openings from `first` (the build
    machine) are added before all others.

    An opening that somebody else's rule speaks about is left to that rule: ufw would overwrite it.
    """

    def order(opening: Opening) -> tuple[bool, int, str]:
        return (opening.source != str(ipaddress.ip_network(first)), opening.port, opening.source)

    return Change(
        add=tuple(sorted(wanted - held.ours - held.same, key=order)),
        delete=tuple(sorted(held.ours - wanted, key=order, reverse=True)),
        blocked=tuple(sorted(wanted & held.denied, key=order)),
    )


def is_live(listing: str, held: Held, version: int) -> bool:
    """Say whether the kernel's rules (`iptables -S`, or `ip6tables -S` for `version` 6) are what
    ufw's files say: closed by default, ufw's chains in use, our openings there, no left-over."""
    lines = listing.splitlines()
    if "-P INPUT DROP" not in lines:
        return False
    if version == 4:
        chain, anyone = "ufw-user-input", _ANYONE[0]
    else:
        chain, anyone = "ufw6-user-input", _ANYONE[1]
    if f"-A INPUT -j {chain.replace('user', 'before')}" not in lines:
        return False
    live: set[Opening] = set()
    for line in lines:
        words = line.split()
        if words[:2] == ["-A", chain] and words[-2:] == ["-j", "ACCEPT"]:
            opening = _live_opening(words[2:-2], anyone)
            if opening:
                live.add(opening)
    ours = {o for o in held.ours if ipaddress.ip_network(o.source).version == version}
    return ours <= live <= ours | held.same


def _live_opening(words: list[str], anyone: str) -> Opening | None:
    source, protocol, port = anyone, "", ""
    words = [*words]
    while words:
        option = words.pop(0)
        if not words:
            return None
        value = words.pop(0)
        if option == "-s":
            source = value
        elif option == "-p":
            protocol = value
        elif option == "--dport":
            port = value
        elif option != "-m" or value != protocol:
            return None
    if not port.isdecimal():
        return None
    return Opening(str(ipaddress.ip_network(source)), int(port), protocol)


def accepted_elsewhere(listing: str) -> tuple[str, ...]:
    """Return rules in the kernel's INPUT chain that let traffic in past ufw."""
    return tuple(
        line
        for line in listing.splitlines()
        if line.startswith("-A INPUT ") and line.endswith("-j ACCEPT")
    )


def read_setting(text: str, key: str) -> str:
    """Return a setting of ufw's shell-like files (/etc/default/ufw, ufw.conf), lower case."""
    value = ""
    for line in text.splitlines():
        name, separator, rest = line.strip().partition("=")
        if separator and name == key:
            value = rest.partition("#")[0].strip().strip("\"'")
    return value.lower()


def replace_setting(text: str, key: str, value: str) -> str:
    """Return the text with one setting replaced; AgentError if it has none."""
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        if line.strip().startswith(f"{key}="):
            lines[number] = f"{key}={value}\n"
            return "".join(lines)
    raise AgentError(f"{key} is not in ufw's settings")
