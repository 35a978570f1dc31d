"""Takes a deployment away, all of it, and proves that nothing is left.

Only what carries the deployment's tag is touched. Can be killed and run again at any point.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from wizard.engine import backups, gate, graph, letting_in, origin
from wizard.engine.context import Context
from wizard.engine.graph import Reporter, Step
from wizard.errors import ProviderError
from wizard.events import EventSink
from wizard.providers.base import Resource, ResourceKind
from wizard.rules import Role
from wizard.storage.base import Bucket

KEEP = "keep"
"""The step that says which bucket of backups stays, and by what it is opened."""

DATABASES = f"delete:{ResourceKind.DATABASE}:"
"""Begins the steps that delete managed databases: they say what is kept of them, else GONE."""
GONE = "gone"


def destroy(
    context: Context,
    sink: EventSink,
    stop: threading.Event,
    *,
    last_backup: bool = True,
    with_backups: bool = False,
) -> list[graph.StepResult]:
    """Delete everything of the deployment: DNS first, so that nobody is sent to a dead machine.

    Where backups are made a last one comes before all else (`last_backup`), and their bucket stays
    unless it goes `with_backups`, with its password in the home (see backups.outlive). What is in a
    second storage always stays.
    """
    stay = backups.outlive(context, with_backups=with_backups)
    first = [Step("provider", "open the provider", lambda r: _provider(context, r))]
    before: tuple[str, ...] = ("provider",)
    made = set(backups.keepers(context).values()) <= set(context.state.machines)
    if stay and made and last_backup:
        point = backups.new_point("shutdown")
        if letting_in.has_moved(context):
            first += [replace(step, needs=before) for step in letting_in.steps(context)]
            before = (letting_in.STEP,)
        first += backups.backup_steps(context, point, needs=before)
        before = tuple(step.id for step in first)
    if stay or backups.kept_elsewhere(context):
        first.append(
            Step(
                KEEP,
                "keep the backups",
                lambda _: backups.keep_password(context, first=stay),
                before,
            )
        )
        before = (*before, KEEP)
    if context.plan.of_role(Role.AUTOSCALER):
        # they would make again what is taken away
        first.append(
            Step("autoscalers", "end the autoscalers", lambda r: _autoscalers(context, r), before)
        )
        before = (*before, "autoscalers")
    first += [
        Step("dns", "delete DNS records", lambda r: _dns(context, r), before),
        Step("bucket", "delete the bucket", lambda r: _bucket(context.bucket, context, r), before),
    ]
    if gate.concerns(context):
        title = "take the gate away"
        first.append(Step("gate", title, lambda r: gate.remove(context, r), ("dns",)))
    if origin.was_ordered(context):
        title = "revoke the certificate"
        # after the names: nobody meets a certificate that is not good any more
        first.append(Step("revoke", title, lambda r: origin.revoke_all(context, r), ("dns",)))
    if context.plan.backups and not stay:
        first.append(
            Step(
                "backups",
                "delete the backups",
                lambda r: _bucket(context.backups, context, r),
                before,
            )
        )
    done = graph.run(first, sink, stop)
    resources = context.provider.resources(context.plan.deployment)
    done += graph.run(_deletions(context, resources, last_copy=last_backup), sink, stop)
    left = context.provider.resources(context.plan.deployment)
    if left:
        raise ProviderError(
            f"{len(left)} resources are still there after deleting them",
            where=context.provider.name,
            why="\n".join(f"{resource.kind} {resource.name} ({resource.id})" for resource in left),
            cure=f"run `build-usb destroy {context.plan.deployment}` again, "
            "or delete these in the provider's console",
        )
    context.provider.end_if_unused()
    return done


def _deletions(context: Context, resources: list[Resource], *, last_copy: bool) -> list[Step]:
    """One step a resource, each kind after the kinds that use it."""
    steps: list[Step] = []
    earlier: tuple[str, ...] = ()
    for kind in ResourceKind:
        of_kind = [resource for resource in resources if resource.kind is kind]
        steps += [
            Step(
                f"delete:{kind}:{resource.id}",
                f"delete {kind} {resource.name}",
                lambda report, resource=resource: _delete(  # type: ignore[misc]
                    context, resource, last_copy, report
                ),
                needs=earlier,
                machine=resource.name if kind is ResourceKind.MACHINE else "",
            )
            for resource in of_kind
        ]
        if of_kind:
            earlier = tuple(f"delete:{kind}:{resource.id}" for resource in of_kind)
    return steps


def _provider(context: Context, report: Reporter) -> str:
    context.connect(report.progress)
    return context.provider.name


def _autoscalers(context: Context, report: Reporter) -> str:
    deployment = context.plan.deployment
    found = [
        Resource(ResourceKind.MACHINE, machine.id, machine.name, deployment)
        for machine in context.provider.machines(deployment)
        if machine.role is Role.AUTOSCALER
    ]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda resource: _delete(context, resource, False, report), found))
    return ", ".join(resource.name for resource in found) or "none was there"


def _dns(context: Context, report: Reporter) -> str:
    assert context.dns is not None
    records = context.dns.records(context.plan.deployment)
    for record in records:
        context.journal.record("intent", report.step, delete=record.name)
        context.dns.delete_record(context.plan.deployment, record.name)
    # after the records that name them
    context.dns.sweep(context.plan.deployment)
    return ", ".join(record.name for record in records) or "none was there"


def _bucket(bucket: Bucket | None, context: Context, report: Reporter) -> str:
    assert bucket is not None
    if not bucket.exists():
        return "none was there"
    context.journal.record("intent", report.step, delete=bucket.name)
    bucket.delete_bucket(context.plan.deployment)
    return bucket.name


def _delete(context: Context, resource: Resource, last_copy: bool, report: Reporter) -> str:
    context.journal.record("intent", report.step, delete=resource.id, kind_of=str(resource.kind))
    kept = context.provider.delete(resource, last_copy=last_copy)
    context.journal.record("done", report.step, delete=resource.id)
    return kept or GONE
