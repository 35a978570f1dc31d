"""DigitalOcean's API, stateful: droplets that take time, actions, firewalls, VPCs, tags, keys,
snapshots, domains. As the vendor's document and its pages say, wrong requests are refused.

Time passes with requests: what is under way is done after it was asked for `steps` times.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import itertools
import re
import socket
import uuid
from typing import Any

from tests.emulators.digitalocean_databases import Databases
from tests.emulators.openapi import Document
from tests.emulators.server import Emulator, Reply, Request

MOMENT = "2026-01-02T03:04:05Z"
TOKEN = "dop_v1_0123456789abcdef"
RATE = {"ratelimit-limit": "5000", "ratelimit-remaining": "4999", "ratelimit-reset": "1800000000"}
REGIONS = ("fra1", "ams3", "nyc3")
SIZES = (
    ("s-1vcpu-512mb-10gb", 1, 512, 10, 4.0, REGIONS),
    ("s-1vcpu-1gb", 1, 1024, 25, 6.0, REGIONS),
    ("s-1vcpu-2gb", 1, 2048, 50, 12.0, REGIONS),
    ("s-2vcpu-4gb", 2, 4096, 80, 24.0, REGIONS),
    ("g-2vcpu-8gb", 2, 8192, 25, 63.0, ("nyc3",)),
)
IMAGES = {"debian-12-x64": 101, "debian-13-x64": 102, "ubuntu-24-04-x64": 103, "fedora-42-x64": 104}


class DigitalOceanEmulator(Databases, Emulator):
    """State by id. `tokens` by value with their scopes; None: all of them.

    `steps` is how many requests about it a droplet stays `new`, an action `in-progress`, and a
    deleted droplet in lists.
    """

    prefix = "/v2"

    def __init__(
        self,
        document: Document | None = None,
        listener: socket.socket | None = None,
        *,
        steps: int = 1,
    ) -> None:
        super().__init__(document, listener)
        self.steps = steps
        self.tokens: dict[str, frozenset[str] | None] = {TOKEN: None}
        self.droplets: dict[int, dict[str, Any]] = {}
        self.user_data: dict[int, str] = {}
        self.vpcs: dict[str, dict[str, Any]] = {}
        self.firewalls: dict[str, dict[str, Any]] = {}
        self.tags: set[str] = set()
        self.keys: dict[int, dict[str, Any]] = {}
        self.snapshots: dict[str, dict[str, Any]] = {}
        self.actions: dict[int, dict[str, Any]] = {}
        self.domains: dict[str, dict[int, dict[str, Any]]] = {}
        self.projects: dict[str, dict[str, Any]] = {}
        self.grouped: dict[str, str] = {}  # what is in which project
        self.reserved: dict[str, dict[str, Any]] = {}
        self.droplet_limit = 25
        self.account = {
            "droplet_limit": 25,
            "floating_ip_limit": 5,
            "email": "jo@example.org",
            "name": "Jo",
            "uuid": "b6fr89dbf6d9156cace5f3c78dc9851d957381ef",
            "email_verified": True,
            "status": "active",
            "status_message": "",
            "team": {"uuid": "5df3e3004a17e242b7c20ca6c9fc25b701a47ece", "name": "Shop"},
        }
        self._ids = itertools.count(100_001)
        self._networks = itertools.count()
        self._waiting: dict[Any, int] = {}
        for line in _ROUTES.strip().splitlines():
            method, path, name = line.split()
            self.route(method, path, getattr(self, name))
        self.begin_databases()

    # -- what stands behind it; overridden where droplets become real machines ---------------------

    def begin_droplet(self, droplet: dict[str, Any], user_data: str) -> tuple[str, str]:
        """Return the private and public address of a new droplet."""
        number = droplet["id"] - 100_000
        private = ipaddress.ip_network(self.vpcs[droplet["vpc_uuid"]]["ip_range"])[number % 250 + 2]
        return str(private), f"203.0.113.{number % 250 + 1}"

    def end_droplet(self, droplet: dict[str, Any]) -> None:
        """The droplet is gone."""

    def firewalls_changed(self) -> None:
        """Firewalls, or the droplets that they are about, changed."""

    # -- requests ----------------------------------------------------------------------------------

    def authorise(self, request: Request) -> Reply | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.tokens:
            return error(401, "unauthorized", "Unable to authenticate you")
        scopes = self.tokens[token]
        if scopes is not None and not _needed(request) & scopes:
            return error(403, "forbidden", "You are not authorized to perform this operation")
        return None

    def missing(self, request: Request) -> Reply:
        return error(404, "not_found", "The resource you requested could not be found.")

    def paged(self, request: Request, key: str, items: list[Any]) -> Reply:
        number, size = (int(request.query.get(k, d)) for k, d in (("page", 1), ("per_page", 20)))
        if not 1 <= size <= 200:
            return error(422, "unprocessable_entity", "per_page must be between 1 and 200")
        body: dict[str, Any] = {key: items[(number - 1) * size : number * size]}
        body["links"] = {}
        if number * size < len(items):
            others = "".join(
                f"&{k}={v}" for k, v in request.query.items() if k not in ("page", "per_page")
            )
            last = -(-len(items) // size)
            where = f"{self.origin}{request.path}?per_page={size}{others}&page="
            body["links"] = {"pages": {"next": f"{where}{number + 1}", "last": f"{where}{last}"}}
        body["meta"] = {"total": len(items)}
        return Reply(200, body, dict(RATE))

    def _under_way(self, what: Any) -> bool:
        """Say whether it still goes on, a request later."""
        left = self._waiting.get(what, 0)
        self._waiting[what] = left - 1
        return left > 0

    def dispatch(self, request: Request) -> Reply:
        if request.method in ("POST", "PUT") and request.raw == b"{}":
            return refuse("the request asks for nothing")
        return super().dispatch(request)

    def check(self, request: Request, reply: Reply) -> None:
        # Who asks for nothing wants to know whether they might: no document allows that. And the
        # vendor's lacks the authority of databases, which its own clients ask for there.
        # The document at hand has neither projects nor reserved addresses.
        strange = re.search(r"/ca$|^/v2/(projects|reserved_ips)(/|$)", request.path)
        if request.raw != b"{}" and not strange:
            super().check(request, reply)

    # -- account, catalogue ------------------------------------------------------------------------

    def get_account(self, request: Request) -> Reply:
        return Reply(200, {"account": self.account}, dict(RATE))

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

    def list_regions(self, request: Request) -> Reply:
        return self.paged(request, "regions", [_region(slug) for slug in (*REGIONS, "nyc1")])

    def list_sizes(self, request: Request) -> Reply:
        return self.paged(request, "sizes", [_size(slug) for slug, *_ in SIZES])

    def list_images(self, request: Request) -> Reply:
        return self.paged(request, "images", [_image(slug) for slug in IMAGES])

    # -- tags --------------------------------------------------------------------------------------

    def create_tag(self, request: Request) -> Reply:
        name = request.body["name"]
        if not re.fullmatch(r"[a-zA-Z0-9_\-:]{1,255}", name):
            return refuse("Name is invalid")
        self.tags.add(name)
        return Reply(201, {"tag": {"name": name, "resources": {"count": 0}}}, dict(RATE))

    def list_tags(self, request: Request) -> Reply:
        found = [{"name": name, "resources": {"count": 0}} for name in sorted(self.tags)]
        return self.paged(request, "tags", found)

    def delete_tag(self, request: Request, tag: str) -> Reply:
        if tag not in self.tags:
            return self.missing(request)
        self.tags.discard(tag)
        for droplet in (*self.droplets.values(), *self.databases.values()):
            droplet["tags"] = [name for name in droplet["tags"] if name != tag]
        return Reply(204)

    # -- VPCs --------------------------------------------------------------------------------------

    def list_vpcs(self, request: Request) -> Reply:
        return self.paged(request, "vpcs", list(self.vpcs.values()))

    def create_vpc(self, request: Request) -> Reply:
        body = request.body
        if any(vpc["name"] == body["name"] for vpc in self.vpcs.values()):
            return refuse("VPC name is already in use")
        if body["region"] not in REGIONS:
            return refuse("You must specify a valid region")
        number = next(self._networks)
        identity = str(uuid.uuid4())
        vpc = {
            "id": identity,
            "urn": f"do:vpc:{identity}",
            "name": body["name"],
            "description": body.get("description", ""),
            "region": body["region"],
            "ip_range": body.get("ip_range") or f"10.114.{number % 256}.0/24",
            "created_at": MOMENT,
            "default": False,
        }
        self.vpcs[identity] = vpc
        return Reply(201, {"vpc": vpc}, dict(RATE))

    def delete_vpc(self, request: Request, vpc: str) -> Reply:
        if vpc not in self.vpcs:
            return self.missing(request)
        inside = [droplet["vpc_uuid"] for droplet in self.droplets.values()]
        inside += [cluster["private_network_uuid"] for cluster in self.databases.values()]
        if self.vpcs[vpc]["default"] or vpc in inside:
            return error(403, "forbidden", "Can not delete VPC with members")
        del self.vpcs[vpc]
        return Reply(204)

    # -- projects and reserved addresses -----------------------------------------------------------

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
        if project not in self.projects:
            return self.missing(request)
        self.grouped |= dict.fromkeys(request.body["resources"], project)
        named = [{"urn": urn, "status": "assigned"} for urn in request.body["resources"]]
        return Reply(200, {"resources": named}, dict(RATE))

    def replace_project(self, request: Request, project: str) -> Reply:
        return self.missing(request)

    def delete_project(self, request: Request, project: str) -> Reply:
        if project not in self.projects:
            return self.missing(request)
        droplets = [f"do:droplet:{number}" for number in self.droplets]
        inside = [urn for urn in droplets if self.grouped.get(urn) == project]
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
        return _public(item)

    def list_reserved_ips(self, request: Request) -> Reply:
        self._sweep()
        return self.paged(request, "reserved_ips", [self._reserved_now(ip) for ip in self.reserved])

    def create_reserved_ip(self, request: Request) -> Reply:
        if len(self.reserved) >= 3:
            return refuse("reserved IP limit exceeded")
        address = f"198.51.100.{next(self._ids) % 250 + 1}"
        self.reserved[address] = {
            "ip": address,
            "region": _region(request.body["region"]),
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

    # -- firewalls ---------------------------------------------------------------------------------

    def list_firewalls(self, request: Request) -> Reply:
        return self.paged(request, "firewalls", list(self.firewalls.values()))

    def _firewall_problem(self, body: dict[str, Any], own: str = "") -> str:
        rules = [*(body.get("inbound_rules") or []), *(body.get("outbound_rules") or [])]
        named = set(body.get("tags") or [])
        for rule in rules:
            ends = rule.get("sources") or rule.get("destinations") or {}
            if not any(ends.values()):
                return "a rule needs at least one source or destination"
            named |= set(ends.get("tags") or [])
            for address in ends.get("addresses") or []:
                try:
                    ipaddress.ip_network(address)
                except ValueError:
                    return f"{address} is not a valid address"
            if rule["protocol"] != "icmp" and not re.fullmatch(
                r"\d+(-\d+)?|all|0", rule.get("ports", "")
            ):
                return "invalid ports"
        if not rules:
            return "must have at least one rule"
        if len(rules) > 50:
            return "has too many rules"
        if len(body.get("tags") or []) > 5:
            return "has too many tags"
        if named - self.tags:
            return f"tag {sorted(named - self.tags)[0]} does not exist"
        if any(f["name"] == body["name"] and f["id"] != own for f in self.firewalls.values()):
            return "duplicate name"
        return ""

    def _stored(self, identity: str, body: dict[str, Any]) -> dict[str, Any]:
        def full(rule: dict[str, Any], end: str) -> dict[str, Any]:
            # as the API shows them again: "0" for all ports
            ports = "0" if rule["ports"] == "all" or rule["protocol"] == "icmp" else rule["ports"]
            return {"protocol": rule["protocol"], "ports": ports, end: rule[end]}

        return {
            "id": identity,
            "name": body["name"],
            "status": "succeeded",
            "created_at": MOMENT,
            "pending_changes": [],
            "droplet_ids": body.get("droplet_ids") or [],
            "tags": body.get("tags") or [],
            "inbound_rules": [full(r, "sources") for r in body.get("inbound_rules") or []],
            "outbound_rules": [full(r, "destinations") for r in body.get("outbound_rules") or []],
        }

    def create_firewall(self, request: Request) -> Reply:
        problem = self._firewall_problem(request.body)
        if problem:
            return error(409 if problem == "duplicate name" else 422, "conflict", problem)
        identity = str(uuid.uuid4())
        self.firewalls[identity] = self._stored(identity, request.body)
        self.firewalls_changed()
        return Reply(202, {"firewall": self.firewalls[identity]}, dict(RATE))

    def replace_firewall(self, request: Request, firewall: str) -> Reply:
        if firewall not in self.firewalls:
            return self.missing(request)
        problem = self._firewall_problem(request.body, firewall)
        if problem:
            return refuse(problem)
        self.firewalls[firewall] = self._stored(firewall, request.body)
        self.firewalls_changed()
        return Reply(200, {"firewall": self.firewalls[firewall]}, dict(RATE))

    def delete_firewall(self, request: Request, firewall: str) -> Reply:
        if self.firewalls.pop(firewall, None) is None:
            return self.missing(request)
        self.firewalls_changed()
        return Reply(204)

    # -- droplets ----------------------------------------------------------------------------------

    def _now(self, droplet: dict[str, Any]) -> dict[str, Any]:
        if droplet["status"] == "new" and not self._under_way(("new", droplet["id"])):
            droplet["status"] = "active"
            droplet["locked"] = False
            droplet["networks"]["v4"] = [
                _network(droplet["_private"], "private"),
                _network(droplet["_public"], "public"),
            ]
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
        size = _size(body["size"])
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
            "features": ["private_networking", "monitoring"],
            "backup_ids": [],
            "next_backup_window": {},
            "snapshot_ids": [],
            "image": _image(body["image"]),
            "volume_ids": [],
            "size": size,
            "size_slug": body["size"],
            "networks": {"v4": [], "v6": []},
            "region": _region(body["region"]),
            "tags": body.get("tags") or [],
            "vpc_uuid": body["vpc_uuid"],
            "_ending": False,
        }
        # a tag that does not exist is made with the droplet
        self.tags |= set(droplet["tags"])
        addresses = self.begin_droplet(droplet, body.get("user_data", ""))
        droplet["_private"], droplet["_public"] = addresses
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

    # -- actions, snapshots ------------------------------------------------------------------------

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
        return Reply(201, {"action": _public(action)}, dict(RATE))

    def get_action(self, request: Request, action: str) -> Reply:
        found = self.actions.get(int(action))
        if found is None:
            return self.missing(request)
        self._proceed(found)
        return Reply(200, {"action": _public(found)}, dict(RATE))

    def list_actions(self, request: Request, droplet: str) -> Reply:
        found = [a for a in self.actions.values() if a["resource_id"] == int(droplet)]
        for action in found:
            self._proceed(action)
        return self.paged(request, "actions", [_public(action) for action in found])

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

    # -- domains -----------------------------------------------------------------------------------

    def add_domain(self, name: str) -> None:
        self.domains[name] = {}
        for server in ("ns1", "ns2", "ns3"):
            self.add_record(name, "NS", "@", f"{server}.digitalocean.com", 1800)

    def add_record(self, domain: str, kind: str, name: str, data: str, ttl: int = 60) -> int:
        identity = next(self._ids)
        self.domains[domain][identity] = {
            "id": identity,
            "type": kind,
            "name": name,
            "data": data,
            "ttl": ttl,
            "priority": None,
            "port": None,
            "weight": None,
            "flags": None,
            "tag": None,
        }
        return identity

    def lookup(self, name: str) -> tuple[int, list[str]]:
        """Answer for the name server behind this API."""
        with self.lock:
            found = [
                record
                for domain, records in self.domains.items()
                for record in records.values()
                if record["type"] == "A" and _absolute(record["name"], domain) == name
            ]
        return (found[0]["ttl"] if found else 0), [record["data"] for record in found]

    def get_domain(self, request: Request, domain: str) -> Reply:
        if domain not in self.domains:
            return self.missing(request)
        body = {"name": domain, "ttl": 1800, "zone_file": f"$ORIGIN {domain}.\n"}
        return Reply(200, {"domain": body}, dict(RATE))

    def list_records(self, request: Request, domain: str) -> Reply:
        if domain not in self.domains:
            return self.missing(request)
        name, kind = request.query.get("name"), request.query.get("type")
        found = [
            record
            for record in self.domains[domain].values()
            if name in (None, _absolute(record["name"], domain)) and kind in (None, record["type"])
        ]
        return self.paged(request, "domain_records", found)

    def create_record(self, request: Request, domain: str) -> Reply:
        if domain not in self.domains:
            return self.missing(request)
        body = request.body
        if not body.get("data"):
            return refuse("Data can't be blank")
        if body.get("ttl", 1800) < 30:
            return refuse("TTL must be at least 30")
        if body["type"] == "A":
            try:
                ipaddress.IPv4Address(body["data"])
            except ValueError:
                return refuse("IP address is invalid")
        others = [r for r in self.domains[domain].values() if r["name"] == body["name"]]
        if any(other["type"] == "CNAME" for other in others):
            return refuse("CNAME records cannot share a name with other records")
        if any((o["type"], o["data"]) == (body["type"], body["data"]) for o in others):
            return refuse("Data has already been taken")
        made = self.add_record(domain, body["type"], body["name"], body["data"], body["ttl"])
        return Reply(201, {"domain_record": self.domains[domain][made]}, dict(RATE))

    def delete_record(self, request: Request, domain: str, record: str) -> Reply:
        gone = self.domains.get(domain, {}).pop(int(record), None)
        return Reply(204) if gone else self.missing(request)


_ROUTES = """
GET    /account                           get_account
GET    /account/keys                      list_keys
POST   /account/keys                      create_key
DELETE /account/keys/{key}                delete_key
GET    /actions/{action}                  get_action
GET    /domains/{domain}                  get_domain
GET    /domains/{domain}/records          list_records
POST   /domains/{domain}/records          create_record
DELETE /domains/{domain}/records/{record} delete_record
GET    /droplets                          list_droplets
POST   /droplets                          create_droplet
GET    /droplets/{droplet}                get_droplet
DELETE /droplets/{droplet}                delete_droplet
GET    /droplets/{droplet}/actions        list_actions
POST   /droplets/{droplet}/actions        act_on_droplet
GET    /firewalls                         list_firewalls
POST   /firewalls                         create_firewall
PUT    /firewalls/{firewall}              replace_firewall
DELETE /firewalls/{firewall}              delete_firewall
GET    /images                            list_images
GET    /projects                          list_projects
POST   /projects                          create_project
PUT    /projects/{project}                replace_project
DELETE /projects/{project}                delete_project
POST   /projects/{project}/resources      group
GET    /regions                           list_regions
GET    /reserved_ips                      list_reserved_ips
POST   /reserved_ips                      create_reserved_ip
GET    /reserved_ips/{address}            get_reserved_ip
POST   /reserved_ips/{address}/actions    act_on_reserved_ip
DELETE /reserved_ips/{address}            delete_reserved_ip
GET    /sizes                             list_sizes
GET    /snapshots                         list_snapshots
DELETE /snapshots/{snapshot}              delete_snapshot
GET    /tags                              list_tags
POST   /tags                              create_tag
DELETE /tags/{tag}                        delete_tag
GET    /vpcs                              list_vpcs
POST   /vpcs                              create_vpc
DELETE /vpcs/{vpc}                        delete_vpc
"""
_KINDS = {
    "account": "ssh_key",
    "actions": "actions",
    "databases": "database",
    "domains": "domain",
    "droplets": "droplet",
    "firewalls": "firewall",
    "images": "image",
    "projects": "project",
    "regions": "regions",
    "reserved_ips": "reserved_ip",
    "sizes": "sizes",
    "snapshots": "snapshot",
    "tags": "tag",
    "vpcs": "vpc",
}


def _needed(request: Request) -> set[str]:
    """Return the scopes of which a token needs one, from the vendor's document."""
    kind = "account" if request.path == "/v2/account" else _KINDS[request.path.split("/")[2]]
    verb = {"GET": "read", "POST": "create", "PUT": "update", "DELETE": "delete"}[request.method]
    if request.path.endswith("/resources"):
        verb = "update"
    if request.path.endswith("/actions"):
        verb = "read" if request.method == "GET" else "update"
    if kind == "domain" and request.method in ("POST", "DELETE"):
        return {f"domain:{verb}", "domain:update"}
    return {f"{kind}:{verb}"}


def error(status: int, code: str, message: str) -> Reply:
    body = {"id": code, "message": message, "request_id": str(uuid.uuid4())}
    return Reply(status, body, dict(RATE))


def refuse(message: str) -> Reply:
    return error(422, "unprocessable_entity", message)


def _public(item: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if not key.startswith("_")}


def _absolute(name: str, domain: str) -> str:
    return domain if name == "@" else f"{name}.{domain}"


def _network(address: str, kind: str) -> dict[str, Any]:
    gateway = str(ipaddress.ip_network(f"{address}/24", strict=False)[1])
    return {"ip_address": address, "netmask": "255.255.255.0", "gateway": gateway, "type": kind}


def _region(slug: str) -> dict[str, Any]:
    sizes = [size[0] for size in SIZES if slug in size[5]]
    return {
        "slug": slug,
        "name": slug.upper(),
        "available": slug in REGIONS,
        "features": ["metadata"],
        "sizes": sizes,
    }


def _size(slug: str) -> dict[str, Any]:
    name, vcpus, memory, disk, price, regions = next(size for size in SIZES if size[0] == slug)
    return {
        "slug": name,
        "vcpus": vcpus,
        "memory": memory,
        "disk": disk,
        "price_monthly": price,
        "price_hourly": price / 672,
        "regions": list(regions),
        "available": True,
        "transfer": 1.0,
        "description": "Basic",
    }


def _image(slug: str | int) -> dict[str, Any]:
    name = str(slug)
    known = name in IMAGES
    family = name.partition("-")[0].capitalize()
    return {
        "id": IMAGES[name] if known else int(name),
        "name": name,
        "distribution": family if known else "Debian",
        "slug": name if known else None,
        "public": known,
        "regions": list(REGIONS),
        "created_at": MOMENT,
        "min_disk_size": 7,
        "size_gigabytes": 1.2,
        "type": "base" if known else "snapshot",
        "description": name,
        "tags": [],
        "status": "available",
        "error_message": "",
    }
