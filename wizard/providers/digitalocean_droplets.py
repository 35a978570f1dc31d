"""Droplets, their login key, and copies of their disks at DigitalOcean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wizard.errors import ProviderError, TransientError
from wizard.providers import digitalocean_values as values
from wizard.providers.base import Machine, MachineSpec, Resource, ResourceKind
from wizard.providers.digitalocean_api import Api, is_missing, wait_until

# how long droplets take to have addresses or be gone, and snapshots to be made; seconds
_BIRTH, _DEATH, _SNAPSHOT = 300.0, 300.0, 3600.0


class Droplets:
    """Droplets of deployments, found by their tag. `inside`: as an autoscaler makes them."""

    def __init__(self, api: Api, pause: Callable[[float], None], *, inside: bool = False) -> None:
        self._api = api
        self._pause = pause
        self._inside = inside

    def all(self, deployment: str) -> list[dict[str, Any]]:
        """Return the droplets of a deployment, in the order of their ids."""
        tag = values.tag_of(deployment)
        items = self._api.list("droplets", "droplets", "list the droplets", tag_name=tag)
        items = values.identified(self._api, items, "list the droplets")
        # what is deleted is by tag: the filter is looked at again
        return sorted((d for d in items if tag in values.texts(d.get("tags"))), key=values.age)

    def copies(self, deployment: str) -> list[dict[str, Any]]:
        """Return the snapshots of a deployment."""
        doing = "list the snapshots"
        items = self._api.list("snapshots", "snapshots", doing, resource_type="droplet")
        return values.ours(self._api, items, deployment, doing)

    def keys(self, deployment: str) -> list[dict[str, Any]]:
        """Return the login keys of a deployment."""
        doing = "list the login keys"
        items = self._api.list("account/keys", "ssh_keys", doing)
        return values.ours(self._api, items, deployment, doing)

    def ensure(self, spec: MachineSpec) -> list[dict[str, Any]]:
        """Return the droplets of that name, the oldest first, one created if there is none. The
        caller makes sure that nobody else creates the same."""
        doing = f"create {spec.name}"
        image = values.image(spec.image)
        same = [d for d in self.all(spec.deployment) if d["name"] == spec.name]
        if same:
            return same
        body: dict[str, Any] = {
            "name": spec.name,
            "region": spec.region,
            "size": spec.size,
            "image": image,
            "vpc_uuid": spec.network_id,
            "tags": [values.tag_of(spec.deployment), values.tag_of(spec.deployment, spec.role)],
            "user_data": spec.user_data.reveal(),
            "monitoring": True,
        }
        if spec.ipv6:
            body["ipv6"] = True
        if spec.authorized_key:
            body["ssh_keys"] = [self._ensure_key(spec.deployment, spec.authorized_key)]
        made = self._api.post("droplets", doing, body)
        return [values.inner(self._api, made, "droplet", doing)]

    def _ensure_key(self, deployment: str, public: str) -> int:
        """Return the id of the login key. A droplet that is created without one gets a root
        password that has to be changed before anyone can log in, with a key too."""
        for known in self.keys(deployment):
            # an autoscaler's own key is no login key of the account's: user-data brings it
            if self._inside or str(known.get("public_key", "")).split()[:2] == public.split()[:2]:
                return values.number_of(self._api, known, "list the login keys")
        doing = "register the login key"
        body = {"name": values.name_of(deployment), "public_key": public}
        made = self._api.post("account/keys", doing, body)
        key = values.inner(self._api, made, "ssh_key", doing, named=False)
        return values.number_of(self._api, key, doing)

    def wait_for_addresses(self, deployment: str, droplet: str, name: str) -> Machine:
        """Return a droplet once it has its addresses."""
        found: list[Machine] = []

        def has_addresses() -> bool:
            doing = f"ask for {name}"
            answer = self._api.get(f"droplets/{droplet}", doing)
            item = values.inner(self._api, answer, "droplet", doing)
            found[:] = [values.machine(self._api, deployment, item)]
            wanted = (found[0].private_address, found[0].public_address)
            both = "ipv6" in values.texts(item.get("features"))
            return all((*wanted, found[0].ipv6) if both else wanted)

        wait_until(has_addresses, f"creating {name}", _BIRTH, self._pause)
        return found[0]

    def copy(self, machine_id: str, name: str) -> Resource:
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
        found = self._called(deployment, full)
        if found is None:
            body = {"type": "snapshot", "name": full}
            started = self._api.post(f"droplets/{machine_id}/actions", doing, body)
            action = values.inner(self._api, started, "action", doing, named=False)
            self._wait_for_action(str(action["id"]), doing)
            found = self._called(deployment, full)
        if found is None:
            raise TransientError(f"cannot {doing}: it is not listed yet", cure="run again")
        return Resource(ResourceKind.SNAPSHOT, str(found["id"]), full, deployment)

    def _called(self, deployment: str, name: str) -> dict[str, Any] | None:
        return next((s for s in self.copies(deployment) if s["name"] == name), None)

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

    def delete(self, droplet: str, name: str) -> None:
        """Delete a droplet and return when it is gone."""
        self._api.end(f"droplets/{droplet}", name, _DEATH, self._pause)
