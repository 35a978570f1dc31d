"""The process that configures one machine: a job on standard input, events on standard output.

A process of its own because pyinfra needs gevent's patches, which must never meet the caller's
threads or event loop, and because a hanging or crashing run can then be killed whole. Started by
configure.py as `python -m wizard.engine.worker`; imported by nobody.

Input: one line of JSON (MachineJob). The caller then keeps the pipe open: end of input means that
it has died, and the worker stops. Output: one Event a line; the last one is step-done (data:
changed, operations) or step-failed (data: operation, output). Log lines go to standard error.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
import gevent.os  # noqa: E402
from pyinfra.api import Config, Inventory, State, deploy  # noqa: E402
from pyinfra.api.connect import connect_all, disconnect_all  # noqa: E402
from pyinfra.api.deploy import add_deploy  # noqa: E402
from pyinfra.api.exceptions import PyinfraError  # noqa: E402
from pyinfra.api.operations import run_ops  # noqa: E402
from pyinfra.api.state import BaseStateCallback  # noqa: E402
from pyinfra.context import host  # noqa: E402

from wizard.engine.ssh import private_key  # noqa: E402
from wizard.events import Event, EventKind  # noqa: E402
from wizard.machines import operations  # noqa: E402
from wizard.machines.desired import Facts, Part  # noqa: E402
from wizard.machines.job import MachineJob  # noqa: E402
from wizard.machines.roles import packages, parts  # noqa: E402
from wizard.secrets import Secret, redact  # noqa: E402

LAST_LINES = 30
CONNECT_SECONDS = 20


class WorkerError(Exception):
    """The run failed in `operation`; `output` is the end of what it printed."""

    def __init__(self, message: str, operation: str = "", output: list[str] | None = None) -> None:
        super().__init__(message)
        self.operation = operation
        self.output = output or []


class Reporter(BaseStateCallback):  # type: ignore[misc]
    """Turns pyinfra's callbacks into events."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self.emit = emit
        self.total = 0
        self.done = 0
        self.changed = 0
        self.connect_error = ""

    def host_connect_error(self, _state: Any, _host: Any, error: Any) -> None:
        """Keep the reason for the report."""
        self.connect_error = str(error)

    def operation_host_start(self, state: Any, _host: Any, op_hash: str) -> None:
        """Say what is being done."""
        self._progress(_names(state, op_hash), {})

    def operation_host_success(
        self, state: Any, target: Any, op_hash: str, _retries: int = 0
    ) -> None:
        """Count the operation, and whether it changed anything."""
        changed = bool(state.ops[target][op_hash].operation_meta.will_change)
        self.done += 1
        self.changed += changed
        self._progress(_names(state, op_hash), {"changed": changed})

    def _progress(self, what: str, data: dict[str, Any]) -> None:
        kind = EventKind.PROGRESS
        self.emit(Event(kind, what, done=self.done, total=self.total, data=data))


def _names(state: Any, op_hash: str) -> str:
    # "Deploy | part: operation": people need only the last
    return ", ".join(sorted(state.get_op_meta(op_hash).names)).split(" | ")[-1]


@deploy("Packages")  # type: ignore[untyped-decorator]
def _packages_deploy(missing: list[str]) -> None:
    operations.install_packages(name="packages", missing=missing)


@deploy("Machine")  # type: ignore[untyped-decorator]
def _machine_deploy(job: MachineJob, facts: Facts, found_parts: list[Part]) -> None:
    wanted = parts(job, facts)
    found = host.get_fact(operations.Probe, query=operations.query(wanted))
    for part in wanted:
        operations.add_part(part, found)
    found_parts.extend(wanted)


def _state(job: MachineJob, reporter: Reporter) -> Any:
    at = job.connection
    known_hosts = Path.home() / "known_hosts"
    known_hosts.write_text(f"[{at.address}]:{at.port} {at.host_key}\n{at.address} {at.host_key}\n")
    data = {
        "ssh_hostname": at.address,
        "ssh_port": at.port,
        "ssh_user": "root",
        "ssh_allow_agent": False,
        "ssh_look_for_keys": False,
        "ssh_config_file": "/dev/null",
        "ssh_known_hosts_file": str(known_hosts),
        "ssh_strict_host_key_checking": "yes",
        "ssh_paramiko_connect_kwargs": {"pkey": private_key(at.private_key)},
        "ssh_connect_retries": 2,
    }
    config = Config(FAIL_PERCENT=0, CONNECT_TIMEOUT=CONNECT_SECONDS, DIFF=False)
    state = State(Inventory(([(job.name, data)], {})), config)
    state.add_callback_handler(reporter)
    return state


def _run(state: Any, reporter: Reporter) -> None:
    reporter.total = reporter.done + len(state.get_op_order())
    try:
        run_ops(state)
    except PyinfraError as error:
        raise _failure(state, str(error)) from error
    if state.failed_hosts:
        raise _failure(state, "an operation failed")


def _failure(state: Any, message: str) -> WorkerError:
    target = next(iter(state.inventory))
    for op_hash in state.get_op_order():
        meta = state.ops[target][op_hash].operation_meta
        if meta.is_complete() and not meta.did_succeed():
            lines = [line.line for line in meta._combined_output.combined_lines]
            return WorkerError("an operation failed", _names(state, op_hash), lines[-LAST_LINES:])
    return WorkerError(message)


def configure(job: MachineJob, emit: Callable[[Event], None]) -> Reporter:
    """Run the job's phase; raises WorkerError."""
    reporter = Reporter(emit)
    while True:
        state = _state(job, reporter)
        try:
            connect_all(state)
        except PyinfraError as error:
            raise WorkerError(
                "cannot connect with SSH", "connect", [reporter.connect_error]
            ) from error
        target = next(iter(state.inventory))
        asked = json.dumps({"packages": packages(job)})
        found = target.get_fact(operations.Probe, query=asked)
        facts = Facts(tuple(found["missing"]), found["container"], found["php"])
        if facts.missing:
            add_deploy(state, _packages_deploy, missing=list(facts.missing))
            _run(state, reporter)
            disconnect_all(state)
            continue
        add_deploy(state, _machine_deploy, job=job, facts=facts, found_parts=[])
        _run(state, reporter)
        disconnect_all(state)
        return reporter


def _die_with_caller() -> None:
    gevent.os.tp_read(0, 1)
    os._exit(1)


def main() -> int:
    """Read the job, run it, report; 0 when the machine is as wanted."""
    started = time.monotonic()
    known: list[Secret] = []

    def emit(event: Event) -> None:
        sys.stdout.write(redact(event.to_json(), known) + "\n")
        sys.stdout.flush()

    # what pyinfra logs of failures is reported as an event; the rest would only repeat it
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    logging.getLogger("pyinfra").setLevel(logging.CRITICAL)
    try:
        try:
            job = MachineJob.from_plain(json.loads(sys.stdin.readline()))
        except (ValueError, KeyError, TypeError) as error:
            # the text of the error may quote the job, which holds secrets
            raise WorkerError(f"the job cannot be read ({type(error).__name__})") from None
        known = [*job.secrets.values(), job.connection.private_key]
        gevent.spawn(_die_with_caller)
        reporter = configure(job, emit)
    except WorkerError as error:
        data = {"operation": error.operation, "output": error.output}
        emit(Event(EventKind.STEP_FAILED, str(error), data=data))
        return 1
    except Exception as error:  # whatever it is, the caller must be told
        logging.getLogger(__name__).exception("unexpected")
        data = {"operation": "", "output": [f"{type(error).__name__}: {error}"]}
        emit(Event(EventKind.STEP_FAILED, "the worker failed", data=data))
        return 1
    counts = {"changed": reporter.changed, "operations": reporter.done}
    emit(Event(EventKind.STEP_DONE, seconds=time.monotonic() - started, data=counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
