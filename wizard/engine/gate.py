"""The gate in front of chosen paths of the site, where the proxies have one and answers want it."""

from __future__ import annotations

from dataclasses import replace

from wizard.engine.context import Context
from wizard.engine.graph import Reporter, Step


def concerns(context: Context) -> bool:
    """Say whether there is a gate to make, or may be one to take away."""
    return context.plan.gate is not None or context.state.gated


def steps(context: Context) -> list[Step]:
    """Return the step that makes the gate, or takes the one of before away."""
    if not concerns(context):
        return []
    return [Step("gate", "Zero Trust Access", lambda r: ensure(context, r), ("provider",))]


def ensure(context: Context, report: Reporter) -> str:
    """Make the gate as planned, or take the one of before away."""
    assert context.dns is not None
    plan = context.plan
    if plan.gate is None:
        return remove(context, report)
    context.journal.record("intent", report.step)
    context.update(lambda state: replace(state, gated=True))
    changed = context.dns.access().ensure(plan.deployment, plan.gate)
    context.journal.record("done", report.step)
    return f"{len(plan.gate.places)} places, {'changed' if changed else 'as it was'}"


def remove(context: Context, report: Reporter) -> str:
    """Take the gate away."""
    assert context.dns is not None
    context.journal.record("intent", report.step, delete="gate")
    found = context.dns.access().remove(context.plan.deployment)
    context.update(lambda state: replace(state, gated=False))
    return "gone" if found else "none was there"
