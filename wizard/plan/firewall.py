"""The firewall list: who may reach whom. Pure."""

from __future__ import annotations

from wizard.rules import (
    ANYONE,
    BUILD_MACHINE,
    Rented,
    Role,
    Rule,
    Source,
    SourceKind,
    from_networks,
    from_role,
)

# https://www.cloudflare.com/ips-v4, read 2026-11, for plans made without asking Cloudflare
CLOUDFLARE_NETWORKS = (
    "173.245.48.0/20",
    "103.21.244.0/22",
    "103.22.200.0/22",
    "103.31.4.0/22",
    "141.101.64.0/18",
    "108.162.192.0/18",
    "190.93.240.0/20",
    "188.114.96.0/20",
    "197.234.240.0/22",
    "198.41.128.0/17",
    "162.158.0.0/15",
    "104.16.0.0/13",
    "104.24.0.0/14",
    "172.64.0.0/13",
    "131.0.72.0/22",
)
# https://www.cloudflare.com/ips-v6, read 2026-11
CLOUDFLARE_NETWORKS_6 = (
    "2400:cb00::/32",
    "2606:4700::/32",
    "2803:f800::/32",
    "2405:b500::/32",
    "2405:8100::/32",
    "2a06:98c0::/29",
    "2c0f:f248::/32",
)
HTTP, HTTPS = 80, 443


def rules(
    roles: tuple[Role, ...],
    *,
    ssh_port: int,
    database_port: int,
    proxied: bool,
    managed: bool = False,
    edge: tuple[str, ...] = CLOUDFLARE_NETWORKS,
) -> tuple[Rule, ...]:
    """Return every rule for a deployment with machines of `roles`.

    SSH from the build machine and between the machines; the database port from webservers and
    autoscalers, and where it is `managed` from the machine that prepares it and backs it up too;
    80 and 443 from anyone, or from the networks `edge` when Cloudflare proxies (then
    autoscalers and the build machine may ask webservers directly too, to see whether they live).
    """
    result: list[Rule] = []
    for target in roles:
        result.append(Rule(target, ssh_port, BUILD_MACHINE, "administration"))
        result += [
            Rule(target, ssh_port, from_role(role), "SSH between the machines") for role in roles
        ]
    if Role.WEBSERVER in roles:
        public = from_networks(*edge, label="Cloudflare") if proxied else ANYONE
        result += [
            Rule(Role.WEBSERVER, HTTP, public, "redirect, certificate challenges"),
            Rule(Role.WEBSERVER, HTTPS, public, "the website"),
        ]
        if proxied:
            result.append(Rule(Role.WEBSERVER, HTTPS, BUILD_MACHINE, "checks by the build machine"))
            if Role.AUTOSCALER in roles:
                source = from_role(Role.AUTOSCALER)
                result.append(Rule(Role.WEBSERVER, HTTPS, source, "health checks"))
    if Role.DATABASE in roles:
        where = Rented.DATABASE if managed else Role.DATABASE
        result += [
            Rule(where, database_port, from_role(role), "the database")
            for role in (Role.WEBSERVER, Role.AUTOSCALER)
            if role in roles
        ]
        if managed:
            source = from_role(Role.DATABASE)
            result.append(Rule(where, database_port, source, "preparing it, and its backups"))
    return tuple(result)


def allows(rules: tuple[Rule, ...], source: Source, target: Role, port: int) -> bool:
    """Say whether traffic from `source` to `port` of `target` machines is let in.

    What anyone may do, the build machine and every role may do as well.
    """
    return any(
        rule.target is target
        and rule.port == port
        and (rule.source == source or rule.source.kind is SourceKind.ANYONE)
        for rule in rules
    )
