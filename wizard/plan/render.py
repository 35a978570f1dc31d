"""A plan as text for people and as plain values for programs. Pure.

The review screen, `build-usb plan` and the start of `build-usb deploy` show the same text.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from wizard.dns.hosted import ADDRESSES
from wizard.plan.model import Plan, PlannedRecord, PlannedSecond
from wizard.providers.base import Size
from wizard.rules import Role, Rule


def to_text(plan: Plan) -> str:
    """Return the whole plan in at most 80 columns where names allow it."""
    parts = [
        f"Deployment {plan.deployment}: {plan.application.kind} in {plan.mode} mode, "
        f"{plan.provider} ({plan.region})",
        "",
        "Machines, each with an IPv4 and an IPv6 address" if plan.ipv6 else "Machines",
        *_table(
            ("name", "role", "size", "vCPU", "memory", "disk", "per month"),
            [
                (
                    machine.name,
                    str(machine.role),
                    machine.size.name,
                    str(machine.size.vcpus),
                    f"{machine.size.memory} MiB",
                    f"{machine.size.disk} GiB",
                    _money(machine.size.monthly_price, plan.currency),
                )
                for machine in plan.machines
            ],
        ),
        "",
        "Object storage",
        *_table(
            ("bucket", "per month"),
            [(plan.bucket.name, _money(plan.bucket.monthly_price, plan.currency))],
        ),
        *_file_system(plan),
        *_backups(plan),
        *_snapshot(plan),
        *_database(plan),
        "",
        f"Firewall ({_layers(plan)}; everything not listed is closed)",
        *_table(
            ("to", "port", "from", "why"),
            [
                (f"{rule.target}s", f"{rule.port}/{rule.protocol}", str(rule.source), rule.why)
                for rule in plan.rules
            ],
        ),
        "",
        f"DNS ({plan.dns_provider}, zone {plan.zone})",
        *_table(
            ("name", "type", "TTL", "points to"),
            [
                (r.name, ", ".join(_kinds(plan)), _kept(r), ", ".join(r.machines))
                for r in plan.records
            ],
        ),
        *_health(plan),
        "",
        *_gate(plan),
        f"Certificate: {', '.join(plan.application.hosts)} from {plan.tls_authority}",
        _reached(plan),
        *([f"Project: {plan.project}, with all that can be in one"] if plan.project else ()),
        "",
        f"Price per month: {_money(plan.monthly_price, plan.currency)}{_estimated(plan)}",
        *(f"Note: {note}" for note in plan.notes),
    ]
    return "\n".join(parts) + "\n"


def _estimated(plan: Plan) -> str:
    if plan.database is None or not plan.database.priced:
        return ""
    part = _money(plan.database.size.monthly_price, plan.currency)
    return f", {part} of it by the table of {plan.database.priced}"


def _kinds(plan: Plan) -> tuple[str, ...]:
    return ADDRESSES if plan.ipv6 else ADDRESSES[:1]


def _reached(plan: Plan) -> str:
    if not plan.of_role(Role.DATABASE):
        return "Database: none"
    return f"Database: {plan.database_engine} on port {plan.database_port}, reached over TLS"


def to_plain(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain JSON values; prices are strings with two decimals."""
    return {
        "deployment": plan.deployment,
        "mode": plan.mode,
        "provider": plan.provider,
        "region": plan.region,
        "currency": plan.currency,
        "machines": [
            {
                "name": machine.name,
                "role": str(machine.role),
                **_size(machine.size),
                "image": machine.image,
            }
            for machine in plan.machines
        ],
        "bucket": {
            "name": plan.bucket.name,
            "monthly_price": f"{plan.bucket.monthly_price:.2f}",
        },
        "file_system": {
            "kind": plan.file_system.kind,
            "monthly_price": f"{plan.file_system.monthly_price:.2f}",
        }
        if plan.file_system
        else None,
        "snapshot": {
            "gib": plan.snapshot.size,
            "monthly_price": f"{plan.snapshot.monthly_price:.2f}",
        }
        if plan.snapshot
        else None,
        "backups": {
            "bucket": plan.backups.bucket,
            "keep": dict(plan.backups.keep),
            "second": plan.backups.second and vars(plan.backups.second),
        }
        if plan.backups
        else None,
        "firewall": {
            "native": plan.native_firewall,
            "machine": plan.machine_firewall,
            "rules": [rule_to_plain(rule) for rule in plan.rules],
        },
        "dns": {
            "provider": plan.dns_provider,
            "zone": plan.zone,
            "records": [
                {
                    "name": r.name,
                    "types": list(_kinds(plan)),
                    "ttl": r.ttl,
                    "machines": list(r.machines),
                    "proxied": r.proxied,
                }
                for r in plan.records
            ],
            "health_checks": {
                "host": plan.health.asked.host,
                "path": plan.health.asked.path,
                "count": plan.health_checks,
                "monthly_price": f"{plan.health.price:.2f}",
                "priced": plan.health.priced,
            }
            if plan.health
            else None,
        },
        "application": {
            "kind": plan.application.kind,
            "title": plan.application.title,
            "admin_user": plan.application.admin_user,
            "hosts": list(plan.application.hosts),
        },
        "database": {
            "engine": plan.database_engine,
            "port": plan.database_port,
            "managed": _size(plan.database.size) if plan.database else None,
            "priced": (plan.database.priced or None) if plan.database else None,
        },
        "project": plan.project or None,
        "gate": vars(plan.gate) if plan.gate else None,
        "tls": {"authority": plan.tls_authority, "email": plan.tls_email},
        "monthly_price": f"{plan.monthly_price:.2f}",
        "notes": list(plan.notes),
    }


def _size(size: Size) -> dict[str, Any]:
    return {
        "size": size.name,
        "vcpus": size.vcpus,
        "memory_mib": size.memory,
        "disk_gib": size.disk,
        "monthly_price": f"{size.monthly_price:.2f}",
    }


def rule_to_plain(rule: Rule) -> dict[str, Any]:
    """Return one rule as plain values, the form machines are given too."""
    return {
        "target": str(rule.target),
        "port": rule.port,
        "protocol": rule.protocol,
        "source": {
            "kind": str(rule.source.kind),
            "role": str(rule.source.role) if rule.source.role else None,
            "networks": list(rule.source.networks),
        },
        "why": rule.why,
    }


def rule_text(rule: Rule) -> str:
    """Return what a rule lets in, in words."""
    return f"{rule.target}s {rule.port}/{rule.protocol} from {rule.source!s}"


def _gate(plan: Plan) -> list[str]:
    if plan.gate is None:
        return []
    people = (*plan.gate.emails, *(f"everybody at {domain}" for domain in plan.gate.domains))
    return [f"Zero Trust Access before {', '.join(plan.gate.places)}: only {', '.join(people)}"]


def _health(plan: Plan) -> list[str]:
    if plan.health is None:
        return []
    asked, count = plan.health.asked, plan.health_checks
    price = _money(plan.health.price, plan.currency)
    return [
        f"  only addresses that are well; {count} asked for https://{asked.host}{asked.path}",
        f"  {price} per month each (assumed: a table of {plan.health.priced})",
    ]


def _layers(plan: Plan) -> str:
    layers = ["the cloud's own"] * plan.native_firewall + ["ufw"] * plan.machine_firewall
    return " and ".join(layers) or "switched off at both layers"


def _kept(record: PlannedRecord) -> str:
    return "behind Cloudflare" if record.proxied else f"{record.ttl} s"


def _money(amount: Decimal, currency: str) -> str:
    return f"{amount:.2f} {currency}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    padded = [
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines
    ]
    return [f"  {'  '.join(line)}".rstrip() for line in padded]


def _file_system(plan: Plan) -> list[str]:
    if plan.file_system is None:
        return []
    price = _money(plan.file_system.monthly_price, plan.currency)
    return [
        "",
        "Shared folder (encrypted; over TLS, and from the deployment's machines alone)",
        *_table(("kind", "per month"), [(plan.file_system.kind, price)]),
    ]


def _snapshot(plan: Plan) -> list[str]:
    if plan.snapshot is None:
        return []
    return [
        "",
        "Snapshot of a webserver, which the autoscalers build more from",
        *_table(
            ("holds", "per month"),
            [
                (
                    f"about {plan.snapshot.size} GiB",
                    _money(plan.snapshot.monthly_price, plan.currency),
                )
            ],
        ),
        "  to make it they rent one machine more for some minutes: after changes, and weekly",
    ]


def _backups(plan: Plan) -> list[str]:
    if plan.backups is None:
        return []
    kept = [(period, str(count)) for period, count in plan.backups.keep]
    return [
        "",
        f"Temporal backups (encrypted, in {plan.backups.bucket}; they outlive the deployment)",
        *_table(("period", "kept"), kept),
        *_second(plan.backups.second),
    ]


def _priced(plan: Plan) -> str:
    """Return what is to be said of a price that the provider does not tell itself."""
    if plan.database is None or not plan.database.priced:
        return ""
    return f" (price: a table of {plan.database.priced}, not the provider's word)"


def _second(second: PlannedSecond | None) -> list[str]:
    if second is None:
        return []
    kept = "append-only: nothing is deleted there" if second.append_only else "as many are kept"
    return [f"  and at {second.vendor}, in {second.bucket} ({kept})"]


def _database(plan: Plan) -> list[str]:
    if plan.database is None:
        return []
    size = plan.database.size
    return [
        "",
        f"Managed database{_priced(plan)}",
        *_table(
            ("engine", "size", "vCPU", "memory", "disk", "per month"),
            [
                (
                    plan.database.engine,
                    size.name,
                    str(size.vcpus),
                    f"{size.memory} MiB",
                    f"{size.disk} GiB",
                    _money(size.monthly_price, plan.currency),
                )
            ],
        ),
    ]
