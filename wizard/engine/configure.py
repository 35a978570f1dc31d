"""Configures one machine by a worker process of its own (see worker.py for why).

Must not import: pyinfra, gevent.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from wizard.errors import InterruptedRunError, MachineError
from wizard.events import Event, EventKind, EventSink
from wizard.machines.job import MachineJob, Phase
from wizard.secrets import Secret, redact

# installing packages on a small machine behind a slow mirror is what takes longest
DEADLINES = {Phase.BASE: 1200.0, Phase.CERTIFICATE: 300.0, Phase.APPLICATION: 300.0}
_LAST_LINES = 20
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class ConfigureResult:
    """How many operations a phase has and how many of them changed the machine."""

    changed: int
    operations: int


def configure(
    job: MachineJob,
    sink: EventSink,
    step: str,
    cancelled: threading.Event | None = None,
) -> ConfigureResult:
    """Run one phase on one machine; events carry `step` and the machine's name. Blocks; raises
    MachineError, or InterruptedRunError soon after `cancelled` is set."""
    known = [*job.secrets.values(), job.connection.private_key]
    with tempfile.TemporaryDirectory(prefix="build-usb-worker-") as home:
        worker = _start(home)
        lines: queue.Queue[str | None] = queue.Queue()
        errors: list[str] = []
        readers = [
            threading.Thread(target=_read, args=(worker.stdout, lines), daemon=True),
            threading.Thread(target=_collect, args=(worker.stderr, errors), daemon=True),
        ]
        try:
            for reader in readers:
                reader.start()
            # the pipe stays open: its end tells the worker that this process has died
            with contextlib.suppress(BrokenPipeError):
                assert worker.stdin is not None
                worker.stdin.write(json.dumps(job.to_plain()) + "\n")
                worker.stdin.flush()
            last = _follow(job, sink, step, lines, cancelled)
        finally:
            _kill(worker)
            for reader in readers:
                reader.join(timeout=5)
            for pipe in (worker.stdin, worker.stdout, worker.stderr):
                with contextlib.suppress(BrokenPipeError):
                    assert pipe is not None
                    pipe.close()
    if last is not None and last.kind is EventKind.STEP_DONE:
        return ConfigureResult(int(last.data["changed"]), int(last.data["operations"]))
    raise _error(job, last, errors, known)


def _start(home: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "wizard.engine.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        cwd=home,
        env={
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": home,
            "TMPDIR": home,
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        start_new_session=True,
    )


def _read(pipe: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in pipe:
        lines.put(line)
    lines.put(None)


def _collect(pipe: IO[str], kept: list[str]) -> None:
    for line in pipe:
        kept.append(line.rstrip("\n"))
        del kept[:-200]


def _follow(
    job: MachineJob,
    sink: EventSink,
    step: str,
    lines: queue.Queue[str | None],
    cancelled: threading.Event | None,
) -> Event | None:
    """Pass progress on; return the worker's last word, or None if it died without one."""
    end = time.monotonic() + DEADLINES[job.phase]
    while True:
        if cancelled is not None and cancelled.is_set():
            raise InterruptedRunError("stopped", where=job.name, cure="run it again to continue")
        if time.monotonic() > end:
            raise MachineError(
                f"configuring ({job.phase}) took longer than {DEADLINES[job.phase]:.0f} s",
                where=job.name,
                cure="run the same command again; it continues where it stopped",
            )
        try:
            line = lines.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            continue
        if line is None:
            return None
        event = _parse(line)
        if event is None:
            continue
        if event.kind is not EventKind.PROGRESS:
            return event
        sink(replace(event, step=step, machine=job.name))


def _parse(line: str) -> Event | None:
    try:
        values: dict[str, Any] = json.loads(line)
        return Event(**{**values, "kind": EventKind(values["kind"])})
    except (ValueError, KeyError, TypeError):
        # something a library printed; it is not part of the protocol
        return None


def _kill(worker: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def _error(
    job: MachineJob, last: Event | None, errors: list[str], known: Iterable[Secret]
) -> MachineError:
    operation = last.data.get("operation", "") if last else ""
    output = last.data.get("output", []) if last else errors
    what = last.message if last else "the worker process died"
    return MachineError(
        f"{what}: {operation}" if operation else what,
        where=f"{job.name} ({job.phase})",
        why=redact("\n".join([*output][-_LAST_LINES:]), known),
        cure=f"run the same command again; if it fails again, look at the machine with"
        f" `build-usb ssh {job.name}`",
    )
