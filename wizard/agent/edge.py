"""The networks of the proxies in front of the site, asked for once a day.

Whoever answers in the vendor's place could open this machine to anybody or close it to everybody,
so a list that is malformed, or very different from the last good one, is reported and not used.
"""

from __future__ import annotations

import ipaddress
import json
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wizard.agent.config import Config
from wizard.agent.errors import AgentError
from wizard.agent.guard import apart, run
from wizard.agent.state import Places, write_whole

DAY, HOUR = 86400.0, 3600.0
LATE = 3 * DAY
"""Seconds without a good answer after which that is a problem."""
SMALLEST, LARGEST = 0.75, 2.0
"""How much of the last good list's addresses a new list may hold; beyond, a person must look."""
_MAXIMUM_BYTES = 1 << 18
_MAXIMUM_NETWORKS = 500
_TIMEOUT = 20.0  # seconds
# version of IP -> its networks, and the widest that is believed
_KINDS: dict[int, tuple[Any, int]] = {
    4: (ipaddress.IPv4Network, 8),
    6: (ipaddress.IPv6Network, 24),
}


@dataclass(frozen=True)
class Known:
    """What is known of the proxies: their networks, those that the deploy told at that time, when
    they were last asked for and last told (seconds since 1970), and why not used since."""

    networks: tuple[str, ...]
    deployed: tuple[str, ...]
    asked: float
    told: float
    problem: str = ""


def parse(data: bytes, old: tuple[str, ...]) -> tuple[str, ...]:
    """Return the networks of an answer of Cloudflare's API, of the kinds (IPv4, IPv6) that there
    are in `old`; AgentError if it is none."""
    if len(data) > _MAXIMUM_BYTES:
        raise AgentError(f"larger than {_MAXIMUM_BYTES} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise AgentError("not JSON, or only a part of it") from error
    result = document.get("result") if isinstance(document, dict) else None
    networks: list[str] = []
    for version in sorted(_versions(old)):
        listed = result.get(f"ipv{version}_cidrs") if isinstance(result, dict) else None
        if not isinstance(listed, list) or not 0 < len(listed) <= _MAXIMUM_NETWORKS:
            raise AgentError("no list of networks")
        networks += _networks(listed, version)
    return tuple(networks)


def _networks(listed: list[Any], version: int) -> list[str]:
    kind, widest = _KINDS[version]
    try:
        # only text: the module would take whole numbers for addresses as well
        networks = [kind(text if isinstance(text, str) else "") for text in listed]
    except ValueError as error:
        raise AgentError(f"not a network: {error}") from error
    if any(network.prefixlen < widest for network in networks):
        raise AgentError(f"a network larger than /{widest}")
    return [str(network) for network in ipaddress.collapse_addresses(networks)]


def refused(old: tuple[str, ...], new: tuple[str, ...]) -> str:
    """Return why a list may not take the place of the last good one, empty if it may."""
    # by their kind: beside those of IPv6, all addresses of IPv4 are nothing
    shares = [_size(new, version) / _size(old, version) for version in _versions(old)]
    share = next((one for one in shares if not SMALLEST <= one <= LARGEST), None)
    if share is None:
        return ""
    return (
        f"the list of proxies holds {share:.0%} of the addresses of the last good one; deploy "
        "again to take it over, or look what answers in the vendor's place"
    )


def _versions(networks: tuple[str, ...]) -> set[int]:
    return {ipaddress.ip_network(network).version for network in networks}


def _size(networks: tuple[str, ...], version: int) -> int:
    all_networks = map(ipaddress.ip_network, networks)
    own: Any = [network for network in all_networks if network.version == version]
    return sum(network.num_addresses for network in ipaddress.collapse_addresses(own))


def known(config: Config, path: Path, now: float) -> Known | None:
    """Return what is known; a deploy's list is taken over once, as if it was just asked for."""
    if config.edge is None:
        return None
    fresh = Known(config.edge.networks, config.edge.networks, now, now)
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
        found = Known(
            tuple(str(ipaddress.ip_network(text)) for text in values["networks"]),
            tuple(values["deployed"]),
            float(values["asked"]),
            float(values["told"]),
            str(values["problem"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return fresh
    return found if found.networks and found.deployed == fresh.deployed else fresh


def applied(config: Config, path: Path) -> Config:
    """Return the configuration with the networks of today in the rules about the proxies."""
    found = known(config, path, time.time())
    if config.edge is None or found is None:
        return config
    deployed = config.edge.networks
    rules = (
        replace(rule, networks=found.networks) if rule.networks == deployed else rule
        for rule in config.rules
    )
    return replace(config, rules=tuple(rules))


def ensure(
    config: Config,
    places: Places,
    fetch: Callable[[str], bytes] | None = None,
    clock: Callable[[], float] = time.time,
) -> tuple[list[str], str]:
    """Ask for the networks if it is time, and make nginx know them; returns what was done, and
    what is wrong if anything is."""
    now = clock()
    found = known(config, places.edge, now)
    if found is None or config.edge is None:
        return (_forget(places), "")
    done: list[str] = []
    waited = now - found.asked
    # a clock that was set back is no reason to wait
    if not 0 <= waited < (HOUR if found.problem or found.told < found.asked else DAY):
        found = _ask(config.edge.url, found, now, fetch or _fetch)
        done += [] if found.problem or found.told < now else ["asked for the proxies' networks"]
    _keep(found, places.edge)
    if config.role == "webserver":
        done += _tell_nginx(found.networks, places.nginx_edge)
    late = now - found.told > LATE
    return done, found.problem or ("no list of proxies for three days" if late else "")


def _keep(found: Known, path: Path) -> None:
    data = json.dumps(vars(found)).encode()
    if not path.exists() or path.read_bytes() != data:
        write_whole(path, data)


def _ask(url: str, old: Known, now: float, fetch: Callable[[str], bytes]) -> Known:
    asked = replace(old, asked=now)
    try:
        data = fetch(url)
    except AgentError:
        return replace(asked, problem="")  # the network: a problem only when it lasts
    try:
        networks = parse(data, old.networks)
    except AgentError as error:
        return replace(asked, problem=f"the list of proxies is {error}; going by the last good one")
    problem = refused(old.networks, networks)
    if problem:
        return replace(asked, problem=problem)
    return replace(asked, networks=networks, told=now, problem="")


def _fetch(url: str) -> bytes:
    def get() -> bytes:
        # neither proxies nor passwords of the environment
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(url, headers={"User-Agent": "build-usb-agent"})  # noqa: S310
        with opener.open(request, timeout=_TIMEOUT) as answer:
            data: bytes = answer.read(_MAXIMUM_BYTES + 1)
            return data

    return apart(url, get, _TIMEOUT + 5)


def nginx(networks: tuple[str, ...]) -> str:
    """Return nginx's settings: who the proxies are, and that they tell the visitor's address."""
    return "\n".join(
        [
            "# managed by Build USB's agent",
            *(f"set_real_ip_from {network};" for network in networks),
            "real_ip_header CF-Connecting-IP;",
            "geo $realip_remote_addr $from_edge {",
            "\tdefault 0;",
            *(f"\t{network} 1;" for network in networks),
            "}",
            "",
        ]
    )


def _tell_nginx(networks: tuple[str, ...], path: Path) -> list[str]:
    text = nginx(networks).encode()
    before = path.read_bytes() if path.exists() else None
    if before == text:
        return []
    write_whole(path, text, 0o644)
    try:
        # at the first deploy the rest of nginx's configuration is yet to come
        if before is not None:
            run("nginx", "-q", "-t")
            run("systemctl", "try-reload-or-restart", "nginx")
    except AgentError:
        if before is not None:
            write_whole(path, before, 0o644)
        raise
    return ["told nginx the proxies' networks"]


def _forget(places: Places) -> list[str]:
    places.edge.unlink(missing_ok=True)
    if not places.nginx_edge.exists():
        return []
    # deployed without proxies since: nginx is reloaded by the deploy
    places.nginx_edge.unlink()
    return ["forgot the proxies"]
