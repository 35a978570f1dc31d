"""What a question of the wizard may depend on: predicates of a draft. Pure.

Where the draft says nothing, defaults are those of the answers model.
"""

from __future__ import annotations

from collections.abc import Callable

from wizard.answers import RELEASED
from wizard.tui.draft import Draft

Predicate = Callable[[Draft], bool]


def always(_draft: Draft) -> bool:
    """Apply to every draft."""
    return True


def equals(key: str, *values: object, default: object = None) -> Predicate:
    """Apply where the draft has one of these values at a key."""
    return lambda draft: draft.get(key, default) in values


def negated(predicate: Predicate) -> Predicate:
    """Apply where another predicate does not."""
    return lambda draft: not predicate(draft)


def given(key: str) -> Predicate:
    """Apply where the draft says something at a key."""
    return lambda draft: bool(draft.get(key))


def either(*predicates: Predicate) -> Predicate:
    """Apply where one of several does."""
    return lambda draft: any(predicate(draft) for predicate in predicates)


production = equals("mode", "production")
local = equals("provider.name", "local")
cloud = negated(local)
baseline = equals("application.source.kind", "baseline")
backup = equals("application.source.kind", "backup")
repository = equals("application.source.kind", "repository")


def own_copy(draft: Draft) -> bool:
    """Apply to own code that begins with a backup, or a baseline."""
    begins = backup(draft) or baseline(draft)
    return begins and draft.get("application.kind") in ("php", "static")


def released(draft: Draft) -> bool:
    """Apply to an application of its project's release, whatever its content comes from."""
    return not repository(draft) and draft.get("application.kind") in RELEASED


from_elsewhere = given("application.source.storage.provider")
rented_database = equals("database.managed", True)
private = negated(rented_database)
second = given("backups.second_storage.provider")
smtp = given("notifications.email")


# what a file says although it means nothing now is asked too, so that it is not lost
periods = either(given("backups.periods"), given("backups.keep"))


def second_place(draft: Draft) -> bool:
    """Apply where copies may be kept at a second place."""
    # a rehearsal has one storage only
    return periods(draft) and (cloud(draft) or draft.has("backups.second_storage"))


gateway = either(equals("gateway.enabled", True), given("gateway.users"), given("gateway.domains"))
# a disk of its own where the cloud lets us choose
disks = either(
    equals("provider.name", "aws"),
    given("machines.disks.webserver"),
    given("machines.disks.database"),
)
spot = either(equals("provider.name", "aws"), equals("machines.spot", True))


def reserving(draft: Draft) -> bool:
    """Apply where an address of its own can be kept."""
    return draft.get("provider.name") in ("aws", "digitalocean") and not production(draft)


def ipv6(draft: Draft) -> bool:
    """Apply where machines can have IPv6 addresses."""
    return draft.get("provider.name") in ("local", "digitalocean")


def health_checks(draft: Draft) -> bool:
    """Say whether the DNS provider can ask webservers whether they are well."""
    return draft.get("dns.provider") == "route53" and cloud(draft)


def own_dns(draft: Draft) -> bool:
    """Apply where an own DNS server is named."""
    # a rehearsal brings its own DNS server; a file may still name another
    return draft.get("dns.provider") == "rfc2136" and (cloud(draft) or draft.has("dns.rfc2136"))


def own_token(draft: Draft) -> bool:
    """Apply where autoscalers have a provider's token of their own."""
    # on AWS autoscalers have a role
    return cloud(draft) and draft.get("provider.name") != "aws"


def own_dns_token(draft: Draft) -> bool:
    """Apply where autoscalers have a DNS token of their own."""
    return draft.get("dns.provider") not in ("none", None) and (
        cloud(draft) or draft.has("scaling.credentials.dns")
    )


def own_key(draft: Draft) -> bool:
    """Apply where that token is a TSIG key, which has a name."""
    return draft.get("dns.provider") == "rfc2136" and own_dns_token(draft)


def storage_named(draft: Draft) -> bool:
    """Apply where object storage is named."""
    return draft.has("object_storage") or cloud(draft)


def if_local(value: str) -> Callable[[Draft], str | None]:
    """Return what suggests a value in a rehearsal only."""
    return lambda draft: value if local(draft) else None


def baselines_named(draft: Draft) -> bool:
    """Apply where a repository of baselines matters."""
    return baseline(draft) or draft.has("baselines")


def site_name(draft: Draft) -> str | None:
    """Return a name in the draft's zone."""
    zone = draft.get("dns.zone") or if_local("rehearsal.test")(draft)
    return f"www.{zone}" if zone else None
