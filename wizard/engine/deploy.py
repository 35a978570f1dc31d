"""Makes a plan true: the steps of a deployment, in the order and parallelism they allow.

Every step finds what exists before it creates anything, so running a deployment again after any
interruption, kill -9 included, ends in the same place.
"""

from __future__ import annotations

from dataclasses import replace

from wizard.engine import (
    backups,
    baseline_put,
    code,
    content,
    gate,
    joining,
    letting_in,
    machine,
    managed,
    origin,
    rent,
    rolling,
    site,
    upgrade,
)
from wizard.engine.context import Context
from wizard.engine.graph import Reporter, Step
from wizard.home import bundle
from wizard.rules import Role

BUNDLE_KEY = "state/bundle.age"


def steps(context: Context) -> list[Step]:
    """Return the steps of a deployment, expected seconds as measured in a rehearsal."""
    machines = context.plan.machines
    webservers = context.plan.of_role(Role.WEBSERVER)
    return [
        Step(
            "provider",
            "prepare the provider",
            lambda r: rent.prepare(context, r),
            needs=(*code.fetched(context), *baseline_put.fetched(context)),
            expected=3,
        ),
        Step("network", "private network", lambda r: rent.network(context, r), ("provider",)),
        Step("firewall", "native firewall", lambda r: rent.firewall(context, r), ("network",)),
        Step("bucket", "bucket", lambda r: rent.bucket(context, r), ("provider",)),
        *letting_in.announce(context),
        *gate.steps(context),
        *origin.steps(context),
        *joining.program(context),
        *upgrade.steps(context),
        *rolling.steps(context),
        *_file_system_steps(context),
        *managed.steps(context),
        *(step for planned in machines for step in machine.steps(context, planned)),
        Step(
            "peers",
            "announce the machines to each other",
            lambda report: machine.announce(context, report),
            needs=("bucket", *(f"create:{m.name}" for m in machines)),
        ),
        Step(
            "dns",
            "DNS records",
            lambda report: site.first_records(context, report),
            # nobody passes before there is a gate
            needs=(*(s.id for s in gate.steps(context)), *(f"create:{m.name}" for m in webservers)),
            expected=2,
        ),
        *_project_steps(context),
        *code.steps(context),
        *content.steps(context),
        *(step for planned in webservers for step in site.steps(context, planned)),
        Step(
            "verify",
            "ask the site as a visitor would",
            lambda report: site.verify(context, report),
            needs=tuple(f"check:{m.name}" for m in machines),
            expected=1,
        ),
        Step(
            "publish",
            "DNS records of all webservers",
            lambda report: site.publish(context, report),
            needs=("verify",),
        ),
        *origin.revocation(context),
        *joining.hand_over(context),
        *backups.first_point(context),
        Step(
            "save",
            "keep the deployment's state in its bucket",
            lambda report: _save(context, report),
            needs=("publish",),
        ),
    ]


def _file_system_steps(context: Context) -> list[Step]:
    """Return what makes the shared folder, where it is no bucket."""
    if context.plan.file_system is None:
        return []
    return [
        Step(
            "file-system",
            "shared folder",
            lambda report: rent.file_system(context, report),
            needs=("network", "firewall"),
            expected=90,
        )
    ]


def _project_steps(context: Context) -> list[Step]:
    """Return what lets all that was made stand together, where the provider knows such a thing."""
    if not context.plan.project:
        return []
    return [
        Step(
            "project",
            "group what was made",
            lambda report: rent.project(context, report),
            needs=("peers", *(step.id for step in managed.steps(context))),
        )
    ]


def _save(context: Context, report: Reporter) -> str:
    assert context.bucket is not None
    digest = bundle.digest(context.home, context.secrets.vault)
    if context.state.bundle_digest == digest and context.bucket.get(BUNDLE_KEY) is not None:
        return "unchanged"
    context.bucket.put(BUNDLE_KEY, bundle.pack(context.home, context.secrets.vault))
    context.update(lambda state: replace(state, bundle_digest=digest))
    return "saved, encrypted"
