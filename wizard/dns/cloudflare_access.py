"""Cloudflare's Zero Trust Access: who may reach chosen paths of the site.

A deployment has one reusable policy (who) and applications (where) that use it. They belong to the
account and are found by their names, `build-usb.<deployment>.<zone>` and `….<number>`; deployments'
names hold no dots.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wizard.dns.base import Gate
from wizard.dns.cloudflare_api import Api, senseless, unless_missing
from wizard.errors import ProviderError

EDIT = "Account / Access: Apps and Policies / Edit"
PLACES = 5
"""How many places an application can have.
https://developers.cloudflare.com/cloudflare-one/account-limits"""

_SESSION = "24h"  # after that a visitor is asked again
_PAGE = 100
_NO_POLICY = "00000000-0000-0000-0000-000000000000"


class ZeroTrust:
    """The gates of one account; see `dns.base.Access`."""

    def __init__(self, api: Api, *, zone: str, account_id: str) -> None:
        self._api = api
        self._zone = zone
        self._account = {"account_id": account_id}
        access = api.client.zero_trust.access
        self._applications = access.applications.with_raw_response
        self._policies = access.policies.with_raw_response

    def check(self) -> None:
        """Raise ProviderError unless gates may be made. Changes nothing."""
        doing = "check that Zero Trust applications may be changed"
        self._ask(doing, self._applications.list, page=1, per_page=_PAGE)
        with unless_missing():
            self._ask(doing, self._policies.delete, policy_id=_NO_POLICY)

    def ensure(self, deployment: str, gate: Gate) -> bool:
        """Make the gate so; True if something changed."""
        name = self._name(deployment)
        body = _policy(name, gate)
        policies = self._policies_called(name)
        changed = not policies or not _same_policy(policies[0], body)
        if not policies:
            made = self._ask(f"create the policy {name}", self._policies.create, **body)
            policies = [_identified(made, f"create the policy {name}")]
        elif changed:
            doing = f"change the policy {name}"
            self._ask(doing, self._policies.update, policy_id=policies[0]["id"], **body)
        existing = self._applications_of(name)
        for start in range(0, len(gate.places), PLACES):
            called = f"{name}.{start // PLACES + 1}"
            wanted = _application(called, gate.places[start : start + PLACES], policies[0]["id"])
            old = next((item for item in existing if item["name"] == called), None)
            doing = f"set the Zero Trust application {called}"
            if old is None:
                self._ask(doing, self._applications.create, **wanted)
                changed = True
                continue
            existing.remove(old)
            if not _same_application(old, wanted):
                self._ask(doing, self._applications.update, app_id=old["id"], **wanted)
                changed = True
        # what a lost answer doubled, and what there were more places for
        for surplus in existing:
            self._delete_application(surplus)
        for twin in policies[1:]:
            self._delete_policy(twin)
        return changed or bool(existing or policies[1:])

    def remove(self, deployment: str) -> bool:
        """Take the gate away, applications before the policy that they use."""
        name = self._name(deployment)
        applications, policies = self._applications_of(name), self._policies_called(name)
        for application in applications:
            self._delete_application(application)
        for policy in policies:
            self._delete_policy(policy)
        return bool(applications or policies)

    def _name(self, deployment: str) -> str:
        return f"build-usb.{deployment}.{self._zone}"

    def _ask(self, doing: str, call: Callable[..., Any], **given: Any) -> Any:
        try:
            return self._api.ask(doing, EDIT, call, **self._account, **given)
        except ProviderError as error:
            if "not enabled" in error.why:
                error.cure = (
                    "open Zero Trust in Cloudflare's dashboard once and choose a team's name and a "
                    "plan (there is a free one), then run again"
                )
            raise

    def _policies_called(self, name: str) -> list[dict[str, Any]]:
        doing = "list the reusable policies"
        listed = self._listed(doing, self._policies.list)
        return [item for item in listed if item.get("name") == name]

    def _applications_of(self, name: str) -> list[dict[str, Any]]:
        listed = self._listed("list the Zero Trust applications", self._applications.list)
        numbers = (str(item.get("name")).removeprefix(f"{name}.") for item in listed)
        return [item for item, rest in zip(listed, numbers, strict=True) if rest.isdecimal()]

    def _listed(self, doing: str, call: Callable[..., Any]) -> list[dict[str, Any]]:
        items = self._api.list(doing, EDIT, call, _PAGE, **self._account)
        return [_identified(item, doing) for item in items]

    def _delete_application(self, item: dict[str, Any]) -> None:
        doing = f"delete the Zero Trust application {item['name']}"
        with unless_missing():
            self._ask(doing, self._applications.delete, app_id=item["id"])

    def _delete_policy(self, item: dict[str, Any]) -> None:
        doing = f"delete the policy {item['name']}"
        with unless_missing():
            self._ask(doing, self._policies.delete, policy_id=item["id"])


def _identified(item: Any, doing: str) -> dict[str, Any]:
    if not isinstance(item, dict) or not isinstance(item.get("id"), str) or not item["id"]:
        raise senseless(doing, "something without an id")
    return item


def _policy(name: str, gate: Gate) -> dict[str, Any]:
    people: list[dict[str, Any]] = [{"email": {"email": email}} for email in gate.emails]
    people += [{"email_domain": {"domain": domain}} for domain in gate.domains]
    return {"name": name, "decision": "allow", "include": people}


def _application(name: str, places: tuple[str, ...], policy: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "self_hosted",
        "domain": places[0],
        "destinations": [{"type": "public", "uri": place} for place in places],
        "policies": [{"id": policy, "precedence": 1}],
        "session_duration": _SESSION,
        "app_launcher_visible": False,
    }


def _same_policy(old: dict[str, Any], wanted: dict[str, Any]) -> bool:
    # whoever excludes or requires more by hand makes the gate narrower, or another
    extra = old.get("exclude") or old.get("require")
    return not extra and all(_plain(old.get(key)) == _plain(wanted[key]) for key in wanted)


def _same_application(old: dict[str, Any], wanted: dict[str, Any]) -> bool:
    policies = [p.get("id") for p in old.get("policies") or () if isinstance(p, dict)]
    places = {p.get("uri") for p in old.get("destinations") or () if isinstance(p, dict)}
    same = all(old.get(key) == wanted[key] for key in ("type", "domain", "session_duration"))
    return (
        same
        and policies == [p["id"] for p in wanted["policies"]]
        and places == {p["uri"] for p in wanted["destinations"]}
    )


def _plain(value: Any) -> Any:
    """Return a list of rules so that its order does not matter."""
    return sorted(map(repr, value)) if isinstance(value, list) else value
