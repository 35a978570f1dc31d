"""Amazon's Route 53.

Its records know neither comments nor tags, so a TXT record beside each name says whose it is. Every
change is one batch of DELETE and CREATE, never UPSERT: Route 53 makes a batch whole or not at all,
deletes only what is exactly as told and creates only what is not there, so the batch says itself
what it was made for.

With health checks each address is a set of its own ("multivalue answer"), marked by its identifier
as well. Checks exist before records name them, and go after them: Route 53 refuses neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from wizard.dns.base import RecordSet
from wizard.dns.exchange import Address
from wizard.dns.hosted import ADDRESSES, Change, Entry, HostedDns, marker_of
from wizard.dns.route53_health import HealthChecks
from wizard.errors import ProviderError
from wizard.providers.aws_api import HOME, Api, is_forbidden, wait_until
from wizard.secrets import Secret

_PAGE = 300  # record sets a request; what the API allows at most
_PAGE_OF_NAME = 120  # a set for each of fifty webservers and their IPv6 addresses, and more
_POLL = 3.0  # seconds between questions whether a change is everywhere; it takes 10 to 60
_SET = "build-usb."  # what identifiers of our sets begin with
_NEVER = "_build-usb-may-it-change"
# the batch was made for another state of the zone: the next look tells
_OUTDATED = ("already exists", "was not found", "do not match the current values")


class Route53(HostedDns):
    """Serves one public hosted zone; see `HostedDns`. `poll`: seconds between questions whether
    a change has reached all servers."""

    name = "route53"
    title = "Route 53"

    def __init__(
        self,
        zone: str,
        token: Secret,
        authoritative: tuple[Address, ...] | None = None,
        *,
        url: str = "",
        timeout: float | None = None,
        poll: float = _POLL,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(zone, authoritative, pause)
        self._api = Api(
            token, HOME, url, credentials="dns.credentials", timeout=timeout, pause=pause
        )
        self._checks = HealthChecks(self._api)
        self._poll = poll
        self._zone_id = ""
        self._pending: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Route53({self._wanted!r}, {self._api!r})"

    def name_servers(self) -> tuple[str, ...]:
        """Return the servers of the zone's delegation set."""
        zone, doing = self._zone(), "ask for the zone's name servers"
        answer = self._api.call("route53.get_hosted_zone", doing, Id=self._zone_id)
        servers = (answer.get("DelegationSet") or {}).get("NameServers")
        if not servers:
            raise self._api.senseless(doing, f"{zone} has no delegation set")
        return tuple(servers)

    def wait_until_served(self, record: RecordSet, deadline: float) -> None:
        """Return once Route 53 says that the change is everywhere, and its servers show it.

        TransientError naming what is not so after `deadline` seconds.
        """
        end = time.monotonic() + deadline
        change = self._pending.get(record.name)
        if change is not None:
            wait_until(
                lambda: self._is_everywhere(change),
                f"the change of {record.name} at Route 53",
                deadline,
                lambda _seconds: self._pause(self._poll),
            )
            self._pending.pop(record.name, None)
        super().wait_until_served(record, max(0.0, end - time.monotonic()))

    def check_health_checks(self) -> None:
        """Raise ProviderError unless we may list and delete health checks. Changes nothing."""
        self._checks.try_rights()

    def unused_checks(self, deployment: str) -> list[str]:
        """Return the ids of the deployment's health checks that no record names."""
        try:
            # before the records: what is made meanwhile is not among them
            ours = self._checks.ours(self._zone(), deployment)
        except ProviderError as error:
            if is_forbidden(error):
                return []  # whoever may not list them made none
            raise
        if not ours:
            return []
        used = {entry.check for entry in self._list()}
        return [check for check in ours.values() if check not in used]

    def sweep(self, deployment: str) -> int:
        """Delete the deployment's health checks that no record names; return how many."""
        unused = self.unused_checks(deployment)
        for check in unused:
            self._checks.delete(check)
        return len(unused)

    def _entries(self, deployment: str, record: RecordSet) -> list[Entry]:
        entries = super()._entries(deployment, record)
        if record.health is None:
            return entries
        checks = self._checks.ensure(self._zone(), deployment, record.health, record.addresses)
        return [
            replace(entry, set_id=f"{_SET}{entry.content}", check=checks[entry.content])
            if entry.kind in ADDRESSES
            else entry
            for entry in entries
        ]

    def _is_everywhere(self, change: str) -> bool:
        doing = "ask whether the change is everywhere"
        answer = self._api.call("route53.get_change", doing, Id=change)
        return self._told(answer, "Status", doing) == "INSYNC"

    def _has_zone(self, name: str) -> bool:
        doing, found = f"look for the hosted zone {name}", []
        following: dict[str, Any] = {"DNSName": name}
        while following:
            answer = self._api.call("route53.list_hosted_zones_by_name", doing, **following)
            # they come in the order of their names, from this one on
            zones = answer.get("HostedZones") or ()
            alike = [zone for zone in zones if _plain(zone["Name"]) == name]
            found += [zone for zone in alike if not zone.get("Config", {}).get("PrivateZone")]
            further = answer.get("IsTruncated") and _plain(answer.get("NextDNSName", "")) == name
            following = {}
            if further:
                following = {"DNSName": name, "HostedZoneId": answer["NextHostedZoneId"]}
        ids = [zone["Id"].removeprefix("/hostedzone/") for zone in found]
        if len(ids) > 1:
            raise ProviderError(
                f"the account has {len(ids)} public hosted zones named {name}",
                where="dns.zone",
                why=f"their ids are {', '.join(sorted(ids))}; only one of them can be the one "
                "that the registrar names",
                cure="delete the others, or take the keys of an account that has one",
            )
        self._zone_id = ids[0] if ids else ""
        return bool(ids)

    def _no_zone(self) -> ProviderError:
        return ProviderError(
            f"the account has no public hosted zone that holds {self._wanted}",
            where="dns.zone",
            cure="create the hosted zone and have the registrar name its servers, or use keys of "
            "the account that has it",
        )

    def _check_rights(self) -> None:
        # nothing of that name is there: nothing is deleted, but those who may not are refused
        entry = Entry("TXT", f"{_NEVER}.{self._zone()}", "never", 60, id="TXT never")
        self._apply("check that records may be changed", Change((entry,), ()))

    def _look(self, name: str) -> list[Entry]:
        return [*self._list(name), *self._list(marker_of(name))]

    def _listed(self, deployment: str) -> Iterator[Entry]:
        return self._list()

    def _list(self, name: str = "") -> Iterator[Entry]:
        """Yield the records of one name, or all."""
        zone = self._zone()
        doing = f"list records of {name or zone}"
        following: dict[str, Any] = {"StartRecordName": name} if name else {}
        asked = [following]
        while True:
            answer = self._api.call(
                "route53.list_resource_record_sets",
                doing,
                HostedZoneId=self._zone_id,
                MaxItems=str(_PAGE_OF_NAME if name else _PAGE),
                **following,
            )
            sets = answer.get("ResourceRecordSets") or []
            for one in sets:
                if name and _plain(one["Name"]) != name:
                    return
                yield from _entries(one)
            if not answer.get("IsTruncated"):
                return
            if not sets:
                raise self._api.senseless(doing, "a page that is empty but not the last")
            following = {
                f"Start{key}": answer[f"Next{key}"]
                for key in ("RecordName", "RecordType", "RecordIdentifier")
                if answer.get(f"Next{key}")
            }
            if not following or following in asked:
                raise self._api.senseless(doing, "its list never ends")
            asked.append(following)

    def _apply(self, doing: str, change: Change) -> bool:
        changes = []
        for before, after in change.sets.values():
            if before != after:
                changes += [_act("DELETE", before)] if before else []
                changes += [_act("CREATE", after)] if after else []
        try:
            answer = self._api.call(
                "route53.change_resource_record_sets",
                doing,
                HostedZoneId=self._zone_id,
                ChangeBatch={"Changes": changes},
            )
        except ProviderError as error:
            if error.code == "InvalidChangeBatch" and any(text in error.why for text in _OUTDATED):
                return False
            raise
        for entry in change.after:
            self._pending[entry.name] = self._told(answer, "Id", doing).removeprefix("/change/")
        return True

    def _told(self, answer: dict[str, Any], key: str, doing: str) -> str:
        told = (answer.get("ChangeInfo") or {}).get(key)
        if not told:
            raise self._api.senseless(doing, f"it tells no {key} of the change")
        return str(told)


def _act(action: str, entries: tuple[Entry, ...]) -> dict[str, Any]:
    first = entries[0]
    values = [f'"{e.content}"' if e.kind == "TXT" else e.content for e in entries]
    one: dict[str, Any] = {
        "Name": f"{first.name}.",
        "Type": first.kind,
        "TTL": first.ttl,
        "ResourceRecords": [{"Value": value} for value in values],
    }
    if first.set_id:
        one |= {"SetIdentifier": first.set_id, "MultiValueAnswer": True}
    if first.check:
        one["HealthCheckId"] = first.check
    return {"Action": action, "ResourceRecordSet": one}


def _entries(one: dict[str, Any]) -> list[Entry]:
    """Return the records of a set. What is more than plain records stands in the way of ours."""
    name, kind, set_id = _plain(one["Name"]), one["Type"], one.get("SetIdentifier", "")
    ours = set_id.startswith(_SET) and one.get("MultiValueAnswer") and kind in ADDRESSES
    if one.get("AliasTarget") or (set_id and not ours):
        text = (one.get("AliasTarget") or {}).get("DNSName") or f"set {one['SetIdentifier']}"
        stands = "CNAME" if kind in ("A", "AAAA", "CNAME") else kind
        check = one.get("HealthCheckId", "")
        return [Entry(stands, name, f"({kind}, {text})", 0, id="alias", check=check)]
    return [
        Entry(
            kind,
            name,
            value["Value"].strip('"'),
            int(one["TTL"]),
            id=f"{kind} {set_id} {value['Value']}",
            set_id=set_id,
            check=one.get("HealthCheckId", ""),
        )
        for value in one.get("ResourceRecords") or ()
    ]


def _plain(name: str) -> str:
    """Return a name as answers write it; Route 53 ends it with a dot."""
    return name.removesuffix(".").lower()
