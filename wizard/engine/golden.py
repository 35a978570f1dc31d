"""The snapshot that webservers are built from: made of a machine that serves nobody and lives for
it alone, so that it can be stripped of all that is its own before its disk is copied.

A webserver that serves could not be: its disk holds keys, and logs with visitors' addresses.
"""

from __future__ import annotations

from dataclasses import replace

from wizard.engine import agents, ssh
from wizard.engine.context import Context
from wizard.engine.graph import Reporter, Step
from wizard.engine.machine import configure
from wizard.engine.machine import steps as machine_steps
from wizard.errors import MachineError
from wizard.machines.job import Phase
from wizard.machines.templates import render
from wizard.plan.model import PlannedMachine
from wizard.providers.base import Resource, ResourceKind
from wizard.rules import Role

TEMPLATE = "golden"
"""The machine that is copied; the snapshots' names begin with it as well."""
_STRIP_SECONDS = 120.0


class Golden:
    """One snapshot in the making; `name` is its name, the same whoever makes it."""

    def __init__(self, context: Context, name: str) -> None:
        # a context of its own: the machine is none of the fleet's
        self._context = replace(context)
        self._name = name
        self.id = ""

    def steps(self) -> list[Step]:
        """Return the steps that make it; `id` is known after the last one."""
        context = self._context
        like = context.plan.of_role(Role.WEBSERVER)[0]
        machine = replace(like, name=TEMPLATE)
        create, contact, *_ = machine_steps(context, machine)
        return [
            # one that was left behind may be stripped already: nobody could log in to it
            Step("clear", "no template of before", lambda _: clear(context)),
            replace(create, needs=("clear",)),
            contact,
            Step(
                f"{Phase.BASE}:{TEMPLATE}",
                "configure",
                lambda report: configure(context, machine, Phase.BASE, report),
                needs=(contact.id,),
                machine=TEMPLATE,
            ),
            Step(
                "snapshot",
                "strip it and copy its disk",
                lambda report: self._copy(machine, report),
                needs=(f"{Phase.BASE}:{TEMPLATE}",),
                machine=TEMPLATE,
            ),
        ]

    def _copy(self, machine: PlannedMachine, report: Reporter) -> str:
        context = self._context
        with ssh.connect(agents.connection(context, machine.name)) as client:
            script = render("common/strip.sh.j2")
            status, _, errors = ssh.run(client, ("sh",), stdin=script, seconds=_STRIP_SECONDS)
        if status:
            raise MachineError(
                "it could not be stripped of what is its own",
                where=machine.name,
                why=errors[-1000:],
                cure="webservers are built from the base image meanwhile",
            )
        identity = context.state.machines[machine.name].id
        context.journal.record("intent", report.step, name=self._name)
        self.id = context.provider.snapshot(identity, self._name).id
        context.journal.record("done", report.step, name=self._name, id=self.id)
        return self.id


def clear(context: Context) -> str:
    """Delete the template machine, if it is there."""
    deployment = context.plan.deployment
    found = [m for m in context.provider.machines(deployment) if m.name == TEMPLATE]
    for machine in found:
        context.provider.delete(
            Resource(ResourceKind.MACHINE, machine.id, machine.name, deployment)
        )
    return "deleted" if found else "none was there"


def forget(context: Context, kept: str) -> str:
    """Delete all snapshots of webservers but the one with the id `kept`."""
    old = [
        resource
        for resource in context.provider.resources(context.plan.deployment)
        if resource.kind is ResourceKind.SNAPSHOT
        and TEMPLATE in resource.name
        and resource.id != kept
    ]
    for resource in old:
        context.provider.delete(resource)
    return f"{len(old)} deleted"
