"""What is done to a webserver while it is out of DNS: configured anew, upgraded, rebooted, given a
new certificate. Each can be begun again at any point."""

from __future__ import annotations

import threading
import time

from wizard.autoscaler.fleet import Work
from wizard.engine import agents, graph, joining, ssh
from wizard.engine.context import Context
from wizard.errors import InterruptedRunError, MachineError
from wizard.events import EventSink
from wizard.machines.job import Connection
from wizard.machines.places import TLS
from wizard.machines.templates import render
from wizard.plan.model import PlannedMachine

UPGRADE_SECONDS = 3000.0
REBOOT_SECONDS = 600.0
_PAUSE = 0.5
_CERTIFICATE = "/usr/local/sbin/build-usb-certificate"
# a leader that takes over does not order a second one
_RENEW = (
    f'[ -n "$(find -L {TLS}/current/fullchain.pem -mmin -10 2>/dev/null)" ]'
    f" && {_CERTIFICATE} state | grep -qx valid || {_CERTIFICATE} renew --force"
)
_BOOT = ("cat", "/proc/sys/kernel/random/boot_id")


def do(
    context: Context, machine: PlannedMachine, work: Work, sink: EventSink, stop: threading.Event
) -> None:
    """Do the work; returns when the machine is well again as far as it can tell itself."""
    name = machine.name
    if work is Work.CONFIGURE:
        graph.run(joining.configuring(context, machine), sink, stop)
    elif work is Work.CERTIFICATE:
        keeper = context.plan.of_role(machine.role)[0].name
        _run(context, name, _RENEW if name == keeper else f"{_CERTIFICATE} fetch", 300.0)
    elif work is Work.UPGRADE:
        _run(context, name, render("common/upgrade.sh.j2"), UPGRADE_SECONDS)
        if _run(context, name, "test ! -e /run/reboot-required || echo yes"):
            _reboot(context, name, stop)
    else:
        _reboot(context, name, stop)
    # what cron makes it do each minute
    agents.call(context, name, "run", "--wait", "60", seconds=90.0)


def _run(context: Context, name: str, script: str, seconds: float = 60.0) -> str:
    """Return what a script prints on the machine; MachineError with its complaint if it fails."""
    with ssh.connect(agents.connection(context, name)) as client:
        status, output, errors = ssh.run(client, ("sh", "-c", script), seconds=seconds)
    if status:
        raise MachineError(
            "it could not be done there",
            where=name,
            why=errors[-500:] or f"status {status}",
            cure=f"look at it: build-usb ssh {name}",
        )
    return output


def _reboot(context: Context, name: str, stop: threading.Event) -> None:
    connection = agents.connection(context, name)
    before = _run(context, name, " ".join(_BOOT))
    _run(context, name, "systemctl --no-block reboot")
    end = time.monotonic() + REBOOT_SECONDS
    while _boot(connection) in ("", before):
        if stop.wait(_PAUSE):
            raise InterruptedRunError("stopped", where=name, cure="run it again to continue")
        if time.monotonic() > end:
            raise MachineError(
                f"it did not come back within {REBOOT_SECONDS:.0f} s of its reboot",
                where=name,
                cure="look at its console at the provider",
            )


def _boot(connection: Connection) -> str:
    """Return which boot of the machine answers, empty if none does."""
    try:
        with ssh.connect(connection, 5.0) as client:
            return ssh.run(client, _BOOT, seconds=5.0)[1]
    except MachineError:
        return ""
