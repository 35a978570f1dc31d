"""The plan: what must exist for these answers. Plain frozen values, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from wizard.dns.base import Edge, Gate, Health
from wizard.providers.base import Size
from wizard.rules import Role, Rule


@dataclass(frozen=True)
class PlannedMachine:
    """A machine to rent; prices are per month in the plan's currency."""

    name: str
    role: Role
    size: Size
    image: str


@dataclass(frozen=True)
class PlannedDatabase:
    """A database to rent from the provider; the database machine prepares it and backs it up.
    `priced`: of when the table is that its price is from, empty where the provider tells it."""

    engine: str
    size: Size
    port: int
    priced: str = ""


@dataclass(frozen=True)
class PlannedRecord:
    """Records of `name` (absolute, no trailing dot) pointing at `machines`; `ttl` in seconds.
    `proxied`: the DNS provider's own proxies stand before them."""

    name: str
    ttl: int
    machines: tuple[str, ...]
    proxied: bool = False


@dataclass(frozen=True)
class PlannedHealth:
    """What the DNS provider asks every address; `price` a month and check, as a table of the month
    `priced` has it."""

    asked: Health
    price: Decimal
    priced: str


@dataclass(frozen=True)
class PlannedBucket:
    """The deployment's bucket: shared config, state and backups."""

    name: str
    monthly_price: Decimal


@dataclass(frozen=True)
class PlannedFileSystem:
    """The file system that all machines mount as their shared configuration."""

    kind: str
    monthly_price: Decimal


@dataclass(frozen=True)
class PlannedSnapshot:
    """The copy of a webserver's disk that more are built from, in production mode; `size` in GiB is
    what one holds, about."""

    size: int
    monthly_price: Decimal


@dataclass(frozen=True)
class PlannedSecond:
    """The second place of backups: whose it is, its bucket; `append_only`: nothing is deleted."""

    vendor: str
    bucket: str
    append_only: bool


@dataclass(frozen=True)
class PlannedBackups:
    """Temporal backups: the bucket they are kept in, which outlives the deployment, how many of
    each period, and where else they are made."""

    bucket: str
    keep: tuple[tuple[str, int], ...]
    second: PlannedSecond | None = None


@dataclass(frozen=True)
class PlannedApplication:
    """What is deployed and under which names; `hosts[0]` is the canonical one. `health_path`
    answers 200 when the site is well."""

    kind: str
    title: str
    admin_user: str
    admin_email: str
    locale: str
    hosts: tuple[str, ...]
    health_path: str = "/"


@dataclass(frozen=True)
class Plan:
    """All that must exist. `rules` is the one list both firewall layers render; `notes` are for
    people."""

    deployment: str
    mode: str
    provider: str
    region: str
    currency: str
    zone: str
    dns_provider: str
    machines: tuple[PlannedMachine, ...]
    rules: tuple[Rule, ...]
    native_firewall: bool
    machine_firewall: bool
    bucket: PlannedBucket
    records: tuple[PlannedRecord, ...]
    application: PlannedApplication
    database_engine: str
    database_port: int
    ssh_port: int
    tls_authority: str
    tls_email: str
    timezone: str
    notes: tuple[str, ...] = ()
    edge: Edge | None = None
    gate: Gate | None = None
    backups: PlannedBackups | None = None
    file_system: PlannedFileSystem | None = None
    database: PlannedDatabase | None = None
    snapshot: PlannedSnapshot | None = None
    ipv6: bool = False
    """Machines have an IPv6 address beside the other, and names lead to both."""
    health: PlannedHealth | None = None
    project: str = ""
    """What all of it is grouped under at the provider, empty: it knows no such thing."""

    @property
    def monthly_price(self) -> Decimal:
        """Return the whole price per month, in `currency`."""
        files = self.file_system.monthly_price if self.file_system else Decimal(0)
        sizes = [machine.size for machine in self.machines]
        sizes += [self.database.size] if self.database else []
        copies = self.snapshot.monthly_price if self.snapshot else Decimal(0)
        more = self.bucket.monthly_price + files + copies
        more += self.health.price * self.health_checks if self.health else Decimal(0)
        return sum((size.monthly_price for size in sizes), more)

    @property
    def health_checks(self) -> int:
        """Return how many addresses the DNS provider asks, if it does."""
        return len(self.of_role(Role.WEBSERVER)) * (2 if self.ipv6 else 1)

    def of_role(self, role: Role) -> tuple[PlannedMachine, ...]:
        """Return the machines of one role."""
        return tuple(m for m in self.machines if m.role is role)
