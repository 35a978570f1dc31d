"""What a deployment has of its provider besides machines: the work of its first steps."""

from __future__ import annotations

import time
from dataclasses import replace

from wizard.engine import content, open, scaler_credentials
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
    scaler_credentials.check(context, report.progress)
    content.check(context)
    return f"{context.provider.name} is ready"


def network(context: Context, report: Reporter) -> str:
    """Make sure of the private network; return its addresses."""
    context.journal.record("intent", report.step)
    context.network = made = context.provider.ensure_network(context.plan.deployment)
    context.journal.record("done", report.step, id=made.id)
    if not context.state.build_machine:
        where, now = made.build_machine, int(time.time())
        context.update(lambda state: replace(state, build_machine=where, build_machine_at=now))
    return f"{made.cidr}, SSH from {made.build_machine}"


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
    # one that is there may be another's to set up, and its key allowed nothing but to add
    if context.second is not None and not context.second.exists():
        planned = context.plan.backups.second if context.plan.backups else None
        versioned = planned is not None and planned.append_only
        context.second.ensure(context.plan.deployment, versioned=versioned)
    _storage_key(context)
    return f"{'created' if created else 'found'} {context.bucket.name}"


def _storage_key(context: Context) -> None:
    """Make sure of the key that machines reach the buckets with, where the cloud makes such."""
    maker = context.services.storage_keys
    if maker is None:
        return
    names = tuple(bucket.name for bucket in (context.bucket, context.backups) if bucket is not None)
    known = context.secrets.get(open.STORAGE_KEY)
    made = maker.ensure_storage_key(context.plan.deployment, names, known)
    if made != known:
        context.secrets.set(open.STORAGE_KEY, made)


def project(context: Context, report: Reporter) -> str:
    """Put all that was made into the deployment's project."""
    maker, plan = context.services.projects, context.plan
    assert maker is not None, "the plan names a project only where there are such"
    context.journal.record("intent", report.step, name=plan.project)
    buckets = tuple(one.name for one in (context.bucket, context.backups) if one is not None)
    moved = maker.group(plan.deployment, buckets)
    context.journal.record("done", report.step, name=plan.project)
    return f"{moved} put into {plan.project}" if moved else f"all is in {plan.project}"


def file_system(context: Context, report: Reporter) -> str:
    """Make sure of the shared folder that is no bucket."""
    makers = context.services.file_systems
    assert makers is not None, "the answers allow this only where there are file systems"
    context.journal.record("intent", report.step)
    context.file_system = made = makers.ensure_file_system(context.plan.deployment)
    context.journal.record("done", report.step, id=made.id)
    return f"{made.id}, reached in {len(made.targets)} zones"
