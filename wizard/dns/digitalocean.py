"""DigitalOcean's DNS. Its API changes one record at a time, and knows neither comments nor
conditions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from wizard.dns.exchange import Address
from wizard.dns.hosted import ADDRESSES, Change, Entry, HostedDns, marker_of
from wizard.errors import ProviderError
from wizard.providers.digitalocean_api import READ_TIMEOUT, URL, Api, is_missing, status_of
from wizard.secrets import Secret


class DigitalOcean(HostedDns):
    """Serves one domain at DigitalOcean; see `HostedDns`."""

    name = "digitalocean"
    title = "DigitalOcean"
    shortest_ttl = 30

    def __init__(
        self,
        zone: str,
        token: Secret,
        authoritative: tuple[Address, ...] | None = None,
        *,
        url: str = URL,
        timeout: float = READ_TIMEOUT,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(zone, authoritative, pause)
        self._api = Api(token, url, credentials="dns.credentials", read_timeout=timeout)

    def __repr__(self) -> str:
        return f"DigitalOcean({self._wanted!r}, {self._api})"

    def _has_zone(self, name: str) -> bool:
        doing = f"look for the domain {name}"
        try:
            domain = self._api.get(f"domains/{name}", doing).get("domain")
        except ProviderError as error:
            if not is_missing(error):
                raise
            return False
        if not isinstance(domain, dict) or domain.get("name") != name:
            raise self._api.senseless(doing, "it holds no such domain")
        return True

    def _no_zone(self) -> ProviderError:
        return ProviderError(
            f"the account has no domain that holds {self._wanted}",
            where="dns.zone",
            cure="add the domain at DigitalOcean, or use a token of the account that has it",
        )

    def _check_rights(self) -> None:
        # no record has this id: nothing is deleted, but those who may not are refused
        self._api.delete(f"{self._path()}/0", "check that records may be changed")

    def name_servers(self) -> tuple[str, ...]:
        """Return the servers that the domain's own NS records name."""
        zone = self._zone()
        return tuple(e.content.rstrip(".") for e in self._list(type="NS") if e.name == zone)

    def _look(self, name: str) -> list[Entry]:
        return [*self._list(name=name), *self._list(name=marker_of(name))]

    def _listed(self, deployment: str) -> Iterator[Entry]:
        return self._list()

    def _list(self, **query: str) -> Iterator[Entry]:
        zone = self._zone()
        doing = f"list records of {zone}"
        for item in self._api.list(self._path(), "domain_records", doing, **query):
            try:
                yield Entry(
                    kind=str(item["type"]),
                    name=zone if item["name"] == "@" else f"{item['name']}.{zone}",
                    content=str(item["data"]).strip('"'),
                    ttl=int(item["ttl"]),
                    id=str(int(item["id"])),
                )
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise self._api.senseless(doing, f"a record without {error}") from error

    def _apply(self, doing: str, change: Change) -> bool:
        """Create before deleting; markers only once no address is seen that they tell of."""
        for entry in (*change.create, *change.update):
            self._create(entry, doing)
        replaced = {entry.id for entry in change.update}
        gone = [e for e in change.before if e.id in replaced] + [*change.delete]
        addresses = [entry for entry in gone if entry.kind in ADDRESSES]
        for entry in gone if change.after else addresses or gone:
            self._api.delete(f"{self._path()}/{entry.id}", doing)
        return False

    def _create(self, entry: Entry, doing: str) -> None:
        zone = self._zone()
        relative = "@" if entry.name == zone else entry.name.removesuffix(f".{zone}")
        body = {"type": entry.kind, "name": relative, "data": entry.content, "ttl": entry.ttl}
        try:
            self._api.post(self._path(), doing, body)
        except ProviderError as error:
            # the same record is there by now: the next look decides
            if status_of(error) != 422 or "already" not in error.why:
                raise

    def _path(self) -> str:
        return f"domains/{self._zone()}/records"
