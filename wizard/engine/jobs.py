"""What the worker is told about a machine: the job for one phase, from plan, state and secrets."""

from __future__ import annotations

import ipaddress
import json
import secrets as random
from dataclasses import replace

from wizard.answers.model import Answers
from wizard.dns.base import Edge
from wizard.engine import mailing, open, origin, station
from wizard.engine.backups import kept_password
from wizard.engine.code import settings_text
from wizard.engine.context import OWN, Context
from wizard.home import keys
from wizard.machines.certificates import self_signed
from wizard.machines.job import (
    ApplicationSettings,
    BackupSettings,
    BucketSettings,
    Connection,
    DatabaseSettings,
    EdgeSettings,
    FileSystemSettings,
    MachineJob,
    MailSettings,
    Peer,
    Phase,
    SecondSettings,
    TlsSettings,
)
from wizard.plan.model import Plan, PlannedBackups, PlannedMachine
from wizard.plan.render import rule_to_plain
from wizard.providers.base import ObjectStorage
from wizard.rules import Role
from wizard.secrets import Secret, generate


def machine_job(
    context: Context, machine: PlannedMachine, phase: Phase, *, prepares: bool = False
) -> MachineJob:
    """Return everything the worker needs to run `phase` on `machine`; `prepares`: it may change the
    database to fit another release, also where webservers serve."""
    plan, answers, secrets = context.plan, context.answers, context.secrets
    assert context.network is not None
    found = context.state.machines[machine.name]
    storage = open.machines_storage(answers, context.services, context.credentials, secrets)
    addresses = (
        m.private_address for m in context.state.machines.values() if m.role is Role.DATABASE
    )
    database = next(addresses, "")
    login = keys.key_pair(secrets, "ssh_key")
    identities = {
        name: secrets.get_or_create(f"age_identity.{name}", keys.generate_age_identity)
        for name in sorted({_identity(plan, m) for m in plan.machines})
    }
    given: dict[str, Secret] = {"age_identity": identities[_identity(plan, machine)]}
    if not storage.by_role:
        given["storage_secret_key"] = storage.secret_key
    if machine.role in (Role.WEBSERVER, Role.DATABASE):
        given["database_password"] = secrets.get_or_create("database_password", generate)
    if machine.role is Role.WEBSERVER:
        given["salts"] = secrets.get_or_create("salts", _salts)
        given["admin_password"] = secrets.get_or_create("admin_password", generate)
    if plan.backups:
        given["backup_password"] = secrets.get_or_create(
            "backup_password", lambda: _backup_password(context)
        )
    second = open.second_storage(answers, context.credentials)
    if second is not None:
        given["second_storage_key"] = second.secret_key
    smtp = answers.notifications.smtp
    if smtp:
        given["mail_password"] = open.credential(
            smtp.password, context.credentials, open.MAIL_PASSWORD
        )
    settings, more = _database(context, database)
    if machine.role is Role.DATABASE:
        given |= more
    leader = machine.name == plan.of_role(Role.WEBSERVER)[0].name
    if leader and phase is Phase.CERTIFICATE and origin.is_chosen(context):
        given["certificate"] = origin.given(context)
    text = settings_text(context, settings)
    if machine.role is Role.AUTOSCALER:
        given["station"] = station.document(context, machine.name, identities, text)
    elif text is not None:
        given["settings"] = text
    return MachineJob(
        deployment=plan.deployment,
        name=machine.name,
        role=machine.role,
        phase=phase,
        connection=Connection(context.address(found), plan.ssh_port, login.private, found.host_key),
        mode=plan.mode,
        timezone=plan.timezone,
        ssh_port=plan.ssh_port,
        private_address=found.private_address,
        ipv6=found.ipv6 if plan.ipv6 else "",
        network_cidr=context.network.cidr,
        build_machine=context.network.build_machine,
        build_machine_at=context.state.build_machine_at,
        administrator=station.administrator(context),
        memory=machine.size.memory,
        firewall=plan.machine_firewall,
        rules=tuple(rule_to_plain(rule) for rule in plan.rules if rule.target is machine.role),
        peers=tuple(
            Peer(m.name, m.role, m.private_address)
            for m in sorted(context.state.machines.values(), key=lambda m: m.name)
            if m.name != machine.name
        ),
        hosts=hosts(context),
        bucket=BucketSettings(
            name=plan.bucket.name,
            endpoint=storage.machine_endpoint,
            region=storage.region,
            access_key="" if storage.by_role else storage.access_key,
        ),
        database=settings,
        tls=_tls(context),
        application=ApplicationSettings(
            kind=plan.application.kind,
            title=plan.application.title,
            admin_user=plan.application.admin_user,
            admin_email=plan.application.admin_email,
            locale=plan.application.locale,
            # once: later the site lives, and who builds webservers for it changes nothing of it
            restored=answers.application.source.kind in ("backup", "baseline")
            and context.state.content != OWN
            and not _serves(context),
            former_hosts=context.state.former_hosts,
        ),
        edge=_edge(plan.edge),
        file_system=_file_system(context, found.private_address),
        leader=leader,
        prepares=prepares or plan.mode != "production" or (leader and not _serves(context)),
        backup=_backup(plan.backups, second),
        code=context.code.settings if context.code else None,
        mail=_mail(answers),
        age_recipients=tuple(keys.age_recipient(i) for i in identities.values()),
        product=context.product,
        secrets=given,
    )


def _serves(context: Context) -> bool:
    """Say whether the site lives: its webservers are their autoscalers' then."""
    return context.published is not None or context.inside


def _tls(context: Context) -> TlsSettings:
    if origin.is_chosen(context):
        return TlsSettings("", "", given=True)
    authority = open.authority(context.answers, context.services)
    return TlsSettings(authority.directory, context.plan.tls_email, authority.ca_bundle)


def _identity(plan: Plan, machine: PlannedMachine) -> str:
    """Return under which name a machine's age identity is kept. Webservers that come and go have
    one in common: the certificate is encrypted before the next one is thought of."""
    shared = plan.mode == "production" and machine.role is Role.WEBSERVER
    return "webserver" if shared else machine.name


def _database(context: Context, machine: str) -> tuple[DatabaseSettings, dict[str, Secret]]:
    """Return where the database is (all empty: there is none), and the secrets of the machine (at
    the address `machine`) that serves it, or that prepares the managed one."""
    plan, name = context.plan, context.plan.application.kind
    if not plan.of_role(Role.DATABASE):
        return DatabaseSettings("", "", 0, "", "", ""), {}
    settings = DatabaseSettings(
        engine=plan.database_engine,
        address="",
        port=plan.database_port,
        name=name,
        user=name,
        certificate="",
        managed=plan.database is not None,
    )
    if plan.database is None:
        # one certificate an address: a replaced database machine has another
        kept = context.secrets.get_or_create(
            f"database_tls.{machine}", lambda: _database_tls(machine)
        )
        identity = json.loads(kept.reveal())
        return (
            replace(settings, address=machine, certificate=identity["certificate"]),
            {"database_tls_key": Secret(identity["key"])},
        )
    found = context.database
    if found is None:
        # machines that do not use it are configured while it is made
        return settings, {}
    return (
        replace(
            settings,
            address=found.host,
            port=found.port,
            certificate=found.authority,
            admin=found.user,
            first=found.first,
        ),
        {"database_admin_password": found.password},
    )


def _edge(edge: Edge | None) -> EdgeSettings | None:
    return EdgeSettings(edge.networks, edge.url, edge.client_ca) if edge else None


def _file_system(context: Context, address: str) -> FileSystemSettings | None:
    """Return how the machine of that address mounts it: in its own zone first."""
    made = context.file_system
    if made is None:
        return None
    own = ipaddress.ip_address(address)
    near = sorted(made.targets, key=lambda target: own not in ipaddress.ip_network(target[0]))
    addresses = tuple(where for _, where in near)
    return FileSystemSettings(made.host, made.port, addresses, announces=not context.inside)


def _backup_password(context: Context) -> Secret:
    """Return what opens the backups of an earlier deployment of that name, else a new one."""
    return context.credentials.get(kept_password(context.plan.deployment)) or generate()


def _backup(planned: PlannedBackups | None, second: ObjectStorage | None) -> BackupSettings:
    if planned is None:
        return BackupSettings()
    keep = dict(planned.keep)
    if planned.second is None or second is None:
        return BackupSettings(planned.bucket, tuple(keep), keep)
    elsewhere = SecondSettings(
        bucket=planned.second.bucket,
        endpoint=second.machine_endpoint,
        region=second.region,
        access_key=second.access_key,
        append_only=planned.second.append_only,
    )
    return BackupSettings(planned.bucket, tuple(keep), keep, elsewhere)


def _mail(answers: Answers) -> MailSettings | None:
    account = mailing.account(answers)
    return MailSettings(**vars(account), level=answers.notifications.level) if account else None


def _database_tls(address: str) -> Secret:
    certificate, key = self_signed("database", (address,))
    return Secret(json.dumps({"certificate": certificate, "key": key.reveal()}))


def _salts() -> Secret:
    return Secret(json.dumps([random.token_urlsafe(48) for _ in range(8)]))


def hosts(context: Context) -> tuple[str, ...]:
    """Return all names the site answers to: the plan's, then addresses only this computer uses."""
    webservers = [m for m in context.state.machines.values() if m.role is Role.WEBSERVER]
    local = [m.access_address for m in webservers if m.access_address != m.public_address]
    return (*context.plan.application.hosts, *local)
