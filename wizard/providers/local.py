"""The `local` provider: machines on this computer, rented from the lab's daemon.

What is made here stays in the lab's folder; the daemon ends when nothing is rented any more.
"""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from wizard.errors import NotSupportedError, ProviderError
from wizard.events import Progress
from wizard.lab import addresses, basetree
from wizard.providers import local_daemon as daemon
from wizard.providers.base import (
    AcmeAuthority,
    DatabaseSpec,
    DnsServer,
    Door,
    Machine,
    MachineSpec,
    ManagedDatabase,
    Network,
    ObjectStorage,
    ProviderFacts,
    Resource,
    ResourceKind,
    Services,
    Size,
    Standing,
)
from wizard.rules import Role, Rule
from wizard.secrets import Secret

_FREE = Decimal(0)
_SIZES = (
    Size("small", 1, 1024, 10, _FREE),
    Size("medium", 2, 2048, 10, _FREE),
    Size("large", 2, 4096, 10, _FREE),
)


class LocalProvider:
    """Rents machines from the lab in `lab_dir` (one lab a build home); given a `door`, from inside
    that lab, which runs then and is neither started nor ended."""

    name = "local"

    def __init__(self, lab_dir: Path, door: Door | None = None) -> None:
        self._dir = lab_dir
        self._door = door

    def facts(self) -> ProviderFacts:
        """Return what the lab offers; nothing of it costs anything."""
        return ProviderFacts(
            regions=("here",),
            images=("debian-13",),
            sizes=_SIZES,
            currency="EUR",
            default_size={
                Role.WEBSERVER: "medium",
                Role.DATABASE: "medium",
                Role.AUTOSCALER: "small",
            },
            bucket_monthly_price=_FREE,
            ipv6=True,
        )

    def standing(self, progress: Progress) -> Standing:
        """Return nothing: a rehearsal has no account."""
        return Standing("")

    def check(self) -> None:
        """Refuse what cannot work; asks for sudo's password if the lab is yet to be started."""
        if self._door is not None:
            return
        daemon.check_programs()
        if not daemon.answers(self._dir):
            daemon.check_root()

    def prepare(self, progress: Progress) -> None:
        """Build the base tree if it is missing (minutes), then start the lab (a second). A lab
        that runs is used as it is, with the base tree it was started with."""
        if self._door is not None or daemon.answers(self._dir):
            return
        daemon.check_programs()
        daemon.build_base(basetree.location(self._dir), progress)
        progress("starting the lab", 0, 1)
        daemon.ensure_running(self._dir)
        progress("the lab is running", 1, 1)

    def services(self, zone: str) -> Services:
        """Return the lab's S3, ACME and DNS servers, the last serving `zone` from now on."""
        told = self._call("POST", "/services", {"zone": zone})
        address = told["address"] if self._door is None else addresses.SERVICES
        return Services(
            object_storage=ObjectStorage(
                build_endpoint=f"http://{address}:{addresses.S3_PORT}",
                machine_endpoint=f"http://{addresses.SERVICES}:{addresses.S3_PORT}",
                region="us-east-1",
                access_key="rehearsal",
                secret_key=Secret(told["storage_secret"]),
            ),
            acme=AcmeAuthority(
                directory=f"https://{addresses.SERVICES}:{addresses.ACME_PORT}/dir",
                ca_bundle=told["acme_ca"],
                root=told["acme_root"],
            ),
            dns=DnsServer(
                address=address,
                port=addresses.DNS_PORT,
                key_name="rehearsal",
                algorithm="hmac-sha256",
                key=Secret(told["tsig_key"]),
            ),
            door=Door(f"http://{addresses.ROUTER}:{addresses.API_PORT}", Secret(told["token"])),
        )

    def resources(self, deployment: str) -> list[Resource]:
        """Return the deployment's resources; a lab that was never started has none."""
        if not self._exists():
            return []
        return [
            Resource(ResourceKind(item["kind"]), item["id"], item["name"], deployment)
            for item in self._call("GET", f"/deployments/{deployment}/resources")
        ]

    def machines(self, deployment: str) -> list[Machine]:
        """Return the deployment's machines as they are now."""
        if not self._exists():
            return []
        return [_machine(item) for item in self._call("GET", f"/deployments/{deployment}/machines")]

    def build_machine(self) -> str:
        """Return the address that machines of the lab see this computer at."""
        return addresses.BUILD_MACHINE

    def ensure_network(self, deployment: str) -> Network:
        """Return the deployment's network: all machines of the lab share one range of addresses,
        the firewall keeps deployments apart."""
        return Network(**self._call("PUT", f"/deployments/{deployment}/network", {}))

    def ensure_firewall(self, deployment: str, rules: tuple[Rule, ...], *, enabled: bool) -> None:
        """Make the lab's firewall and the ports published on loopback follow `rules`."""
        body = {"rules": [asdict(rule) for rule in rules], "enabled": enabled}
        self._call("PUT", f"/deployments/{deployment}/firewall", body)

    def ensure_machine(self, spec: MachineSpec) -> Machine:
        """Return the machine of that name, made and booting if missing."""
        sizes = {size.name: size for size in _SIZES}
        if spec.size not in sizes:
            raise ProviderError(
                f"there is no size {spec.size!r}", cure=f"use one of {', '.join(sizes)}"
            )
        body = {
            "role": spec.role,
            "size": spec.size,
            "memory": sizes[spec.size].memory,
            "image": spec.image,
            "user_data": spec.user_data.reveal(),
            "ipv6": spec.ipv6,
        }
        path = f"/deployments/{spec.deployment}/machines/{spec.name}"
        return _machine(self._call("PUT", path, body))

    def snapshot(self, machine_id: str, name: str) -> Resource:
        """Keep a copy of a machine's disk; its id can be a MachineSpec's `image`."""
        made = self._call("POST", f"/machines/{machine_id}/snapshots/{name}", {})
        return Resource(ResourceKind.SNAPSHOT, made["id"], made["name"], made["deployment"])

    def ensure_database(self, spec: DatabaseSpec, progress: Progress) -> ManagedDatabase:
        """Refuse: databases of a rehearsal run on its machines."""
        raise NotSupportedError(
            "a rehearsal rents no managed databases",
            where="database.managed",
            cure="set it to false, or choose another provider",
        )

    def delete(self, resource: Resource, *, last_copy: bool = True) -> str:
        """Delete a resource; with the last one of all deployments the lab itself ends."""
        if not self._exists():
            return ""
        answer = self._call("DELETE", f"/resources/{resource.kind}/{resource.id}")
        if answer["ending"]:
            daemon.wait_for_end(self._dir)
        return ""

    def end_if_unused(self) -> None:
        """End the lab if no deployment has a resource in it (a deploy may have been killed
        before it made one); nothing happens if one has, or if the lab does not run."""
        if self._door is not None or not daemon.answers(self._dir):
            return
        if self._call("POST", "/end-if-unused", {})["ending"]:
            daemon.wait_for_end(self._dir)

    def probe(self, source: str, address: str, port: int, timeout: float = 1.0) -> str:
        """Say whether a TCP port in the lab is "open", "closed" or "filtered", as tried from
        "build-machine", "visitor", or inside the machine of that id; `timeout` in seconds."""
        body = {"source": source, "address": address, "port": port, "timeout": timeout}
        return str(self._call("POST", "/probe", body)["result"])

    def _exists(self) -> bool:
        return self._door is not None or (self._dir / "lab.json").exists()

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return daemon.ask(self._dir, self._door, method, path, body)


def _machine(item: dict[str, Any]) -> Machine:
    return Machine(
        id=item["id"],
        name=item["name"],
        role=Role(item["role"]),
        state=item["state"],
        private_address=item["address"],
        public_address=item["address"],
        access_address=item["access_address"],
        ipv6=item["ipv6"],
    )
