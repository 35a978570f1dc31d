"""DNS providers by the name that answers use; each is imported when it is opened."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from wizard.dns.base import DnsProvider
from wizard.errors import NotSupportedError, UsageError
from wizard.providers.base import DnsServer

PROVIDERS = {"rfc2136": "wizard.dns.rfc2136:Rfc2136"}


def open_dns(name: str, zone: str, server: DnsServer | None, *, in_lab: bool) -> DnsProvider:
    """Return the DNS provider `name` for `zone`; asks no one yet.

    `in_lab`: the zone's name servers cannot be reached from here, `server` stands for them.
    Raises NotSupportedError for names that are planned or unknown, UsageError without a server.
    """
    if name not in PROVIDERS:
        raise NotSupportedError(
            f"the DNS provider {name} is not available yet",
            where="dns.provider",
            cure=f"choose one of: {', '.join(PROVIDERS)}",
        )
    if server is None:
        raise UsageError(
            "the answers do not say which DNS server takes the updates",
            where="dns.rfc2136",
            cure="fill in server, key_name and key; only a rehearsal brings its own DNS server",
        )
    module, _, attribute = PROVIDERS[name].partition(":")
    adapter = getattr(import_module(module), attribute)
    authoritative = ((server.address, server.port),) if in_lab else None
    return cast(DnsProvider, adapter(zone, server, authoritative=authoritative))
