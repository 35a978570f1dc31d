"""Changes a running application over to another release, and back to what it was if that fails.

The database cannot be changed back by the release's own programs: a restore point is made first.
"""

from __future__ import annotations

from wizard.answers.sections import Release
from wizard.engine import agents, backups, code, machine, ssh
from wizard.engine.context import Context
from wizard.engine.graph import Reporter
from wizard.errors import BuildUsbError, MachineError
from wizard.machines.job import Phase
from wizard.machines.places import SITE
from wizard.plan.model import PlannedMachine


def configure(context: Context, planned: PlannedMachine, report: Reporter) -> str:
    """Run the application phase on a webserver; with a restore point around it where the release
    changes."""
    source = code.wanted(context)
    known = isinstance(source, Release) and ("", source.sha256[:16])
    if not known or _live(context, planned.name) in known:
        return machine.configure(context, planned, Phase.APPLICATION, report)
    backups.require(context)
    point = backups.new_point("manual")
    keepers = backups.keepers(context)
    for name in keepers.values():
        backups.make(context, name, point, report)
    try:
        done = machine.configure(context, planned, Phase.APPLICATION, report)
    except MachineError as error:
        _go_back(context, point, error, report)
        raise
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
