"""The lab's network: routed, one veth pair and one network namespace a machine, so that every
packet passes the firewall. Runs inside the lab's namespaces."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

from wizard.errors import ProviderError
from wizard.lab import addresses

log = logging.getLogger(__name__)

# linux/if.h: IFNAMSIZ 16 with the final zero
_INTERFACE_LENGTH = 15
# an address that is only on another interface is not told to neighbours, unlike with IPv4
_GATEWAY_6 = "fe80::1"


async def run(*command: str, stdin: str = "") -> str:
    """Return the output of a program; ProviderError with its last lines if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate(stdin.encode())
    text = output.decode(errors="replace")
    if process.returncode != 0:
        raise ProviderError(
            f"{command[0]} failed in the lab",
            where=" ".join(command)[:200],
            why="\n".join(text.splitlines()[-10:]) or f"exit status {process.returncode}",
        )
    return text


def interface(machine_id: str) -> str:
    """Return the name of the lab's end of a machine's cable."""
    return f"ve-{machine_id}"[:_INTERFACE_LENGTH]


def namespace(machine_id: str) -> Path:
    """Return the handle of a machine's network namespace."""
    return Path("/run/netns") / machine_id


async def set_up() -> None:
    """Give the lab its own addresses and make it a router."""
    lines = ["link set lo up"]
    for address in (
        addresses.ROUTER,
        addresses.BUILD_MACHINE,
        addresses.VISITOR,
        addresses.SERVICES,
    ):
        lines.append(f"address add {address}/32 dev lo")
        if address != addresses.SERVICES:
            lines.append(f"address add {addresses.ipv6_of(address)}/128 dev lo nodad")
    await run("ip", "-batch", "-", stdin="\n".join(lines) + "\n")
    settings = {
        "net/ipv4/ip_forward": "1",
        "net/ipv4/conf/all/rp_filter": "1",
        "net/ipv4/conf/default/rp_filter": "1",
        # machines that were not asked to have an IPv6 address have none
        "net/ipv6/conf/all/forwarding": "1",
        "net/ipv6/conf/all/accept_ra": "0",
        "net/ipv6/conf/default/accept_ra": "0",
        # many short connections from two addresses: a visitor's load test
        "net/ipv4/ip_local_port_range": "10240 65000",
        "net/ipv4/tcp_tw_reuse": "1",
    }
    for name, value in settings.items():
        with contextlib.suppress(FileNotFoundError):
            (Path("/proc/sys") / name).write_text(value)


async def apply_firewall(ruleset: str) -> None:
    """Replace the lab's firewall in one transaction; established connections live on."""
    await run("nft", "-f", "-", stdin=ruleset)


async def connect(machine_id: str, address: str, ipv6: str) -> None:
    """Make a fresh network for a machine that is about to boot, cabled to the router; `ipv6` is an
    address that it has too, or empty."""
    await disconnect(machine_id)
    cable = interface(machine_id)
    far = f"route add {ipv6}/128 dev {cable} src {addresses.ipv6_of(addresses.VISITOR)}\n"
    far += f"address add {_GATEWAY_6}/64 dev {cable} nodad\n"
    near = f"address add {ipv6}/128 dev host0 nodad\n"
    near += f"route add {addresses.PREFIX_6}/64 via {_GATEWAY_6} dev host0 src {ipv6}\n"
    await run("ip", "netns", "add", machine_id)
    await run(
        "ip",
        "-batch",
        "-",
        stdin=f"link add {cable} type veth peer name host0 netns {machine_id}\n"
        f"link set {cable} up\n"
        f"route add {address}/32 dev {cable} src {addresses.VISITOR}\n" + (far if ipv6 else ""),
    )
    await run(
        "ip",
        "-netns",
        machine_id,
        "-batch",
        "-",
        stdin="link set lo up\nlink set host0 up\n"
        f"address add {address}/32 dev host0\n"
        f"route add {addresses.ROUTER}/32 dev host0\n"
        f"route add default via {addresses.ROUTER} dev host0 src {address}\n"
        + (near if ipv6 else ""),
    )


async def disconnect(machine_id: str) -> None:
    """Take a machine's cable and network away; none is no error."""
    with contextlib.suppress(ProviderError):
        await run("ip", "link", "delete", interface(machine_id))
    if namespace(machine_id).exists():
        await run("ip", "netns", "delete", machine_id)
