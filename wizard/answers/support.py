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
    "application.kind": ("wordpress", "php", "static"),
    "application.source.kind": ("fresh", "backup", "repository"),
    "application.locale": ("en_US",),
    "dns.provider": ("rfc2136", "cloudflare", "digitalocean", "route53"),
    "database.engine": ("mariadb", "mysql"),
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
    "backups.second_storage",
    "baselines",
    "assets",
    "notifications",
)
"""Keys and sections that only work with their defaults in this version."""

WITH_CLOUDS = (
    "object_storage.region",
    "object_storage.credentials",
    "ssh.build_machine",
)
"""Keys that only work with their defaults in a rehearsal, which knows better."""

WITH_DIGITALOCEAN = ("provider.reserved_address",)
"""Keys that only work with their defaults elsewhere, and in production."""

WITH_PROXIES = ("gateway",)
"""Sections that only work with their defaults where no proxies stand in front of the site."""

AUTHORITIES = ("letsencrypt", "letsencrypt-staging", ORIGIN)
"""The authorities known by name that work; any URL does."""


MANAGED: Mapping[str, tuple[str, ...]] = {"aws": ("mariadb", "mysql"), "digitalocean": ("mysql",)}
"""The engines of managed databases that work, by provider; own databases are MariaDB."""


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
        *_cloud(answers),
        *_together(answers),
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
    engines = MANAGED.get(answers.provider.name, ())
    if own.engine not in WORKING["database.engine"]:
        return
    if own.managed and own.engine not in engines:
        yield Problem(("database", "managed"), "true", shown(False))
    if not own.managed and own.engine != "mariadb":
        allowed = "mariadb, or managed: true" if own.engine in engines else "mariadb"
        yield Problem(("database", "engine"), shown(own.engine), allowed)


def _production(answers: Answers) -> Iterator[Problem]:
    """Autoscalers rent machines themselves; at clouds they have no credentials of their own yet."""
    if answers.mode != "production":
        return
    if answers.provider.name != "local":
        allowed = "development; production in a rehearsal only (provider.name: local)"
        yield Problem(("mode",), "production", allowed)
    if answers.backups.periods:
        yield Problem(("backups", "periods"), "a list", "leave it out in production mode")
    kind = answers.application.source.kind
    if kind != "fresh" and kind in WORKING["application.source.kind"]:
        yield Problem(("application", "source", "kind"), shown(kind), "fresh in production mode")


def _application(answers: Answers) -> Iterator[Problem]:
    application = answers.application
    own = application.kind in ("php", "static")
    if own and application.source.kind == "backup":
        yield Problem(("application", "source", "kind"), "'backup' for own code", "repository")
    if answers.database.managed:
        if application.source.kind == "backup":
            found = "'backup' with a managed database"
            yield Problem(("application", "source", "kind"), found, "fresh")
        if application.kind == "static" or not getattr(application.source, "database", True):
            found = "true, for an application without a database"
            yield Problem(("database", "managed"), found, "false")
    if getattr(application.source, "composer", False):
        allowed = "false; commit the folder vendor/ to the repository or to a branch of it"
        yield Problem(("application", "source", "composer"), "true", allowed)


def _authority(answers: Answers) -> Iterator[Problem]:
    authority = answers.tls.authority
    if authority in TLS_AUTHORITIES and authority not in AUTHORITIES:
        works = ", ".join(AUTHORITIES)
        yield Problem(("tls", "authority"), shown(authority), f"{works}, an https:// URL")


def _one_droplet(answers: Answers) -> bool:
    return answers.provider.name == "digitalocean" and answers.mode == "development"


def _sections(answers: Answers) -> Iterator[Problem]:
    with_clouds = WITH_CLOUDS if answers.provider.name == "local" else ()
    with_proxies = () if answers.dns.proxied else WITH_PROXIES
    with_vendor = () if _one_droplet(answers) else WITH_DIGITALOCEAN
    for key in (*NOT_YET, *with_clouds, *with_proxies, *with_vendor):
        path = parsed(key)
        value: Any = answers
        default: Any = None
        for part in path:
            default = type(value).model_fields[str(part)].default
            value = getattr(value, str(part))
        yield from _differences(path, value, default)


def _cloud(answers: Answers) -> Iterator[Problem]:
    clouds = [name for name in WORKING["provider.name"] if name != "local"]
    if answers.provider.name in clouds and answers.ssh.build_machine is None:
        allowed = (
            "the address or network that machines see this computer at: your router shows it, and "
            "`echo $SSH_CONNECTION` on any machine elsewhere that you are logged in to from here"
        )
        yield Problem(("ssh", "build_machine"), "null: to find it out", allowed)


def _together(answers: Answers) -> Iterator[Problem]:
    # autoscalers announce machines in the bucket, which nobody mounts then
    if answers.mode == "production" and answers.shared_config.kind == "efs":
        yield Problem(("shared_config", "kind"), "'efs' in production mode", "s3fs")


def _differences(path: KeyPath, value: object, default: object) -> Iterator[Problem]:
    if value == default:
        return
    if isinstance(value, BaseModel) and isinstance(default, BaseModel):
        for name in type(value).model_fields:
            yield from _differences((*path, name), getattr(value, name), getattr(default, name))
        return
    found = "settings" if isinstance(value, BaseModel) else shown(value)
    yield Problem(path, found, "leave it out")
