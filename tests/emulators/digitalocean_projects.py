"""DigitalOcean's projects and reserved addresses, stateful."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from tests.emulators.digitalocean_values import (
    MOMENT,
    RATE,
    error,
    public,
    refuse,
    region,
)
from tests.emulators.server import Emulator, Reply, Request

ROUTES = """
GET    /projects                          list_projects
POST   /projects                          create_project
DELETE /projects/{project}                delete_project
GET    /projects/{project}/resources      list_grouped
POST   /projects/{project}/resources      group
GET    /reserved_ips                      list_reserved_ips
POST   /reserved_ips                      create_reserved_ip
GET    /reserved_ips/{address}            get_reserved_ip
POST   /reserved_ips/{address}/actions    act_on_reserved_ip
DELETE /reserved_ips/{address}            delete_reserved_ip
"""


class Projects(Emulator):
    """The part of the emulator that is about what belongs together."""

    steps: int
    paged: Any
    _ids: Iterator[int]
    _under_way: Any
    _waiting: dict[Any, int]
    droplets: dict[int, dict[str, Any]]
    databases: dict[str, dict[str, Any]]
    _sweep: Any

    def begin_projects(self) -> None:
        self.projects: dict[str, dict[str, Any]] = {}
        self.grouped: dict[str, str] = {}  # what is in which project; the default's is not told
        self.reserved: dict[str, dict[str, Any]] = {}
        self.add_routes(ROUTES)

    def list_projects(self, request: Request) -> Reply:
        return self.paged(request, "projects", list(self.projects.values()))

    def create_project(self, request: Request) -> Reply:
        body = request.body
        if any(project["name"] == body["name"] for project in self.projects.values()):
            return error(409, "conflict", "a project with this name already exists")
        assert body["purpose"]
        made = {"id": str(uuid.uuid4()), "is_default": False, "created_at": MOMENT, **body}
        self.projects[made["id"]] = made
        return Reply(201, {"project": made}, dict(RATE))

    def group(self, request: Request, project: str) -> Reply:
        if project not in (*self.projects, "default"):
            return self.missing(request)
        named = []
        for urn in request.body["resources"]:
            known = self._exists(urn)
            status = "already_assigned" if self.grouped.get(urn) == project else "assigned"
            named.append({"urn": urn, "status": status if known else "not_found"})
            if known:
                self.grouped[urn] = project
        return Reply(200, {"resources": named}, dict(RATE))

    def _exists(self, urn: str) -> bool:
        _, kind, identity = urn.split(":")
        if kind == "droplet":
            return int(identity) in self.droplets
        return kind == "space" or identity in self.databases

    def inside(self, project: str) -> list[str]:
        """What is in a project, but for reserved addresses, which say it themselves."""
        urns = [urn for urn, where in self.grouped.items() if where == project]
        return [urn for urn in urns if self._exists(urn)]

    def list_grouped(self, request: Request, project: str) -> Reply:
        self._sweep()
        if project not in self.projects:
            return self.missing(request)
        named = [{"urn": urn, "status": "ok"} for urn in self.inside(project)]
        return self.paged(request, "resources", named)

    def delete_project(self, request: Request, project: str) -> Reply:
        if project not in self.projects:
            return self.missing(request)
        inside = self.inside(project)
        inside += [ip for ip, item in self.reserved.items() if item["project_id"] == project]
        if inside:
            return error(412, "precondition_failed", "cannot delete a project with resources")
        del self.projects[project]
        return Reply(204)

    def _reserved_now(self, address: str) -> dict[str, Any]:
        item = self.reserved[address]
        if item["_droplet"] not in self.droplets:
            item["_droplet"] = None
        elif not self._under_way(("reserved", address)):
            item["droplet"] = {"id": item["_droplet"]}
        if item["_droplet"] is None:
            item["droplet"] = None
        return public(item)

    def list_reserved_ips(self, request: Request) -> Reply:
        self._sweep()
        return self.paged(request, "reserved_ips", [self._reserved_now(ip) for ip in self.reserved])

    def create_reserved_ip(self, request: Request) -> Reply:
        if len(self.reserved) >= 3:
            return refuse("reserved IP limit exceeded")
        address = f"198.51.100.{next(self._ids) % 250 + 1}"
        self.reserved[address] = {
            "ip": address,
            "region": region(request.body["region"]),
            "droplet": None,
            "locked": False,
            "project_id": request.body["project_id"],
            "_droplet": None,
        }
        return Reply(202, {"reserved_ip": self._reserved_now(address)}, dict(RATE))

    def get_reserved_ip(self, request: Request, address: str) -> Reply:
        if address not in self.reserved:
            return self.missing(request)
        return Reply(200, {"reserved_ip": self._reserved_now(address)}, dict(RATE))

    def act_on_reserved_ip(self, request: Request, address: str) -> Reply:
        body = request.body
        if address not in self.reserved or body["droplet_id"] not in self.droplets:
            return self.missing(request)
        assert body["type"] == "assign"
        taken = [i["ip"] for i in self.reserved.values() if i["_droplet"] == body["droplet_id"]]
        if address in taken and self.reserved[address]["droplet"] is None:
            return refuse("the reserved IP already has a pending event")
        if taken:
            return refuse("the droplet already has a reserved IP")
        self.reserved[address]["_droplet"] = body["droplet_id"]
        self._waiting["reserved", address] = self.steps
        action = {"id": next(self._ids), "status": "in-progress", "type": "assign_ip"}
        return Reply(201, {"action": action}, dict(RATE))

    def delete_reserved_ip(self, request: Request, address: str) -> Reply:
        return Reply(204) if self.reserved.pop(address, None) else self.missing(request)
