"""Reserved addresses at DigitalOcean.

An address has neither name nor tag, but belongs to a project from birth: those in the project
`build-usb.<deployment>` are the deployment's.
https://docs.digitalocean.com/reference/api/digitalocean/#tag/Reserved-IPs
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from wizard.providers.digitalocean_api import Api, wait_until
from wizard.providers.digitalocean_projects import Projects
from wizard.providers.digitalocean_values import number_of

LISTED = ("reserved_ips",)
CHANGES = (
    ("POST", "reserved_ips"),
    ("POST", "reserved_ips/0.0.0.0/actions"),
    ("DELETE", "reserved_ips/0.0.0.0"),
)
# what an address costs that no droplet has: https://www.digitalocean.com/pricing, read 2026-11
NOTE = (
    "the webserver's address is reserved: free while a machine has it, else "
    "5.00 USD a month, until the deployment is destroyed"
)
"""What a plan says of it."""

_ASSIGNMENT = 120.0  # seconds


class Reserved:
    """Addresses of deployments in one region."""

    def __init__(
        self, api: Api, region: str, pause: Callable[[float], None], projects: Projects
    ) -> None:
        self._api = api
        self._region = region
        self._pause = pause
        self._projects = projects

    def addresses(self, deployment: str) -> list[str]:
        """Return the addresses of the deployment."""
        project = self._projects.find(deployment)
        return [str(item["ip"]) for item in self._of(project)] if project else []

    def ensure(self, deployment: str, droplet: str, name: str) -> str:
        """Return the address that leads to the droplet: one that it has, one of before that no
        droplet has now, or a new one."""
        project = self._projects.ensure(deployment)
        known = self._of(project)
        own = [item for item in known if _droplet(item) == droplet]
        loose = [item for item in known if not _droplet(item)]
        if own:
            address, surplus = str(own[0]["ip"]), [*own[1:], *loose]
        else:
            address = str(loose[0]["ip"]) if loose else self._create(project)
            surplus = loose[1:]
            self._assign(address, droplet, name)
        # what lost answers left; without a droplet they cost
        for item in surplus:
            self.delete(str(item["ip"]))
        return address

    def delete(self, address: str) -> None:
        """Give an address back; what is gone already is no error."""
        self._api.delete(f"reserved_ips/{address}", f"give {address} back")

    def _of(self, project: str) -> list[dict[str, Any]]:
        doing = "list the reserved addresses"
        items = self._api.list("reserved_ips", "reserved_ips", doing)
        ours = [item for item in items if item.get("project_id") == project]
        for item in ours:
            _checked(self._api, item, doing)
        return ours

    def _create(self, project: str) -> str:
        doing = "reserve an address"
        body = {"region": self._region, "project_id": project}
        made = self._api.post("reserved_ips", doing, body).get("reserved_ip")
        return _checked(self._api, made, doing)

    def _assign(self, address: str, droplet: str, name: str) -> None:
        doing = f"give {name} the address {address}"
        number = number_of(self._api, {"id": droplet}, doing)
        body = {"type": "assign", "droplet_id": number}
        self._api.post(f"reserved_ips/{address}/actions", doing, body)

        def is_assigned() -> bool:
            found = self._api.get(f"reserved_ips/{address}", doing).get("reserved_ip")
            _checked(self._api, found, doing)
            return _droplet(found) == droplet

        wait_until(is_assigned, f"to {doing}", _ASSIGNMENT, self._pause)


def _checked(api: Api, item: Any, doing: str) -> str:
    try:
        return str(ipaddress.IPv4Address(item["ip"] if isinstance(item["ip"], str) else ""))
    except (KeyError, TypeError, ValueError) as error:
        raise api.senseless(doing, f"no address: {error}") from error


def _droplet(item: Any) -> str:
    """Return the id of the droplet that an address leads to, empty if to none."""
    droplet = item.get("droplet")
    return str(droplet.get("id", "")) if isinstance(droplet, dict) else ""
