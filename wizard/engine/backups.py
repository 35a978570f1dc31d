"""Restore points of a running deployment: making one now, listing them, putting one back.

The machines do the work (wizard.agent.backup); cron makes them do it at the answers' periods.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, BinaryIO

from wizard.agent.points import point_name
from wizard.engine import agents, origin, ssh
from wizard.engine.context import Context
from wizard.engine.graph import Reporter, Step
from wizard.engine.state import MachineState
from wizard.engine.verify import wait_for_site
from wizard.errors import MachineError, UsageError
from wizard.machines.places import AGENT_PATH, MAINTENANCE, PAGE_CACHE
from wizard.rules import Role

LONGEST = 6 * 3600.0
"""Seconds that a part may take; a large site's first backup takes hours."""
_SITE_DEADLINE = 60.0
_AT_ONCE = 16
_ASKING = 600.0
DUMP = "database.sql"
"""What the dump of the database is called among the files of a point."""


def kept_password(deployment: str) -> str:
    """Return the name under which the home keeps the password of backups that outlived theirs."""
    return f"backups-{deployment}"


def outlive(context: Context, *, with_backups: bool) -> bool:
    """Say whether the backups stay when the deployment is destroyed. A rehearsal's are in this
    computer's memory and go with it."""
    ephemeral = context.plan.provider == "local"
    return context.plan.backups is not None and not (with_backups or ephemeral)


def kept_elsewhere(context: Context) -> bool:
    """Say whether there are backups in a second storage too; nothing of ours deletes those."""
    return context.plan.backups is not None and context.plan.backups.second is not None


def keep_password(context: Context, *, first: bool = True) -> str:
    """Keep in the home what opens the backups, before the deployment's own secrets are gone; say
    where they are. `first`: they stay in the first place too."""
    assert context.plan.backups is not None
    name = kept_password(context.plan.deployment)
    password = context.secrets.get("backup_password")
    if password is None:
        return "none was ever made"
    context.credentials.set(name, password)
    second = context.plan.backups.second
    places = [context.plan.backups.bucket] if first else []
    places += [f"{second.bucket} at {second.vendor}"] if second else []
    return f"{' and '.join(places)}; the build home keeps its password as {name}"


def keepers(context: Context) -> dict[str, str]:
    """Return the machines that keep a part of each point, by part."""
    plan = context.plan
    found = {"files": plan.of_role(Role.WEBSERVER)[0].name}
    for machine in plan.of_role(Role.DATABASE):
        # the database comes first: a file that is newer than it is not missed by anybody, one that
        # is older is
        found = {"database": machine.name, **found}
    return found


def require(context: Context) -> None:
    """Raise UsageError if the deployment makes no backups."""
    if context.plan.backups is None:
        raise UsageError(
            f"{context.plan.deployment} makes no backups",
            where="backups.periods",
            cure="name periods in the answers, such as [daily, weekly], and deploy again",
        )


def new_point(period: str) -> str:
    """Return the name of a point that is made now."""
    return point_name(period, datetime.now(UTC))


def points(context: Context, *, second: bool = False) -> list[dict[str, Any]]:
    """Return the restore points, oldest first; see wizard.agent.points. `second`: of the second
    storage."""
    require(context)
    if second and not kept_elsewhere(context):
        raise UsageError(
            f"{context.plan.deployment} has no second storage of backups",
            where="backups.second_storage",
            cure="leave --second out, or name one in the answers and deploy again",
        )
    machine = next(iter(keepers(context).values()))
    answer = agents.demand(context, machine, *_of("points", second), seconds=300)
    return list(answer["points"])


def _of(command: str, second: bool) -> tuple[str, ...]:
    return (command, "--second") if second else (command,)


def show(
    context: Context, point: str, path: str = "", *, second: bool = False
) -> list[dict[str, Any]]:
    """Return what each part of a point is, and what `path` of the files holds; see
    wizard.agent.onefile.show. UsageError if there is no such point, or path."""
    known = find(context, point, whole=False, second=second)
    keeper = keepers(context)
    asked = ["files"] if path else [part for part in keeper if part in known["parts"]]
    return [_ask(context, keeper[part], *_of("show", second), "--", point, path) for part in asked]


def find(
    context: Context, point: str, *, whole: bool = True, second: bool = False
) -> dict[str, Any]:
    """Return the point of that name; UsageError if there is none, or it is not whole."""
    known = [found for found in points(context, second=second) if found["whole"] or not whole]
    names = [str(found["name"]) for found in known]
    if point not in names:
        raise UsageError(
            f"there is no {'whole ' if whole else ''}restore point called {point}",
            where=context.plan.deployment,
            cure=f"choose one of: {', '.join(names[-12:]) or 'none is made yet'}",
        )
    return known[names.index(point)]


def fetch(context: Context, point: str, path: str, into: BinaryIO, *, second: bool = False) -> int:
    """Write one file of a point (DUMP: the database's) `into` a file, return its size in bytes."""
    machine = keepers(context)["database" if path == DUMP else "files"]
    shown = "" if path == DUMP else path
    _ask(context, machine, *_of("show", second), "--", point, shown)
    command = (AGENT_PATH, *_of("print", second), "--", point, path)
    with ssh.connect(agents.connection(context, machine)) as client:
        return ssh.fetch(client, command, into, seconds=LONGEST)


def file_steps(context: Context, point: str, path: str, *, second: bool = False) -> list[Step]:
    """Return the steps that put one file back in place: a safety point first. UsageError if it is
    not there."""
    require(context)
    machine = keepers(context)["files"]
    if path == DUMP:
        raise UsageError(
            "the database's dump is no file of the site",
            cure=f"restore the whole point, or write the dump to a file: --file {DUMP} --to FILE",
        )
    _ask(context, machine, *_of("show", second), "--", point, path)
    return [
        *backup_steps(context, new_point("manual")),
        Step(
            "restore:file",
            f"put {path} back",
            lambda _: _file(context, machine, point, path, second),
            ("backup:files",),
            machine=machine,
            expected=3,
        ),
    ]


def _file(context: Context, machine: str, point: str, path: str, second: bool) -> str:
    context.journal.record("intent", f"restore a file of {machine}", point=point, path=path)
    words = (*_of("file", second), "--", point, path)
    found = agents.demand(context, machine, *words, seconds=LONGEST)
    return f"{found['path']}: {_size(found['bytes'])}, as of {point}"


def _ask(context: Context, machine: str, *words: str) -> dict[str, Any]:
    """Ask for what a person has named; UsageError with the agent's reason if it is not there."""
    answer = agents.call(context, machine, *words, seconds=_ASKING)
    if not answer["ok"]:
        raise UsageError(
            str(answer.get("problem", "the restore point cannot be read")),
            where=machine,
            cure="see what there is: build-usb points, and build-usb points --point POINT --path "
            "FOLDER",
        )
    return answer


def backup_steps(context: Context, point: str, needs: tuple[str, ...] = ()) -> list[Step]:
    """Return the steps that make one restore point, one part after the other."""
    require(context)
    keeper = keepers(context)
    before = dict(zip(list(keeper)[1:], keeper, strict=False))
    return [
        Step(
            f"backup:{part}",
            f"back up the {part}",
            lambda report, part=part: make(context, keeper[part], point, report),  # type: ignore[misc]
            needs=(f"backup:{before[part]}",) if part in before else needs,
            machine=keeper[part],
            expected=8,
        )
        for part in keeper
    ]


def check_steps(context: Context) -> list[Step]:
    """Return the steps that restore the newest point into a scratch place on the machines."""
    return [
        Step(
            f"check:{part}",
            f"restore the {part} into a scratch place",
            lambda _, machine=machine: _check(context, machine),  # type: ignore[misc]
            needs=(f"backup:{list(keepers(context))[-1]}",),
            machine=machine,
            expected=8,
        )
        for part, machine in keepers(context).items()
    ]


def _check(context: Context, machine: str) -> str:
    found = agents.demand(context, machine, "check", seconds=LONGEST)
    return f"{found['point']}: {_size(found['bytes'])}, {found['how']}"


def restore_steps(
    context: Context, point: str, mending: Sequence[Step] = (), *, second: bool = False
) -> list[Step]:
    """Return the steps that put a point back in place: a safety point first, then the site is
    closed, on all webservers, for as long as database and files are changed over. What fails is
    undone, and the site opened with what ran before. `mending` are steps that follow then."""
    keeper = keepers(context)
    safety = new_point("manual")
    parts = list(keeper)
    return [
        *backup_steps(context, safety),
        Step("close", "close the site", lambda _: close(context, closed=True), ("backup:files",)),
        *(
            Step(
                f"restore:{part}",
                f"put the {part} back",
                lambda _, part=part: _restore(context, part, point, safety, second),  # type: ignore[misc]
                needs=(f"restore:{before}" if before else "close",),
                machine=keeper[part],
                expected=10,
            )
            for before, part in zip((None, *parts), parts, strict=False)
        ),
        Step(
            "open",
            "open the site",
            lambda _: close(context, closed=False),
            (f"restore:{parts[-1]}",),
        ),
        *mending,
        Step(
            "verify",
            "ask the site as a visitor would",
            lambda r: _verify(context, r),
            ("open", *(step.id for step in mending)),
        ),
    ]


def first_point(context: Context) -> list[Step]:
    """Return the step that makes a deployment's first restore point, when it has none yet."""
    if context.plan.backups is None:
        return []
    period = context.plan.backups.keep[0][0]
    return [
        Step(
            "backup",
            "first restore point",
            lambda report: _first(context, period, report),
            needs=("publish",),
            expected=10,
        )
    ]


def _first(context: Context, period: str, report: Reporter) -> str:
    known = points(context)
    if any(point["whole"] for point in known):
        return f"{len(known)} are kept"
    point = new_point(period)
    for name in keepers(context).values():
        make(context, name, point, report)
    return point


def make(context: Context, machine: str, point: str, report: Reporter) -> str:
    """Make a machine's part of a point."""
    report.progress(point, 0, 1)
    period = point.partition("-")[0]
    answer = agents.demand(context, machine, "backup", period, "--point", point, seconds=LONGEST)
    doubt = f"; {answer['doubt']}" if answer.get("doubt") else ""
    return f"{point}: {_size(answer['bytes'])}, {_size(answer['added'])} of it new{doubt}"


def put_back(
    context: Context, machine: str, point: str, safety: str, *, second: bool = False
) -> str:
    """Put a machine's part of a point back; `safety`: the point that holds what is there now."""
    context.journal.record("intent", f"restore {machine}", point=point, safety=safety)
    agents.demand(context, machine, *_of("restore", second), point, seconds=LONGEST)
    return f"as of {point}"


def _restore(context: Context, part: str, point: str, safety: str, second: bool) -> str:
    machine = keepers(context)[part]
    try:
        return put_back(context, machine, point, safety, second=second)
    except MachineError as error:
        # where the point is from, what ran before is too: the first place may be lost
        raise _undone(context, machine, safety, error, second) from error


def _undone(
    context: Context, failed: str, safety: str, error: MachineError, second: bool
) -> MachineError:
    """Put back what ran before on the machines that were changed, `failed` the last of them, open
    the site, and return the error that says so."""
    machines = list(keepers(context).values())
    # the database changes over as a whole or not at all; of files a part may be put back
    changed = [] if failed == machines[0] != machines[-1] else machines
    try:
        for machine in changed:
            put_back(context, machine, safety, safety, second=second)
        close(context, closed=False)
    except MachineError as other:
        return MachineError(
            "the restore point could not be put back, nor what ran before: the site stays closed",
            where=failed,
            why=f"{error.why or error.what}; then {other.where}: {other.why or other.what}",
            cure=f"mend what is named, then: build-usb restore {safety} (what ran before)",
        )
    return MachineError(
        "the restore point could not be put back; the site is open, with what ran before",
        where=failed,
        why=error.why or error.what,
        cure="mend what is named, then run the same command again",
    )


def close(context: Context, *, closed: bool) -> str:
    """Let visitors of every webserver read that the site is away for a moment, or no longer."""
    names = [machine.name for machine in _visited(context)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda name: _close_one(context, name, closed=closed), names))
    return "visitors read that it is away for a moment" if closed else "visitors are let in"


def _visited(context: Context) -> list[MachineState]:
    """Return the webservers; one that is being built has no visitors yet."""
    machines = context.state.machines.values()
    return [m for m in machines if m.role is Role.WEBSERVER and m.rotated]


def _close_one(context: Context, machine: str, *, closed: bool) -> None:
    script = f"mkdir -p {MAINTENANCE.rpartition('/')[0]}; touch {MAINTENANCE}"
    if not closed:
        # pages of before must not come out of the cache
        script = (
            f"find {PAGE_CACHE} -type f -delete; systemctl restart 'php*-fpm.service'"
            f" && rm -f {MAINTENANCE}"
        )
    with ssh.connect(agents.connection(context, machine)) as client:
        status, _, errors = ssh.run(client, ("sh", "-c", script))
    if status:
        raise MachineError(
            f"the site cannot be {'closed' if closed else 'opened'}",
            where=machine,
            why=errors[-500:],
            cure="run the same command again; build-usb status says how the machine is",
        )


def _verify(context: Context, report: Reporter) -> str:
    root = origin.trusted(context)
    host = context.plan.application.hosts[0]
    path = context.plan.application.health_path
    for machine in _visited(context):
        wait_for_site(host, machine.access_address, root, _SITE_DEADLINE, report.stop, path)
    return f"{context.state.url} answers"


def _size(count: int) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count //= 1000
    return f"{count} GB"
