"""Keys of Spaces at DigitalOcean that open a deployment's buckets alone: machines hold no other.

A key is called `build-usb.<deployment>`; its secret is told once, when it is made.
https://docs.digitalocean.com/reference/api/reference/spaces-keys/
"""

from __future__ import annotations

from typing import Any

from wizard.providers.digitalocean_api import Api
from wizard.providers.digitalocean_values import name_of
from wizard.secrets import Secret

LISTED = ("spaces/keys",)
# not asked for creating one: a request for nothing might make a key
CHANGES = (("DELETE", "spaces/keys/0"),)
_PERMISSION = "readwrite"


class StorageKeys:
    """Keys of deployments. Callers make sure that nobody else makes the same."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def all(self, deployment: str) -> list[str]:
        """Return the access keys of the deployment."""
        return [str(item["access_key"]) for item in self._listed(deployment)]

    def ensure(self, deployment: str, buckets: tuple[str, ...], known: Secret | None) -> Secret:
        """Return ACCESS_KEY:SECRET_KEY for these buckets: `known` where it is one, else a new one;
        the deployment's others are deleted."""
        own = known.reveal().partition(":")[0] if known else ""
        wanted = [{"bucket": name, "permission": _PERMISSION} for name in sorted(buckets)]
        kept: Secret | None = None
        for item in self._listed(deployment):
            if item["access_key"] == own and _grants(item) == wanted:
                kept = known
            else:
                # of other buckets, or one whose secret was lost on the way
                self.delete(str(item["access_key"]))
        return kept or self._create(deployment, wanted)

    def delete(self, access_key: str) -> None:
        """Delete a key; what is gone already is no error."""
        self._api.delete(f"spaces/keys/{access_key}", f"delete the key {access_key} of Spaces")

    def _listed(self, deployment: str) -> list[dict[str, Any]]:
        doing = "list the keys of Spaces"
        items = self._api.list("spaces/keys", "keys", doing)
        ours = [item for item in items if item.get("name") == name_of(deployment)]
        for item in ours:
            self._told(item, "access_key", doing)
        return ours

    def _create(self, deployment: str, grants: list[dict[str, str]]) -> Secret:
        doing = f"make a key of Spaces for {deployment}"
        body = {"name": name_of(deployment), "grants": grants}
        made = self._api.post("spaces/keys", doing, body).get("key")
        item = made if isinstance(made, dict) else {}
        access, secret = (self._told(item, key, doing) for key in ("access_key", "secret_key"))
        return Secret(f"{access}:{secret}")

    def _told(self, item: dict[str, Any], key: str, doing: str) -> str:
        value = item.get(key)
        if not isinstance(value, str) or not value or ":" in value or not value.isprintable():
            raise self._api.senseless(doing, f"a key of Spaces without {key}")
        return value


def _grants(item: dict[str, Any]) -> list[dict[str, Any]]:
    listed = item.get("grants")
    found = [grant for grant in listed or () if isinstance(grant, dict)]
    short = [{key: grant.get(key) for key in ("bucket", "permission")} for grant in found]
    return sorted(short, key=lambda grant: str(grant["bucket"]))
