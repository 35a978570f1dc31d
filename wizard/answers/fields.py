"""The kinds of value that answers are made of, each with a sentence saying what it allows.

A refusal that can say more than that sentence (what to write instead) is raised by `hint`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from functools import cache
from typing import Annotated, NoReturn, TypeVar
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import idna
from pydantic import AfterValidator, Field, Strict, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

HINT = "hint"
ORIGIN = "cloudflare-origin"
"""The authority that only Cloudflare's proxies trust."""
TLS_AUTHORITIES = ("letsencrypt", "letsencrypt-staging", "zerossl", ORIGIN)
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
# at least two labels, the last not all digits (it would be an address)
_FQDN = rf"({_LABEL}\.)+([a-z]|[a-z][a-z0-9-]{{0,61}}[a-z0-9])"
_MAILBOX = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"


@dataclass(frozen=True)
class Allowed:
    """Says in words what a value may be; read by keys.py for errors, schema and reference."""

    text: str


def hint(text: str) -> NoReturn:
    """Refuse a value, saying how to put it right."""
    raise PydanticCustomError(HINT, "{hint}", {"hint": text})


def _refuse_control_characters(value: str) -> str:
    if not all(c.isprintable() or c in "\u200c\u200d" for c in value):
        hint("it contains a character that cannot be printed")
    if value != value.strip():
        hint("remove the blanks around it")
    return value


def _fqdn(value: str) -> str:
    if re.fullmatch(_FQDN, value) and len(value) <= 253:
        _known_punycode(value)
        return value
    better = value.strip().lower().removesuffix(".")
    for scheme in ("https://", "http://"):
        better = better.removeprefix(scheme).removesuffix("/")
    if not better.isascii():
        try:
            better = idna.encode(better, uts46=True).decode()
        except (idna.IDNAError, UnicodeError):
            hint("not a name that DNS can hold")
    if better != value and re.fullmatch(_FQDN, better):
        hint(f"write {better}")
    if len(value) > 253:
        hint("it is longer than 253 characters")
    hint("labels of a-z, 0-9 and - joined by dots, the last one not a number")


def _known_punycode(value: str) -> None:
    for label in value.split("."):
        if label.startswith("xn--"):
            try:
                idna.ulabel(label)
            except (idna.IDNAError, UnicodeError):
                hint(f"{label} is not valid punycode")


def _email(value: str) -> str:
    mailbox, at, domain = value.rpartition("@")
    if not at or not re.fullmatch(_MAILBOX, mailbox) or len(mailbox) > 64:
        hint("a mailbox, @ and a domain; no blanks, no display name")
    _fqdn(domain)
    return value


def _url(value: str) -> str:
    if not value.isascii() or not all(c.isprintable() and c not in " \"'<>\\^`{|}" for c in value):
        hint("blanks, quotes and letters beyond ASCII must be percent-encoded")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        hint("not a URL")
    if parts.scheme != "https":
        hint("it must start with https://")
    if "@" in parts.netloc:
        hint("no user or password in a URL: answers never hold a secret")
    if not re.fullmatch(_LABEL + rf"(\.{_LABEL})*", parts.hostname or "") or port == 0:
        hint("it needs a host name after https://")
    return value


def _timezone(value: str) -> str:
    known = _timezones()
    # without a time zone database on this computer the form is all that can be checked
    if known and value not in known:
        near = get_close_matches(value, known, n=1)
        hint(f"did you mean {near[0]}?" if near else "not in the time zone database")
    return value


@cache
def _timezones() -> frozenset[str]:
    return frozenset(available_timezones())


def _moment(value: str) -> str:
    try:
        datetime.strptime(value, "%Y-%m-%dT%H:%MZ")
    except ValueError:
        hint("no such day or time")
    return value


def _network(value: str) -> str:
    try:
        interface = ipaddress.ip_interface(value)
    except ValueError:
        hint("neither an address nor a network")
    if "/" in value and interface.ip != interface.network.network_address:
        hint(f"write {interface.network}")
    return value


def _host(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return _fqdn(value)
    return value


def _authority(value: str) -> str:
    return value if value in TLS_AUTHORITIES else _url(value)


def _repository(value: str) -> str:
    if not value.startswith("/"):
        return _url(value)
    if not value.isprintable():
        hint("letters that cannot be printed")
    return _absolute_path(value)


def _relative_path(value: str) -> str:
    if ".." in value.split("/"):
        hint("'..' may not lead out of the application's folder")
    return value


def _absolute_path(value: str) -> str:
    if ".." in value.split("/"):
        hint("write the path without '..'")
    return value


def _distinct(values: tuple[object, ...]) -> tuple[object, ...]:
    for index, value in enumerate(values):
        if value in values[:index]:
            hint(f"{value} is there twice")
    return values


T = TypeVar("T")
# a YAML list becomes a tuple, so that answers cannot change
Many = Annotated[tuple[T, ...], Strict(False)]
Distinct = Annotated[
    tuple[T, ...],
    Strict(False),
    AfterValidator(_distinct),
    Field(json_schema_extra={"uniqueItems": True}),
]

Name = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,22}[a-z0-9]$"),
    Allowed("2 to 24 characters of a-z, 0-9 and -, a letter first, no - last"),
]
Identifier = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"),
    Allowed("a name of the provider: up to 64 letters, digits, '.', '_' and '-'"),
]
Title = Annotated[
    str,
    StringConstraints(min_length=1, max_length=120),
    AfterValidator(_refuse_control_characters),
    Allowed("1 to 120 characters of text on one line"),
]
UserName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,59}$"),
    Allowed("up to 60 letters, digits, '.', '_', '@' and '-'"),
]
Locale = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z]{2,3}(_[A-Z]{2})?(_[a-z0-9]{2,12})?$"),
    Allowed("a language such as en_US, de_DE or pt_BR"),
]
Timezone = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}$", max_length=64),
    AfterValidator(_timezone),
    Allowed("a time zone such as Etc/UTC or Europe/Vienna"),
]
Fqdn = Annotated[
    str,
    AfterValidator(_fqdn),
    WithJsonSchema({"type": "string", "pattern": f"^{_FQDN}$", "maxLength": 253}),
    Allowed("a full domain name such as www.example.org"),
]
Email = Annotated[
    str,
    AfterValidator(_email),
    WithJsonSchema({"type": "string", "format": "email"}),
    Allowed("an e-mail address such as jo@example.org"),
]
Url = Annotated[
    str,
    StringConstraints(max_length=2000),
    AfterValidator(_url),
    WithJsonSchema({"type": "string", "format": "uri", "pattern": "^https://"}),
    Allowed("a URL that starts with https://"),
]
Sha256 = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{64}$"),
    Allowed("a SHA-256 checksum: 64 hexadecimal digits, small letters"),
]
Port = Annotated[int, Field(ge=1, le=65535)]
NetworkAddress = Annotated[
    str,
    AfterValidator(_network),
    WithJsonSchema({"type": "string"}),
    Allowed("an address or a network such as 203.0.113.7 or 203.0.113.0/24"),
]
Host = Annotated[
    str,
    AfterValidator(_host),
    WithJsonSchema({"type": "string"}),
    Allowed("an address or a full domain name such as ns1.example.org"),
]
Authority = Annotated[
    str,
    AfterValidator(_authority),
    WithJsonSchema({"type": "string", "pattern": f"^({'|'.join(TLS_AUTHORITIES)}|https://.+)$"}),
    Allowed(f"{', '.join(TLS_AUTHORITIES)} or an ACME directory's https:// URL"),
]
TimeOfDay = Annotated[
    str,
    StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$"),
    Allowed("a time of day from 00:00 to 23:59"),
]
Moment = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}Z$"),
    AfterValidator(_moment),
    Allowed("a moment in UTC such as 2026-01-31T02:30Z"),
]
Variable = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Z_][A-Z0-9_]{0,63}$"),
    Allowed("an environment variable's name in capitals"),
]
SecretName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$"),
    Allowed("the name of a secret in the build home: a-z, 0-9, '.', '_' and '-'"),
]
AbsolutePath = Annotated[
    str,
    StringConstraints(pattern=r"^/[^\x00-\x1f\x7f]*$", max_length=4000),
    AfterValidator(_absolute_path),
    Allowed("a path that starts with /"),
]
RelativePath = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9._-][A-Za-z0-9._/ -]*$", max_length=200),
    AfterValidator(_relative_path),
    Allowed("a path below the application's folder, such as wp-content/uploads"),
]
Tables = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_$*?]+$", max_length=64),
    Allowed("a table's name, or a pattern such as page*"),
]
Paths = Annotated[
    str,
    StringConstraints(pattern=r"^[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*$", max_length=200),
    Allowed("a path, or a pattern such as storage/logs/*"),
]
UrlPath = Annotated[
    str,
    StringConstraints(pattern=r"^/[A-Za-z0-9._~/%-]*$", max_length=200),
    Allowed("a path of the website that starts with /"),
]
Repository = Annotated[
    str,
    StringConstraints(max_length=2000),
    AfterValidator(_repository),
    WithJsonSchema({"type": "string", "pattern": "^(https://|/)"}),
    Allowed("a URL that starts with https://, or a path that starts with /"),
]
SigningKey = Annotated[
    str,
    StringConstraints(pattern=r"^ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI[A-Za-z0-9+/]{43}$"),
    Allowed("a public key as `build-usb baseline key` prints it: ssh-ed25519 AAAA..."),
]
Revision = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$"),
    Allowed("a branch, tag or commit"),
]
BucketName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"),
    Allowed("a bucket's name"),
]
KeyName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?$"),
    Allowed("the TSIG key's name as the server knows it"),
]
CronTime = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9*/,-]+( [0-9*/,-]+){4}$", max_length=100),
    Allowed("five cron fields such as '*/15 * * * *'"),
]
