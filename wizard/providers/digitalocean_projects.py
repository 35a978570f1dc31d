"""Projects at DigitalOcean: what belongs to a deployment stands together in one of its own.

The project is called `build-usb.<deployment>`. Only what the deployment has made is put there;
other projects, and the user's domains in them, are left as they are.
https://docs.digitalocean.com/reference/api/digitalocean/#tag/Project-Resources
"""

from __future__ import annotations

import contextlib
from typing import Any

from wizard.errors import ProviderError, TransientError
from wizard.providers.digitalocean_api import Api, is_forbidden
from wizard.providers.digitalocean_values import NO_ID, identified, inner, mark_of, name_of

LISTED = ("projects",)
CHANGES = (
    ("POST", "projects"),
    ("POST", f"projects/{NO_ID}/resources"),
    ("DELETE", f"projects/{NO_ID}"),
)
_MOST = 100  # resources a request
_GROUPED = ("ok", "assigned", "already_assigned")


class Projects:
    """Projects of deployments. Callers make sure that nobody else makes the same."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def find(self, deployment: str) -> str:
        """Return the id of the deployment's project, empty if there is none, or if the token of a
        deployment that was made without one may not ask."""
        doing = "list the projects"
        try:
            items = identified(self._api, self._api.list("projects", "projects", doing), doing)
        except ProviderError as error:
            if not is_forbidden(error):
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

    def ensure(self, deployment: str) -> str:
        """Return the id of the deployment's project, made if missing."""
        found = self.find(deployment)
        if found:
            return found
        doing = f"create the project {name_of(deployment)}"
        body = {
            "name": name_of(deployment),
            "description": mark_of(deployment),
            "purpose": "Website or blog",
        }
        made = self._api.post("projects", doing, body)
        return str(inner(self._api, made, "project", doing)["id"])

    def group(self, project: str, urns: set[str]) -> int:
        """Put what is not in the project yet there; return how much that was."""
        missing = sorted(urns - set(self._inside(project)))
        lost = self._assign(project, missing)
        if lost:
            raise TransientError(
                f"DigitalOcean did not put {', '.join(lost)} into the deployment's project",
                where=f"project {project}",
                cure="run again in a minute: what was just made is not known everywhere yet",
            )
        return len(missing)

    def join(self, deployment: str, urn: str) -> None:
        """Put one resource into the deployment's project if there is one and the token may; else it
        comes there when all is grouped again."""
        # no webserver waits for that, or is lost by it
        with contextlib.suppress(ProviderError):
            project = self.find(deployment)
            if project:
                self._assign(project, [urn])

    def delete(self, deployment: str) -> None:
        """Delete the deployment's project. What is still in it (the bucket of backups, what
        somebody put there by hand) goes to the account's default project first."""
        project = self.find(deployment)
        if not project:
            return
        # what the list still shows and is gone goes nowhere
        self._assign("default", sorted(self._inside(project)))
        self._api.delete(f"projects/{project}", f"delete the project of {deployment}")

    def _inside(self, project: str) -> list[str]:
        doing = "list what is in the project"
        items = self._api.list(f"projects/{project}/resources", "resources", doing)
        if not all(isinstance(item.get("urn"), str) for item in items):
            raise self._api.senseless(doing, "something without a URN")
        return [str(item["urn"]) for item in items]

    def _assign(self, project: str, urns: list[str]) -> list[str]:
        """Put these into a project; return which of them did not go there."""
        doing, lost = "put together what belongs to the deployment", []
        for start in range(0, len(urns), _MOST):
            some = urns[start : start + _MOST]
            told = self._api.post(f"projects/{project}/resources", doing, {"resources": some})
            lost += _refused(some, told.get("resources"))
        return lost


def _refused(asked: list[str], told: Any) -> list[str]:
    """Return what of the URNs that were asked for is not where it shall be."""
    taken = [
        item.get("urn")
        for item in (told if isinstance(told, list) else ())
        if isinstance(item, dict) and item.get("status") in _GROUPED
    ]
    return [urn for urn in asked if urn not in taken]
