"""Makes ufw equal to what is wanted, with ufw's own commands.

When nothing has to change, ufw itself is not even started: its rule files and the kernel's rules
are read instead, which takes milliseconds.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wizard.agent import firewall
from wizard.agent.config import Config, Peer
from wizard.agent.errors import AgentError
from wizard.agent.guard import run
from wizard.agent.state import Places, write_whole

log = logging.getLogger(__name__)
# ufw's words for what its settings call DROP and ACCEPT
_DEFAULTS = {
    "DEFAULT_INPUT_POLICY": ("drop", ("deny", "incoming")),
    "DEFAULT_FORWARD_POLICY": ("drop", ("deny", "routed")),
    "DEFAULT_OUTPUT_POLICY": ("accept", ("allow", "outgoing")),
}


@dataclass(frozen=True)
class Firewall:
    """ufw as it is now: switched on, covering IPv6, its rules, and whether the kernel agrees.

    `missing_defaults` are arguments for `ufw default`; `past` the kernel's rules that let traffic
    in before ufw is asked.
    """

    enabled: bool
    ipv6: bool
    missing_defaults: tuple[tuple[str, str], ...]
    held: firewall.Held
    live: bool
    closed: bool
    past: tuple[str, ...]


def look(places: Places) -> Firewall:
    """Return ufw as it is; AgentError if it is not installed or not readable. Changes nothing."""
    try:
        settings = places.ufw_defaults.read_text()
        enabled = firewall.read_setting((places.ufw / "ufw.conf").read_text(), "ENABLED") == "yes"
        ipv6 = firewall.read_setting(settings, "IPV6") == "yes"
        files = ("user.rules", "user6.rules") if ipv6 else ("user.rules",)
        rules = "\n".join((places.ufw / name).read_text() for name in files)
    except (OSError, UnicodeDecodeError) as error:
        raise AgentError(f"ufw's files cannot be read: {error}; is ufw installed?") from error
    held = firewall.parse(rules)
    listing = run("iptables", "-S")
    listing6 = run("ip6tables", "-S")
    if ipv6:
        live6 = firewall.is_live(listing6, held, 6)
    else:
        # ufw without IPv6 means: nothing comes in over IPv6 at all
        live6 = "-P INPUT DROP" in listing6.splitlines()
    return Firewall(
        enabled=enabled,
        ipv6=ipv6,
        missing_defaults=tuple(
            words
            for key, (value, words) in _DEFAULTS.items()
            if firewall.read_setting(settings, key) != value
        ),
        held=held,
        live=live6 and firewall.is_live(listing, held, 4),
        closed="-P INPUT DROP" in (listing + listing6).splitlines(),
        past=firewall.accepted_elsewhere(listing),
    )


def global_ipv6(table: Path = Path("/proc/net/if_inet6")) -> frozenset[str]:
    """Return the IPv6 addresses of global scope of all interfaces (scope 00 in the kernel's table;
    link-local is 20, loopback 10)."""
    try:
        lines = [line.split() for line in table.read_text().splitlines()]
        found = [ipaddress.IPv6Address(int(words[0], 16)) for words in lines if words[3] == "00"]
    except (OSError, IndexError, ValueError):
        return frozenset()
    return frozenset(map(str, found))


def change_of(config: Config, peers: Iterable[Peer], now: Firewall) -> firewall.Change:
    """Return what has to change in ufw's rules."""
    wanted = firewall.wanted(config, peers, ipv6=now.ipv6)
    return firewall.difference(wanted, now.held, config.build_machine)


def is_synced(config: Config, peers: Iterable[Peer], now: Firewall) -> bool:
    """Say whether the firewall lets in what the rules say and nothing of ours besides."""
    if not config.firewall:
        return not now.enabled and not now.closed
    change = change_of(config, peers, now)
    return (
        now.enabled and now.live and not now.missing_defaults and not change and not change.blocked
    )


def apply(config: Config, peers: tuple[Peer, ...], places: Places) -> tuple[Firewall, list[str]]:
    """Make ufw equal to the rules with these peers; returns it as it is then, and what was done.

    Adds before it deletes, and switches on last: killed at any point, the build machine's SSH is
    still let in, and running again completes it.
    """
    now = look(places)
    uncovered = config.firewall and not now.ipv6 and bool(global_ipv6())
    if is_synced(config, peers, now) and not uncovered:
        return now, []
    if not config.firewall:
        run("ufw", "--force", "disable", seconds=60)
        return look(places), ["switched off"]
    done = _cover_ipv6(now, places)
    if done:
        now = look(places)
    change = change_of(config, peers, now)
    for opening in change.add:
        run("ufw", "allow", *opening.arguments, "comment", firewall.COMMENT)
        done.append(f"opened {opening}")
    for words in now.missing_defaults:
        run("ufw", "default", *words)
        done.append(f"default {' '.join(words)}")
    if not now.enabled:
        run("ufw", "--force", "enable", seconds=60)
        done.append("switched on")
    for opening in change.delete:
        run("ufw", "delete", "allow", *opening.arguments)
        done.append(f"closed {opening}")
    now = look(places)
    if now.enabled and not now.live:
        # somebody flushed or changed the kernel's rules behind ufw's back
        run("ufw", "reload", seconds=60)
        done.append("loaded again")
        now = look(places)
    return now, done


def _cover_ipv6(now: Firewall, places: Places) -> list[str]:
    """Switch ufw's IPv6 on when the machine has a global address; off only before ufw is first
    switched on, because loading all rules anew for an address that comes and goes is worse."""
    wish = bool(global_ipv6())
    if wish == now.ipv6 or (now.enabled and not wish):
        return []
    text = firewall.replace_setting(
        places.ufw_defaults.read_text(), "IPV6", "yes" if wish else "no"
    )
    write_whole(places.ufw_defaults, text.encode(), 0o644)
    if now.enabled:
        run("ufw", "reload", seconds=60)
    return [f"IPv6 {'on' if wish else 'off'}"]
