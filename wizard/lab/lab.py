"""The lab itself: its state, its machines, and what is published of them. Runs inside."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import secrets
import shutil
import socket
import time
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from wizard.errors import ProviderError
from wizard.lab import addresses, files, firewall, machines, network, services
from wizard.lab.namespaces import OtherNetwork
from wizard.lab.publish import Port, Publisher
from wizard.lab.resolver import Resolver
from wizard.lab.snapshots import Snapshots
from wizard.rules import Role, Rule, Source, SourceKind

log = logging.getLogger(__name__)

_MAX_LABS = 200


class Lab:
    """All that the daemon knows. Every change is on disk before it is answered."""

    def __init__(self, folder: Path, base: Path, host_network: int) -> None:
        self.folder = folder
        self.base = base
        self.ended = asyncio.Event()
        self.last_used = time.monotonic()
        self._host = OtherNetwork(host_network)
        self._state: dict[str, Any] = {
            "number": None,
            "tsig_key": base64.b64encode(secrets.token_bytes(32)).decode(),
            "storage_secret": secrets.token_urlsafe(24),
            "token": secrets.token_urlsafe(32),
            "zones": [],
            "networks": [],
            "firewalls": {},
        } | (files.read_json(folder / "lab.json") or {})
        self._machines: dict[str, machines.Machine] = {}
        self._removals: dict[str, asyncio.Task[None]] = {}
        self._lock = asyncio.Lock()
        self._snapshots = Snapshots(self._snapshots_folder)
        self._publisher = Publisher(self._host)
        self.services = services.Services(folder / "services", base, host_network)
        self._number_lock: socket.socket | None = None

    # --- life

    async def start(self) -> None:
        """Bring the lab to where it was: network, services, machines that were running."""
        self._machines_folder.mkdir(parents=True, exist_ok=True)
        self._snapshots_folder.mkdir(parents=True, exist_ok=True)
        for parent in (self._machines_folder, self._snapshots_folder):
            for entry in sorted(parent.iterdir()):
                if entry.suffix in {".partial", ".deleted"}:
                    shutil.rmtree(entry, ignore_errors=True)
                elif parent == self._machines_folder:
                    self._machines[entry.name] = machines.load(entry)
        self._choose_number()
        self._save()
        await network.set_up()
        await self._apply()
        await Resolver(self._host, lambda: list(self._state["zones"])).start()
        await self.services.start(
            self.number, str(self._state["tsig_key"]), list(self._state["zones"])
        )
        for machine in self._machines.values():
            if not machine.record.stopped:
                machine.start()

    async def remove_if_unused(self) -> bool:
        """End the lab if no deployment has anything in it; say whether."""
        async with self._lock:
            if self.used():
                return False
            self.ended.set()
            return True

    def used(self) -> bool:
        """Say whether a deployment has anything in the lab."""
        return bool(
            self._machines
            or self._state["networks"]
            or self._state["firewalls"]
            or self._snapshots.all()
        )

    def _choose_number(self) -> None:
        wanted = self._state["number"]
        candidates = [wanted] if wanted is not None else []
        if not self._machines:
            # from a place of the folder's own on: one that is not running now finds its number free
            # again, whatever was started meanwhile
            first = self.folder.stat().st_ino
            others = ((first + offset) % _MAX_LABS for offset in range(_MAX_LABS))
            candidates += [number for number in others if number != wanted]
        for number in candidates:
            # an abstract socket in the host's network: gone when its holder is gone
            lock = self._host.run(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            try:
                lock.bind(f"\0build-usb-lab-{number}")
            except OSError:
                lock.close()
                continue
            self._number_lock = lock
            self._state["number"] = number
            return
        raise ProviderError(
            f"another rehearsal on this computer uses the addresses 127.77.{wanted}.*",
            where=str(self.folder),
            cure="destroy or stop the other rehearsal, then run again",
            code="addresses-in-use",
        )

    @property
    def number(self) -> int:
        """What tells this lab's loopback addresses from another's."""
        return int(self._state["number"])

    @property
    def token(self) -> str:
        """What a machine must show to use the API from inside the lab."""
        return str(self._state["token"])

    @property
    def _machines_folder(self) -> Path:
        return self.folder / "machines"

    @property
    def _snapshots_folder(self) -> Path:
        return self.folder / "snapshots"

    def _save(self) -> None:
        files.write_json(self.folder / "lab.json", self._state)

    async def _apply(self) -> None:
        """Make firewall and published ports equal to machines and rules."""
        policies = {
            name: firewall.Policy(tuple(map(_rule, value["rules"])), bool(value["enabled"]))
            for name, value in self._state["firewalls"].items()
        }
        records = [machine.record for machine in self._machines.values()]
        await network.apply_firewall(
            firewall.render([record.member() for record in records], policies)
        )
        wanted: dict[tuple[str, int], Port] = {}
        listen = addresses.services_address(self.number)
        for port in addresses.SERVICE_PORTS:
            wanted[listen, port] = Port(listen, port, addresses.SERVICES, addresses.BUILD_MACHINE)
        sources = {
            SourceKind.ANYONE: addresses.VISITOR,
            SourceKind.BUILD_MACHINE: addresses.BUILD_MACHINE,
        }
        for record in records:
            policy = policies.get(record.deployment, firewall.Policy())
            listen = addresses.access_address(self.number, record.octet)
            for kind, source in sources.items():
                for rule in policy.rules:
                    if rule.target == record.role and rule.source.kind is kind:
                        # a port open to both is used as the build machine: it comes second
                        wanted[listen, rule.port] = Port(listen, rule.port, record.address, source)
        await self._publisher.publish(set(wanted.values()))

    # --- what the API asks for

    async def ensure_zone(self, zone: str) -> dict[str, Any]:
        """Serve a zone; return what a client must know of the services, secrets included."""
        zone = services.check_zone(zone)
        async with self._lock:
            if zone not in self._state["zones"]:
                self._state["zones"].append(zone)
                self._save()
                self.services.write_zones(self._state["tsig_key"], self._state["zones"])
                self.services.reload_dns()
        await self.services.wait_until_ready()
        return {
            "address": addresses.services_address(self.number),
            "tsig_key": self._state["tsig_key"],
            "storage_secret": self._state["storage_secret"],
            "token": self.token,
            "acme_ca": self.services.acme_ca(),
            "acme_root": await self.services.acme_root(),
        }

    def resources(self, deployment: str) -> list[dict[str, str]]:
        """Return everything of a deployment as kind, id, name."""
        found = [
            {"kind": "machine", "id": machine.record.id, "name": machine.record.name}
            for machine in self._machines.values()
            if machine.record.deployment == deployment
        ]
        found += [
            {"kind": "snapshot", "id": value["id"], "name": value["name"]}
            for value in self._snapshots.all()
            if value["deployment"] == deployment
        ]
        if deployment in self._state["firewalls"]:
            found.append({"kind": "firewall", "id": f"fw-{deployment}", "name": deployment})
        if deployment in self._state["networks"]:
            found.append({"kind": "network", "id": f"net-{deployment}", "name": deployment})
        return found

    def machines_of(self, deployment: str) -> list[dict[str, Any]]:
        """Return a deployment's machines as they are now."""
        return [
            self.describe(machine)
            for machine in self._machines.values()
            if machine.record.deployment == deployment
        ]

    def describe(self, machine: machines.Machine) -> dict[str, Any]:
        """Return what the API tells of a machine."""
        record = machine.record
        return {
            "id": record.id,
            "name": record.name,
            "role": record.role,
            "state": machine.state,
            "address": record.address,
            "ipv6": record.ipv6,
            "access_address": addresses.access_address(self.number, record.octet),
            "console": machine.console() if machine.state == "failed" else "",
        }

    async def ensure_network(self, deployment: str) -> dict[str, str]:
        """Give a deployment its network (a name; the firewall keeps deployments apart)."""
        async with self._lock:
            if deployment not in self._state["networks"]:
                self._state["networks"].append(deployment)
                self._save()
        return {
            "id": f"net-{deployment}",
            "cidr": addresses.CIDR,
            "build_machine": addresses.BUILD_MACHINE,
        }

    async def ensure_firewall(
        self, deployment: str, rules: list[dict[str, Any]], *, enabled: bool
    ) -> None:
        """Make a deployment's native firewall so."""
        for rule in rules:
            _rule(rule)
        async with self._lock:
            self._state["firewalls"][deployment] = {"rules": rules, "enabled": enabled}
            self._save()
            await self._apply()

    async def ensure_machine(self, deployment: str, wanted: dict[str, Any]) -> dict[str, Any]:
        """Return the deployment's machine of that name, made and booted if missing."""
        machine = self._find(deployment, wanted["name"])
        if machine is not None and machine.record.id in self._removals:
            await self._removals[machine.record.id]
        async with self._lock:
            machine = self._find(deployment, wanted["name"])
            if machine is None:
                machine = await self._create(deployment, wanted)
            await self._apply()
            machine.start()
        return self.describe(machine)

    def _find(self, deployment: str, name: str) -> machines.Machine | None:
        for machine in self._machines.values():
            if (machine.record.deployment, machine.record.name) == (deployment, name):
                return machine
        return None

    async def _create(self, deployment: str, wanted: dict[str, Any]) -> machines.Machine:
        taken = {machine.record.octet for machine in self._machines.values()}
        free = (
            octet
            for octet in range(addresses.FIRST_MACHINE, addresses.LAST_MACHINE + 1)
            if octet not in taken
        )
        octet = next(free, None)
        if octet is None:
            raise ProviderError(
                "the lab is full", where=str(self.folder), cure="destroy a rehearsal", code="full"
            )
        beginning = [machine for machine in self._machines.values() if machine.is_beginning]
        machines.refuse_without_watches(len(beginning) + 1)
        base, upper = self.base, None
        if wanted["image"] != "debian-13":
            base, upper = self._snapshots.layer(wanted["image"])
        record = machines.Record(
            id=f"m{octet}-{secrets.token_hex(3)}",
            deployment=deployment,
            name=wanted["name"],
            role=Role(wanted["role"]).value,
            size=wanted["size"],
            memory=int(wanted["memory"]),
            image=wanted["image"],
            octet=octet,
            base=str(base),
            has_ipv6=bool(wanted.get("ipv6")),
        )
        machine = await asyncio.to_thread(
            machines.create, self._machines_folder / record.id, record, wanted["user_data"], upper
        )
        self._machines[record.id] = machine
        log.info("machine %s is %s of %s", record.id, record.name, deployment)
        return machine

    async def snapshot(self, machine_id: str, name: str) -> dict[str, str]:
        """Copy a machine's disk; the copy of that name that exists already is returned as is."""
        machine = self._machines.get(machine_id)
        if machine is None:
            raise ProviderError(f"there is no machine {machine_id}", code="not-found")
        async with self._lock:
            return await self._snapshots.make(machine, name)

    async def delete(self, kind: str, name: str) -> None:
        """Delete a resource by kind and id; return when it is gone."""
        if kind == "machine":
            if name in self._machines:
                if name not in self._removals:
                    self._removals[name] = asyncio.create_task(self._remove(name))
                await self._removals[name]
        elif kind == "snapshot":
            await self._snapshots.delete(name)
        elif kind in {"firewall", "network"}:
            async with self._lock:
                deployment = name.partition("-")[2]
                if kind == "firewall":
                    self._state["firewalls"].pop(deployment, None)
                elif deployment in self._state["networks"]:
                    self._state["networks"].remove(deployment)
                self._save()
                await self._apply()

    async def _remove(self, machine_id: str) -> None:
        try:
            await self._machines[machine_id].remove()
            async with self._lock:
                del self._machines[machine_id]
                await self._apply()
        finally:
            del self._removals[machine_id]

    async def probe(self, source: str, address: str, port: int, timeout: float) -> str:  # noqa: ASYNC109
        """Say whether a TCP port is "open", "closed" (refused) or "filtered" (no answer), tried
        from "build-machine", "visitor", or inside the machine of that id."""
        sources = {"build-machine": addresses.BUILD_MACHINE, "visitor": addresses.VISITOR}
        family = socket.AF_INET
        if ":" in address:
            family = socket.AF_INET6
            sources = {name: addresses.ipv6_of(one) for name, one in sources.items()}

        def make() -> socket.socket:
            return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

        if source in sources:
            connection = make()
            connection.bind((sources[source], 0))
        elif source in self._machines:
            with network.namespace(source).open() as handle:
                connection = await asyncio.to_thread(OtherNetwork(handle.fileno()).run, make)
        else:
            raise ProviderError(f"there is no machine {source}", code="not-found")
        with connection:
            try:
                async with asyncio.timeout(timeout):
                    await asyncio.get_running_loop().sock_connect(connection, (address, port))
            except ConnectionRefusedError:
                return "closed"
            except (TimeoutError, OSError):
                return "filtered"
            return "open"

    async def shut_down(self) -> None:
        """Stop everything; and when nothing is used, remove all files but the base tree."""
        with contextlib.suppress(ProviderError):
            await self._publisher.publish(set())
        await asyncio.gather(*(machine.stop() for machine in self._machines.values()))
        if not self.used():
            for name in ("machines", "snapshots"):
                shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / "lab.json").unlink(missing_ok=True)


def _rule(value: dict[str, Any]) -> Rule:
    """Read one rule as the API carries it; ValueError if it is none."""
    source = value["source"]
    return Rule(
        target=Role(value["target"]),
        port=int(value["port"]),
        source=Source(
            SourceKind(source["kind"]),
            role=Role(source["role"]) if source.get("role") else None,
            # normalised: these words go into the firewall's own language
            networks=tuple(str(ip_network(item)) for item in source.get("networks") or ()),
        ),
        why=str(value["why"]),
        protocol="udp" if value.get("protocol") == "udp" else "tcp",
    )
