"""Whether a host such as a cloud's API can be reached over HTTPS; and if not, what stands in the
way: no name service, no way there, a login page, a wrong clock."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from wizard.errors import NetworkError

SECONDS = 10.0
SKEW = 300.0
"""Seconds that the clock may be wrong before it is blamed for a certificate that is not valid."""

HOSTS = {"digitalocean": "api.digitalocean.com", "cloudflare": "api.cloudflare.com"}
"""Where the vendors' APIs are; their adapters know it too, but bring whole libraries with them."""

# what OpenSSL says of a certificate: X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_NOT_YET, _EXPIRED = 9, 10


def places(vendors: Iterable[str], environ: Mapping[str, str]) -> list[tuple[str, int]]:
    """Return host and port of the API of each of these providers; a rehearsal has none."""
    found = (host(vendor, environ) for vendor in dict.fromkeys(vendors))
    return [place for place in found if place]


def host(vendor: str, environ: Mapping[str, str]) -> tuple[str, int] | None:
    """Return host and port of a vendor's API, None where there is none to ask over HTTPS."""
    from wizard.engine.open import URL_VARIABLE  # not before it is needed: it brings the model

    url = environ.get(URL_VARIABLE.format(vendor.upper()))
    if url:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            return None
        return parts.hostname, parts.port or 443
    return (HOSTS[vendor], 443) if vendor in HOSTS else None


def check(place: tuple[str, int], *, plain_port: int = 80, seconds: float = SECONDS) -> None:
    """Return when the host can be spoken to over HTTPS (slow). Raises NetworkError otherwise."""
    name, port = place
    try:
        addresses = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise NetworkError(
            f"the name {name} cannot be looked up",
            why=f"no DNS server gave an answer: {error.strerror}",
            cure="check the network's DNS server (the router, as a rule), or use another network",
        ) from error
    try:
        with (
            socket.create_connection(place, seconds) as connection,
            ssl.create_default_context().wrap_socket(connection, server_hostname=name),
        ):
            return
    except ssl.SSLCertVerificationError as error:
        raise _distrusted(name, error, plain_port, seconds) from error
    except OSError as error:
        if _login_page(name, plain_port, seconds):
            raise _portal(name) from error
        raise NetworkError(
            f"{name} does not answer",
            where=f"{addresses[0][4][0]} port {port}",
            why=error.strerror or str(error) or type(error).__name__,
            cure="check the way to the internet; a firewall may be closed to port 443",
        ) from error


def _distrusted(
    name: str, error: ssl.SSLCertVerificationError, plain_port: int, seconds: float
) -> NetworkError:
    if error.verify_code in (_NOT_YET, _EXPIRED):
        clock = _clock(name, plain_port, seconds)
        if clock is None or abs(clock - time.time()) > SKEW:
            known = f"; the network says {_written(clock)}" if clock else ""
            return NetworkError(
                "this computer's clock seems to be wrong",
                why=f"it says {_written(time.time())}{known}; {name} cannot be trusted by it",
                cure="wait until the clock is set over the network, or set it: date --set",
            )
    if _login_page(name, plain_port, seconds):
        return _portal(name)
    return NetworkError(
        f"somebody else answers in the place of {name}",
        why=f"its certificate is not trusted: {error.verify_message}",
        cure="a login page of the network or a filter in between does that: log in with another "
        "device, or use another network",
    )


def _portal(name: str) -> NetworkError:
    return NetworkError(
        "this network wants you to log in on a web page first (a captive portal)",
        why=f"it answers in the place of {name}",
        cure="there is no browser here: use a phone's USB tethering, a cable, or another network",
    )


def _login_page(name: str, port: int, seconds: float) -> bool:
    """Say whether plain HTTP leads to another host, as login pages do."""
    found = _plain(name, port, seconds)
    if found is None:
        return False
    status, location, _ = found
    elsewhere = urlsplit(location).hostname
    # a vendor sends to its own HTTPS, perhaps of another of its names
    return status == 511 or bool(elsewhere and not _related(elsewhere, name))


def _related(one: str, other: str) -> bool:
    return one.split(".")[-2:] == other.split(".")[-2:]


def _clock(name: str, port: int, seconds: float) -> float | None:
    """Return what the time is by the Date that plain HTTP says; a hint, not to be trusted."""
    found = _plain(name, port, seconds)
    if found and found[2]:
        with suppress(ValueError):
            return parsedate_to_datetime(found[2]).timestamp()
    return None


def _plain(name: str, port: int, seconds: float) -> tuple[int, str, str] | None:
    """Return status, Location and Date of an answer over plain HTTP."""
    connection = HTTPConnection(name, port, timeout=seconds)
    try:
        connection.request("HEAD", "/")
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location", ""), answer.getheader("Date", "")
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def _written(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))
