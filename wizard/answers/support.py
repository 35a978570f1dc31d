"""What is right but not possible in this version: refused by name, never ignored. Pure.

A later version removes lines here as it learns to do what they say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from wizard.answers.fields import ORIGIN, TLS_AUTHORITIES
from wizard.answers.model import Answers
from wizard.answers.problems import KeyPath, Problem, parsed, shown
from wizard.errors import NotSupportedError

WORKING: Mapping[str, tuple[object, ...]] = {
    "mode": ("development", "production"),
    "provider.name": ("local", "aws", "digitalocean"),
    "machines.os": ("debian-13",),
    "application.kind": ("wordpress", "joomla", "drupal", "moodle", "php", "static"),
    "application.source.kind": ("fresh", "baseline", "backup", "repository"),
    "application.locale": ("en_US",),
    "dns.provider": ("rfc2136", "cloudflare", "digitalocean", "route53"),
    "database.engine": ("mariadb", "mysql", "postgresql"),
    "webserver.kind": ("nginx",),
    "shared_config.kind": ("s3fs", "efs"),
}
"""The values that work in this version, for keys where not all that is right does."""

NOT_ON_STICK: Mapping[str, tuple[object, ...]] = {"provider.name": ("local",)}
"""Values that work, but not on a computer started from the stick: a rehearsal needs root and a
Debian root file system."""

NOT_YET = (
    "object_storage.provider",
    "object_storage.endpoint",
)
"""Keys and sections that only work with their defaults in this version."""

WITH_CLOUDS = (
    "object_storage.region",
    "object_storage.credentials",
    "backups.second_storage",
    "ssh.build_machine",
)
"""Keys that only work with their defaults in a rehearsal, which knows better."""

WITH_ONE_WEBSERVER = ("provider.reserved_address",)
"""Keys that only work with their defaults in a rehearsal and in production."""

WITHOUT_AWS = ("provider.ipv6",)
"""Keys that only work with their defaults on AWS."""

WITH_AWS = ("machines.spot",)
"""Keys that only work with their defaults elsewhere."""

WITH_PROXIES = ("gateway",)
"""Sections that only work with their defaults where no proxies stand in front of the site."""

AUTHORITIES = ("letsencrypt", "letsencrypt-staging", ORIGIN)
"""The authorities known by name that work; any URL does."""


MANAGED: Mapping[str, tuple[str, ...]] = {
    "aws": ("mariadb", "mysql", "postgresql"),
    "digitalocean": ("mysql", "postgresql"),
}
"""The engines of managed databases that work, by provider."""

BEGIN_WITH: Mapping[str, tuple[str, ...]] = {
    "backup": ("wordpress", "joomla", "drupal", "moodle", "php", "static"),
    "baseline": ("wordpress", "joomla", "drupal", "moodle", "php"),
}
"""The applications that can begin with content, by the kind of source."""

IN_PRODUCTION = ("wordpress", "joomla", "drupal", "php", "static")
"""The applications that work on several webservers."""

KNOW_POSTGRESQL = ("drupal", "moodle", "php", "static")
"""The applications that work with PostgreSQL; MariaDB does for all."""


def working(key: str, *, stick: bool = False) -> tuple[object, ...]:
    """Return the values that work of a key of WORKING; `stick`: on a computer started from it."""
    out = NOT_ON_STICK.get(key, ()) if stick else ()
    return tuple(value for value in WORKING[key] if value not in out)


def unsupported(answers: Answers, *, stick: bool = False) -> list[Problem]:
    """Return every setting that this version cannot do yet, in the order of the document."""
    found = [
        *_values(answers, stick),
        *_application(answers),
        *_database(answers),
        *_production(answers),
        *_authority(answers),
        *_sections(answers),
    ]
    order = list(Answers.model_fields)
    return sorted(found, key=lambda problem: order.index(str(problem.path[0])))


def refuse_unsupported(answers: Answers, source: str = "", *, stick: bool = False) -> None:
    """Raise NotSupportedError that names every setting this version cannot do yet, if any."""
    problems = unsupported(answers, stick=stick)
    if problems:
        raise NotSupportedError(
            "the answers are right, but this version cannot do all of it yet",
            where=source,
            why="\n".join(
                f"{p.key}: asked for {p.found}; works in this version: {p.allowed}"
                for p in problems
            ),
            cure="change these settings, or use a version that can; docs/answers.md marks them",
        )


def _values(answers: Answers, stick: bool) -> Iterator[Problem]:
    for key in WORKING:
        path = parsed(key)
        value: Any = answers
        for part in path:
            value = getattr(value, str(part))
        works = working(key, stick=stick)
        if value not in works:
            allowed = ", ".join(v if isinstance(v, str) else shown(v) for v in works)
            if value in WORKING[key]:
                allowed += "; rehearsals run on an installed Debian, not on the stick"
            yield Problem(path, shown(value), allowed)


def _database(answers: Answers) -> Iterator[Problem]:
    own = answers.database
    knows = answers.application.kind in KNOW_POSTGRESQL
    engines = [
        engine
        for engine in MANAGED.get(answers.provider.name, ())
        if knows or engine != "postgresql"
    ]
    owns = ("mariadb", "postgresql") if knows else ("mariadb",)
    if own.managed and own.engine not in engines:
        yield Problem(("database", "managed"), f"true with {own.engine}", shown(False))
    if not own.managed and own.engine not in owns:
        allowed = f"{', '.join(owns)}{', or managed: true' if own.engine in engines else ''}"
        yield Problem(("database", "engine"), shown(own.engine), allowed)


def _production(answers: Answers) -> Iterator[Problem]:
    if answers.mode != "production":
        return
    kind = answers.application.kind
    if kind not in IN_PRODUCTION:
        # what it keeps in files would have to be in common
        allowed = ", ".join(IN_PRODUCTION)
        yield Problem(("application", "kind"), f"'{kind}' in production mode", allowed)


def _application(answers: Answers) -> Iterator[Problem]:
    application = answers.application
    own = application.kind in ("php", "static")
    kind = application.source.kind
    begins = BEGIN_WITH.get(kind)
    if begins and application.kind not in begins:
        what = "own code" if own else application.kind
        works = ["repository" if own else "fresh"]
        works += [other for other, kinds in BEGIN_WITH.items() if application.kind in kinds]
        yield Problem(("application", "source", "kind"), f"'{kind}' for {what}", ", ".join(works))
    engine = answers.database.engine
    if kind == "baseline" and engine == "postgresql":
        yield Problem(("database", "engine"), f"{shown(engine)} with a baseline", "mariadb")
    if answers.database.managed:
        if kind == "baseline":
            found = "'baseline' with a managed database"
            yield Problem(("application", "source", "kind"), found, "fresh, backup")
        if application.kind == "static" or not getattr(application.code, "database", True):
            found = "true, for an application without a database"
            yield Problem(("database", "managed"), found, "false")


def _authority(answers: Answers) -> Iterator[Problem]:
    authority = answers.tls.authority
    if authority in TLS_AUTHORITIES and authority not in AUTHORITIES:
        works = ", ".join(AUTHORITIES)
        yield Problem(("tls", "authority"), shown(authority), f"{works}, an https:// URL")


def _one_webserver(answers: Answers) -> bool:
    return answers.provider.name in ("aws", "digitalocean") and answers.mode == "development"


def _sections(answers: Answers) -> Iterator[Problem]:
    with_clouds = WITH_CLOUDS if answers.provider.name == "local" else ()
    with_proxies = () if answers.dns.proxied else WITH_PROXIES
    with_vendor = () if _one_webserver(answers) else WITH_ONE_WEBSERVER
    with_aws = WITHOUT_AWS if answers.provider.name == "aws" else WITH_AWS
    for key in (*NOT_YET, *with_clouds, *with_proxies, *with_vendor, *with_aws):
        path = parsed(key)
        value: Any = answers
        default: Any = None
        for part in path:
            default = type(value).model_fields[str(part)].default
            value = getattr(value, str(part))
        yield from _differences(path, value, default)


def _differences(path: KeyPath, value: object, default: object) -> Iterator[Problem]:
    if value == default:
        return
    if isinstance(value, BaseModel) and isinstance(default, BaseModel):
        for name in type(value).model_fields:
            yield from _differences((*path, name), getattr(value, name), getattr(default, name))
        return
    found = "settings" if isinstance(value, BaseModel) else shown(value)
    yield Problem(path, found, "leave it out")
