"""Managed databases of DigitalOcean: MySQL and PostgreSQL clusters of one node, in the deployment's
VPC.

A cluster is called `build-usb-<deployment>` and carries the deployment's tag. Who may connect is a
list of its own ("trusted sources"), by tag; TLS is required by DigitalOcean. Its backups go with
it: what outlives it are the deployment's own.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from wizard.errors import ProviderError
from wizard.events import Progress
from wizard.providers import digitalocean_values as values
from wizard.providers.base import DatabaseFacts, DatabaseSpec, ManagedDatabase, Size
from wizard.providers.digitalocean_api import Api, is_missing, wait_until
from wizard.rules import Role
from wizard.secrets import Secret

LISTED = ("databases",)
CHANGES = (("POST", "databases"), ("DELETE", f"databases/{values.NO_ID}"))
SCOPES = ("database:create", "database:read", "database:update", "database:view_credentials")
"""What a token needs for them, beside `database:delete`."""
PORT = 25060
"""The port that every cluster answers on."""
PRICES_OF = "2025"

_CALLED = {"mysql": "mysql", "postgresql": "pg"}
"""The engines in DigitalOcean's words."""
# pg_dump of the database machine's Debian knows no server that is newer than itself
_NEWEST = {"postgresql": (17,)}

# seconds that a cluster may take to be made, in practice 5 to 10 minutes, and to be gone
_BIRTH, _DEATH = 3600.0, 600.0
_LONGEST_PAUSE = 15.0
# Monthly prices in USD of one node, of PRICES_OF and not compared with DigitalOcean's price page
# since, the same for both engines; the API has none, and what is not here is not offered: slug,
# vCPUs, MiB, GiB
_SIZES = (
    Size("db-s-1vcpu-1gb", 1, 1024, 10, Decimal("15.15")),
    Size("db-s-1vcpu-2gb", 1, 2048, 30, Decimal("30.45")),
    Size("db-s-2vcpu-4gb", 2, 4096, 60, Decimal("60.90")),
)
_DEFAULT = "db-s-1vcpu-1gb"


def facts(api: Api, region: str, engine: str) -> DatabaseFacts | None:
    """Return the sizes of an engine that the region offers and whose price is known, if any."""
    offered = _offered(api, engine)
    layouts = offered.get("layouts")
    if region not in values.texts(offered.get("regions")) or not isinstance(layouts, list):
        return None
    slugs = {
        slug
        for layout in layouts
        if isinstance(layout, dict) and layout.get("num_nodes") == 1
        for slug in values.texts(layout.get("sizes"))
    }
    sizes = tuple(size for size in _SIZES if size.name in slugs)
    if not sizes:
        return None
    names = [size.name for size in sizes]
    return DatabaseFacts(sizes, _DEFAULT if _DEFAULT in names else names[0], PORT, priced=PRICES_OF)


def _offered(api: Api, engine: str) -> dict[str, Any]:
    doing = "list the sizes of databases"
    options = api.get("databases/options", doing).get("options")
    found = options.get(_CALLED[engine]) if isinstance(options, dict) else None
    if not isinstance(found, dict):
        raise api.senseless(doing, f"it does not speak of {engine}")
    return found


def _newest(api: Api, engine: str) -> str:
    """Return the newest version there is of an engine that the machines' clients know too."""
    offered = values.texts(_offered(api, engine).get("versions"))
    newest = _NEWEST.get(engine)
    known = [v for v in offered if newest is None or _version(v)[: len(newest)] <= newest]
    if not known:
        raise ProviderError(
            f"DigitalOcean rents no version of {engine} that can be backed up from Debian 13",
            where="database.engine",
            why=f"it offers {', '.join(offered) or 'none'}",
            cure="use another engine, or database.managed: false",
        )
    return max(known, key=_version)


class Databases:
    """The clusters of deployments."""

    def __init__(self, api: Api, pause: Callable[[float], None]) -> None:
        self._api = api
        self._pause = pause

    def all(self, deployment: str) -> list[dict[str, Any]]:
        """Return the clusters that carry the deployment's tag. It has one; more where an answer was
        lost and the list did not show it at once."""
        tag, doing = values.tag_of(deployment), "list the databases"
        try:
            answer = self._api.get("databases", doing, tag_name=tag)
        except ProviderError as error:
            # no such tag
            if is_missing(error):
                return []
            raise
        items = answer.get("databases")
        # an account without any has none, or an empty list
        if not isinstance(items or [], list):
            raise self._api.senseless(doing, "it holds no list of databases")
        found = values.identified(self._api, items or [], doing)
        # what is deleted is by tag: the filter is looked at again
        return sorted((d for d in found if tag in values.texts(d.get("tags"))), key=values.age)

    def begin(self, spec: DatabaseSpec) -> dict[str, Any]:
        """Return the deployment's cluster, ordered if missing; it need not answer yet."""
        found = self.all(spec.deployment)
        name = name_of(spec.deployment)
        if not found:
            body = {
                "name": name,
                "engine": _CALLED[spec.engine],
                "version": _newest(self._api, spec.engine),
                "size": spec.size.name,
                "region": spec.region,
                "num_nodes": 1,
                "private_network_uuid": spec.network_id,
                "tags": [values.tag_of(spec.deployment)],
                "rules": _rules(spec),
            }
            doing = f"create the database {name}"
            made = self._api.post("databases", doing, body)
            found = [values.inner(self._api, made, "database", doing)]
        for twin in found[1:]:
            self.delete(str(twin["id"]), str(twin["name"]))
        return found[0]

    def finish(
        self, spec: DatabaseSpec, cluster: dict[str, Any], progress: Progress
    ) -> ManagedDatabase:
        """Wait until the cluster answers; then let in who shall reach it, and nobody else."""
        identity, name = str(cluster["id"]), str(cluster["name"])
        doing = f"ask for the database {name}"
        found: dict[str, Any] = {}

        def is_online() -> bool:
            answer = self._api.get(f"databases/{identity}", doing)
            found.clear()
            found.update(values.inner(self._api, answer, "database", doing))
            progress(f"waiting for the database: {found.get('status')}", 0, 1)
            return bool(found.get("status") == "online")

        wait_until(is_online, f"creating {name}", _BIRTH, self._pause, longest=_LONGEST_PAUSE)
        where = f"databases/{identity}/firewall"
        wanted = _rules(spec)
        if _sources(self._api.get(where, f"ask who may reach {name}").get("rules")) != _sources(
            wanted
        ):
            self._api.put(where, f"set who may reach {name}", {"rules": wanted})
        return self._described(found, doing, self._authority(identity, name))

    def _described(self, cluster: dict[str, Any], doing: str, authority: str) -> ManagedDatabase:
        try:
            own = cluster["private_connection"]
            host, port, user = str(own["host"]), int(own["port"]), str(own["user"])
            first = str(own["database"])
        except (KeyError, TypeError, ValueError) as error:
            raise self._api.senseless(doing, f"its private connection: {error!r}") from error
        if not host or port != PORT:
            raise self._api.senseless(doing, f"it answers at {host!r}, port {port}")
        if not own.get("password"):
            raise ProviderError(
                f"DigitalOcean does not tell the password of {cluster['name']}",
                where="provider.credentials",
                cure=f"give the API token the scope {SCOPES[-1]}, then run again",
                code="forbidden",
            )
        return ManagedDatabase(
            id=str(cluster["id"]),
            name=str(cluster["name"]),
            host=host,
            port=port,
            user=user,
            password=Secret(str(own["password"])),
            authority=authority,
            first=first,
        )

    def _authority(self, identity: str, name: str) -> str:
        doing = f"ask for the certificate authority of {name}"
        answer = self._api.get(f"databases/{identity}/ca", doing)
        try:
            text = base64.b64decode(answer["ca"]["certificate"], validate=True).decode()
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise self._api.senseless(doing, f"{error!r}") from error
        if "BEGIN CERTIFICATE" not in text:
            raise self._api.senseless(doing, "it holds no certificate")
        return text

    def delete(self, identity: str, name: str) -> None:
        """Delete a cluster with its backups, and return when it is gone."""
        self._api.end(f"databases/{identity}", f"the database {name}", _DEATH, self._pause)


def name_of(deployment: str) -> str:
    """Return what a deployment's cluster is called: letters, digits and hyphens only."""
    return f"build-usb-{deployment}"


def _rules(spec: DatabaseSpec) -> list[dict[str, str]]:
    """Return the trusted sources: machines by the tag of their role."""
    roles = {rule.source.role for rule in spec.rules} - {None}
    return [
        {"type": "tag", "value": values.tag_of(spec.deployment, role)}
        for role in Role
        if role in roles
    ]


def _sources(rules: Any) -> set[tuple[str, str]]:
    """Return what trusted sources say, as far as it is sense."""
    listed = rules if isinstance(rules, list) else []
    return {
        (str(rule.get("type")), str(rule.get("value"))) for rule in listed if isinstance(rule, dict)
    }


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else 0 for part in text.split("."))
