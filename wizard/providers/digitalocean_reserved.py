"""Reserved addresses at DigitalOcean, and the project that says whose they are.

An address has neither name nor tag, but belongs to a project from birth: those in the project
`build-usb.<deployment>` are the deployment's. What uses one is grouped there too.
https://docs.digitalocean.com/reference/api/digitalocean/#tag/Reserved-IPs
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from wizard.errors import ProviderError
from wizard.providers.digitalocean_api import Api, is_forbidden, wait_until
from wizard.providers.digitalocean_values import (
    NO_ID,
    identified,
    inner,
    mark_of,
    name_of,
    number_of,
)

LISTED = ("projects", "reserved_ips")
CHANGES = (
    ("POST", "projects"),
    ("PUT", f"projects/{NO_ID}"),
    ("DELETE", f"projects/{NO_ID}"),
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
    """Addresses of deployments in one region. `known` says that a deployment has some: without
    it, a token that may not ask for them is no error."""

    def __init__(
        self, api: Api, region: str, pause: Callable[[float], None], *, known: bool
    ) -> None:
        self._api = api
        self._region = region
        self._pause = pause
        self._known = known

    def project(self, deployment: str) -> str:
        """Return the id of the deployment's project, empty if there is none."""
        doing = "list the projects"
        try:
            items = identified(self._api, self._api.list("projects", "projects", doing), doing)
        except ProviderError as error:
            if self._known or not is_forbidden(error):
                raise
            return ""
        name = name_of(deployment)
        ours = [item for item in items if item["name"] == name]
        if ours and ours[0].get("description") != mark_of(deployment):
            raise ProviderError(
                f"a project called {name} exists and is not this deployment's",
                where=str(ours[0]["id"]),
                why=f"its description is not {mark_of(deployment)!r}",
                cure="look what it is for; delete or rename it, or rename the deployment",
            )
        return str(ours[0]["id"]) if ours else ""

    def addresses(self, deployment: str) -> list[str]:
        """Return the addresses of the deployment."""
        project = self.project(deployment)
        return [str(item["ip"]) for item in self._of(project)] if project else []

    def ensure(self, deployment: str, droplet: str, name: str) -> str:
        """Return the address that leads to the droplet: one that it has, one of before that no
        droplet has now, or a new one."""
        project = self.project(deployment) or self._create_project(deployment)
        doing = f"group {name}"
        urns = {"resources": [f"do:droplet:{droplet}"]}
        self._api.post(f"projects/{project}/resources", doing, urns)
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

    def delete_project(self, deployment: str) -> None:
        """Delete the deployment's project, when all in it is gone."""
        project = self.project(deployment)
        if project:
            self._api.delete(f"projects/{project}", f"delete the project of {deployment}")

    def _of(self, project: str) -> list[dict[str, Any]]:
        doing = "list the reserved addresses"
        items = self._api.list("reserved_ips", "reserved_ips", doing)
        ours = [item for item in items if item.get("project_id") == project]
        for item in ours:
            _checked(self._api, item, doing)
        return ours

    def _create_project(self, deployment: str) -> str:
        doing = f"create the project {name_of(deployment)}"
        body = {
            "name": name_of(deployment),
            "description": mark_of(deployment),
            "purpose": "Website or blog",
        }
        made = self._api.post("projects", doing, body)
        return str(inner(self._api, made, "project", doing)["id"])

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
