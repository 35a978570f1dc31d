"""The `digitalocean` provider: droplets, a VPC and cloud firewalls.

Droplets carry the tags `build-usb:<deployment>` and `build-usb:<deployment>:<role>`; firewalls are
attached to these tags, so a droplet is behind them from birth. What cannot be tagged is named
`build-usb.<deployment>…`, and deployments' names hold neither dots nor colons.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from wizard.errors import NotSupportedError, ProviderError, TransientError
from wizard.events import Progress
from wizard.providers import digitalocean_databases as databases
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
from wizard.providers.digitalocean_api import (
    READ_TIMEOUT,
    URL,
    Api,
    is_forbidden,
    is_missing,
    scope,
    status_of,
    wait_until,
)
from wizard.rules import Role, Rule

# how long droplets take to have addresses or be gone, and snapshots to be made; seconds
_BIRTH, _DEATH, _SNAPSHOT = 300.0, 300.0, 3600.0
_READ = ("regions", "sizes", "images")
_LISTED = ("droplets", "vpcs", "firewalls", "tags", "snapshots", "account/keys")
# changes that change nothing, as they ask for nothing or for what there is not: those who may not
# change things are refused all the same
_CHANGES = (
    ("POST", "droplets"),
    ("DELETE", "droplets/0"),
    ("POST", "droplets/0/actions"),
    ("POST", "vpcs"),
    ("DELETE", f"vpcs/{values.NO_ID}"),
    ("POST", "firewalls"),
    ("PUT", f"firewalls/{values.NO_ID}"),
    ("DELETE", f"firewalls/{values.NO_ID}"),
    ("POST", "tags"),
    ("DELETE", "tags/build-usb:-"),
    ("POST", "account/keys"),
    ("DELETE", "account/keys/0"),
    ("DELETE", "snapshots/0"),
)
# where the answers ask for a managed database
_DATABASE_LISTED = ("databases",)
_DATABASE_CHANGES = (("POST", "databases"), ("DELETE", f"databases/{values.NO_ID}"))


class DigitalOceanProvider:
    """Rents from DigitalOcean in one region; see `providers.base.Provider`."""

    name = "digitalocean"

    def __init__(self, account: Account, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._api = Api(
            account.token, account.url or URL, read_timeout=account.timeout or READ_TIMEOUT
        )
        self._region = account.region
        self._build_machine = account.build_machine
        self._pause = pause
        self._database = bool(account.database)
        self._databases = databases.Databases(self._api, pause)
        self._keeps_addresses = account.reserved
        self._reserved = reserved.Reserved(self._api, account.region, pause, known=account.reserved)
        self._listed = (
            _LISTED + _DATABASE_LISTED * self._database + reserved.LISTED * account.reserved
        )
        self._changes = (
            _CHANGES + _DATABASE_CHANGES * self._database + reserved.CHANGES * account.reserved
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
        rented = databases.facts(api, self._region) if self._database else None
        if rented is None:
            return found
        note = (
            "DigitalOcean's API has no prices of managed databases; the one above is of its price "
            f"page in {databases.PRICES_OF}"
        )
        return replace(found, databases=rented, notes=(*found.notes, note))

    def check(self) -> None:
        """Nothing of this computer matters to a cloud."""

    def standing(self, progress: Progress) -> Standing:
        """Return whose token it is and the scopes it lacks."""
        reads = (("GET", path) for path in (*_READ, *self._listed))
        api, asked = self._api, [*reads, *self._changes]
        progress("asking whose token it is", 0, len(asked) + 1)
        owner = values.owner(api, self._unless_refused("GET", "account"))
        lacking = []
        for number, (method, path) in enumerate(asked, start=1):
            progress("asking what the token may do", number, len(asked) + 1)
            if self._unless_refused(method, path) is None:
                lacking.append(scope(method, path))
        return Standing(owner, tuple(sorted(set(lacking))))

    def _unless_refused(self, method: str, path: str) -> dict[str, Any] | None:
        """Return the answer, None if the token may not do this; changes ask for nothing."""
        doing = "ask what the token may do"
        try:
            if method == "GET":
                return self._api.get(path, doing, **_few(path))
            if method == "DELETE":
                self._api.delete(path, doing)
            else:
                {"POST": self._api.post, "PUT": self._api.put}[method](path, doing, {})
        except ProviderError as error:
            if is_forbidden(error):
                return None
            if isinstance(error, TransientError) or status_of(error) not in (400, 404, 422):
                raise
        return {}

    def prepare(self, progress: Progress) -> None:
        """Check the token, naming every scope that it lacks for what is read before a change."""
        missing = []
        for number, path in enumerate(self._listed):
            progress("checking the token", number, len(self._listed))
            try:
                self._api.get(path, "check the token", **_few(path))
            except ProviderError as error:
                if not is_forbidden(error):
                    raise
                missing.append(scope("GET", path))
        if missing:
            changes = sorted({scope(method, path) for method, path in self._changes})
            raise ProviderError(
                "the API token may not read what is there",
                where="provider.credentials",
                why=f"it lacks the scopes {', '.join(missing)}",
                cure=f"add them to the token; changes need {', '.join(changes)}",
                code="forbidden",
            )
        progress("the token is good", 1, 1)

    def services(self, zone: str) -> Services:
        """Return nothing: object storage, DNS and the certificate authority are the answers'."""
        return Services()

    # -- what there is -----------------------------------------------------------------------------

    def resources(self, deployment: str) -> list[Resource]:
        """Return everything of the deployment, asked from the API now. Its tags and its login key
        go with the network, and are shown as one when no network is left."""

        def found(kind: ResourceKind, item: dict[str, Any]) -> Resource:
            return Resource(kind, str(item["id"]), str(item["name"]), deployment)

        listed = [found(ResourceKind.MACHINE, item) for item in self._droplets(deployment)]
        listed += [
            Resource(ResourceKind.ADDRESS, address, address, deployment)
            for address in self._reserved.addresses(deployment)
        ]
        listed += [found(ResourceKind.SNAPSHOT, item) for item in self._snapshots(deployment)]
        listed += [found(ResourceKind.DATABASE, item) for item in self._clusters(deployment)]
        listed += [found(ResourceKind.FIREWALL, item) for item in self._firewalls(deployment)]
        network = self._vpc(deployment)
        if network is not None:
            listed.append(found(ResourceKind.NETWORK, network))
        elif self._tags(deployment) or self._keys(deployment) or self._reserved.project(deployment):
            rest = {"id": "", "name": f"tags and key of {deployment}"}
            listed.append(found(ResourceKind.NETWORK, rest))
        return listed

    def machines(self, deployment: str) -> list[Machine]:
        """Return the deployment's droplets as they are now."""
        return [values.machine(self._api, deployment, d) for d in self._droplets(deployment)]

    def _named(self, path: str, key: str, deployment: str, **query: Any) -> list[dict[str, Any]]:
        """Return the items that are named as the deployment's."""
        own = values.name_of(deployment)
        items = self._api.list(path, key, f"list the {path}", **query)
        return [
            item
            for item in values.identified(self._api, items, f"list the {path}")
            if item["name"] == own or item["name"].startswith(f"{own}.")
        ]

    def _droplets(self, deployment: str) -> list[dict[str, Any]]:
        tag = values.tag_of(deployment)
        items = self._api.list("droplets", "droplets", "list the droplets", tag_name=tag)
        items = values.identified(self._api, items, "list the droplets")
        # what is deleted is by tag: the filter is looked at again
        return sorted((d for d in items if tag in (d.get("tags") or ())), key=lambda d: d["id"])

    def _firewalls(self, deployment: str) -> list[dict[str, Any]]:
        return self._named("firewalls", "firewalls", deployment)

    def _snapshots(self, deployment: str) -> list[dict[str, Any]]:
        return self._named("snapshots", "snapshots", deployment, resource_type="droplet")

    def _clusters(self, deployment: str) -> list[dict[str, Any]]:
        try:
            return self._databases.all(deployment)
        except ProviderError as error:
            # who rents none needs no scope for them
            if self._database or not is_forbidden(error):
                raise
            return []

    def _keys(self, deployment: str) -> list[dict[str, Any]]:
        return self._named("account/keys", "ssh_keys", deployment)

    def _tags(self, deployment: str) -> list[str]:
        own = values.tag_of(deployment)
        listed = self._api.list("tags", "tags", "list the tags")
        names = [str(item.get("name")) for item in listed]
        return [name for name in names if name == own or name.startswith(f"{own}:")]

    def _vpc(self, deployment: str) -> dict[str, Any] | None:
        found = self._named("vpcs", "vpcs", deployment)
        if not found:
            return None
        if found[0].get("description") != values.mark_of(deployment):
            raise ProviderError(
                f"a VPC called {found[0]['name']} exists and is not this deployment's",
                where=str(found[0]["id"]),
                why=f"its description is not {values.mark_of(deployment)!r}",
                cure="look what it is for; delete or rename it, or rename the deployment",
            )
        return found[0]

    # -- what shall be -----------------------------------------------------------------------------

    def ensure_network(self, deployment: str) -> Network:
        """Return the deployment's VPC, created in the region if missing."""
        if self._build_machine is None:
            raise NotSupportedError(
                "the address that droplets see this computer at cannot be found out yet",
                where="ssh.build_machine",
                cure="name it: the public address of your network, or a network such as "
                "203.0.113.0/24",
            )
        with self._lock:
            found = self._vpc(deployment)
            if found is None:
                name = values.name_of(deployment)
                body = {
                    "name": name,
                    "region": self._region,
                    "description": values.mark_of(deployment),
                }
                doing = f"create the VPC {name}"
                found = values.inner(self._api, self._api.post("vpcs", doing, body), "vpc", doing)
        if found.get("region") != self._region:
            raise ProviderError(
                f"the deployment's VPC is in {found.get('region')}, not in {self._region}",
                where=str(found["id"]),
                cure="set provider.region back, or destroy the deployment before moving it",
            )
        return Network(str(found["id"]), values.network_of(self._api, found), self._build_machine)

    def ensure_firewall(self, deployment: str, rules: tuple[Rule, ...], *, enabled: bool) -> None:
        """Make the cloud firewalls equal to `rules`: one that closes all machines of the
        deployment to all but what one for each role lets in."""
        wanted = values.firewalls(deployment, rules, self._build_machine or "", enabled=enabled)
        with self._lock:
            known = set(self._tags(deployment))
            for tag in sorted(values.tags_in(wanted) - known):
                self._api.post("tags", f"create the tag {tag}", {"name": tag})
            existing = {item["name"]: item for item in self._firewalls(deployment)}
            for body in wanted:
                doing = f"set the firewall {body['name']}"
                old = existing.pop(body["name"], None)
                if old is None:
                    self._api.post("firewalls", doing, body)
                elif not values.same_firewall(old, body):
                    self._api.put(f"firewalls/{old['id']}", doing, body)
            for surplus in existing.values():
                name = surplus["name"]
                self._api.delete(f"firewalls/{surplus['id']}", f"delete the firewall {name}")

    def ensure_machine(self, spec: MachineSpec) -> Machine:
        """Return the droplet of that name, created if missing, once it has its addresses."""
        doing = f"create {spec.name}"
        image = values.image(spec.image)
        with self._lock:
            same = [d for d in self._droplets(spec.deployment) if d["name"] == spec.name]
            if not same:
                body: dict[str, Any] = {
                    "name": spec.name,
                    "region": spec.region,
                    "size": spec.size,
                    "image": image,
                    "vpc_uuid": spec.network_id,
                    "tags": [
                        values.tag_of(spec.deployment),
                        values.tag_of(spec.deployment, spec.role),
                    ],
                    "user_data": spec.user_data.reveal(),
                    "monitoring": True,
                }
                if spec.authorized_key:
                    body["ssh_keys"] = [self._ensure_key(spec.deployment, spec.authorized_key)]
                made = self._api.post("droplets", doing, body)
                same = [values.inner(self._api, made, "droplet", doing)]
        # one whose answer was lost, and that the list did not show when it was asked again
        for twin in same[1:]:
            self._delete_droplet(str(twin["id"]), str(twin["name"]))
        droplet = str(same[0]["id"])
        machine = self._wait_for_addresses(spec.deployment, droplet, spec.name)
        if not (self._keeps_addresses and spec.role is Role.WEBSERVER):
            return machine
        with self._lock:
            address = self._reserved.ensure(spec.deployment, droplet, spec.name)
        return replace(machine, public_address=address, access_address=address)

    def _ensure_key(self, deployment: str, public: str) -> int:
        """Return the id of the login key. A droplet that is created without one gets a root
        password that has to be changed before anyone can log in, with a key too."""
        for known in self._keys(deployment):
            if str(known.get("public_key", "")).split()[:2] == public.split()[:2]:
                return values.number_of(self._api, known, "list the login keys")
        doing = "register the login key"
        body = {"name": values.name_of(deployment), "public_key": public}
        made = self._api.post("account/keys", doing, body)
        key = values.inner(self._api, made, "ssh_key", doing, named=False)
        return values.number_of(self._api, key, doing)

    def _wait_for_addresses(self, deployment: str, droplet: str, name: str) -> Machine:
        found: list[Machine] = []

        def has_addresses() -> bool:
            doing = f"ask for {name}"
            answer = self._api.get(f"droplets/{droplet}", doing)
            item = values.inner(self._api, answer, "droplet", doing)
            found[:] = [values.machine(self._api, deployment, item)]
            return bool(found[0].private_address and found[0].public_address)

        wait_until(has_addresses, f"creating {name}", _BIRTH, self._pause)
        return found[0]

    def ensure_database(self, spec: DatabaseSpec, progress: Progress) -> ManagedDatabase:
        """Return the deployment's cluster, ordered if missing, once it answers."""
        with self._lock:
            known = set(self._tags(spec.deployment))
            wanted = {values.tag_of(spec.deployment, rule.source.role) for rule in spec.rules}
            for tag in sorted(wanted - known):
                self._api.post("tags", f"create the tag {tag}", {"name": tag})
            cluster = self._databases.begin(spec)
        return self._databases.finish(spec, cluster, progress)

    def snapshot(self, machine_id: str, name: str) -> Resource:
        """Keep a copy of a droplet's disk; its id can be a MachineSpec's `image`."""
        doing = f"copy the disk of {machine_id}"
        nothing = ProviderError(
            f"there is no machine {machine_id}", cure="name one that `build-usb status` shows"
        )
        if not machine_id.isdecimal():
            raise nothing
        try:
            answer = self._api.get(f"droplets/{machine_id}", doing)
        except ProviderError as error:
            if is_missing(error):
                raise nothing from error
            raise
        droplet = values.inner(self._api, answer, "droplet", doing)
        deployment = values.deployment_of(droplet)
        if deployment is None:
            raise nothing
        full = values.name_of(deployment, name)
        found = self._snapshot_called(deployment, full)
        if found is None:
            body = {"type": "snapshot", "name": full}
            started = self._api.post(f"droplets/{machine_id}/actions", doing, body)
            action = values.inner(self._api, started, "action", doing, named=False)
            self._wait_for_action(str(action["id"]), doing)
            found = self._snapshot_called(deployment, full)
        if found is None:
            raise TransientError(f"cannot {doing}: it is not listed yet", cure="run again")
        return Resource(ResourceKind.SNAPSHOT, str(found["id"]), full, deployment)

    def _snapshot_called(self, deployment: str, name: str) -> dict[str, Any] | None:
        return next((s for s in self._snapshots(deployment) if s["name"] == name), None)

    def _wait_for_action(self, action: str, doing: str) -> None:
        def is_done() -> bool:
            answer = self._api.get(f"actions/{action}", doing)
            status = values.inner(self._api, answer, "action", doing, named=False).get("status")
            if status not in ("in-progress", "completed"):
                raise ProviderError(
                    f"cannot {doing}: DigitalOcean failed to",
                    where=f"action {action}",
                    why=f"the action's status is {status}",
                    cure="run again; ask DigitalOcean's support if it stays so",
                )
            return bool(status == "completed")

        wait_until(is_done, f"to {doing}", _SNAPSHOT, self._pause)

    # -- what shall be no more ---------------------------------------------------------------------

    def delete(self, resource: Resource, *, last_copy: bool = True) -> str:
        """Delete a resource and return when it is gone; what is gone already is no error. Nothing
        is kept of a database: its backups are part of it."""
        doing = f"delete {resource.name}"
        if resource.kind is ResourceKind.MACHINE:
            self._delete_droplet(resource.id, resource.name)
        elif resource.kind is ResourceKind.ADDRESS:
            self._reserved.delete(resource.id)
        elif resource.kind is ResourceKind.SNAPSHOT:
            self._api.delete(f"snapshots/{resource.id}", doing)
        elif resource.kind is ResourceKind.FIREWALL:
            self._api.delete(f"firewalls/{resource.id}", doing)
        elif resource.kind is ResourceKind.NETWORK:
            self._delete_network(resource, doing)
        elif resource.kind is ResourceKind.DATABASE:
            self._databases.delete(resource.id, resource.name)
        return ""

    def _delete_droplet(self, droplet: str, name: str) -> None:
        self._api.end(f"droplets/{droplet}", name, _DEATH, self._pause)

    def _delete_network(self, resource: Resource, doing: str) -> None:
        # before the network: a run that is killed here still finds the network, and comes back
        for tag in self._tags(resource.deployment):
            self._api.delete(f"tags/{tag}", f"delete the tag {tag}")
        for key in self._keys(resource.deployment):
            self._api.delete(f"account/keys/{key['id']}", "delete the login key")
        self._reserved.delete_project(resource.deployment)
        if not resource.id:
            return
        try:
            self._api.delete(f"vpcs/{resource.id}", doing)
        except ProviderError as error:
            # droplets that are gone stay members of their VPC for a while
            if is_forbidden(error) and "member" in error.why:
                raise TransientError(
                    error.what, why=error.why, cure="run again in a minute", code=error.code
                ) from error
            raise

    def end_if_unused(self) -> None:
        """Nothing runs only for us."""


def _few(path: str) -> dict[str, int]:
    """Return the query that keeps a list short, where it can be."""
    return {} if path in ("account", "databases") else {"per_page": 1}
