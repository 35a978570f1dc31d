"""What every provider can do, and the values it deals in.

A provider only makes calls: what to create and in which order is the engine's business. Every
method is safe to repeat: `ensure_*` finds a resource by deployment and name before it creates one,
`delete` of what is gone succeeds. Methods block; the engine runs them in threads.

Must not import: any DNS provider, plan, engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from wizard.events import Progress
from wizard.rules import Role, Rule
from wizard.secrets import Secret


class ResourceKind(StrEnum):
    """Kinds of resource, in the order in which they are deleted."""

    MACHINE = "machine"
    KEY = "key of object storage"
    ADDRESS = "address"
    SNAPSHOT = "snapshot"
    FILE_SYSTEM = "file system"
    DATABASE = "database"
    FIREWALL = "firewall"
    NETWORK = "network"
    BUCKET = "bucket"


@dataclass(frozen=True)
class Size:
    """A size: `memory` in MiB, `disk` in GiB, `monthly_price` in the provider's currency."""

    name: str
    vcpus: int
    memory: int
    disk: int
    monthly_price: Decimal


class Unit(StrEnum):
    """What quotas count."""

    VCPUS = "vCPUs"
    SPOT_VCPUS = "vCPUs of spare capacity"
    NETWORKS = "networks"
    ADDRESSES = "reserved addresses"


@dataclass(frozen=True)
class Quota:
    """What an account may use at most: `used` by each deployment, by "" for all that is no
    deployment's."""

    name: str
    unit: Unit
    limit: int
    used: Mapping[str, int]


@dataclass(frozen=True)
class DatabaseFacts:
    """The managed databases of the engine that is wanted: sizes with what they cost (disk
    included), the one to choose where answers name none, and the port that they answer on.
    `priced`: of when the table is that the prices are from, empty where the cloud itself tells."""

    sizes: tuple[Size, ...]
    default_size: str
    port: int
    priced: str = ""


@dataclass(frozen=True)
class ProviderFacts:
    """What a plan needs to know of a provider; obtained without creating anything. `notes` are for
    people, such as that prices are old. `databases`: None where none is wanted or rented."""

    regions: tuple[str, ...]
    images: tuple[str, ...]
    sizes: tuple[Size, ...]
    currency: str
    default_size: dict[Role, str]
    bucket_monthly_price: Decimal
    file_system_monthly_price: Decimal = Decimal(0)
    disk_monthly_price: Decimal | None = None
    """Of a GiB, where disks can be chosen."""
    snapshot_monthly_price: Decimal = Decimal(0)
    """Of a GiB of a copied disk that holds something."""
    quotas: tuple[Quota, ...] = ()
    notes: tuple[str, ...] = ()
    databases: DatabaseFacts | None = None
    ipv6: bool = False
    """Machines of the region can have IPv6 addresses."""
    project: str = ""
    """What the project is called that holds all of a `{deployment}`, where there are projects."""


@dataclass(frozen=True)
class Resource:
    """Something that exists at the provider and carries the deployment's tag."""

    kind: ResourceKind
    id: str
    name: str
    deployment: str


@dataclass(frozen=True)
class Network:
    """A private network; `cidr` holds every machine, `build_machine` is the address the build
    machine is seen from (what firewalls let in for SSH)."""

    id: str
    cidr: str
    build_machine: str


@dataclass(frozen=True)
class MachineSpec:
    """A machine to create. `user_data` is cloud-init's and holds the first host key;
    `authorized_key` is the public key that may log in, also for clouds that want to know one;
    `disk` in GiB, where the cloud lets us choose (0: as it likes); `spot`: of spare capacity, which
    the cloud may take back; `ipv6`: with an IPv6 address too."""

    deployment: str
    name: str
    role: Role
    size: str
    image: str
    region: str
    network_id: str
    user_data: Secret
    authorized_key: str = ""
    disk: int = 0
    spot: bool = False
    ipv6: bool = False


@dataclass(frozen=True)
class Machine:
    """A machine that exists; its `state` is "running" when it is as it should be.

    `private_address` is what other machines use, `public_address` what DNS points to, and
    `access_address` where the build machine (and its user's browser) reaches it. On clouds the
    last two are equal; in a rehearsal the access address is on loopback. `ipv6` is public like the
    second, empty where the machine has none.
    """

    id: str
    name: str
    role: Role
    state: str
    private_address: str
    public_address: str
    access_address: str
    ipv6: str = ""


@dataclass(frozen=True)
class DatabaseSpec:
    """A managed database to create. `rules` are those whose target it is: no other traffic is let
    in, whatever the answers say of firewalls. `password` is for clouds that let us choose it."""

    deployment: str
    engine: str
    size: Size
    port: int
    region: str
    network_id: str
    rules: tuple[Rule, ...]
    password: Secret


@dataclass(frozen=True)
class ManagedDatabase:
    """A managed database that answers at `host`, privately and over TLS alone. `user` may make
    databases and accounts; `authority` (PEM) is the root that its certificate chains to. `first`:
    the database that is there from the beginning, where one has to be named to connect."""

    id: str
    name: str
    host: str
    port: int
    user: str
    password: Secret
    authority: str
    first: str = ""


@dataclass(frozen=True)
class Standing:
    """Whose account credentials belong to (empty if they may not tell), and the rights they lack
    of those that deployments need, as the cloud names them. Without the `unknowing` ones only less
    is known beforehand; `policy` grants all, as text for the cloud's console (empty: there is no
    such thing)."""

    owner: str
    lacking: tuple[str, ...] = ()
    unknowing: tuple[str, ...] = ()
    policy: str = ""


@dataclass(frozen=True)
class ObjectStorage:
    """An S3 endpoint as seen from the build machine and from machines (they differ in a
    rehearsal); empty `endpoint` means the vendor's own. `by_role`: machines get their keys from
    their cloud, these are the build machine's alone. `vendor` "aws" can do more than others."""

    build_endpoint: str
    machine_endpoint: str
    region: str
    access_key: str
    secret_key: Secret
    session_token: Secret | None = None
    by_role: bool = False
    vendor: str = ""
    session: Any = field(default=None, compare=False, repr=False)
    """botocore's session that the keys are of, where they end and it gets others."""


@dataclass(frozen=True)
class AcmeAuthority:
    """An ACME directory; `ca_bundle` (PEM) is what machines must trust to talk to it, and
    `root` (PEM) the root its certificates chain to. Both empty for public authorities."""

    directory: str
    ca_bundle: str = ""
    root: str = ""


@dataclass(frozen=True)
class DnsServer:
    """A DNS server that takes RFC 2136 updates: `address` and `port` as the build machine sees
    it, TSIG key name, algorithm and secret (base64)."""

    address: str
    port: int
    key_name: str
    algorithm: str
    key: Secret


@dataclass(frozen=True)
class Door:
    """Where machines themselves can rent machines, if that is elsewhere than for the build
    machine: an HTTP API and its bearer token."""

    url: str
    token: Secret


@dataclass(frozen=True)
class FileSystem:
    """An NFS 4.1 server behind TLS that all machines of a deployment mount: `host` is the name that
    its certificate is for, `targets` where it is reached, as the network (CIDR) of each zone and
    the address there."""

    id: str
    host: str
    port: int
    targets: tuple[tuple[str, str], ...]


class FileSystems(Protocol):
    """Makes shared file systems; what is made is among the provider's resources."""

    def ensure_file_system(self, deployment: str) -> FileSystem:
        """Return the deployment's file system, made if missing, once its machines reach it. Its
        network is there already."""


class StorageKeys(Protocol):
    """Makes keys of object storage that open a deployment's buckets and nothing else; what is made
    is among the provider's resources."""

    def ensure_storage_key(
        self, deployment: str, buckets: tuple[str, ...], known: Secret | None
    ) -> Secret:
        """Return ACCESS_KEY:SECRET_KEY with which machines read and write in these buckets, which
        exist: `known` if it is such a one, else a new one. Others of the deployment are deleted."""


class Projects(Protocol):
    """Lets all of a deployment stand together at the cloud; a project goes with the network."""

    def group(self, deployment: str, buckets: tuple[str, ...]) -> int:
        """Put all that was made for the deployment, and these buckets, into its project, made if
        missing. Returns how much was not there yet. Nothing of others is moved."""


@dataclass(frozen=True)
class Services:
    """What a provider offers beside machines; None where answers must name another."""

    object_storage: ObjectStorage | None = None
    file_systems: FileSystems | None = None
    storage_keys: StorageKeys | None = None
    projects: Projects | None = None
    acme: AcmeAuthority | None = None
    dns: DnsServer | None = None
    door: Door | None = None


OWN_ROLE = "own-role"
"""A credential that says: this machine has a role of its own; ask for keys where machines do."""


@dataclass(frozen=True)
class Account:
    """What a cloud has to know of its user. `build_machine` tells the address or network (CIDR)
    that its machines see the build machine at, which may have to be found out; `url` is the API's
    address where it is not the vendor's own; `timeout` the seconds to wait for an answer (None: the
    provider's own); `cache` a folder for what the cloud publishes, such as prices; `database` the
    engine of the managed database that the answers ask for, "" for none; `reserved`: webservers
    keep their address when they are made anew; `spot`: they are of spare capacity; `names` those
    that autoscalers point at webservers by their role, none if they do so otherwise, and
    `health_checked` whether they have the webservers asked by Route 53 as well. `inside`: this is
    an autoscaler, which rents webservers and ends them; all else was made by the build machine.
    """

    token: Secret
    region: str
    build_machine: Callable[[], str] | None = None
    url: str = ""
    timeout: float | None = None
    cache: Path | None = None
    database: str = ""
    reserved: bool = False
    spot: bool = False
    names: tuple[str, ...] = ()
    health_checked: bool = False
    inside: bool = False


class Provider(Protocol):
    """A cloud. Errors are ProviderError, or TransientError where asking again may help."""

    name: str

    def facts(self) -> ProviderFacts:
        """Return regions, images, sizes and prices; creates nothing, starts nothing."""

    def standing(self, progress: Progress) -> Standing:
        """Ask whose account it is and what the credentials may do; changes nothing. `progress` is
        called before each request and may raise to end it."""

    def check(self) -> None:
        """Refuse what cannot work from this computer; changes nothing. May ask on the terminal
        (for sudo's password), so it is called before anything is displayed there."""

    def prepare(self, progress: Progress) -> None:
        """Make the provider usable: check credentials; for `local`, build and start the lab."""

    def services(self, zone: str) -> Services:
        """Return what the provider offers beside machines; `zone` is the deployment's DNS zone."""

    def resources(self, deployment: str) -> list[Resource]:
        """Return everything that carries the deployment's tag, asked from the API now."""

    def machines(self, deployment: str) -> list[Machine]:
        """Return the deployment's machines as they are now."""

    def build_machine(self) -> str:
        """Return the address or network (CIDR) that machines see the build machine at."""

    def ensure_network(self, deployment: str) -> Network:
        """Return the deployment's private network, created if missing."""

    def ensure_firewall(self, deployment: str, rules: tuple[Rule, ...], *, enabled: bool) -> None:
        """Make the native firewall equal to `rules` for all machines of the deployment, present
        and future, following them as machines come and go. Not `enabled`: let everything in."""

    def ensure_machine(self, spec: MachineSpec) -> Machine:
        """Return the machine of that name, created if missing; does not wait for its SSH."""

    def ensure_database(self, spec: DatabaseSpec, progress: Progress) -> ManagedDatabase:
        """Return the deployment's managed database, created if missing, once it answers; that
        takes 5 to 15 minutes. `progress` is called while it is waited for, and may raise to end
        that. NotSupportedError where none is rented."""

    def snapshot(self, machine_id: str, name: str) -> Resource:
        """Keep a copy of a machine's disk that new machines can be created from as `image`."""

    def delete(self, resource: Resource, *, last_copy: bool = True) -> str:
        """Delete a resource and return when it is gone; what is gone already is no error. Returns
        what is kept of it, for people, "" for nothing: the last copy of a managed database where
        the cloud makes one, unless that is not wanted (`last_copy`)."""

    def end_if_unused(self) -> None:
        """Let go of what runs only as long as something is rented (a rehearsal's lab); a cloud
        has nothing of the kind."""
