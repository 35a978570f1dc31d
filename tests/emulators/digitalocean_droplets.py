"""DigitalOcean's droplets, stateful: they take time; their login keys, actions and snapshots."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

from tests.emulators.digitalocean_values import (
    IMAGES,
    MOMENT,
    RATE,
    REGIONS,
    SIZES,
    image_of,
    network,
    network6,
    public,
    refuse,
    region,
    size_of,
)
from tests.emulators.server import Emulator, Reply, Request

ROUTES = """
GET    /account/keys                      list_keys
POST   /account/keys                      create_key
DELETE /account/keys/{key}                delete_key
GET    /actions/{action}                  get_action
GET    /droplets                          list_droplets
POST   /droplets                          create_droplet
GET    /droplets/{droplet}                get_droplet
DELETE /droplets/{droplet}                delete_droplet
GET    /droplets/{droplet}/actions        list_actions
POST   /droplets/{droplet}/actions        act_on_droplet
GET    /snapshots                         list_snapshots
DELETE /snapshots/{snapshot}              delete_snapshot
"""


class Droplets(Emulator):
    """The part of the emulator that is about droplets."""

    steps: int
    paged: Any
    _ids: Iterator[int]
    _under_way: Any
    _waiting: dict[Any, int]
    vpcs: dict[str, dict[str, Any]]
    tags: set[str]
    begin_droplet: Any
    end_droplet: Any
    firewalls_changed: Any

    def begin_droplets(self) -> None:
        self.droplets: dict[int, dict[str, Any]] = {}
        self.user_data: dict[int, str] = {}
        self.keys: dict[int, dict[str, Any]] = {}
        self.snapshots: dict[str, dict[str, Any]] = {}
        self.actions: dict[int, dict[str, Any]] = {}
        self.droplet_limit = 25
        self.add_routes(ROUTES)

    def list_keys(self, request: Request) -> Reply:
        return self.paged(request, "ssh_keys", list(self.keys.values()))

    def create_key(self, request: Request) -> Reply:
        public = request.body["public_key"]
        parts = public.split()
        if len(parts) < 2 or not parts[0].startswith("ssh-"):
            return refuse("Key invalid, key should be of the format `type key [comment]`")
        raw = hashlib.md5(base64.b64decode(parts[1]), usedforsecurity=False).hexdigest()
        fingerprint = ":".join(raw[i : i + 2] for i in range(0, 32, 2))
        if any(key["fingerprint"] == fingerprint for key in self.keys.values()):
            return refuse("SSH Key is already in use on your account")
        key = {
            "id": next(self._ids),
            "fingerprint": fingerprint,
            "public_key": public,
            "name": request.body["name"],
        }
        self.keys[key["id"]] = key
        return Reply(201, {"ssh_key": key}, dict(RATE))

    def delete_key(self, request: Request, key: str) -> Reply:
        return Reply(204) if self.keys.pop(int(key), None) else self.missing(request)

    def _now(self, droplet: dict[str, Any]) -> dict[str, Any]:
        if droplet["status"] == "new" and not self._under_way(("new", droplet["id"])):
            droplet["status"] = "active"
            droplet["locked"] = False
            droplet["networks"]["v4"] = [
                network(droplet["_private"], "private"),
                network(droplet["_public"], "public"),
            ]
            if "ipv6" in droplet["features"]:
                droplet["networks"]["v6"] = [network6(droplet["_ipv6"])]
        return {key: value for key, value in droplet.items() if not key.startswith("_")}

    def _sweep(self) -> None:
        for identity, droplet in list(self.droplets.items()):
            if droplet["_ending"] and not self._under_way(("end", identity)):
                del self.droplets[identity]
                self.end_droplet(droplet)
                self.firewalls_changed()

    def list_droplets(self, request: Request) -> Reply:
        self._sweep()
        tag, name = request.query.get("tag_name"), request.query.get("name")
        found = [
            droplet
            for droplet in self.droplets.values()
            if (tag is None or tag in droplet["tags"]) and name in (None, droplet["name"])
        ]
        return self.paged(request, "droplets", [self._now(droplet) for droplet in found])

    def get_droplet(self, request: Request, droplet: str) -> Reply:
        self._sweep()
        found = self.droplets.get(int(droplet))
        return (
            Reply(200, {"droplet": self._now(found)}, dict(RATE))
            if found
            else self.missing(request)
        )

    def _droplet_problem(self, body: dict[str, Any]) -> str:
        image = body["image"]
        if body["size"] not in {slug for slug, *_ in SIZES}:
            return "You specified an invalid size for Droplet creation."
        if body["region"] not in REGIONS:
            return "You specified an invalid region for Droplet creation."
        if body["region"] not in next(size[5] for size in SIZES if size[0] == body["size"]):
            return "Size is not available in this region."
        if image not in IMAGES and str(image) not in self.snapshots:
            return "You specified an invalid image for Droplet creation."
        if body.get("vpc_uuid") not in self.vpcs:
            return "VPC is invalid"
        if len(body.get("user_data") or "") > 64 * 1024:
            return "user_data must be less than 64 KiB"
        if not set(body.get("ssh_keys") or []) <= set(self.keys):
            return "ssh_keys are invalid"
        if len(self.droplets) >= self.droplet_limit:
            return "creating this/these droplet(s) will exceed your droplet limit"
        return ""

    def create_droplet(self, request: Request) -> Reply:
        body = request.body
        problem = self._droplet_problem(body)
        if problem:
            return refuse(problem)
        identity = next(self._ids)
        size = size_of(body["size"])
        droplet: dict[str, Any] = {
            "id": identity,
            "name": body["name"],
            "memory": size["memory"],
            "vcpus": size["vcpus"],
            "disk": size["disk"],
            "locked": True,
            "status": "new",
            "kernel": None,
            "created_at": MOMENT,
            "features": ["private_networking", "monitoring", *["ipv6"] * body.get("ipv6", False)],
            "backup_ids": [],
            "next_backup_window": {},
            "snapshot_ids": [],
            "image": image_of(body["image"]),
            "volume_ids": [],
            "size": size,
            "size_slug": body["size"],
            "networks": {"v4": [], "v6": []},
            "region": region(body["region"]),
            "tags": body.get("tags") or [],
            "vpc_uuid": body["vpc_uuid"],
            "_ending": False,
        }
        # a tag that does not exist is made with the droplet
        self.tags |= set(droplet["tags"])
        addresses = self.begin_droplet(droplet, body.get("user_data", ""))
        droplet["_private"], droplet["_public"], droplet["_ipv6"] = addresses
        self.droplets[identity] = droplet
        self.user_data[identity] = body.get("user_data", "")
        self._waiting["new", identity] = self.steps
        self.firewalls_changed()
        shown = {key: value for key, value in droplet.items() if not key.startswith("_")}
        action = {"id": next(self._ids), "rel": "create", "href": f"{self.origin}/v2/actions/1"}
        return Reply(202, {"droplet": shown, "links": {"actions": [action]}}, dict(RATE))

    def delete_droplet(self, request: Request, droplet: str) -> Reply:
        found = self.droplets.get(int(droplet))
        if found is None:
            return self.missing(request)
        found["_ending"] = True
        self._waiting["end", found["id"]] = self.steps
        return Reply(204)

    def act_on_droplet(self, request: Request, droplet: str) -> Reply:
        found = self.droplets.get(int(droplet))
        if found is None:
            return self.missing(request)
        if request.body["type"] != "snapshot":
            return refuse("the emulator knows snapshots only")
        if any(
            action["resource_id"] == found["id"] and action["status"] == "in-progress"
            for action in self.actions.values()
        ):
            return refuse("Droplet already has a pending event.")
        action = {
            "id": next(self._ids),
            "status": "in-progress",
            "type": "snapshot",
            "started_at": MOMENT,
            "completed_at": None,
            "resource_id": found["id"],
            "resource_type": "droplet",
            "region": found["region"],
            "region_slug": found["region"]["slug"],
            "_name": request.body["name"],
        }
        self.actions[action["id"]] = action
        self._waiting["action", action["id"]] = self.steps
        return Reply(201, {"action": public(action)}, dict(RATE))

    def get_action(self, request: Request, action: str) -> Reply:
        found = self.actions.get(int(action))
        if found is None:
            return self.missing(request)
        self._proceed(found)
        return Reply(200, {"action": public(found)}, dict(RATE))

    def list_actions(self, request: Request, droplet: str) -> Reply:
        found = [a for a in self.actions.values() if a["resource_id"] == int(droplet)]
        for action in found:
            self._proceed(action)
        return self.paged(request, "actions", [public(action) for action in found])

    def _proceed(self, action: dict[str, Any]) -> None:
        if action["status"] == "in-progress" and not self._under_way(("action", action["id"])):
            action |= {"status": "completed", "completed_at": MOMENT}
            identity = str(next(self._ids))
            self.snapshots[identity] = {
                "id": identity,
                "name": action["_name"],
                "created_at": MOMENT,
                "regions": [action["region_slug"]],
                "min_disk_size": 25,
                "size_gigabytes": 1.5,
                "resource_id": str(action["resource_id"]),
                "resource_type": "droplet",
                "tags": [],
            }

    def list_snapshots(self, request: Request) -> Reply:
        return self.paged(request, "snapshots", list(self.snapshots.values()))

    def delete_snapshot(self, request: Request, snapshot: str) -> Reply:
        return Reply(204) if self.snapshots.pop(snapshot, None) else self.missing(request)
