"""What every DNS provider can do.

Only our own records are ever touched: A and AAAA records of the deployment's names, marked as ours
by a comment or by a TXT record beside them. Must not import: any cloud provider, plan, engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from wizard.secrets import Secret


@dataclass(frozen=True)
class Health:
    """What an address is asked over HTTPS to find out whether it is well: the path of a host."""

    host: str
    path: str


@dataclass(frozen=True)
class RecordSet:
    """The addresses of one absolute name (no trailing dot): an A record for each of IPv4, an AAAA
    record for each of IPv6; `ttl` in seconds. `proxied`: the provider answers with its own proxies,
    which fetch from these addresses. `health`: it answers with the addresses that are well; None:
    with all of them."""

    name: str
    addresses: tuple[str, ...]
    ttl: int
    proxied: bool = False
    health: Health | None = None


@dataclass(frozen=True)
class Edge:
    """The proxies in front of proxied names: their networks (CIDR, IPv4 and IPv6), where machines
    can ask for them again, and the authority (PEM) of the certificate they show to webservers.
    `wrong`: in words, what about the zone must be changed before they can be used safely."""

    networks: tuple[str, ...]
    url: str
    client_ca: str
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What a deployment wants of the proxies: certificates of their own `origin` authority, an
    `access` gate."""

    origin: bool = False
    access: bool = False


NOTHING = Wanted()


class OriginAuthority(Protocol):
    """Signs certificates that only the proxies trust. A certificate is ours when it is for our
    key: nothing else has to be remembered of it."""

    def certificate(self, key: Secret, names: tuple[str, ...]) -> str:
        """Return a certificate (PEM) for the key (PEM) and exactly these names with more than a
        third of its time left, ordered if there is none."""

    def revoke(self, key: Secret, keep: str = "") -> int:
        """Revoke all certificates of the key but `keep` (PEM); return how many."""


@dataclass(frozen=True)
class Gate:
    """What the proxies let only known people through to: `places` (host and path, all below it
    too), people by `emails` and by whole e-mail `domains`."""

    places: tuple[str, ...]
    emails: tuple[str, ...]
    domains: tuple[str, ...] = ()


class Access(Protocol):
    """The proxies' gate. Only the deployment's own is ever touched."""

    def ensure(self, deployment: str, gate: Gate) -> bool:
        """Make the gate so; True if something changed."""

    def remove(self, deployment: str) -> bool:
        """Take the gate away; False if there was none."""


class DnsProvider(Protocol):
    """Serves one zone. Errors are ProviderError, or TransientError where retrying may help."""

    name: str

    def zone(self) -> str:
        """Return the zone's name after checking that it exists and that we may change it."""

    def name_servers(self) -> tuple[str, ...]:
        """Return the names of the servers that the zone's parent has to name, none if unknown."""

    def edge(self, wanted: Wanted = NOTHING) -> Edge:
        """Return the proxies; ProviderError if this provider has none."""

    def origin(self) -> OriginAuthority:
        """Return the authority of the proxies; ProviderError if this provider has none."""

    def access(self) -> Access:
        """Return the gate of the proxies; ProviderError if this provider has none."""

    def records(self, deployment: str) -> list[RecordSet]:
        """Return the record sets that belong to the deployment, asked from the server now."""

    def ensure_record(self, deployment: str, record: RecordSet) -> bool:
        """Make the record set so; True if something changed. A record set of that name that is
        not ours is refused with ProviderError, never overwritten."""

    def delete_record(self, deployment: str, name: str) -> None:
        """Delete our record set of that name; what is gone already is no error."""

    def check_health_checks(self) -> None:
        """Raise ProviderError unless addresses can be asked whether they are well, and we may have
        that done. Changes nothing."""

    def unused_checks(self, deployment: str) -> list[str]:
        """Return the ids of the deployment's health checks that no record names."""

    def sweep(self, deployment: str) -> int:
        """Delete the deployment's health checks that no record names; return how many."""

    def wait_until_served(self, record: RecordSet, deadline: float) -> None:
        """Return once every authoritative server answers with the record set; TransientError
        naming the servers that do not after `deadline` seconds."""
