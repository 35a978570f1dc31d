"""What every machine goes through, whatever its role: made, met, configured, checked."""

from __future__ import annotations

from dataclasses import replace

from wizard.agent import guard
from wizard.agent.errors import AgentError
from wizard.engine import agents, fleets, letting_in, managed, rolling, station
from wizard.engine import configure as worker
from wizard.engine.context import Context
from wizard.engine.graph import Reporter, Step
from wizard.engine.jobs import machine_job
from wizard.engine.rotate import rotate_host_key
from wizard.engine.ssh import wait_for_ssh
from wizard.engine.state import MachineState
from wizard.errors import MachineError, TransientError
from wizard.home import keys
from wizard.machines import peers, shared_config
from wizard.machines.first_boot import user_data
from wizard.machines.job import Connection, Peer, Phase
from wizard.machines.places import SHARED_CONFIG
from wizard.plan.model import PlannedMachine
from wizard.providers.base import MachineSpec
from wizard.rules import Role

SSH_DEADLINE = 300.0
"""Seconds a new machine may take until its SSH answers; clouds need 20 to 90."""
CHECK_DEADLINE = 60.0
_ANNOUNCE_SECONDS = 30.0


def steps(context: Context, machine: PlannedMachine) -> list[Step]:
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
            needs=(f"create:{name}", *letting_in.needed(context)),
            machine=name,
            expected=12,
        ),
        Step(
            f"configure:{name}",
            "configure",
            lambda report: configure(context, machine, Phase.BASE, report),
            needs=(
                f"contact:{name}",
                "peers",
                *files,
                *program,
                *managed.needed(context, machine),
                *rolling.needed(context, machine),
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


def _create(context: Context, machine: PlannedMachine, report: Reporter) -> str:
    plan = context.plan
    assert context.network is not None
    first = host_key(context, machine, "first_host_key")
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
            spot=context.answers.machines.spot and machine.role is Role.WEBSERVER,
            ipv6=plan.ipv6,
        )
    )
    context.journal.record("done", report.step, name=machine.name, id=found.id)
    if plan.ipv6 and not found.ipv6:
        # its system learns of its addresses at its first boot
        raise MachineError(
            f"{machine.name} was made without an IPv6 address",
            where="provider.ipv6",
            cure="set it to false; or destroy the deployment and make it anew, beginning with a "
            "backup",
        )
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
                ipv6=found.ipv6,
            )
        )
    )
    return " ".join(filter(None, (found.private_address, found.ipv6)))


def _contact(context: Context, machine: PlannedMachine, report: Reporter) -> str:
    """Wait for SSH under the pinned key, then replace the host key that user-data carried."""
    login = keys.key_pair(context.secrets, "ssh_key")
    final = host_key(context, machine, "host_key")
    found = context.state.machines[machine.name]
    address, port = context.address(found), context.plan.ssh_port

    report.progress("waiting for SSH", 0, 1)
    if found.rotated:
        wait_for_ssh(address, port, final.public, login.private, SSH_DEADLINE)
        return "answers"
    first = host_key(context, machine, "first_host_key")
    connection = Connection(address, port, login.private, first.public)
    rotate_host_key(connection, final.private, final.public, SSH_DEADLINE)
    context.update(
        lambda state: state.with_machine(
            replace(state.machines[machine.name], host_key=final.public, rotated=True)
        )
    )
    write_ssh_files(context)
    return "host key of first boot replaced"


def host_key(context: Context, machine: PlannedMachine, kind: str) -> keys.KeyPair:
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


def announce(context: Context, report: Reporter) -> str:
    """Tell all machines which there are: through the bucket, and through the file system that they
    mount in its place, where this machine mounts it too."""
    assert context.bucket is not None
    machines = sorted(context.state.machines)
    data = peers.document(
        Peer(m.name, m.role, m.private_address) for m in context.state.machines.values()
    )
    stored = context.bucket.get(peers.NAME)
    if stored is None or stored.data != data:
        context.bucket.put(peers.NAME, data)
    if context.inside and context.file_system is not None:
        try:
            # in a process of its own: one that waits for a dead server is ended
            guard.run(
                *("sh", "-c", shared_config.announcing("announced")),
                seconds=_ANNOUNCE_SECONDS,
                given=data.decode(),
            )
        except AgentError as error:
            raise TransientError(
                "the machines cannot be announced in the shared folder",
                where=f"{SHARED_CONFIG}/{peers.NAME}",
                why=str(error),
                cure="look whether the folder is mounted on this autoscaler; it is tried again",
            ) from error
    return ", ".join(machines)


def configure(
    context: Context,
    machine: PlannedMachine,
    phase: Phase,
    report: Reporter,
    *,
    prepares: bool = False,
) -> str:
    """Make one phase of a machine's configuration true; `prepares`: see `jobs.machine_job`."""
    job = machine_job(context, machine, phase, prepares=prepares)
    context.journal.record("intent", report.step)
    result = worker.configure(job, report.sink, report.step, report.stop)
    context.journal.record("done", report.step, changed=result.changed)
    return f"{result.changed} of {result.operations} operations changed something"


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
