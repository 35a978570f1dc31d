"""How webservers join and leave a deployment that runs, and how autoscalers come to do it."""

from __future__ import annotations

import hashlib
import json
import platform
import threading
from dataclasses import replace
from typing import Any

from wizard.engine import code, fleets, gather, product
from wizard.engine.context import Context
from wizard.engine.graph import Reporter, Step
from wizard.engine.machine import announce, configure
from wizard.engine.machine import steps as machine_steps
from wizard.machines.job import Phase
from wizard.plan.model import PlannedMachine
from wizard.rules import Role

_NO_PART: dict[str, Any] = {
    "scaling": True,
    "webserver": {"count"},
    "provider": {"credentials"},
    "dns": {"credentials", "ttl", "health_checked"},
    "object_storage": {"credentials"},
}
"""Of the answers, what no webserver is told."""


def join(context: Context, machine: PlannedMachine, turn: threading.Lock) -> list[Step]:
    """Return the steps by which a webserver joins a deployment that runs; those of all machines
    are taken in `turn`."""
    create, contact, *_ = machine_steps(context, machine)

    def told(report: Reporter) -> str:
        with turn:
            announce(context, report)
            return _accounts(context, report)

    base, *middle, application = configuring(context, machine)
    return [
        replace(create, needs=()),
        contact,
        Step("announce", "announce it to the others", told, needs=(create.id,)),
        replace(base, needs=(contact.id,)),
        *middle,
        replace(application, needs=(*application.needs, "announce")),
    ]


def configuring(context: Context, machine: PlannedMachine) -> list[Step]:
    """Return the steps that make all of a webserver's configuration true."""
    base, certificate = f"{Phase.BASE}:{machine.name}", f"{Phase.CERTIFICATE}:{machine.name}"
    carried = [code.carry(context, machine.name, base)] if context.code else []
    before = (certificate, *(step.id for step in carried))
    return [
        _phase(context, machine, Phase.BASE),
        _phase(context, machine, Phase.CERTIFICATE, base),
        *carried,
        _phase(context, machine, Phase.APPLICATION, *before),
    ]


def _phase(context: Context, machine: PlannedMachine, phase: Phase, *needs: str) -> Step:
    return Step(
        f"{phase}:{machine.name}",
        str(phase),
        lambda report: configure(context, machine, phase, report),
        needs=needs,
        machine=machine.name,
    )


def keep(context: Context, machine: PlannedMachine) -> list[Step]:
    """Return the steps that make a webserver the one that keeps certificate and cron."""
    return [
        _phase(context, machine, Phase.BASE),
        _phase(context, machine, Phase.APPLICATION, f"{Phase.BASE}:{machine.name}"),
    ]


def again(context: Context, *needs: str) -> list[Step]:
    """Return the steps that give the webserver that a restore point was put back on the plugins and
    themes that all others have."""
    if context.code is None or not gather.has_common(context.plan):
        return []
    machine = context.plan.of_role(Role.WEBSERVER)[0]
    carried = code.carry(context, machine.name, *needs)
    return [
        carried,
        Step(
            f"files:{machine.name}",
            "plugins and themes as all webservers have them",
            lambda _: gather.put(context, machine.name),
            needs=(carried.id,),
            machine=machine.name,
        ),
    ]


def leave(context: Context) -> list[Step]:
    """Return the steps that let the others forget webservers that are gone."""
    return [
        Step("peers", "announce who is left", lambda report: announce(context, report)),
        Step(
            "database",
            "take the accounts away",
            lambda report: _accounts(context, report),
            needs=("peers",),
        ),
    ]


def _accounts(context: Context, report: Reporter) -> str:
    """Let the database know the webservers there are, where there is one."""
    machines = context.plan.of_role(Role.DATABASE)
    return ", ".join(configure(context, m, Phase.BASE, report) for m in machines) or "none is there"


def program(context: Context) -> list[Step]:
    """Return the step that carries the program that autoscalers run."""
    if not context.plan.of_role(Role.AUTOSCALER):
        return []
    return [
        Step(
            "program",
            "the autoscalers' program",
            lambda report: _carry(context, report),
            needs=("bucket", *code.gathered(context)),
            expected=5,
        )
    ]


def recipe(context: Context) -> str:
    """Return a digest of all that webservers are made by: answers, program, own code. Other than by
    one such recipe they are only made when their neighbours change."""
    answers = context.answers.model_dump(mode="json", exclude=_NO_PART)
    own = vars(context.code.settings) if context.code else None
    text = json.dumps([answers, context.product, own], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _carry(context: Context, report: Reporter) -> str:
    assert context.bucket is not None
    answers = context.answers
    packed = product.packed(
        context.home.home.path / "cache",
        (answers.provider.name, answers.dns.provider),
        platform.machine(),
        report.progress,
    )
    context.product = packed.digest
    context.recipe = recipe(context)
    present = context.bucket.keys(product.FOLDER)
    if packed.key not in present:
        context.bucket.put(packed.key, packed.path.read_bytes())
    for key in present:
        if key != packed.key:
            context.bucket.delete(key)
    return f"{packed.path.stat().st_size / 1e6:.0f} MB, {packed.digest[:12]}"


def hand_over(context: Context) -> list[Step]:
    """Return the step that lets the autoscalers begin."""
    if not context.plan.of_role(Role.AUTOSCALER):
        return []
    return [
        Step(
            "fleet",
            "hand the webservers over to the autoscalers",
            lambda _: f"{len(fleets.begin(context).fleet.webservers)} webservers",
            needs=("publish",),
        )
    ]
