"""The managed database of a deployment, where the answers ask for one.

It is rented while the machines come up: a cloud needs 5 to 15 minutes for it. The database machine
waits for it, and with that the application; all else does not.
"""

from __future__ import annotations

from wizard.answers.model import Answers
from wizard.engine.context import Context
from wizard.engine.graph import Reporter, Step
from wizard.engine.state import State
from wizard.errors import InterruptedRunError, UsageError
from wizard.plan.build import needs_database
from wizard.plan.model import PlannedMachine
from wizard.providers.base import DatabaseSpec
from wizard.rules import Rented, Role
from wizard.secrets import generate

STEP = "database"
_DEADLINE = 3600.0  # seconds of trying again


def steps(context: Context) -> list[Step]:
    """Return the step that rents the database, if one is wanted."""
    if context.plan.database is None:
        return []
    return [
        Step(
            STEP,
            "managed database",
            lambda report: _ensure(context, report),
            needs=("network", "firewall"),
            expected=480,
            deadline=_DEADLINE,
        )
    ]


def needed(context: Context, machine: PlannedMachine) -> tuple[str, ...]:
    """Return the steps of these that configuring a machine needs."""
    # autoscalers are told where it is: they make webservers of their own
    told = machine.role in (Role.DATABASE, Role.AUTOSCALER)
    return (STEP,) if context.plan.database is not None and told else ()


def refuse_change(answers: Answers, state: State | None) -> None:
    """Raise UsageError if the deployment has its data in a database of another kind: the site
    would come up empty."""
    machines = state.machines.values() if state is not None else ()
    if state is None or not state.deployed_at or all(m.role is not Role.DATABASE for m in machines):
        return
    wanted, managed = answers.database, state.managed_database
    # deployments of before kept no engine: they had what was the only own one
    engine = state.database_engine or (wanted.engine if managed else "mariadb")
    if managed == wanted.managed and (engine == wanted.engine or not needs_database(answers)):
        return
    changed = "managed" if managed != wanted.managed else "engine"
    raise UsageError(
        f"{answers.name} keeps its data in {_kind(engine, managed)}: "
        f"with {_kind(wanted.engine, wanted.managed)} the site would be empty",
        where=f"database.{changed}",
        cure="set it back; or make a backup, destroy the deployment, and deploy these answers",
    )


def _kind(engine: str, managed: bool) -> str:
    return f"a managed database ({engine})" if managed else f"a database of its own ({engine})"


def _ensure(context: Context, report: Reporter) -> str:
    plan = context.plan
    assert plan.database is not None
    assert context.network is not None

    def progress(what: str, done: float, total: float) -> None:
        if report.stop.is_set():
            raise InterruptedRunError(
                "stopped", where=report.step, cure="run it again: the database is found"
            )
        report.progress(what, done, total)

    # kept before the cloud is told: a run that is killed here knows it
    password = context.secrets.get_or_create("database_admin_password", generate)
    context.journal.record("intent", report.step)
    found = context.provider.ensure_database(
        DatabaseSpec(
            deployment=plan.deployment,
            engine=plan.database.engine,
            size=plan.database.size,
            port=plan.database.port,
            region=plan.region,
            network_id=context.network.id,
            rules=tuple(rule for rule in plan.rules if rule.target is Rented.DATABASE),
            password=password,
        ),
        progress,
    )
    if found.password != password:
        # clouds that choose it themselves
        context.secrets.set("database_admin_password", found.password)
    context.journal.record("done", report.step, id=found.id)
    context.database = found
    return f"{found.name} answers at {found.host}"
