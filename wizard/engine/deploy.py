"""Makes a plan true: the steps of a deployment, in the order and parallelism they allow.

Every step finds what exists before it creates anything, so running a deployment again after any
interruption, kill -9 included, ends in the same place.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from wizard.dns.base import RecordSet
from wizard.engine import (
    agents,
    backups,
    code,
    content,
    fleets,
    gate,
    managed,
    origin,
    product,
    station,
)
from wizard.engine.configure import configure
from wizard.engine.context import Context
from wizard.engine.graph import Reporter, Step
from wizard.engine.jobs import machine_job
from wizard.engine.rotate import rotate_host_key
from wizard.engine.ssh import wait_for_ssh
from wizard.engine.state import MachineState, State
from wizard.engine.verify import wait_for_site
from wizard.errors import MachineError, ProviderError, TransientError
from wizard.home import bundle, keys
from wizard.machines import peers
from wizard.machines.first_boot import user_data
from wizard.machines.job import Connection, Peer, Phase
from wizard.plan.model import PlannedMachine, PlannedRecord
from wizard.providers.base import MachineSpec
from wizard.rules import Role

BUNDLE_KEY = "state/bundle.age"
PEERS_KEY = "peers.json"
ORIGIN = "origin"
"""The step that orders a certificate of the proxies' own authority."""
SSH_DEADLINE = 300.0
"""Seconds a new machine may take until its SSH answers; clouds need 20 to 90."""
CHECK_DEADLINE = 60.0
DNS_DEADLINE = 120.0
SITE_DEADLINE = 60.0


def steps(context: Context) -> list[Step]:
    """Return the steps of a deployment, expected seconds as measured in a rehearsal."""
    machines = context.plan.machines
    webservers = context.plan.of_role(Role.WEBSERVER)
    return [
        Step(
            "provider",
            "prepare the provider",
            lambda r: _provider(context, r),
            needs=code.fetched(context),
            expected=3,
        ),
        Step("network", "private network", lambda r: _network(context, r), ("provider",)),
        Step("firewall", "native firewall", lambda r: _firewall(context, r), ("network",)),
        Step("bucket", "bucket", lambda r: _bucket(context, r), ("provider",)),
        *_gate(context),
        *_origin(context),
        *_program(context),
        *_file_system_steps(context),
        *managed.steps(context),
        *(step for machine in machines for step in _machine_steps(context, machine)),
        Step(
            "peers",
            "announce the machines to each other",
            lambda report: _peers(context, report),
            needs=("bucket", *(f"create:{m.name}" for m in machines)),
        ),
        Step(
            "dns",
            "DNS records",
            lambda report: _dns(context, report),
            # nobody passes before there is a gate
            needs=(*(s.id for s in _gate(context)), *(f"create:{m.name}" for m in webservers)),
            expected=2,
        ),
        *code.steps(context),
        *content.steps(context),
        *(step for machine in webservers for step in _site(context, machine)),
        Step(
            "verify",
            "ask the site as a visitor would",
            lambda report: _verify(context, report),
            needs=tuple(f"check:{m.name}" for m in machines),
            expected=1,
        ),
        Step(
            "publish",
            "DNS records of all webservers",
            lambda report: _publish(context, report),
            needs=("verify",),
        ),
        *_revocation(context),
        *_fleet(context),
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
            lambda report: _file_system(context, report),
            needs=("network", "firewall"),
            expected=90,
        )
    ]


def _machine_steps(context: Context, machine: PlannedMachine) -> list[Step]:
    """Return what every machine goes through, whatever its role."""
    name = machine.name
    site = ("certificate", "application") if machine.role is Role.WEBSERVER else ()
    program = ("program",) if machine.role is Role.AUTOSCALER else ()
    files = ("file-system",) if context.plan.file_system else ()
    return [
        Step(
            f"create:{name}",
            "create",
            lambda report: _create(context, machine, report),
            needs=("network", "firewall"),
            machine=name,
            expected=1,
        ),
        Step(
            f"contact:{name}",
            "first contact",
            lambda report: _contact(context, machine, report),
            needs=(f"create:{name}",),
            machine=name,
            expected=12,
        ),
        Step(
            f"configure:{name}",
            "configure",
            lambda report: _configure(context, machine, Phase.BASE, report),
            needs=(
                f"contact:{name}",
                "peers",
                *files,
                *program,
                *managed.needed(context, machine),
            ),
            machine=name,
            expected=14,
        ),
        Step(
            f"check:{name}",
            "check",
            lambda report: _check(context, machine, report),
            needs=(f"configure:{name}", *(f"{what}:{name}" for what in site)),
            machine=name,
            deadline=CHECK_DEADLINE,
        ),
    ]


def _site(context: Context, machine: PlannedMachine) -> list[Step]:
    """Return what puts the site on a webserver. The leader gets the certificate and installs the
    application; the others take both over from it."""
    name = machine.name
    webservers = [m.name for m in context.plan.of_role(Role.WEBSERVER)]
    leader = webservers[0]
    # the authority may ask any webserver that is in DNS
    first = ("dns", *(f"configure:{m}" for m in webservers))
    if origin.is_chosen(context):
        first = (ORIGIN, *first)
    database = tuple(f"configure:{m.name}" for m in context.plan.of_role(Role.DATABASE))
    begin = (content.PUT,) if content.wanted(context) else ()
    return [
        Step(
            f"certificate:{name}",
            "certificate",
            lambda report: _configure(context, machine, Phase.CERTIFICATE, report),
            needs=first if name == leader else (f"certificate:{leader}",),
            machine=name,
            expected=8,
        ),
        Step(
            f"application:{name}",
            "application",
            lambda report: _configure(context, machine, Phase.APPLICATION, report),
            needs=(
                f"configure:{name}",
                *code.carried(context, name),
                *((*database, *begin) if name == leader else (f"application:{leader}",)),
            ),
            machine=name,
            expected=8,
        ),
    ]


def _gate(context: Context) -> list[Step]:
    if not gate.concerns(context):
        return []
    return [Step("gate", "Zero Trust Access", lambda r: gate.ensure(context, r), ("provider",))]


def _origin(context: Context) -> list[Step]:
    if not origin.is_chosen(context):
        return []
    title = "certificate of the proxies' authority"
    return [Step(ORIGIN, title, lambda report: origin.order(context, report), ("provider",))]


def _revocation(context: Context) -> list[Step]:
    if not origin.was_ordered(context):
        return []
    title = "revoke certificates of before"
    return [Step("revoke", title, lambda r: origin.revoke_others(context, r), ("publish",))]


def joining(context: Context, machine: PlannedMachine, turn: threading.Lock) -> list[Step]:
    """Return the steps by which a webserver joins a deployment that runs; those of all machines
    are taken in `turn`."""
    name = machine.name
    database = context.plan.of_role(Role.DATABASE)[0]
    create, contact, *_ = _machine_steps(context, machine)

    def announce(report: Reporter) -> str:
        with turn:
            _peers(context, report)
            return _configure(context, database, Phase.BASE, report)

    def configuring(phase: Phase, *needs: str) -> Step:
        return Step(
            f"{phase}:{name}",
            str(phase),
            lambda report: _configure(context, machine, phase, report),
            needs=needs,
            machine=name,
        )

    return [
        replace(create, needs=()),
        contact,
        Step("announce", "announce it to the others", announce, needs=(create.id,)),
        configuring(Phase.BASE, contact.id),
        configuring(Phase.CERTIFICATE, f"{Phase.BASE}:{name}"),
        configuring(Phase.APPLICATION, f"{Phase.CERTIFICATE}:{name}", "announce"),
    ]


def keeping(context: Context, machine: PlannedMachine) -> list[Step]:
    """Return the steps that make a webserver the one that keeps certificate and cron."""
    steps: list[Step] = []
    for phase in (Phase.BASE, Phase.APPLICATION):
        steps.append(
            Step(
                f"{phase}:{machine.name}",
                str(phase),
                lambda report, phase=phase: _configure(context, machine, phase, report),  # type: ignore[misc]
                needs=tuple(step.id for step in steps),
                machine=machine.name,
            )
        )
    return steps


def leaving(context: Context) -> list[Step]:
    """Return the steps that let the others forget webservers that are gone."""
    database = context.plan.of_role(Role.DATABASE)[0]
    return [
        Step("peers", "announce who is left", lambda report: _peers(context, report)),
        Step(
            "database",
            "take the accounts away",
            lambda report: _configure(context, database, Phase.BASE, report),
            needs=("peers",),
        ),
    ]


def _program(context: Context) -> list[Step]:
    """Return the step that carries the program that autoscalers run."""
    if not context.plan.of_role(Role.AUTOSCALER):
        return []
    return [
        Step(
            "program",
            "the autoscalers' program",
            lambda report: _carry_program(context, report),
            needs=("bucket",),
            expected=5,
        )
    ]


def _carry_program(context: Context, report: Reporter) -> str:
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


def _fleet(context: Context) -> list[Step]:
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


def _provider(context: Context, report: Reporter) -> str:
    edge = context.plan.edge
    if edge is not None and edge.wrong:
        raise ProviderError(
            f"the zone {context.plan.zone} is not set up for proxied names",
            where="dns.proxied",
            why="\n".join(edge.wrong),
            cure="change it at the DNS provider (it holds for every name of the zone, so it is not "
            "changed from here), or set dns.proxied to false",
        )
    context.connect(report.progress)
    content.check(context)
    return f"{context.provider.name} is ready"


def _network(context: Context, report: Reporter) -> str:
    context.journal.record("intent", report.step)
    context.network = context.provider.ensure_network(context.plan.deployment)
    context.journal.record("done", report.step, id=context.network.id)
    return context.network.cidr


def _firewall(context: Context, report: Reporter) -> str:
    plan = context.plan
    context.journal.record("intent", report.step)
    context.provider.ensure_firewall(plan.deployment, plan.rules, enabled=plan.native_firewall)
    context.journal.record("done", report.step)
    return f"{len(plan.rules)} rules" if plan.native_firewall else "switched off by the answers"


def _bucket(context: Context, report: Reporter) -> str:
    assert context.bucket is not None
    context.journal.record("intent", report.step, name=context.bucket.name)
    created = context.bucket.ensure(context.plan.deployment)
    context.journal.record("done", report.step, name=context.bucket.name)
    if context.backups is not None:
        context.backups.ensure(context.plan.deployment, versioned=False)
    return f"{'created' if created else 'found'} {context.bucket.name}"


def _file_system(context: Context, report: Reporter) -> str:
    makers = context.services.file_systems
    assert makers is not None, "the answers allow this only where there are file systems"
    context.journal.record("intent", report.step)
    context.file_system = made = makers.ensure_file_system(context.plan.deployment)
    context.journal.record("done", report.step, id=made.id)
    return f"{made.id}, reached in {len(made.targets)} zones"


def _create(context: Context, machine: PlannedMachine, report: Reporter) -> str:
    plan = context.plan
    assert context.network is not None
    first = _host_key(context, machine, "first_host_key")
    login = keys.key_pair(context.secrets, "ssh_key")
    context.journal.record("intent", report.step, name=machine.name)
    found = context.provider.ensure_machine(
        MachineSpec(
            deployment=plan.deployment,
            name=machine.name,
            role=machine.role,
            size=machine.size.name,
            image=machine.image,
            region=plan.region,
            network_id=context.network.id,
            user_data=user_data(
                machine.name,
                plan.ssh_port,
                first.private,
                first.public,
                *station.logins(context),
            ),
            authorized_key=login.public,
            disk=machine.size.disk,
        )
    )
    context.journal.record("done", report.step, name=machine.name, id=found.id)
    known = context.state.machines.get(machine.name)
    if known is None or known.id != found.id:
        known = None  # another machine of that name: its host key is the one of first boot again
    context.update(
        lambda state: state.with_machine(
            MachineState(
                id=found.id,
                name=found.name,
                role=found.role,
                private_address=found.private_address,
                public_address=found.public_address,
                access_address=found.access_address,
                host_key=known.host_key if known else first.public,
                rotated=known.rotated if known else False,
            )
        )
    )
    return f"{found.private_address}"


def _contact(context: Context, machine: PlannedMachine, report: Reporter) -> str:
    """Wait for SSH under the pinned key, then replace the host key that user-data carried."""
    login = keys.key_pair(context.secrets, "ssh_key")
    final = _host_key(context, machine, "host_key")
    found = context.state.machines[machine.name]
    address, port = context.address(found), context.plan.ssh_port

    report.progress("waiting for SSH", 0, 1)
    if found.rotated:
        wait_for_ssh(address, port, final.public, login.private, SSH_DEADLINE)
        return "answers"
    first = _host_key(context, machine, "first_host_key")
    connection = Connection(address, port, login.private, first.public)
    rotate_host_key(connection, final.private, final.public, SSH_DEADLINE)
    context.update(
        lambda state: state.with_machine(
            replace(state.machines[machine.name], host_key=final.public, rotated=True)
        )
    )
    write_ssh_files(context)
    return "host key of first boot replaced"


def _host_key(context: Context, machine: PlannedMachine, kind: str) -> keys.KeyPair:
    """Return a machine's host key; webservers that autoscalers make too have one that all of them
    can derive."""
    if context.plan.mode == "production" and machine.role is Role.WEBSERVER:
        return fleets.host_key(context, machine.name, kind)
    return keys.key_pair(context.secrets, f"{kind}.{machine.name}")


def write_ssh_files(context: Context) -> None:
    """Write what `build-usb ssh` needs to reach the machines that are known."""
    with context.lock:
        hosts = [
            keys.SshHost(m.name, m.access_address, context.plan.ssh_port, m.host_key)
            for m in context.state.machines.values()
            if m.rotated
        ]
        keys.write_ssh_files(context.home, hosts)


def _peers(context: Context, report: Reporter) -> str:
    assert context.bucket is not None
    machines = sorted(context.state.machines)
    data = peers.document(
        Peer(m.name, m.role, m.private_address) for m in context.state.machines.values()
    )
    stored = context.bucket.get(PEERS_KEY)
    if stored is None or stored.data != data:
        context.bucket.put(PEERS_KEY, data)
    return ", ".join(machines)


def _configure(context: Context, machine: PlannedMachine, phase: Phase, report: Reporter) -> str:
    job = machine_job(context, machine, phase)
    context.journal.record("intent", report.step)
    result = configure(job, report.sink, report.step, report.stop)
    context.journal.record("done", report.step, changed=result.changed)
    return f"{result.changed} of {result.operations} operations changed something"


def _dns(context: Context, report: Reporter) -> str:
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


def _publish(context: Context, report: Reporter) -> str:
    if context.published is not None:
        return point(context, report)
    if len(context.plan.of_role(Role.WEBSERVER)) == 1:
        return "one webserver: done"
    return _point(context, report, lambda planned, machine: True)


def point(context: Context, report: Reporter) -> str:
    """Make every name's records the addresses of the webservers that are published."""
    published = context.published or frozenset()
    return _point(context, report, lambda planned, machine: machine.name in published)


def _point(
    context: Context, report: Reporter, wanted: Callable[[PlannedRecord, MachineState], bool]
) -> str:
    """Make every name's records the addresses of its webservers that are wanted."""
    assert context.dns is not None
    changed = 0
    for planned in context.plan.records:
        known = context.state.machines
        machines = [known[name] for name in planned.machines if name in known]
        addresses = tuple(sorted(m.public_address for m in machines if wanted(planned, m)))
        record = RecordSet(planned.name, addresses, planned.ttl, planned.proxied)
        context.journal.record("intent", report.step, name=planned.name)
        changed += context.dns.ensure_record(context.plan.deployment, record)
        context.journal.record("done", report.step, name=planned.name)
        report.progress(f"asking the servers for {planned.name}", 0, 1)
        context.dns.wait_until_served(record, DNS_DEADLINE)
    return f"{len(context.plan.records)} served, {changed} changed"


def _check(context: Context, machine: PlannedMachine, report: Reporter) -> str:
    """Let the machine's agent do now what cron makes it do each minute, and say what is wrong."""
    name = machine.name
    # its own exit status and output say less than the status asked for next
    agents.call(context, name, "run", "--wait", "60", seconds=CHECK_DEADLINE)
    problems = [str(problem) for problem in agents.call(context, name, "status")["problems"]]
    if problems:
        raise TransientError(
            "not everything is well yet",
            where=name,
            why="\n".join(problems),
            cure=f"look at it: build-usb ssh {name}",
        )
    return "well"


def _verify(context: Context, report: Reporter) -> str:
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
        deployed_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _save(context: Context, report: Reporter) -> str:
    assert context.bucket is not None
    digest = bundle.digest(context.home, context.secrets.vault)
    if context.state.bundle_digest == digest and context.bucket.get(BUNDLE_KEY) is not None:
        return "unchanged"
    context.bucket.put(BUNDLE_KEY, bundle.pack(context.home, context.secrets.vault))
    context.update(lambda state: replace(state, bundle_digest=digest))
    return "saved, encrypted"
