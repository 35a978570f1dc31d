"""Where the build machine is on the Internet, as the machines that it rents see it.

Asked of the cloud that it rents from, and of nobody else: who holds the machines is told nothing
new, and a wrong answer by anybody else would open their SSH port to a stranger.
"""

from __future__ import annotations

import functools
import ipaddress
import os
from collections.abc import Callable

import httpx

from wizard.answers.model import Answers
from wizard.errors import ProviderError

VARIABLE = "BUILD_USB_ADDRESS_URL"
"""Names another place to ask than the cloud's own: for tests, and for gateways of one's own, which
may answer with a private address."""

ASKED = {
    # Amazon's, named in its documentation of security groups
    "aws": "https://checkip.amazonaws.com/",
    # each host behind Cloudflare's proxies answers this, and DigitalOcean's API is one
    "digitalocean": "https://api.digitalocean.com/cdn-cgi/trace",
}
"""Where clouds tell who asks them: an address alone, or a line `ip=ADDRESS` among others."""

_SECONDS = 15.0
_LONGEST = 4096  # bytes


def of(answers: Answers) -> Callable[[], str] | None:
    """Return what tells the address or network (CIDR) that SSH is let in from: the answers' own, or
    the cloud when it is first asked for. None for a rehearsal, which knows itself."""
    cloud, named = answers.provider.name, answers.ssh.build_machine
    if named is not None:
        return lambda: named
    if cloud not in ASKED:
        return None
    return functools.cache(lambda: ask(cloud))


def ask(cloud: str) -> str:
    """Return the IPv4 address that this computer is seen at. ProviderError if it cannot be told."""
    url = os.environ.get(VARIABLE) or ASKED[cloud]
    try:
        # machines are reached over IPv4, so that is the address that counts
        line = httpx.HTTPTransport(local_address="0.0.0.0", retries=2)  # noqa: S104 - not listening
        with httpx.Client(transport=line, trust_env=False, timeout=_SECONDS) as client:
            answer = client.get(url)
        answer.raise_for_status()
        return _read(answer.text[:_LONGEST], private=VARIABLE in os.environ)
    except (httpx.HTTPError, ValueError) as error:
        raise ProviderError(
            "the address that machines see this computer at was not found out",
            where="ssh.build_machine",
            why=f"{url}: {error}",
            cure="try again; or name it: the public address of your network, or a network such as "
            "203.0.113.0/24",
        ) from error


def _read(text: str, *, private: bool) -> str:
    lines = [line.strip() for line in text.splitlines()]
    found = next((line.removeprefix("ip=") for line in lines if line.startswith("ip=")), "")
    try:
        address = ipaddress.IPv4Address(found or text.strip())
    except ValueError as error:
        raise ValueError("it answers with something else than an address") from error
    if not (address.is_global or (private and address.is_private)):
        raise ValueError(f"{address} is no address on the Internet")
    return str(address)
