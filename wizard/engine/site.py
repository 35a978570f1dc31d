"""What makes the site of the machines: certificate, application, names, and the proof of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from wizard.dns.base import RecordSet
from wizard.engine import code, content, origin, upgrade
from wizard.engine.context import Context
from wizard.engine.graph import Reporter, Step
from wizard.engine.machine import configure
from wizard.engine.state import MachineState, State
from wizard.engine.verify import wait_for_site
from wizard.errors import MachineError
from wizard.machines.job import Phase
from wizard.plan.model import PlannedMachine, PlannedRecord
from wizard.rules import Role

DNS_DEADLINE = 120.0
SITE_DEADLINE = 60.0


def steps(context: Context, machine: PlannedMachine) -> list[Step]:
    """Return what puts the site on a webserver. The leader gets the certificate and installs the
    application; the others take both over from it."""
    name = machine.name
    webservers = [m.name for m in context.plan.of_role(Role.WEBSERVER)]
    leader = webservers[0]
    # the authority may ask any webserver that is in DNS
    first = ("dns", *(f"configure:{m}" for m in webservers))
    if origin.is_chosen(context):
        first = (origin.STEP, *first)
    database = tuple(f"configure:{m.name}" for m in context.plan.of_role(Role.DATABASE))
    begin = (content.PUT,) if content.begins(context) else ()
    return [
        Step(
            f"certificate:{name}",
            "certificate",
            lambda report: configure(context, machine, Phase.CERTIFICATE, report),
            needs=first if name == leader else (f"certificate:{leader}",),
            machine=name,
            expected=8,
        ),
        Step(
            f"application:{name}",
            "application",
            lambda report: upgrade.configure(context, machine, report),
            needs=(
                f"configure:{name}",
                *code.carried(context, name),
                *((*database, *begin) if name == leader else (f"application:{leader}",)),
            ),
            machine=name,
            expected=8,
        ),
    ]


def first_records(context: Context, report: Reporter) -> str:
    """Point the names at the leader, and at the others that they already pointed at: a new
    webserver gets visitors when it has shown that it can serve them. Where autoscalers work it is
    they who say it."""
    assert context.dns is not None
    context.dns.zone()
    if context.published is not None:
        return point(context, report)
    leader = context.plan.of_role(Role.WEBSERVER)[0].name
    known = {r.name: r.addresses for r in context.dns.records(context.plan.deployment)}
    return _point(
        context,
        report,
        lambda planned, machine: (
            machine.name == leader or machine.public_address in known.get(planned.name, ())
        ),
    )


def publish(context: Context, report: Reporter) -> str:
    """Point the names at all webservers that have shown that they can serve. Health checks that no
    name needs any more go here: autoscalers, who point at others all the time, may not delete."""
    assert context.dns is not None
    if context.published is not None:
        told = point(context, report)
    elif len(context.plan.of_role(Role.WEBSERVER)) == 1:
        told = "one webserver: done"
    else:
        told = _point(context, report, lambda planned, machine: True)
    gone = context.dns.sweep(context.plan.deployment)
    return f"{told}, {gone} health checks deleted" if gone else told


def point(context: Context, report: Reporter) -> str:
    """Make every name's records the addresses of the webservers that are published."""
    published = context.published or frozenset()
    return _point(context, report, lambda planned, machine: machine.name in published)


def _point(
    context: Context, report: Reporter, wanted: Callable[[PlannedRecord, MachineState], bool]
) -> str:
    """Make every name's records the addresses of its webservers that are wanted."""
    assert context.dns is not None
    changed, health = 0, context.plan.health.asked if context.plan.health else None
    for planned in context.plan.records:
        known = context.state.machines
        machines = [known[name] for name in planned.machines if name in known]
        chosen = [machine for machine in machines if wanted(planned, machine)]
        found = tuple(sorted(a for machine in chosen for a in addresses(context, machine)))
        record = RecordSet(planned.name, found, planned.ttl, planned.proxied, health)
        context.journal.record("intent", report.step, name=planned.name)
        changed += context.dns.ensure_record(context.plan.deployment, record)
        context.journal.record("done", report.step, name=planned.name)
        report.progress(f"asking the servers for {planned.name}", 0, 1)
        context.dns.wait_until_served(record, DNS_DEADLINE)
    return f"{len(context.plan.records)} served, {changed} changed"


def addresses(context: Context, machine: MachineState) -> tuple[str, ...]:
    """Return what names lead to where they lead to this machine."""
    found = (machine.public_address, machine.ipv6 if context.plan.ipv6 else "")
    return tuple(address for address in found if address)


def verify(context: Context, report: Reporter) -> str:
    """Ask every webserver for the site as a visitor would; remember that it is deployed."""
    root = origin.trusted(context)
    webservers = [m for m in context.state.machines.values() if m.role is Role.WEBSERVER]
    if not webservers:
        raise MachineError("there is no webserver to ask")
    first = webservers[0]
    canonical = context.plan.application.hosts[0]
    for machine in webservers:
        wait_for_site(
            canonical,
            machine.access_address,
            root,
            SITE_DEADLINE,
            report.stop,
            context.plan.application.health_path,
        )
    local = first.access_address != first.public_address
    url = f"https://{first.access_address if local else canonical}/"
    context.update(lambda state: _deployed(context, state, url, root))
    return f"{url} answers"


def _deployed(context: Context, state: State, url: str, root: str) -> State:
    plan = context.plan
    return replace(
        state,
        provider=plan.provider,
        mode=plan.mode,
        ssh_port=plan.ssh_port,
        hosts=plan.application.hosts,
        application=plan.application.kind,
        admin_user=plan.application.admin_user,
        url=url,
        authority_root=root,
        managed_database=plan.database is not None,
        database_engine=plan.database_engine if plan.of_role(Role.DATABASE) else "",
        deployed_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
