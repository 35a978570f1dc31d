"""Restore points of a running deployment: making one now, listing them, putting one back.

The machines do the work (wizard.agent.backup); cron makes them do it at the answers' periods.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from wizard.agent.backup import point_name
from wizard.engine import agents, origin, ssh
from wizard.engine.context import Context
from wizard.engine.graph import Reporter, Step
from wizard.engine.verify import wait_for_site
from wizard.errors import MachineError, UsageError
from wizard.machines.places import MAINTENANCE, PAGE_CACHE
from wizard.rules import Role

LONGEST = 6 * 3600.0
"""Seconds that a part may take; a large site's first backup takes hours."""
_SITE_DEADLINE = 60.0


def kept_password(deployment: str) -> str:
    """Return the name under which the home keeps the password of backups that outlived theirs."""
    return f"backups-{deployment}"


def outlive(context: Context, *, with_backups: bool) -> bool:
    """Say whether the backups stay when the deployment is destroyed. A rehearsal's are in this
    computer's memory and go with it."""
    ephemeral = context.plan.provider == "local"
    return context.plan.backups is not None and not (with_backups or ephemeral)


def keep_password(context: Context) -> str:
    """Keep in the home what opens the backups, before the deployment's own secrets are gone."""
    assert context.plan.backups is not None
    name = kept_password(context.plan.deployment)
    password = context.secrets.get("backup_password")
    if password is None:
        return "none was ever made"
    context.credentials.set(name, password)
    return f"{context.plan.backups.bucket}; the build home keeps its password as {name}"


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


def points(context: Context) -> list[dict[str, Any]]:
    """Return the restore points, oldest first; see wizard.agent.backup.points."""
    require(context)
    answer = agents.demand(context, next(iter(keepers(context).values())), "points", seconds=300)
    return list(answer["points"])


def backup_steps(context: Context, point: str, needs: tuple[str, ...] = ()) -> list[Step]:
    """Return the steps that make one restore point, one part after the other."""
    require(context)
    keeper = keepers(context)
    before = dict(zip(list(keeper)[1:], keeper, strict=False))
    return [
        Step(
            f"backup:{part}",
            f"back up the {part}",
            lambda report, part=part: _backup(context, keeper[part], point, report),  # type: ignore[misc]
            needs=(f"backup:{before[part]}",) if part in before else needs,
            machine=keeper[part],
            expected=8,
        )
        for part in keeper
    ]


def restore_steps(context: Context, point: str) -> list[Step]:
    """Return the steps that put a point back in place: a safety point first, then the site is
    closed for as long as database and files are changed over."""
    keeper = keepers(context)
    web = keeper["files"]
    safety = new_point("manual")
    return [
        *backup_steps(context, safety),
        Step("close", "close the site", lambda r: _close(context, web, True), ("backup:files",),
             machine=web),
        *(
            Step(
                f"restore:{part}",
                f"put the {part} back",
                lambda report, part=part: _restore(context, keeper[part], point, safety),  # type: ignore[misc]
                needs=("close",),
                machine=keeper[part],
                expected=10,
            )
            for part in keeper
        ),
        Step("open", "open the site", lambda r: _close(context, web, False),
             tuple(f"restore:{part}" for part in keeper), machine=web),
        Step("verify", "ask the site as a visitor would", lambda r: _verify(context, r),
             ("open",)),
    ]  # fmt: skip


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
        _backup(context, name, point, report)
    return point


def _backup(context: Context, machine: str, point: str, report: Reporter) -> str:
    report.progress(point, 0, 1)
    period = point.partition("-")[0]
    answer = agents.demand(context, machine, "backup", period, "--point", point, seconds=LONGEST)
    return f"{point}: {_size(answer['bytes'])}, {_size(answer['added'])} of it new"


def _restore(context: Context, machine: str, point: str, safety: str) -> str:
    context.journal.record("intent", f"restore {machine}", point=point, safety=safety)
    agents.demand(context, machine, "restore", point, seconds=LONGEST)
    return f"as of {point}"


def _close(context: Context, machine: str, closed: bool) -> str:
    """Let visitors read that the site is away for a moment, or no longer."""
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
    return "visitors read that it is away for a moment" if closed else "visitors are let in"


def _verify(context: Context, report: Reporter) -> str:
    root = origin.trusted(context)
    first = context.state.machines[keepers(context)["files"]]
    host = context.plan.application.hosts[0]
    path = context.plan.application.health_path
    wait_for_site(host, first.access_address, root, _SITE_DEADLINE, report.stop, path)
    return f"{context.state.url} answers"


def _size(count: int) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count //= 1000
    return f"{count} GB"
