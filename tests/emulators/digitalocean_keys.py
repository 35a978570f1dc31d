"""DigitalOcean's keys of Spaces, stateful: the secret is told once."""

from __future__ import annotations

import itertools
from typing import Any

from tests.emulators.digitalocean_values import MOMENT, RATE, refuse
from tests.emulators.server import Emulator, Reply, Request

ROUTES = """
GET    /spaces/keys                       list_storage_keys
POST   /spaces/keys                       create_storage_key
DELETE /spaces/keys/{key}                 delete_storage_key
"""


class Keys(Emulator):
    """The part of the emulator that is about keys of Spaces."""

    paged: Any

    def begin_keys(self) -> None:
        self.storage_keys: dict[str, dict[str, Any]] = {}
        self._storage_numbers = itertools.count(1)
        self.add_routes(ROUTES)

    def storage_secret(self, access_key: str) -> str:
        """Return the secret of a new key; overridden where real object storage stands behind."""
        return f"secret-of-{access_key}"

    def list_storage_keys(self, request: Request) -> Reply:
        return self.paged(request, "keys", list(self.storage_keys.values()))

    def create_storage_key(self, request: Request) -> Reply:
        grants = request.body.get("grants") or []
        if not grants:
            return refuse("a key without grants is none that anybody here wants")
        for grant in grants:
            if set(grant) != {"bucket", "permission"}:
                return refuse("a grant has a bucket and a permission")
            if grant["permission"] not in ("read", "readwrite") or not grant["bucket"]:
                return refuse("the permission is not limited to a bucket")
        access_key = f"DO00{next(self._storage_numbers):016}"
        key = {"name": request.body["name"], "grants": grants, "access_key": access_key}
        self.storage_keys[access_key] = {**key, "created_at": MOMENT}
        shown = {**self.storage_keys[access_key], "secret_key": self.storage_secret(access_key)}
        return Reply(201, {"key": shown}, dict(RATE))

    def delete_storage_key(self, request: Request, key: str) -> Reply:
        return Reply(204) if self.storage_keys.pop(key, None) else self.missing(request)
