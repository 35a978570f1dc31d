"""Answers and facts -> plan. Pure: reads nothing, asks nobody.

Errors are AnswersError: the answers ask for something this provider does not have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from ipaddress import ip_network

from wizard.answers import MOVES
from wizard.answers.fields import ORIGIN
from wizard.answers.model import Answers
from wizard.dns import prices
from wizard.dns.base import Edge, Gate, Health
from wizard.errors import AnswersError
from wizard.plan import firewall
from wizard.plan.model import (
    Plan,
    PlannedApplication,
    PlannedBackups,
    PlannedBucket,
    PlannedDatabase,
    PlannedFileSystem,
    PlannedHealth,
    PlannedMachine,
    PlannedRecord,
    PlannedSecond,
    PlannedSnapshot,
)
from wizard.providers.base import ProviderFacts, Size, Unit
from wizard.rules import Role

ADMINISTRATION = {
    "wordpress": ("/wp-login.php", "/wp-admin"),
    "moodle": ("/admin",),
    "drupal": ("/admin", "/user"),
    "joomla": ("/administrator",),
}
"""The paths of each application that a gate closes when answers name none."""

_SNAPSHOT_GIB = 3
"""What a webserver's disk holds: Debian's cloud image is 1 GiB of it, our packages the rest."""

_PREFIX = {Role.WEBSERVER: "web", Role.DATABASE: "db", Role.AUTOSCALER: "scaler"}


def build(answers: Answers, facts: ProviderFacts, bucket: str, edge: Edge | None = None) -> Plan:
    """Return the plan for `answers` at a provider with `facts`; `bucket` is the bucket's name,
    `edge` the proxies that stand in front of proxied names.

    Raises AnswersError with every region, image or size the provider lacks, all at once.
    """
    counts = {Role.WEBSERVER: answers.webserver.count}
    if needs_database(answers):
        counts[Role.DATABASE] = 1
    if answers.mode == "production":
        counts[Role.AUTOSCALER] = answers.scaling.autoscalers
    problems: list[str] = []
    if answers.provider.region not in facts.regions:
        problems.append(
            f"provider.region: found {answers.provider.region!r}; "
            f"allowed: {', '.join(facts.regions)}"
        )
    if answers.provider.ipv6 and not facts.ipv6:
        problems.append("provider.ipv6: found true; allowed: false")
    if answers.machines.os not in facts.images:
        problems.append(
            f"machines.os: found {answers.machines.os!r}; allowed: {', '.join(facts.images)}"
        )
    sizes: dict[Role, Size] = {}
    known = {size.name: size for size in facts.sizes}
    for role in counts:
        wanted = getattr(answers.machines.sizes, role.value) or facts.default_size[role]
        disk = getattr(answers.machines.disks, role.value, None)
        if wanted in known:
            sizes[role] = _with_disk(known[wanted], disk, facts.disk_monthly_price)
        else:
            problems.append(f"machines.sizes.{role}: found {wanted!r}; allowed: {', '.join(known)}")
        if disk and facts.disk_monthly_price is None:
            problems.append(
                f"machines.disks.{role}: found {disk}; allowed: nothing; disks come with the size "
                f"at {answers.provider.name}"
            )
    database, wrong = _database(answers, facts)
    database_port = database.port if database else answers.database.port
    problems += wrong
    problems += _beyond(facts, answers, {role: s.vcpus * counts[role] for role, s in sizes.items()})
    if problems:
        raise AnswersError(
            f"the provider {answers.provider.name} does not have what the answers ask for",
            problems,
            cure="choose from the allowed values",
        )
    machines = tuple(
        PlannedMachine(f"{_PREFIX[role]}{number}", role, sizes[role], answers.machines.os)
        for role, count in counts.items()
        for number in range(1, count + 1)
    )
    webservers = tuple(m.name for m in machines if m.role is Role.WEBSERVER)
    edge = _reaching(edge, answers)
    hosts = (answers.domain.name, *answers.domain.aliases)
    periods = answers.backups.periods
    return Plan(
        deployment=answers.name,
        mode=answers.mode,
        provider=answers.provider.name,
        region=answers.provider.region,
        currency=facts.currency,
        zone=answers.dns.zone,
        dns_provider=answers.dns.provider,
        machines=machines,
        rules=firewall.rules(
            tuple(counts),
            ssh_port=answers.ssh.port,
            database_port=database_port,
            managed=database is not None,
            proxied=answers.dns.proxied,
            edge=edge.networks if edge else _known_networks(answers),
        ),
        native_firewall=answers.firewall.native,
        machine_firewall=answers.firewall.machine,
        bucket=PlannedBucket(bucket, facts.bucket_monthly_price),
        records=tuple(
            PlannedRecord(host, answers.dns.ttl, webservers, answers.dns.proxied) for host in hosts
        ),
        application=PlannedApplication(
            kind=answers.application.kind,
            title=answers.application.title,
            admin_user=answers.application.admin.user,
            admin_email=answers.application.admin.email,
            locale=answers.application.locale,
            hosts=hosts,
            health_path=health_path(answers),
        ),
        database_engine=answers.database.engine,
        database_port=database_port,
        database=database,
        ssh_port=answers.ssh.port,
        tls_authority=answers.tls.authority
        or ("the provider's own" if answers.provider.name == "local" else "letsencrypt"),
        tls_email=answers.tls.email or answers.application.admin.email,
        timezone=answers.machines.timezone,
        notes=(*facts.notes, *_about(answers), *(edge.wrong if edge else ())),
        edge=edge,
        ipv6=answers.provider.ipv6,
        health=PlannedHealth(
            Health(hosts[0], health_path(answers)),
            prices.health_check(at_amazon=answers.provider.name == "aws"),
            prices.DATE,
        )
        if answers.dns.health_checked
        else None,
        project=facts.project.format(deployment=answers.name),
        gate=_gate(answers, hosts),
        backups=PlannedBackups(
            f"{bucket}-backups",
            tuple((period, getattr(answers.backups.keep, period)) for period in periods),
            _second(answers, bucket),
        )
        if periods
        else None,
        file_system=PlannedFileSystem("efs", facts.file_system_monthly_price)
        if answers.shared_config.kind == "efs"
        else None,
        snapshot=PlannedSnapshot(
            _SNAPSHOT_GIB,
            (_SNAPSHOT_GIB * facts.snapshot_monthly_price).quantize(Decimal("0.01")),
        )
        if answers.mode == "production"
        else None,
    )


def _reaching(edge: Edge | None, answers: Answers) -> Edge | None:
    """Return the proxies with those of their networks that can reach the webservers."""
    if edge is None or answers.provider.ipv6:
        return edge
    networks = tuple(one for one in edge.networks if ip_network(one).version == 4)
    return replace(edge, networks=networks)


def _known_networks(answers: Answers) -> tuple[str, ...]:
    more = firewall.CLOUDFLARE_NETWORKS_6 if answers.provider.ipv6 else ()
    return (*firewall.CLOUDFLARE_NETWORKS, *more)


def _second(answers: Answers, bucket: str) -> PlannedSecond | None:
    second = answers.backups.second_storage
    if second is None:
        return None
    vendor = second.endpoint or second.provider or answers.provider.name
    # it may be the same provider, whose buckets have names of their own
    return PlannedSecond(vendor, second.bucket or f"{bucket}-second", second.append_only)


def _gate(answers: Answers, hosts: tuple[str, ...]) -> Gate | None:
    gateway = answers.gateway
    if not (gateway.enabled and answers.dns.proxied):
        return None
    paths = gateway.paths or ADMINISTRATION.get(answers.application.kind, ("/",))
    return Gate(
        tuple(f"{host}{path}".rstrip("/") for host in hosts for path in paths),
        tuple(dict.fromkeys(user.email for user in gateway.users)),
        gateway.domains,
    )


def _about(answers: Answers) -> Iterator[str]:
    if answers.tls.authority == ORIGIN:
        yield (
            "the certificate is trusted by Cloudflare's proxies only: whoever asks the webservers "
            "directly, or after dns.proxied is set to false, is warned by the browser; it is "
            "renewed by a deploy, not by the machines"
        )
    if answers.mode == "production" and answers.application.kind == "wordpress":
        source = answers.application.source.kind
        come = "" if source == "fresh" else f", and come with the {source}"
        yield (
            f"plugins and themes are the same on all webservers{come}; nobody changes them in "
            "WordPress: build-usb carry brings those of another deployment"
        )
    if answers.application.source.kind == "backup" and answers.application.code:
        kept = needs_database(answers) and answers.application.kind not in MOVES
        texts = "; texts in its database are not touched" if kept else ""
        if answers.application.source.release:
            yield f"a backup that was made of another release is refused{texts}"
        else:
            yield f"the code is the repository's, whatever the backup was made of{texts}"


def with_webservers(plan: Plan, names: tuple[str, ...]) -> Plan:
    """Return the plan with these webservers in place of its own, all like its first."""
    like = plan.of_role(Role.WEBSERVER)[0]
    webservers = tuple(replace(like, name=name) for name in names)
    others = tuple(m for m in plan.machines if m.role is not Role.WEBSERVER)
    records = tuple(replace(record, machines=names) for record in plan.records)
    return replace(plan, machines=(*webservers, *others), records=records)


def _with_disk(size: Size, disk: int | None, price: Decimal | None) -> Size:
    """Return a size with another disk (GiB) and what it costs with that."""
    if disk is None or price is None:
        return size
    whole = size.monthly_price + price * (disk - size.disk)
    return replace(size, disk=disk, monthly_price=whole.quantize(Decimal("0.01")))


def _database(answers: Answers, facts: ProviderFacts) -> tuple[PlannedDatabase | None, list[str]]:
    """Return the managed database that the answers ask for, and what the provider lacks."""
    own, rented = answers.database, facts.databases
    if not own.managed:
        return None, []
    if rented is None:
        return None, ["database.managed: found true; allowed: false"]
    known = {size.name: size for size in rented.sizes}
    wanted = own.size or rented.default_size
    if wanted not in known:
        return None, [f"database.size: found {wanted!r}; allowed: {', '.join(known)}"]
    return PlannedDatabase(own.engine, known[wanted], rented.port, rented.priced), []


def health_path(answers: Answers) -> str:
    """Return the path that says whether the site is well."""
    # not the front page, which its administrators may close to visitors
    login = {
        "moodle": "/login/index.php",
        "drupal": "/user/login",
        "joomla": "/administrator/index.php",
    }
    path = login.get(answers.application.kind)
    return path or str(getattr(answers.application.code, "health_path", "/"))


def needs_database(answers: Answers) -> bool:
    """Say whether the application has a database."""
    application = answers.application
    return application.kind != "static" and getattr(application.code, "database", True)


def _beyond(facts: ProviderFacts, answers: Answers, vcpus: dict[Role, int]) -> list[str]:
    """Return which of the account's quotas do not suffice, whatever others leave of them; `vcpus`
    are those of all machines of a role."""
    wanted = Counter({Unit.NETWORKS: 1, Unit.ADDRESSES: int(answers.provider.reserved_address)})
    for role, number in vcpus.items():
        spare = answers.machines.spot and role is Role.WEBSERVER
        wanted[Unit.SPOT_VCPUS if spare else Unit.VCPUS] += number
    problems = []
    for quota in facts.quotas:
        others = sum(used for owner, used in quota.used.items() if owner != answers.name)
        if others + wanted[quota.unit] > quota.limit:
            problems.append(
                f"the account's quota {quota.name}: found {wanted[quota.unit]} {quota.unit} needed;"
                f" allowed: {max(0, quota.limit - others)} (of {quota.limit}, {others} are in use)"
            )
    return problems
