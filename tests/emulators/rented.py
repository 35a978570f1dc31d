"""The emulated clouds with the lab behind them: droplets are machines of this computer, cloud
firewalls are the lab's, DNS records are served by the lab's name server."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import dns.query
import dns.tsig
import dns.update

from tests.emulators.cloudflare import CloudflareEmulator
from tests.emulators.digitalocean import DigitalOceanEmulator
from tests.emulators.rented_database import RentedDatabase
from tests.emulators.rented_server import ROLE
from tests.emulators.server import Reply, Request
from wizard.dns.hosted import ADDRESSES, kind_of
from wizard.lab import addresses
from wizard.providers.base import DnsServer, MachineSpec, Resource, ResourceKind
from wizard.providers.local import LocalProvider
from wizard.rules import ANYONE, Role, Rule, Source, from_networks, from_role
from wizard.secrets import Secret


class RentedDigitalOcean(DigitalOceanEmulator):
    """Every droplet is a machine of the lab's deployment `demo`."""

    lab: LocalProvider
    laboratory: Any = None
    feed: Feed | None = None
    deployment = "demo"
    server: RentedDatabase | None = None

    def dispatch(self, request: Request) -> Reply:
        reply = super().dispatch(request)
        if self.feed is not None:
            with self.lock:
                (domain,) = self.domains
                served = [r for r in self.domains[domain].values() if r["type"] in ADDRESSES]
                absolute = [(f"{r['name']}.{domain}", r["ttl"], r["data"]) for r in served]
                self.feed.serve(absolute)
        return reply

    def add_domain(self, name: str) -> None:
        super().add_domain(name)
        for record in self.domains[name].values():
            record["data"] = addresses.SERVICES

    def create_vpc(self, request: Request) -> Reply:
        made = super().create_vpc(request)
        if made.status == 201:
            # the lab has one network
            made.body["vpc"]["ip_range"] = addresses.CIDR
        return made

    def begin_droplet(self, droplet: dict[str, Any], user_data: str) -> tuple[str, str, str]:
        network = self.lab.ensure_network(self.deployment)
        machine = self.lab.ensure_machine(
            MachineSpec(
                deployment=self.deployment,
                name=droplet["name"],
                role=_role(droplet["tags"]),
                size="medium" if droplet["memory"] > 1024 else "small",
                image="debian-13",
                region="here",
                network_id=network.id,
                user_data=Secret(user_data),
                ipv6="ipv6" in droplet["features"],
            )
        )
        droplet["_machine"] = machine.id
        return machine.private_address, machine.public_address, machine.ipv6

    def end_droplet(self, droplet: dict[str, Any]) -> None:
        name = droplet["name"]
        machine = Resource(ResourceKind.MACHINE, droplet["_machine"], name, self.deployment)
        self.lab.delete(machine)

    def begin_database(self, cluster: dict[str, Any]) -> str:
        assert self.feed is not None
        host = f"private-{cluster['name']}.db.{self.feed.zone}"
        self.server = RentedDatabase(
            self.laboratory,
            self.authority,
            host,
            25060,
            "doadmin",
            cluster["_password"],
            postgresql=cluster["engine"] == "pg",
        )
        self.feed.fix(host, self.server.address)
        return host

    def database_is_ready(self, cluster: dict[str, Any]) -> bool:
        return self.server is not None and self.server.ready

    def end_database(self, cluster: dict[str, Any]) -> None:
        assert self.server is not None
        self.server.end()

    def database_rules_changed(self, cluster: dict[str, Any]) -> None:
        self.firewalls_changed()

    def firewalls_changed(self) -> None:
        """Make the lab's firewall what all cloud firewalls let in together."""
        rules = [
            Rule(ROLE, 25060, from_role(_role([source["value"]])), "trusted source")
            for sources in self.database_rules.values()
            for source in sources
        ]
        for firewall in self.firewalls.values():
            for rule in firewall["inbound_rules"]:
                if rule["protocol"] != "tcp" or not rule["ports"].isdecimal():
                    continue
                for source in _sources(rule["sources"]):
                    for role in {_role([tag]) for tag in firewall["tags"]} - {None}:
                        rules.append(Rule(role, int(rule["ports"]), source, firewall["name"]))
        self.lab.ensure_firewall(self.deployment, tuple(rules), enabled=True)


def _role(tags: list[str]) -> Any:
    return next((role for role in Role for tag in tags if tag.endswith(f":{role}")), None)


def _sources(sources: dict[str, list[str]]) -> list[Source]:
    listed = sources.get("addresses") or []
    found = [from_role(_role([tag])) for tag in sources.get("tags") or []]
    if "0.0.0.0/0" in listed:
        assert "::/0" in listed
        found.append(ANYONE)
    fixed = [str(ip_network(address)) for address in listed if not address.endswith("/0")]
    return [*found, from_networks(*fixed)] if fixed else found


class Feed:
    """Keeps the addresses in the lab's name server equal to those of an emulated DNS API, and the
    fixed ones beside them."""

    def __init__(self, server: DnsServer, zone: str) -> None:
        self._server = server
        self.zone = zone
        self._fixed: list[tuple[str, int, str]] = []
        self._told: list[tuple[str, int, str]] = []
        self._served: frozenset[tuple[str, int, str]] = frozenset()

    def fix(self, name: str, address: str) -> None:
        """Serve a name that no API knows."""
        self._fixed.append((name, 60, address))
        self.serve(self._told)

    def serve(self, records: list[tuple[str, int, str]]) -> None:
        """Make it so; records are name, TTL in seconds, address."""
        self._told = records
        now = frozenset([*records, *self._fixed])
        if now == self._served:
            return
        key = self._server.key
        update = dns.update.UpdateMessage(self.zone)
        update.use_tsig(dns.tsig.Key(self._server.key_name, key.reveal(), dns.tsig.HMAC_SHA256))
        for name, _, _ in self._served:
            for kind in ADDRESSES:
                update.delete(f"{name}.", kind)
        for name, ttl, content in now:
            update.add(f"{name}.", ttl, kind_of(content), content)
        answer = dns.query.tcp(update, self._server.address, 5, self._server.port)
        assert answer.rcode() == 0, answer
        self._served = now


class ServedCloudflare(CloudflareEmulator):
    """Serves its addresses through the lab's name server."""

    feed: Feed

    def dispatch(self, request: Request) -> Reply:
        reply = super().dispatch(request)
        with self.lock:
            everything = [r for zone in self.records.values() for r in zone.values()]
            served = [r for r in everything if r["type"] in ADDRESSES]
            self.feed.serve(
                [
                    (r["name"], r["ttl"], proxy if r["proxied"] else r["content"])
                    for r in served
                    for proxy in self.proxies
                ]
            )
        return reply

    def add_zone(self, name: str, status: str = "active") -> str:
        zone = super().add_zone(name, status)
        self.zones[zone]["name_servers"] = [addresses.SERVICES]
        return zone
