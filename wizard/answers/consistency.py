"""What must fit together between sections. Pure; every check reports all it finds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from wizard.answers import RELEASED
from wizard.answers.fields import ORIGIN
from wizard.answers.problems import KeyPath, Problem, shown
from wizard.answers.sections import DNS_OF, Code

if TYPE_CHECKING:
    from wizard.answers.model import Answers
    from wizard.answers.upkeep import Scaling

_MYSQL_LIKE = ("mariadb", "mysql")
_ANY_ENGINE = ("mariadb", "mysql", "postgresql")
ENGINES = {
    # wordpress.org/about/requirements: no other database is supported
    "wordpress": _MYSQL_LIKE,
    "joomla": _ANY_ENGINE,
    "drupal": _ANY_ENGINE,
    "moodle": _ANY_ENGINE,
    "php": _ANY_ENGINE,
    "static": _ANY_ENGINE,
}
"""Database engines that each application can use."""

MANAGED_ENGINES = {
    "local": (),
    "aws": _ANY_ENGINE,
    "digitalocean": ("mysql", "postgresql"),
    "exoscale": ("mysql", "postgresql"),
    "linode": ("mysql", "postgresql"),
    "vultr": ("mysql", "postgresql"),
    "hetzner": (),
}
"""Engines that each provider rents as a managed database."""

_WEB_PORTS = (80, 443)
_LEAVE_OUT = "leave it out"


def inconsistencies(answers: Answers) -> list[Problem]:
    """Return everything that does not fit together, in the order of the document."""
    checks = (_provider, _application, _domain, _dns, _database, _counts, _storage, _ports)
    later = (_tls, _backups, _baselines, _notifications, _gateway, _scaling, _autoscalers)
    return [problem for check in checks + later for problem in check(answers)]


def _problem(path: str, found: str, allowed: str, *depends: str) -> Problem:
    def split(key: str) -> KeyPath:
        return tuple(int(part) if part.isdigit() else part for part in key.split("."))

    return Problem(split(path), found, allowed, tuple(split(key) for key in depends))


def _provider(answers: Answers) -> Iterator[Problem]:
    if answers.provider.name == "local" and answers.provider.credentials is not None:
        yield _problem(
            "provider.credentials",
            "credentials for the provider 'local'",
            f"{_LEAVE_OUT}; machines on this computer need none",
            "provider.name",
        )


def _application(answers: Answers) -> Iterator[Problem]:
    kind, source = answers.application.kind, answers.application.source
    own = kind in ("php", "static")
    if own and source.kind == "fresh":
        yield _problem(
            "application.source.kind",
            f"'fresh' for the application '{kind}'",
            "repository, baseline or backup: own code must come from somewhere",
            "application.kind",
        )
    if not own and source.kind == "repository":
        yield _problem(
            "application.source.kind",
            f"'repository' for the application '{kind}'",
            "fresh, baseline or backup; repository is for php and static",
            "application.kind",
        )
    if source.kind in ("backup", "baseline") and own != (source.code is not None):
        yield _problem(
            "application.source.code",
            f"{'a repository' if source.code else 'null'} for the application '{kind}'",
            "url of the repository its code is in: a copy holds none"
            if own
            else f"{_LEAVE_OUT}; it is for php and static",
            "application.kind",
        )
    release = getattr(source, "release", None)
    if kind in RELEASED and source.kind != "repository" and release is None:
        yield _problem(
            "application.source.release",
            f"null for the application '{kind}'",
            "url (or file) and sha256 of a release: neither Debian nor a copy has one",
            "application.kind",
        )
    if kind not in RELEASED and release is not None:
        yield _problem(
            "application.source.release",
            f"a release for the application '{kind}'",
            f"{_LEAVE_OUT}; {'own code has none' if own else 'its package is that of Debian'}",
            "application.kind",
        )
    if kind == "moodle" and not re.fullmatch("[a-z0-9._@-]+", answers.application.admin.user):
        yield _problem(
            "application.admin.user",
            shown(answers.application.admin.user),
            "small letters for moodle: it knows no others in names to log in with",
            "application.kind",
        )
    code = answers.application.code
    if kind == "static" and isinstance(code, Code):
        for key in ("composer", "cron", "environment_template", "prepare"):
            if getattr(code, key):
                yield _problem(
                    f"{answers.application.code_key}.{key}",
                    f"{shown(getattr(code, key))} for the application 'static'",
                    f"{_LEAVE_OUT}; nothing is run",
                    "application.kind",
                )


def _domain(answers: Answers) -> Iterator[Problem]:
    zone = answers.dns.zone
    names = [("domain.name", answers.domain.name)]
    names += [(f"domain.aliases.{i}", name) for i, name in enumerate(answers.domain.aliases)]
    for key, name in names:
        if name != zone and not name.endswith(f".{zone}"):
            yield _problem(
                key,
                f"{shown(name)}, which is outside the zone {shown(zone)}",
                f"{zone} itself or a name that ends with .{zone}",
                "dns.zone",
            )
        if key != "domain.name" and name == answers.domain.name:
            yield _problem(
                key, f"{shown(name)}, which is domain.name", "a further name", "domain.name"
            )


def _dns(answers: Answers) -> Iterator[Problem]:
    dns = answers.dns
    if dns.proxied and dns.provider != "cloudflare":
        yield _problem(
            "dns.proxied",
            f"true with the DNS provider '{dns.provider}'",
            "false; only cloudflare can stand in front of webservers",
            "dns.provider",
        )
    if dns.health_checked and dns.provider != "route53":
        yield _problem(
            "dns.health_checked",
            f"true with the DNS provider '{dns.provider}'",
            "false; only route53 asks webservers whether they are well",
            "dns.provider",
        )
    elif dns.health_checked and answers.provider.name == "local":
        yield _problem(
            "dns.health_checked",
            "true with the provider 'local'",
            "false; Route 53 cannot reach the machines of a rehearsal",
            "provider.name",
        )
    if dns.provider != "rfc2136":
        if dns.rfc2136 is not None:
            yield _problem(
                "dns.rfc2136",
                f"a server, while dns.provider is '{dns.provider}'",
                f"{_LEAVE_OUT}, or dns.provider: rfc2136",
                "dns.provider",
            )
    elif dns.rfc2136 is None and answers.provider.name != "local":
        yield _problem(
            "dns.rfc2136",
            "nothing",
            "server, key_name and key of the DNS server; only a rehearsal has its own",
            "dns.provider",
            "provider.name",
        )
    if dns.credentials is not None and dns.provider in ("rfc2136", "none"):
        yield _problem(
            "dns.credentials",
            f"credentials for the DNS provider '{dns.provider}'",
            f"{_LEAVE_OUT}; a TSIG key belongs in dns.rfc2136.key",
            "dns.provider",
        )


def _database(answers: Answers) -> Iterator[Problem]:
    engine, kind = answers.database.engine, answers.application.kind
    if engine not in ENGINES[kind]:
        yield _problem(
            "database.engine",
            f"'{engine}' for the application '{kind}'",
            ", ".join(ENGINES[kind]),
            "application.kind",
        )
    managed = MANAGED_ENGINES[answers.provider.name]
    if answers.database.managed and engine not in managed:
        rented = f"it rents {', '.join(managed)}" if managed else "it rents no databases"
        yield _problem(
            "database.managed",
            f"true with {engine} at the provider '{answers.provider.name}'",
            f"false; {rented}",
            "provider.name",
            "database.engine",
        )
    if answers.database.size is not None and not answers.database.managed:
        yield _problem(
            "database.size",
            f"{shown(answers.database.size)} for an own database",
            f"{_LEAVE_OUT} (machines.sizes.database is the machine's), or managed: true",
            "database.managed",
        )


def _counts(answers: Answers) -> Iterator[Problem]:
    count, scaling = answers.webserver.count, answers.scaling
    if answers.mode == "development" and count != 1:
        yield _problem(
            "webserver.count",
            f"{count} in development mode",
            "1, or mode: production",
            "mode",
        )
    if answers.mode == "production" and _outside(count, scaling):
        yield _problem(
            "webserver.count",
            f"{count} in production mode",
            f"from scaling.minimum ({scaling.minimum}) to scaling.maximum ({scaling.maximum})",
            "mode",
            "scaling.minimum",
            "scaling.maximum",
        )

    if answers.mode == "development" and answers.machines.sizes.autoscaler is not None:
        yield _problem(
            "machines.sizes.autoscaler",
            f"{shown(answers.machines.sizes.autoscaler)} in development mode",
            f"{_LEAVE_OUT}, or mode: production; development has no autoscalers",
            "mode",
        )


def _outside(count: int, scaling: Scaling) -> bool:
    # a range that is itself the wrong way round is one problem, not one for each number
    possible = scaling.minimum <= scaling.maximum
    return possible and not scaling.minimum <= count <= scaling.maximum


def _storage(answers: Answers) -> Iterator[Problem]:
    if answers.shared_config.kind == "efs" and answers.provider.name != "aws":
        yield _problem(
            "shared_config.kind",
            f"'efs' at the provider '{answers.provider.name}'",
            "s3fs; efs exists only at aws",
            "provider.name",
        )
    for key, storage in (
        ("object_storage", answers.object_storage),
        ("backups.second_storage", answers.backups.second_storage),
        ("application.source.storage", getattr(answers.application.source, "storage", None)),
    ):
        if storage is not None and storage.provider == "other" and storage.endpoint is None:
            yield _problem(
                f"{key}.endpoint",
                "nothing",
                "the https:// URL of the S3 endpoint, as the provider is 'other'",
                f"{key}.provider",
            )


def _ports(answers: Answers) -> Iterator[Problem]:
    ports = {"database.port": answers.database.port, "ssh.port": answers.ssh.port}
    for key, port in ports.items():
        if port in _WEB_PORTS:
            yield _problem(key, f"{port}, which the webservers use", "any port but 80 and 443")
    if len(set(ports.values())) == 1:
        yield _problem(
            "ssh.port",
            f"{answers.ssh.port}, which is database.port too",
            "another port than the database's",
            "database.port",
        )


def _tls(answers: Answers) -> Iterator[Problem]:
    if answers.tls.authority == ORIGIN and not answers.dns.proxied:
        yield _problem(
            "tls.authority",
            f"'{ORIGIN}' without proxies",
            "another authority, or dns.proxied: true; only Cloudflare's proxies trust this one",
            "dns.proxied",
        )


def _backups(answers: Answers) -> Iterator[Problem]:
    if answers.backups.second_storage is not None and not answers.backups.periods:
        yield _problem(
            "backups.periods",
            "no periods, while there is a second storage",
            "at least one period, or no second_storage",
            "backups.second_storage",
        )


def _baselines(answers: Answers) -> Iterator[Problem]:
    if answers.baselines.credentials is not None and answers.baselines.repository is None:
        yield _problem(
            "baselines.repository",
            "nothing",
            "the repository that the credentials are for",
            "baselines.credentials",
        )


def _notifications(answers: Answers) -> Iterator[Problem]:
    email, smtp = answers.notifications.email, answers.notifications.smtp
    if email is not None and smtp is None:
        yield _problem(
            "notifications.smtp", "nothing", "a mail server to send through", "notifications.email"
        )
    if smtp is not None and email is None:
        yield _problem(
            "notifications.email", "nothing", "the address to send to", "notifications.smtp"
        )
    if smtp is not None and smtp.port == 465 and smtp.security == "starttls":
        # RFC 8314: it would wait for a greeting that never comes
        yield _problem(
            "notifications.smtp.security", "'starttls'", "tls", "notifications.smtp.port: 465"
        )


def _gateway(answers: Answers) -> Iterator[Problem]:
    gateway = answers.gateway
    if gateway.enabled and not (gateway.users or gateway.domains):
        yield _problem(
            "gateway.users", "no users", "at least one user, or enabled: false", "gateway.enabled"
        )
    if gateway.domains and not answers.dns.proxied:
        yield _problem(
            "gateway.domains",
            "e-mail domains without proxies",
            f"{_LEAVE_OUT}, or dns.proxied: true; only Zero Trust Access knows them",
            "dns.proxied",
        )
    names = [user.name for user in gateway.users]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield _problem(
                f"gateway.users.{index}.name", f"{shown(name)} twice", "a name for each user"
            )


def _scaling(answers: Answers) -> Iterator[Problem]:
    scaling = answers.scaling
    if answers.mode == "development" and scaling != type(scaling)():
        yield _problem(
            "scaling", "settings in development mode", f"{_LEAVE_OUT}, or mode: production", "mode"
        )
        return
    if scaling.minimum > scaling.maximum:
        yield _problem(
            "scaling.minimum",
            str(scaling.minimum),
            f"at most scaling.maximum ({scaling.maximum})",
            "scaling.maximum",
        )
    taken: set[tuple[str, str]] = set()
    for index, entry in enumerate(scaling.schedule):
        key = f"scaling.schedule.{index}"
        if _outside(entry.webservers, scaling):
            yield _problem(
                f"{key}.webservers",
                str(entry.webservers),
                f"from scaling.minimum ({scaling.minimum}) to scaling.maximum ({scaling.maximum})",
                "scaling.minimum",
                "scaling.maximum",
            )
        moments = {(entry.at, day) for day in entry.days}
        if moments & taken:
            yield _problem(
                f"{key}.at",
                f"'{entry.at}' twice on the same day",
                "one number of webservers at a time",
            )
        taken |= moments
    if scaling.health.timeout > scaling.health.interval:
        yield _problem(
            "scaling.health.timeout",
            f"{scaling.health.timeout} seconds",
            f"at most scaling.health.interval ({scaling.health.interval})",
            "scaling.health.interval",
        )


def _autoscalers(answers: Answers) -> Iterator[Problem]:
    """What autoscalers authenticate with: at clouds nothing is taken over unless it is named."""
    own, cloud, dns = answers.scaling.credentials, answers.provider.name, answers.dns
    key = "scaling.credentials"
    if answers.mode == "development":
        return
    without = {
        "local": "machines on this computer need none",
        "aws": "autoscalers have a role there, and no key",
    }
    if own.provider is not None and cloud in without:
        found = f"credentials for the provider '{cloud}'"
        yield _problem(f"{key}.provider", found, f"{_LEAVE_OUT}; {without[cloud]}", "provider.name")
    if own.provider is None and cloud not in without:
        yield _problem(
            f"{key}.provider",
            "nothing",
            "where the token of the autoscalers comes from: {environment: VARIABLE}, {file: /path} "
            "or {home: name}; the source of provider.credentials gives them that one",
            "mode",
            "provider.name",
        )
    of_cloud = dns.provider in (cloud, DNS_OF.get(cloud)) and dns.credentials is None
    if own.dns is None and dns.provider != "none" and not of_cloud and cloud != "local":
        what = "TSIG key" if dns.provider == "rfc2136" else "token"
        yield _problem(
            f"{key}.dns",
            "nothing",
            f"where the {what} that autoscalers change the zone with comes from, the build "
            "machine's source or another",
            "mode",
            "dns.provider",
        )
    if own.dns is not None and dns.provider == "none":
        found = "credentials for the DNS provider 'none'"
        yield _problem(f"{key}.dns", found, _LEAVE_OUT, "dns.provider")
    if own.dns_key_name is not None and dns.provider != "rfc2136":
        found = f"a TSIG key's name for the DNS provider '{dns.provider}'"
        yield _problem(f"{key}.dns_key_name", found, _LEAVE_OUT, "dns.provider")
