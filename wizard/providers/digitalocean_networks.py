"""VPC, cloud firewalls and tags of deployments at DigitalOcean."""

from __future__ import annotations

from typing import Any

from wizard.errors import ProviderError, TransientError
from wizard.providers import digitalocean_values as values
from wizard.providers.digitalocean_api import Api, is_forbidden
from wizard.rules import Rule


class Networks:
    """Networks of deployments in one region. Callers make sure that nobody else makes the same."""

    def __init__(self, api: Api, region: str) -> None:
        self._api = api
        self._region = region

    def find(self, deployment: str) -> dict[str, Any] | None:
        """Return the deployment's VPC, None if there is none."""
        doing = "list the vpcs"
        found = values.ours(self._api, self._api.list("vpcs", "vpcs", doing), deployment, doing)
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

    def ensure(self, deployment: str) -> dict[str, Any]:
        """Return the deployment's VPC, created in the region if missing."""
        found = self.find(deployment)
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
        return found

    def tags(self, deployment: str) -> list[str]:
        """Return the deployment's tags."""
        own = values.tag_of(deployment)
        listed = self._api.list("tags", "tags", "list the tags")
        names = [str(item.get("name")) for item in listed]
        return [name for name in names if name == own or name.startswith(f"{own}:")]

    def ensure_tags(self, deployment: str, wanted: set[str]) -> None:
        """Create those of the tags that are missing."""
        for tag in sorted(wanted - set(self.tags(deployment))):
            self._api.post("tags", f"create the tag {tag}", {"name": tag})

    def firewalls(self, deployment: str) -> list[dict[str, Any]]:
        """Return the deployment's cloud firewalls."""
        doing = "list the firewalls"
        items = self._api.list("firewalls", "firewalls", doing)
        return values.ours(self._api, items, deployment, doing)

    def set_firewalls(
        self, deployment: str, rules: tuple[Rule, ...], build_machine: str, *, enabled: bool
    ) -> None:
        """Make the cloud firewalls equal to `rules`: one that closes all machines of the
        deployment to all but what one for each role lets in."""
        wanted = values.firewalls(deployment, rules, build_machine, enabled=enabled)
        self.ensure_tags(deployment, values.tags_in(wanted))
        existing = {item["name"]: item for item in self.firewalls(deployment)}
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

    def delete(self, identity: str, name: str) -> None:
        """Delete a VPC; TransientError as long as it has members."""
        try:
            self._api.delete(f"vpcs/{identity}", f"delete {name}")
        except ProviderError as error:
            # droplets that are gone stay members of their VPC for a while
            if is_forbidden(error) and "member" in error.why:
                raise TransientError(
                    error.what, why=error.why, cure="run again in a minute", code=error.code
                ) from error
            raise
