"""How webservers join and leave a deployment that runs, and how autoscalers come to do it."""

from __future__ import annotations

import platform
import threading
from dataclasses import replace

from wizard.engine import fleets, product
from wizard.engine.context import Context
from wizard.engine.graph import Reporter, Step
from wizard.engine.machine import announce, configure
from wizard.engine.machine import steps as machine_steps
from wizard.machines.job import Phase
from wizard.plan.model import PlannedMachine
from wizard.rules import Role


def join(context: Context, machine: PlannedMachine, turn: threading.Lock) -> list[Step]:
    """Return the steps by which a webserver joins a deployment that runs; those of all machines
    are taken in `turn`."""
    name = machine.name
    database = context.plan.of_role(Role.DATABASE)[0]
    create, contact, *_ = machine_steps(context, machine)

    def told(report: Reporter) -> str:
        with turn:
            announce(context, report)
            return configure(context, database, Phase.BASE, report)

    def configuring(phase: Phase, *needs: str) -> Step:
        return Step(
            f"{phase}:{name}",
            str(phase),
            lambda report: configure(context, machine, phase, report),
            needs=needs,
            machine=name,
        )

    return [
        replace(create, needs=()),
        contact,
        Step("announce", "announce it to the others", told, needs=(create.id,)),
        configuring(Phase.BASE, contact.id),
        configuring(Phase.CERTIFICATE, f"{Phase.BASE}:{name}"),
        configuring(Phase.APPLICATION, f"{Phase.CERTIFICATE}:{name}", "announce"),
    ]


def keep(context: Context, machine: PlannedMachine) -> list[Step]:
    """Return the steps that make a webserver the one that keeps certificate and cron."""
    steps: list[Step] = []
    for phase in (Phase.BASE, Phase.APPLICATION):
        steps.append(
            Step(
                f"{phase}:{machine.name}",
                str(phase),
                lambda report, phase=phase: configure(context, machine, phase, report),  # type: ignore[misc]
                needs=tuple(step.id for step in steps),
                machine=machine.name,
            )
        )
    return steps


def leave(context: Context) -> list[Step]:
    """Return the steps that let the others forget webservers that are gone."""
    database = context.plan.of_role(Role.DATABASE)[0]
    return [
        Step("peers", "announce who is left", lambda report: announce(context, report)),
        Step(
            "database",
            "take the accounts away",
            lambda report: configure(context, database, Phase.BASE, report),
            needs=("peers",),
        ),
    ]


def program(context: Context) -> list[Step]:
    """Return the step that carries the program that autoscalers run."""
    if not context.plan.of_role(Role.AUTOSCALER):
        return []
    return [
        Step(
            "program",
            "the autoscalers' program",
            lambda report: _carry(context, report),
            needs=("bucket",),
            expected=5,
        )
    ]


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
