"""Changes a running application over to another release, and back to what it was if that fails.

The database cannot be changed back by the release's own programs: a restore point is made first.
"""

from __future__ import annotations

from wizard.answers.sections import Release
from wizard.engine import agents, backups, code, fleets, machine, rolling, ssh
from wizard.engine.context import Context
from wizard.engine.graph import Reporter, Step
from wizard.errors import BuildUsbError, MachineError, UsageError
from wizard.machines.job import Phase
from wizard.machines.places import SITE
from wizard.plan.model import PlannedMachine
from wizard.rules import Role


def steps(context: Context) -> list[Step]:
    """Return the step that brings the database to another release where several webservers serve:
    before their autoscalers are told of it, so that none of them meets one that does not fit."""
    if context.published is None or not code.is_released(context):
        return []
    database = (f"configure:{m.name}" for m in context.plan.of_role(Role.DATABASE))
    return [
        Step(
            rolling.UPGRADE,
            "bring the database to the release",
            lambda report: _first(context, report),
            needs=(*database, *code.stored(context)),
        )
    ]


def configure(context: Context, planned: PlannedMachine, report: Reporter) -> str:
    """Run the application phase on a webserver; with a restore point around it where the release
    changes."""
    # where there are autoscalers it has changed before they were told
    if context.published is not None or not _changes(context, planned):
        return machine.configure(context, planned, Phase.APPLICATION, report)
    return _upgrade(context, planned, report)


def _first(context: Context, report: Reporter) -> str:
    """Change one webserver and the database over, all others closed meanwhile: what fails now has
    changed nobody else, nor what autoscalers would build."""
    planned = context.plan.of_role(Role.WEBSERVER)[0]
    if not _changes(context, planned):
        return "it fits"
    rolling.refuse_paused(context, fleets.load_wish(context))
    found = fleets.load(context)
    roll = found[0].fleet.roll if found else None
    if roll is not None and roll.goes_on:
        raise UsageError(
            "the release cannot be changed while webservers are being worked on",
            where=roll.now or planned.name,
            cure="wait until build-usb status says that all have had it, then deploy again",
        )
    backups.require(context)
    code.bring(context, planned.name, report)
    return _upgrade(context, planned, report)


def _changes(context: Context, planned: PlannedMachine) -> bool:
    """Say whether another release is live on a webserver than the answers name."""
    source = code.wanted(context)
    if not isinstance(source, Release):
        return False
    return _live(context, planned.name) not in ("", source.sha256[:16])


def _upgrade(context: Context, planned: PlannedMachine, report: Reporter) -> str:
    several = context.published is not None
    backups.require(context)
    point = backups.new_point("manual")
    keepers = backups.keepers(context)
    for name in keepers.values():
        backups.make(context, name, point, report)
    if several:
        backups.close(context, closed=True)
    try:
        done = machine.configure(context, planned, Phase.APPLICATION, report, prepares=True)
    except MachineError as error:
        _go_back(context, point, error, report)
        raise
    if several:
        backups.close(context, closed=False)
    return f"upgraded, {point} is what was before; {done}"


def _live(context: Context, name: str) -> str:
    """Return the name of the release that is live, empty if there is none."""
    with ssh.connect(agents.connection(context, name)) as client:
        _, found, _ = ssh.run(client, ("readlink", f"{SITE}/current"))
    return found.strip().rpartition("/")[2]


def _go_back(context: Context, point: str, error: MachineError, report: Reporter) -> None:
    """Put the point back; the error says what is so now."""
    report.progress(f"going back to {point}", 0, 1)
    try:
        backups.close(context, closed=True)
        for name in backups.keepers(context).values():
            backups.put_back(context, name, point, point)
        backups.close(context, closed=False)
    except BuildUsbError as again:
        error.cure = f"build-usb restore {point}: it could not be put back by itself ({again.what})"
        return
    error.why = f"{error.why}\n{point} was put back: the site is what it was before".strip()
    error.cure = "the release that runs is unchanged; name it in the answers again, or a better one"
