"""The `digitalocean` provider: droplets, a VPC and cloud firewalls.

Droplets carry the tags `build-usb:<deployment>` and `build-usb:<deployment>:<role>`; firewalls are
attached to these tags, so a droplet is behind them from birth. What cannot be tagged is named
`build-usb.<deployment>…`, and deployments' names hold neither dots nor colons. The parts:
`digitalocean_droplets`, `digitalocean_networks` (VPC, firewalls, tags), `digitalocean_databases`,
`digitalocean_reserved` (addresses), `digitalocean_projects`, `digitalocean_keys` (of Spaces),
`digitalocean_rights` (what the token may do), `digitalocean_values` (how the API says it),
`digitalocean_api` (calls and errors).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from wizard.errors import ProviderError
from wizard.events import Progress
from wizard.providers import digitalocean_databases as databases
from wizard.providers import digitalocean_keys as storage_keys
from wizard.providers import digitalocean_projects as projects
from wizard.providers import digitalocean_reserved as reserved
from wizard.providers import digitalocean_values as values
from wizard.providers.base import (
    Account,
    DatabaseSpec,
    Machine,
    MachineSpec,
    ManagedDatabase,
    Network,
    ProviderFacts,
    Resource,
    ResourceKind,
    Services,
    Standing,
)
from wizard.providers.digitalocean_api import READ_TIMEOUT, URL, Api, is_forbidden
from wizard.providers.digitalocean_droplets import Droplets
from wizard.providers.digitalocean_networks import Networks
from wizard.providers.digitalocean_rights import Rights
from wizard.rules import Role, Rule
from wizard.secrets import Secret


class DigitalOceanProvider:
    """Rents from DigitalOcean in one region; see `providers.base.Provider`."""

    name = "digitalocean"

    def __init__(self, account: Account, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._api = Api(
            account.token, account.url or URL, read_timeout=account.timeout or READ_TIMEOUT
        )
        self._region = account.region
        self._account = account
        self._database = account.database
        self._keeps_addresses = account.reserved
        self._droplets = Droplets(self._api, pause, inside=account.inside)
        self._networks = Networks(self._api, account.region)
        self._databases = databases.Databases(self._api, pause)
        self._storage_keys = storage_keys.StorageKeys(self._api)
        self._projects = projects.Projects(self._api)
        self._reserved = reserved.Reserved(self._api, account.region, pause, self._projects)
        self._inside = account.inside
        self._rights = (
            Rights.of_autoscalers(self._api)
            if account.inside
            else Rights(
                self._api,
                storage_keys.LISTED
                + projects.LISTED
                + databases.LISTED * bool(self._database)
                + reserved.LISTED * account.reserved,
                storage_keys.CHANGES
                + projects.CHANGES
                + databases.CHANGES * bool(self._database)
                + reserved.CHANGES * account.reserved,
            )
        )
        # two threads that find nothing of a name must not both create it
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"DigitalOceanProvider({self._region!r}, {self._api!r})"

    def facts(self) -> ProviderFacts:
        """Return regions, Debian and Ubuntu images, the region's sizes and their prices."""
        api = self._api
        regions = api.list("regions", "regions", "list the regions")
        sizes = api.list("sizes", "sizes", "list the sizes")
        images = api.list("images", "images", "list the images", type="distribution")
        found = values.facts(api, self._region, regions, sizes, images)
        if self._keeps_addresses:
            found = replace(found, notes=(*found.notes, reserved.NOTE))
        rented = databases.facts(api, self._region, self._database) if self._database else None
        if rented is None:
            return found
        note = (
            "DigitalOcean's API has no prices of managed databases; the one above is of a table of "
            f"{databases.PRICES_OF} that nobody has compared with its price page since"
        )
        return replace(found, databases=rented, notes=(*found.notes, note))

    def check(self) -> None:
        """Nothing of this computer matters to a cloud."""

    def standing(self, progress: Progress) -> Standing:
        """Return whose token it is and the scopes it lacks."""
        return self._rights.standing(progress)

    def prepare(self, progress: Progress) -> None:
        """Check the token, naming every scope that it lacks for what is read before a change."""
        self._rights.check(progress)

    def services(self, zone: str) -> Services:
        """Return who makes keys of Spaces and groups what was made; all else is the answers'."""
        return Services(storage_keys=self, projects=None if self._inside else self)

    # -- what there is -----------------------------------------------------------------------------

    def resources(self, deployment: str) -> list[Resource]:
        """Return everything of the deployment, asked from the API now; on an autoscaler, what it
        can make. Its tags and its login key go with the network, and are shown as one when no
        network is left."""

        def found(kind: ResourceKind, item: dict[str, Any]) -> Resource:
            return Resource(kind, str(item["id"]), str(item["name"]), deployment)

        listed = [found(ResourceKind.MACHINE, item) for item in self._droplets.all(deployment)]
        if self._inside:
            copies = self._droplets.copies(deployment)
            return listed + [found(ResourceKind.SNAPSHOT, item) for item in copies]
        listed += [
            Resource(ResourceKind.ADDRESS, address, address, deployment)
            for address in self._reserved.addresses(deployment)
        ]
        listed += [
            Resource(ResourceKind.KEY, key, key, deployment) for key in self._keys(deployment)
        ]
        listed += [found(ResourceKind.SNAPSHOT, item) for item in self._droplets.copies(deployment)]
        listed += [found(ResourceKind.DATABASE, item) for item in self._clusters(deployment)]
        listed += [
            found(ResourceKind.FIREWALL, item) for item in self._networks.firewalls(deployment)
        ]
        network = self._networks.find(deployment)
        if network is not None:
            listed.append(found(ResourceKind.NETWORK, network))
        elif (
            self._networks.tags(deployment)
            or self._droplets.keys(deployment)
            or self._projects.find(deployment)
        ):
            rest = {"id": "", "name": f"tags and key of {deployment}"}
            listed.append(found(ResourceKind.NETWORK, rest))
        return listed

    def machines(self, deployment: str) -> list[Machine]:
        """Return the deployment's droplets as they are now."""
        return [values.machine(self._api, deployment, d) for d in self._droplets.all(deployment)]

    def _clusters(self, deployment: str) -> list[dict[str, Any]]:
        try:
            return self._databases.all(deployment)
        except ProviderError as error:
            # who rents none needs no scope for them
            if self._database or not is_forbidden(error):
                raise
            return []

    def _keys(self, deployment: str) -> list[str]:
        try:
            return self._storage_keys.all(deployment)
        except ProviderError as error:
            # a token of before may have made none
            if not is_forbidden(error):
                raise
            return []

    # -- what shall be -----------------------------------------------------------------------------

    def build_machine(self) -> str:
        """Return the address or network that machines see the build machine at."""
        assert self._account.build_machine is not None, "whoever rents machines says where it is"
        return self._account.build_machine()

    def ensure_network(self, deployment: str) -> Network:
        """Return the deployment's VPC, created in the region if missing."""
        with self._lock:
            found = self._networks.ensure(deployment)
        return Network(str(found["id"]), values.network_of(self._api, found), self.build_machine())

    def ensure_firewall(self, deployment: str, rules: tuple[Rule, ...], *, enabled: bool) -> None:
        """Make the cloud firewalls equal to `rules`."""
        with self._lock:
            self._networks.set_firewalls(deployment, rules, self.build_machine(), enabled=enabled)

    def ensure_machine(self, spec: MachineSpec) -> Machine:
        """Return the droplet of that name, created if missing, once it has its addresses."""
        with self._lock:
            first, *twins = self._droplets.ensure(spec)
        # one whose answer was lost, and that the list did not show when it was asked again
        for twin in twins:
            self._droplets.delete(str(twin["id"]), str(twin["name"]))
        droplet = str(first["id"])
        machine = self._droplets.wait_for_addresses(spec.deployment, droplet, spec.name)
        if self._inside:
            self._projects.join(spec.deployment, f"do:droplet:{droplet}")
        if not (self._keeps_addresses and spec.role is Role.WEBSERVER):
            return machine
        with self._lock:
            address = self._reserved.ensure(spec.deployment, droplet, spec.name)
        return replace(machine, public_address=address, access_address=address)

    def ensure_database(self, spec: DatabaseSpec, progress: Progress) -> ManagedDatabase:
        """Return the deployment's cluster, ordered if missing, once it answers."""
        with self._lock:
            wanted = {values.tag_of(spec.deployment, rule.source.role) for rule in spec.rules}
            self._networks.ensure_tags(spec.deployment, wanted)
            cluster = self._databases.begin(spec)
        return self._databases.finish(spec, cluster, progress)

    def ensure_storage_key(
        self, deployment: str, buckets: tuple[str, ...], known: Secret | None
    ) -> Secret:
        """Return a key of Spaces that opens these buckets alone."""
        with self._lock:
            return self._storage_keys.ensure(deployment, buckets, known)

    def group(self, deployment: str, buckets: tuple[str, ...]) -> int:
        """Put droplets, databases and these buckets into the deployment's project; its reserved
        addresses are there from birth."""
        with self._lock:
            project = self._projects.ensure(deployment)
            droplets = self._droplets.all(deployment)
            urns = {f"do:droplet:{droplet['id']}" for droplet in droplets}
            urns |= {f"do:dbaas:{cluster['id']}" for cluster in self._clusters(deployment)}
            urns |= {f"do:space:{bucket}" for bucket in buckets}
            return self._projects.group(project, urns)

    def snapshot(self, machine_id: str, name: str) -> Resource:
        """Keep a copy of a droplet's disk; its id can be a MachineSpec's `image`."""
        return self._droplets.copy(machine_id, name)

    # -- what shall be no more ---------------------------------------------------------------------

    def delete(self, resource: Resource, *, last_copy: bool = True) -> str:
        """Delete a resource and return when it is gone; what is gone already is no error. Nothing
        is kept of a database: its backups are part of it."""
        doing = f"delete {resource.name}"
        if resource.kind is ResourceKind.MACHINE:
            self._droplets.delete(resource.id, resource.name)
        elif resource.kind is ResourceKind.ADDRESS:
            self._reserved.delete(resource.id)
        elif resource.kind is ResourceKind.KEY:
            self._storage_keys.delete(resource.id)
        elif resource.kind is ResourceKind.SNAPSHOT:
            self._api.delete(f"snapshots/{resource.id}", doing)
        elif resource.kind is ResourceKind.FIREWALL:
            self._api.delete(f"firewalls/{resource.id}", doing)
        elif resource.kind is ResourceKind.NETWORK:
            self._delete_network(resource)
        elif resource.kind is ResourceKind.DATABASE:
            self._databases.delete(resource.id, resource.name)
        return ""

    def _delete_network(self, resource: Resource) -> None:
        # before the network: a run that is killed here still finds the network, and comes back
        for tag in self._networks.tags(resource.deployment):
            self._api.delete(f"tags/{tag}", f"delete the tag {tag}")
        for key in self._droplets.keys(resource.deployment):
            self._api.delete(f"account/keys/{key['id']}", "delete the login key")
        self._projects.delete(resource.deployment)
        if resource.id:
            self._networks.delete(resource.id, resource.name)

    def end_if_unused(self) -> None:
        """Nothing runs only for us."""
