"""DNS providers by the name that answers use; each is imported when it is opened."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from wizard.dns.base import DnsProvider
from wizard.errors import NotSupportedError, UsageError
from wizard.providers.base import DnsServer
from wizard.secrets import Secret

PROVIDERS = {
    "rfc2136": "wizard.dns.rfc2136:Rfc2136",
    "cloudflare": "wizard.dns.cloudflare:Cloudflare",
    "digitalocean": "wizard.dns.digitalocean:DigitalOcean",
    "route53": "wizard.dns.route53:Route53",
}


def open_dns(
    name: str,
    zone: str,
    server: DnsServer | None,
    *,
    in_lab: bool,
    token: Secret | None = None,
    url: str = "",
    timeout: float | None = None,
) -> DnsProvider:
    """Return the DNS provider `name` for `zone`; asks no one yet.

    `server` takes the updates (rfc2136); `in_lab`: the zone's name servers cannot be reached from
    here, it stands for them. The others have an API: `token`, and `url` where it is not the
    vendor's own; `timeout` of one question in seconds. NotSupportedError for names that are
    planned or unknown, UsageError without server or token.
    """
    if name not in PROVIDERS:
        raise NotSupportedError(
            f"the DNS provider {name} is not available yet",
            where="dns.provider",
            cure=f"choose one of: {', '.join(PROVIDERS)}",
        )
    module, _, attribute = PROVIDERS[name].partition(":")
    given: dict[str, Any] = {}
    if name == "rfc2136":
        if server is None:
            raise UsageError(
                "the answers do not say which DNS server takes the updates",
                where="dns.rfc2136",
                cure="fill in server, key_name and key; only a rehearsal brings its own DNS server",
            )
        given["authoritative"] = ((server.address, server.port),) if in_lab else None
    elif token is None:
        raise UsageError(
            f"the answers do not say where the API token of {name} comes from",
            where="dns.credentials",
            cure="name its source: {environment: VARIABLE}, {file: /path} or {home: name}",
        )
    elif url:
        given["url"] = url
    if timeout is not None:
        given["timeout"] = timeout
    adapter = getattr(import_module(module), attribute)
    return cast(DnsProvider, adapter(zone, server if name == "rfc2136" else token, **given))
