"""The job a worker process is given: one machine, one phase, all it needs to know.

It crosses a pipe as one JSON document on standard input, never as arguments or environment.
Must not import: pyinfra, gevent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from wizard.rules import Role
from wizard.secrets import Secret, plain


class Phase(StrEnum):
    """The phases of configuring a machine, each a run of its own.

    BASE needs nothing but the machine; CERTIFICATE needs DNS to point at the webserver;
    APPLICATION needs the database machine's BASE as well.
    """

    BASE = "base"
    CERTIFICATE = "certificate"
    APPLICATION = "application"


@dataclass(frozen=True)
class Connection:
    """How to reach a machine: root over SSH with our key, and the one host key we accept
    (`ssh-ed25519 AAAA…`)."""

    address: str
    port: int
    private_key: Secret
    host_key: str


@dataclass(frozen=True)
class DatabaseSettings:
    """Where the application's database is, what it is called, and the certificate it shows (PEM;
    self-signed, for `address`; see machines.certificates): the only one that clients accept.

    A managed one has an `admin`, who may make databases and accounts, and at PostgreSQL connects to
    the database `first` for that; `address` is a name then, and `certificate` the authority that
    signs for it. All are empty until it is there.
    """

    engine: str
    address: str
    port: int
    name: str
    user: str
    certificate: str
    admin: str = ""
    managed: bool = False
    first: str = ""


@dataclass(frozen=True)
class BucketSettings:
    """The deployment's bucket as machines see it (path-style when `endpoint` is not empty).
    `access_key` "": the machine gets its keys from its cloud, as its role."""

    name: str
    endpoint: str
    region: str
    access_key: str


@dataclass(frozen=True)
class FileSystemSettings:
    """An NFS 4.1 server behind TLS: the name that its certificate is for, its port, and the
    addresses that it is reached at, the nearest first. `announces`: the machine puts there which
    machines there are, for who configures it does not reach it."""

    host: str
    port: int
    addresses: tuple[str, ...]
    announces: bool = True


@dataclass(frozen=True)
class TlsSettings:
    """ACME directory and account address; `ca_bundle` (PEM) to trust when talking to it. `given`:
    the certificate comes with the job instead, and neither of the two is needed."""

    directory: str
    email: str
    ca_bundle: str = ""
    given: bool = False


@dataclass(frozen=True)
class ApplicationSettings:
    """What is deployed: kind, title, first administrator, locale; whether it begins with a backup,
    and which names the site it is of answered to."""

    kind: str
    title: str
    admin_user: str
    admin_email: str
    locale: str
    restored: bool = False
    former_hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class EdgeSettings:
    """The proxies in front of the site: their networks, where the machine asks for them again, and
    the authority (PEM) of the certificate they show to nginx."""

    networks: tuple[str, ...]
    url: str
    client_ca: str


@dataclass(frozen=True)
class SecondSettings:
    """The second place of backups, as machines see it; `append_only`: its key cannot delete."""

    bucket: str
    endpoint: str
    region: str
    access_key: str
    append_only: bool


@dataclass(frozen=True)
class BackupSettings:
    """Where temporal backups go, and how many are kept by period; no periods: none are made."""

    bucket: str = ""
    periods: tuple[str, ...] = ()
    keep: dict[str, int] = field(default_factory=dict)
    second: SecondSettings | None = None


@dataclass(frozen=True)
class MailSettings:
    """How people are told: the mail server (see wizard.agent.mail.Account), from whom, to whom, and
    the least important level that is sent."""

    host: str
    port: int
    security: str
    user: str
    sender: str
    to: str
    level: str


@dataclass(frozen=True)
class CodeSettings:
    """Code that comes as an archive: its digest (sha256), the commit or version that it is of, and
    how it is run; see `answers.sections.OwnRepository`. `settings`: it has a settings file (a
    secret). `folder`: the one in the archive that holds all of it, empty: it is at the top.
    `prepare`: `prepare.php` is run before it goes live. `composer`: composer installs before that
    what its composer.lock names."""

    digest: str
    commit: str
    docroot: str
    writable: tuple[str, ...]
    health_path: str
    cron: str
    settings: bool
    folder: str = ""
    prepare: bool = False
    composer: bool = False


@dataclass(frozen=True)
class Peer:
    """Another machine of the deployment: its name, role and private address."""

    name: str
    role: Role
    address: str


@dataclass(frozen=True)
class MachineJob:
    """Everything about one run on one machine.

    `rules` are plan's firewall rules for this machine's role as plain dicts
    (`port`, `protocol`, `source`: kind/role/networks, `why`). `leader` is the one webserver that
    renews the certificate and runs the application's cron. `hosts` are all names the site answers
    to, the canonical one first; the others may be addresses (a rehearsal's loopback address).
    `prepares`: this run may install a project's release, or change the database to fit another one;
    of several webservers one may, once.
    `file_system` is mounted as the shared configuration, where there is one; else the bucket is.

    `secrets` by name: `storage_secret_key` (where `bucket.access_key` is there), `age_identity`
    (this machine's AGE-SECRET-KEY), `database_password` (web and database), `database_tls_key`
    (database: the key of `database.certificate`), `database_admin_password` (database, where it is
    managed), `admin_password` and `salts` (webserver, application phase; salts is a JSON object or
    list of 8 random strings), `certificate` (the leader's certificate phase, where `tls.given`: key
    and certificate, PEM), `backup_password` where backups are made, `second_storage_key` where they
    go to `backup.second` too, `mail_password` where there is `mail`, `station` (autoscaler: see
    engine.station). `product` is the SHA-256 of the program that an autoscaler runs.
    `settings` (webserver): the settings file of own code.
    """

    deployment: str
    name: str
    role: Role
    phase: Phase
    connection: Connection
    mode: str
    timezone: str
    ssh_port: int
    private_address: str
    network_cidr: str
    build_machine: str
    memory: int
    firewall: bool
    rules: tuple[dict[str, Any], ...]
    peers: tuple[Peer, ...]
    hosts: tuple[str, ...]
    bucket: BucketSettings
    database: DatabaseSettings
    tls: TlsSettings
    application: ApplicationSettings
    build_machine_at: int = 0
    administrator: str = ""
    ipv6: str = ""
    leader: bool = True
    prepares: bool = True
    edge: EdgeSettings | None = None
    file_system: FileSystemSettings | None = None
    backup: BackupSettings = field(default_factory=BackupSettings)
    code: CodeSettings | None = None
    mail: MailSettings | None = None
    age_recipients: tuple[str, ...] = ()
    product: str = ""
    secrets: dict[str, Secret] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """Return the job as plain JSON values with secrets revealed, for the worker's stdin."""
        return {key: _plain(value) for key, value in vars(self).items()}

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> MachineJob:
        """Rebuild a job from `to_plain()`'s values."""
        connection = dict(values["connection"])
        connection["private_key"] = Secret(connection["private_key"])
        return cls(
            **{
                **values,
                "role": Role(values["role"]),
                "phase": Phase(values["phase"]),
                "connection": Connection(**connection),
                "rules": tuple(values["rules"]),
                "peers": tuple(Peer(**{**p, "role": Role(p["role"])}) for p in values["peers"]),
                "hosts": tuple(values["hosts"]),
                "age_recipients": tuple(values["age_recipients"]),
                "bucket": BucketSettings(**values["bucket"]),
                "database": DatabaseSettings(**values["database"]),
                "tls": TlsSettings(**values["tls"]),
                "application": ApplicationSettings(
                    **{
                        **values["application"],
                        "former_hosts": tuple(values["application"]["former_hosts"]),
                    }
                ),
                "edge": _edge(values.get("edge")),
                "file_system": _file_system(values.get("file_system")),
                "backup": _backup(values["backup"]),
                "code": _code(values.get("code")),
                "mail": MailSettings(**values["mail"]) if values.get("mail") else None,
                "secrets": {name: Secret(value) for name, value in values["secrets"].items()},
            }
        )


def _edge(values: dict[str, Any] | None) -> EdgeSettings | None:
    return EdgeSettings(**{**values, "networks": tuple(values["networks"])}) if values else None


def _file_system(values: dict[str, Any] | None) -> FileSystemSettings | None:
    if not values:
        return None
    return FileSystemSettings(**{**values, "addresses": tuple(values["addresses"])})


def _backup(values: dict[str, Any]) -> BackupSettings:
    second = values["second"] and SecondSettings(**values["second"])
    return BackupSettings(**{**values, "periods": tuple(values["periods"]), "second": second})


def _code(values: dict[str, Any] | None) -> CodeSettings | None:
    return CodeSettings(**{**values, "writable": tuple(values["writable"])}) if values else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict | list | tuple | Secret):
        if isinstance(value, tuple | list):
            return [_plain(item) for item in value]
        return plain(value)
    if hasattr(value, "__dataclass_fields__"):
        return {key: _plain(item) for key, item in vars(value).items()}
    return value
