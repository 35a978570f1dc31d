"""DigitalOcean's managed databases, stateful: clusters that take time, trusted sources, authority.

Time passes with requests, as for droplets. No server stands behind them here.
"""

from __future__ import annotations

import base64
import itertools
import uuid
from typing import Any

from tests.emulators.authority import Authority
from tests.emulators.digitalocean_values import MOMENT
from tests.emulators.server import Emulator, Reply, Request

ENGINES = {
    "regions": ["fra1", "ams3"],
    "versions": ["8"],
    "default_version": "8",
    "layouts": [
        {"num_nodes": 1, "sizes": ["db-s-1vcpu-1gb", "db-s-2vcpu-4gb", "db-s-64vcpu-1tb"]},
        {"num_nodes": 2, "sizes": ["db-s-1vcpu-2gb"]},
    ],
}
OFFERED = {"mysql": ENGINES, "pg": {**ENGINES, "versions": ["15", "16", "17", "18"]}}
ROUTES = """
GET    /databases                         list_databases
POST   /databases                         create_database
GET    /databases/options                 list_database_options
GET    /databases/{database}              get_database
DELETE /databases/{database}              delete_database
GET    /databases/{database}/ca           get_database_authority
GET    /databases/{database}/firewall     get_database_firewall
PUT    /databases/{database}/firewall     set_database_firewall
"""


class Databases(Emulator):
    """The part of the emulator that is about managed databases. `sees_passwords`: the token has
    the scope for that."""

    steps: int
    vpcs: dict[str, dict[str, Any]]
    tags: set[str]

    def begin_databases(self) -> None:
        self.databases: dict[str, dict[str, Any]] = {}
        self.database_rules: dict[str, list[dict[str, Any]]] = {}
        self.database_limit = 3
        self.sees_passwords = True
        self.authority = Authority("the emulated DigitalOcean")
        self._numbers = itertools.count(1)
        self.add_routes(ROUTES)

    # -- what stands behind it; overridden where clusters are real servers -------------------------

    def begin_database(self, cluster: dict[str, Any]) -> str:
        """Return the private host of a new cluster, whose `_password` is its administrator's."""
        return f"private-{cluster['name']}-do-user-1-0.b.db.ondigitalocean.com"

    def database_is_ready(self, cluster: dict[str, Any]) -> bool:
        """Say whether a cluster can be online."""
        return True

    def end_database(self, cluster: dict[str, Any]) -> None:
        """The cluster is gone."""

    def database_rules_changed(self, cluster: dict[str, Any]) -> None:
        """Who may reach it changed."""

    # -- requests ----------------------------------------------------------------------------------

    def _refuse_database(self, message: str, status: int = 422) -> Reply:
        code = {404: "not_found", 412: "precondition_failed"}.get(status, "unprocessable_entity")
        body = {"id": code, "message": message, "request_id": str(uuid.uuid4())}
        return Reply(status, body)

    def _pass_database_time(self) -> None:
        for identity, cluster in list(self.databases.items()):
            cluster["_left"] -= 1
            if cluster["_left"] < 0 and cluster["_ending"]:
                del self.databases[identity]
                del self.database_rules[identity]
                self.end_database(cluster)
            elif cluster["_left"] < 0 and self.database_is_ready(cluster):
                cluster["status"] = "online"

    def _shown(self, cluster: dict[str, Any]) -> dict[str, Any]:
        connection = {
            "uri": "",
            "database": "defaultdb",
            "host": cluster["_host"].removeprefix("private-"),
            "port": 25060,
            "user": "doadmin",
            "password": cluster["_password"] if self.sees_passwords else "",
            "ssl": True,
        }
        shown = {key: value for key, value in cluster.items() if not key.startswith("_")}
        private = {**connection, "host": cluster["_host"]}
        return {**shown, "connection": connection, "private_connection": private}

    def list_database_options(self, request: Request) -> Reply:
        return Reply(200, {"options": OFFERED})

    def list_databases(self, request: Request) -> Reply:
        self._pass_database_time()
        tag = request.query.get("tag_name")
        found = [c for c in self.databases.values() if tag is None or tag in c["tags"]]
        return Reply(200, {"databases": [self._shown(cluster) for cluster in found]})

    def _database_problem(self, body: dict[str, Any]) -> str:
        sizes = next(x["sizes"] for x in ENGINES["layouts"] if x["num_nodes"] == 1)  # type: ignore[index]
        if body.get("version") not in OFFERED.get(body["engine"], {}).get("versions", []):
            return "invalid engine or version"
        if body["size"] not in sizes:
            return "invalid size"
        if body["region"] not in ENGINES["regions"]:
            return "invalid region"
        if body.get("private_network_uuid") not in self.vpcs:
            return "VPC not found"
        if any(cluster["name"] == body["name"] for cluster in self.databases.values()):
            return "cluster name is not available"
        if len(self.databases) >= self.database_limit:
            return "you have reached your database limit; contact support to raise it"
        return self._rules_problem(body.get("rules") or [])

    def _rules_problem(self, rules: list[dict[str, Any]]) -> str:
        for rule in rules:
            if rule["type"] == "tag" and rule["value"] not in self.tags:
                return f"tag {rule['value']} not found"
        return ""

    def create_database(self, request: Request) -> Reply:
        body = request.body
        problem = self._database_problem(body)
        if problem:
            return self._refuse_database(problem)
        identity = str(uuid.uuid4())
        cluster: dict[str, Any] = {
            "id": identity,
            "name": body["name"],
            "engine": body["engine"],
            "version": body["version"],
            "num_nodes": body["num_nodes"],
            "size": body["size"],
            "region": body["region"],
            "status": "creating",
            "created_at": MOMENT,
            "private_network_uuid": body["private_network_uuid"],
            "tags": list(body.get("tags") or []),
            "db_names": ["defaultdb"],
            "_password": f"AVNS_{uuid.uuid4().hex[:18]}",
            "_left": self.steps,
            "_ending": False,
        }
        self.tags |= set(cluster["tags"])
        cluster["_host"] = self.begin_database(cluster)
        self.databases[identity] = cluster
        self._set_rules(identity, body.get("rules") or [])
        return Reply(201, {"database": self._shown(cluster)})

    def _set_rules(self, identity: str, rules: list[dict[str, Any]]) -> None:
        self.database_rules[identity] = [
            {
                "uuid": str(uuid.uuid4()),
                "cluster_uuid": identity,
                "type": rule["type"],
                "value": rule["value"],
                "created_at": MOMENT,
            }
            for rule in rules
        ]
        self.database_rules_changed(self.databases[identity])

    def get_database(self, request: Request, database: str) -> Reply:
        self._pass_database_time()
        found = self.databases.get(database)
        return Reply(200, {"database": self._shown(found)}) if found else self.missing(request)

    def delete_database(self, request: Request, database: str) -> Reply:
        found = self.databases.get(database)
        if found is None:
            return self.missing(request)
        if found["status"] == "creating":
            return self._refuse_database("cluster is not online", 412)
        found |= {"_ending": True, "_left": self.steps}
        return Reply(204)

    def get_database_authority(self, request: Request, database: str) -> Reply:
        if database not in self.databases:
            return self.missing(request)
        text = base64.b64encode(self.authority.certificate.encode()).decode()
        return Reply(200, {"ca": {"certificate": text}})

    def get_database_firewall(self, request: Request, database: str) -> Reply:
        if database not in self.databases:
            return self.missing(request)
        return Reply(200, {"rules": self.database_rules[database]})

    def set_database_firewall(self, request: Request, database: str) -> Reply:
        if database not in self.databases:
            return self.missing(request)
        problem = self._rules_problem(request.body["rules"])
        if problem:
            return self._refuse_database(problem)
        self._set_rules(database, request.body["rules"])
        return Reply(204)
