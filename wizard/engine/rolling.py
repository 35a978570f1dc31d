"""A deploy on webservers that serve: their autoscalers make the new configuration true, on one
after the other, each out of DNS meanwhile; the deploy asks for it and waits."""

from __future__ import annotations

import getpass
import socket

from wizard.autoscaler.fleet import Fleet, Roll, Work
from wizard.autoscaler.schedule import Wish
from wizard.engine import code, fleets
from wizard.engine.context import Context
from wizard.engine.graph import Reporter, Step
from wizard.errors import InterruptedRunError, MachineError, UsageError
from wizard.plan.model import PlannedMachine
from wizard.rules import Role

STEP = "roll"
UPGRADE = "upgrade"
"""The step after which the database fits the release that webservers are to have."""
_LOOK_EACH = 2.0
_SILENT = 900.0
"""Seconds without any progress after which nobody seems to do it: the longest drain and a reboot
take less."""


def me() -> str:
    """Return who asks for something here, for people."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def needed(context: Context, machine: PlannedMachine) -> tuple[str, ...]:
    """Return the step after which the build machine itself may look at a webserver, or tell an
    autoscaler what to make webservers of."""
    if not _serves(context):
        return ()
    told = machine.role is Role.AUTOSCALER and code.is_released(context)
    return (STEP,) if machine.role is Role.WEBSERVER else (UPGRADE,) if told else ()


def steps(context: Context) -> list[Step]:
    """Return the step that has webservers configured anew, where they serve already."""
    if not _serves(context):
        return []
    others = [m.name for m in context.plan.machines if m.role is not Role.WEBSERVER]
    return [
        Step(
            STEP,
            "change the webservers, one at a time",
            lambda report: _roll(context, report),
            # what they are to take must be there before they are told of it
            needs=(*(f"configure:{name}" for name in others), *code.stored(context)),
        )
    ]


def _serves(context: Context) -> bool:
    return context.published is not None


def _roll(context: Context, report: Reporter) -> str:
    number = _asked(context)
    if number is None:
        return "they are as they should be"
    seen, quiet = "", 0.0
    while True:
        found = fleets.load(context)
        assert found is not None, "there is a fleet: webservers are published"
        fleet = found[0].fleet
        roll = fleet.roll
        if roll and roll.number >= number and not roll.goes_on:
            break
        words = _words(fleet, roll, number)
        quiet = 0.0 if words != seen else quiet + _LOOK_EACH
        if quiet >= _SILENT:
            raise MachineError(
                "the autoscalers do not change the webservers",
                where=words,
                why=f"nothing has happened for {_SILENT / 60:.0f} minutes",
                cure="look what they say: build-usb status; then deploy again",
            )
        seen = words
        total = max(1, len(fleet.webservers))
        left = len(roll.left) if roll and roll.number >= number else total
        report.progress(words, total - min(left, total), total)
        if report.stop.wait(_LOOK_EACH):
            raise InterruptedRunError(
                "stopped",
                where=words,
                cure="the autoscalers go on with it; deploy again to see it through",
            )
    if roll.stopped:
        raise MachineError(
            "the change of the webservers has stopped before all had it",
            where=roll.stopped.partition(":")[0],
            why=roll.stopped,
            cure="correct the answers, or look at the machine, and deploy again; the webservers "
            "that were not reached serve as before",
        )
    fleets.follow(context)
    code.forget(context)
    return f"{len(fleet.webservers)} webservers"


def _asked(context: Context) -> int | None:
    """Ask for it, unless it is done or under way; return the how manieth work it is."""
    found = fleets.load(context)
    assert found is not None
    fleet, wish = found[0].fleet, fleets.load_wish(context)
    if fleet.recipe == context.recipe:
        return None
    refuse_paused(context, wish)
    asked = wish.work == Work.CONFIGURE and wish.recipe == context.recipe
    taken = fleet.roll is not None and fleet.roll.number >= wish.works
    if asked and (not taken or (fleet.roll and fleet.roll.goes_on)):
        return wish.works
    return fleets.make_wish(context, me(), work=str(Work.CONFIGURE), recipe=context.recipe).works


def refuse_paused(context: Context, wish: Wish) -> None:
    """Raise UsageError if nothing may begin on the webservers."""
    if wish.paused:
        raise UsageError(
            "webservers cannot be changed while their scaling is paused",
            where=context.plan.deployment,
            cure="build-usb resume-scaling, then deploy again",
        )


def _words(fleet: Fleet, roll: Roll | None, number: int) -> str:
    if roll is None or roll.number < number:
        return "waiting for the autoscalers to take it up"
    if not roll.now:
        return f"{len(roll.left)} left; waiting until all others serve"
    phase = next((w.phase for w in fleet.webservers if w.name == roll.now), "gone")
    return f"{roll.now} is {phase}; {len(roll.left)} left"
