"""What a deployment has of its provider besides machines: the work of its first steps."""

from __future__ import annotations

from wizard.engine import content
from wizard.engine.context import Context
from wizard.engine.graph import Reporter
from wizard.errors import ProviderError


def prepare(context: Context, report: Reporter) -> str:
    """Refuse what cannot work before anything is made; connect to all services."""
    edge = context.plan.edge
    if edge is not None and edge.wrong:
        raise ProviderError(
            f"the zone {context.plan.zone} is not set up for proxied names",
            where="dns.proxied",
            why="\n".join(edge.wrong),
            cure="change it at the DNS provider (it holds for every name of the zone, so it is not "
            "changed from here), or set dns.proxied to false",
        )
    context.connect(report.progress)
    content.check(context)
    return f"{context.provider.name} is ready"


def network(context: Context, report: Reporter) -> str:
    """Make sure of the private network; return its addresses."""
    context.journal.record("intent", report.step)
    context.network = context.provider.ensure_network(context.plan.deployment)
    context.journal.record("done", report.step, id=context.network.id)
    return context.network.cidr


def firewall(context: Context, report: Reporter) -> str:
    """Make the provider's firewall equal to the plan's rules."""
    plan = context.plan
    context.journal.record("intent", report.step)
    context.provider.ensure_firewall(plan.deployment, plan.rules, enabled=plan.native_firewall)
    context.journal.record("done", report.step)
    return f"{len(plan.rules)} rules" if plan.native_firewall else "switched off by the answers"


def bucket(context: Context, report: Reporter) -> str:
    """Make sure of the deployment's bucket, and of the one of its backups."""
    assert context.bucket is not None
    context.journal.record("intent", report.step, name=context.bucket.name)
    created = context.bucket.ensure(context.plan.deployment)
    context.journal.record("done", report.step, name=context.bucket.name)
    if context.backups is not None:
        context.backups.ensure(context.plan.deployment, versioned=False)
    return f"{'created' if created else 'found'} {context.bucket.name}"


def file_system(context: Context, report: Reporter) -> str:
    """Make sure of the shared folder that is no bucket."""
    makers = context.services.file_systems
    assert makers is not None, "the answers allow this only where there are file systems"
    context.journal.record("intent", report.step)
    context.file_system = made = makers.ensure_file_system(context.plan.deployment)
    context.journal.record("done", report.step, id=made.id)
    return f"{made.id}, reached in {len(made.targets)} zones"
