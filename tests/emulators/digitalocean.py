"""DigitalOcean's API, stateful: accounts, tokens and their scopes, and what its parts know. As the
vendor's document and its pages say, wrong requests are refused.

Time passes with requests: what is under way is done after it was asked for `steps` times.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
import socket
from typing import Any

from tests.emulators.digitalocean_databases import Databases
from tests.emulators.digitalocean_domains import Domains
from tests.emulators.digitalocean_droplets import Droplets
from tests.emulators.digitalocean_keys import Keys
from tests.emulators.digitalocean_networks import Networks
from tests.emulators.digitalocean_projects import Projects
from tests.emulators.digitalocean_values import (
    IMAGES,
    RATE,
    REGIONS,
    SIZES,
    error,
    image_of,
    refuse,
    region,
    size_of,
)
from tests.emulators.openapi import Document
from tests.emulators.server import Reply, Request

TOKEN = "dop_v1_0123456789abcdef"
ROUTES = """
GET    /account                           get_account
GET    /images                            list_images
GET    /regions                           list_regions
GET    /sizes                             list_sizes
"""


class DigitalOceanEmulator(Droplets, Networks, Projects, Domains, Databases, Keys):
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
        self._waiting: dict[Any, int] = {}
        self.add_routes(ROUTES)
        self.begin_droplets()
        self.begin_networks()
        self.begin_projects()
        self.begin_domains()
        self.begin_databases()
        self.begin_keys()

    # -- what stands behind it; overridden where droplets become real machines ---------------------

    def begin_droplet(self, droplet: dict[str, Any], user_data: str) -> tuple[str, str, str]:
        """Return the private and public address of a new droplet, and the one of IPv6."""
        number = droplet["id"] - 100_000
        private = ipaddress.ip_network(self.vpcs[droplet["vpc_uuid"]]["ip_range"])[number % 250 + 2]
        return str(private), f"203.0.113.{number % 250 + 1}", f"2001:db8::{number:x}"

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
        # The document at hand has neither projects, reserved addresses nor keys of Spaces.
        strange = re.search(r"/ca$|^/v2/(projects|reserved_ips|spaces)(/|$)", request.path)
        if request.raw != b"{}" and not strange:
            super().check(request, reply)

    # -- account, catalogue ------------------------------------------------------------------------

    def get_account(self, request: Request) -> Reply:
        return Reply(200, {"account": self.account}, dict(RATE))

    def list_regions(self, request: Request) -> Reply:
        return self.paged(request, "regions", [region(slug) for slug in (*REGIONS, "nyc1")])

    def list_sizes(self, request: Request) -> Reply:
        return self.paged(request, "sizes", [size_of(slug) for slug, *_ in SIZES])

    def list_images(self, request: Request) -> Reply:
        return self.paged(request, "images", [image_of(slug) for slug in IMAGES])


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
    "spaces": "spaces_key",
    "snapshots": "snapshot",
    "tags": "tag",
    "vpcs": "vpc",
}


def _needed(request: Request) -> set[str]:
    """Return the scopes of which a token needs one, from the vendor's document."""
    kind = "account" if request.path == "/v2/account" else _KINDS[request.path.split("/")[2]]
    verb = {"GET": "read", "POST": "create", "PUT": "update", "DELETE": "delete"}[request.method]
    if request.path.endswith("/resources") and request.method == "POST":
        return {"project:assign_resource", "project:update"}
    if request.path.endswith("/actions"):
        verb = "read" if request.method == "GET" else "update"
    if kind == "domain" and request.method in ("POST", "DELETE"):
        return {f"domain:{verb}", "domain:update"}
    if (kind, verb) == ("spaces_key", "create"):
        return {"spaces_key:create_credentials"}
    return {f"{kind}:{verb}"}
