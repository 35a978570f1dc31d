"""The engine as a process of its own, and how far it is, read from the deployment's events.

Closing the wizard does not stop it; a wizard opened later finds it by the deployment's lock.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from types import MappingProxyType
from typing import IO

import wizard
from wizard.console import Rows
from wizard.events import Event, EventKind
from wizard.home.passphrase import VARIABLE
from wizard.secrets import Secret
from wizard.secrets import memory_file as memory_file

LINES_KEPT = 500


@dataclass(frozen=True)
class StepInfo:
    """A step of a run as its first event announces it."""

    id: str
    title: str
    machine: str = ""
    expected: float = 1.0
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """Why a run ended: what happened, where, why, what to do; the step and machine it met."""

    what: str
    where: str = ""
    why: str = ""
    cure: str = ""
    step: str = ""
    machine: str = ""


@dataclass
class Progress:
    """A run as far as its events tell; `state` is `none`, `running`, `done` or `failed`.

    `lines` are the last of its log, `counted` how many there were.
    """

    state: str = "none"
    what: str = ""
    rows: Rows = field(default_factory=lambda: Rows(()))
    steps: tuple[StepInfo, ...] = ()
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))
    counted: int = 0
    error: str = ""
    failure: Failure | None = None
    result: str = ""
    started: datetime | None = None
    ended: datetime | None = None
    _met: Event | None = None

    def fail(self, text: str, parts: Mapping[str, str] = MappingProxyType({})) -> None:
        """Remember why it ended: in parts, or as one text whose first line says what."""
        what, _, why = text.partition("\n")
        found = Failure(what, why=dedent(why).strip())
        if parts:
            found = Failure(*(str(parts.get(key, "")) for key in ("what", "where", "why", "cure")))
        if self._met:
            title = self.rows.titles.get(self._met.step, self._met.step)
            found = replace(found, step=title, machine=self._met.machine)
        self.error, self.failure = text, found

    def vanish(self) -> None:
        """Remember that it ended without a word: killed, or the power was lost."""
        what = "It ended without saying why"
        self.fail(what, {"what": what, "cure": "try again: it continues where it was"})

    def apply(self, event: Event) -> None:
        """Take one event into account; a new run begins anew."""
        at = datetime.fromisoformat(event.at)
        if event.kind is EventKind.RUN_STARTED:
            self.steps = tuple(_step(values) for values in event.data.get("steps", ()))
            self.rows = Rows(self.steps)
            self.state, self.what, self.error, self.result = "running", event.message, "", ""
            self.started, self.ended, self.failure, self._met = at, None, None, None
        elif event.kind is EventKind.RUN_DONE:
            self.state, self.result, self.ended = "done", event.message, at
        elif event.kind is EventKind.RUN_FAILED:
            self.state, self.ended = "failed", at
            self.fail(event.message, event.data)
        elif event.kind is EventKind.STEP_FAILED and self._met is None:
            self._met = event  # the first one; others only ended because of it
        self.rows.apply(event)
        text = self._text(event)
        if text and self.started:
            passed = (at - self.started).total_seconds()
            self.counted += 1
            self.lines.append(f"{passed:6.1f} s  {event.machine or '-':<7} {text}")

    def _text(self, event: Event) -> str:
        title = self.rows.titles.get(event.step, event.step)
        match event.kind:
            case EventKind.STEP_STARTED:
                return f"{title} ..."
            case EventKind.STEP_DONE:
                return f"{title}: {event.message or 'done'} ({event.seconds} s)"
            case EventKind.STEP_FAILED:
                return f"FAILED {title}: {event.message}"
            case EventKind.RETRY:
                return f"{title}: {event.message} in {event.seconds} s"
            case EventKind.LOG | EventKind.RUN_STARTED | EventKind.RUN_DONE:
                return event.message
            case EventKind.RUN_FAILED:
                return f"FAILED {event.message.partition(chr(10))[0]}"
        return ""

    @property
    def met_failure(self) -> bool:
        """Say whether a step failed, be it that others still run."""
        return self._met is not None

    @property
    def expected(self) -> float:
        """Return the usual length of the run in seconds: its longest chain of steps."""
        known = {step.id: step for step in self.steps}
        ends: dict[str, float] = {}

        def end(step_id: str) -> float:
            if step_id not in ends:
                ends[step_id] = 0.0  # a circle, which no run has, must not hang a screen
                step = known[step_id]
                before = max((end(n) for n in step.needs if n in known), default=0.0)
                ends[step_id] = before + step.expected
            return ends[step_id]

        return max((end(step_id) for step_id in known), default=0.0)

    @property
    def elapsed(self) -> float:
        """Return the seconds since the run began, until now or its end."""
        if self.started is None:
            return 0.0
        return ((self.ended or datetime.now(UTC)) - self.started).total_seconds()


def _step(values: Mapping[str, object]) -> StepInfo:
    needs = values.get("needs")
    return StepInfo(
        id=str(values["id"]),
        title=str(values["title"]),
        machine=str(values.get("machine", "")),
        expected=float(str(values.get("expected", 1.0))),
        needs=tuple(map(str, needs)) if isinstance(needs, list) else (),
    )


class Follower:
    """Reads what is appended to an events file; the file may not be there yet.

    Once open it stays open: a destroyed deployment's last events are read from the removed file.
    """

    def __init__(self, path: Path, since: int = 0) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._rest = b""
        self._since = since

    def read(self) -> list[Event]:
        """Return the events that came since the last call."""
        if self._file is None:
            try:
                self._file = self._path.open("rb")
            except FileNotFoundError:
                return []
            self._file.seek(self._since)
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [event for line in lines if (event := _event(line))]

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _event(line: bytes) -> Event | None:
    try:
        values = json.loads(line)
        values["kind"] = EventKind(values["kind"])
        return Event(**values)
    except (ValueError, TypeError, KeyError):
        return None  # half a line after a power loss; the next run writes on


class Run:
    """A started engine. Its standard error is kept, for what fails before there are events."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._process = process
        self._errors = errors

    @property
    def exit_code(self) -> int | None:
        """Return its exit code, None while it runs."""
        return self._process.poll()

    def said(self) -> str:
        """Return the end of what it wrote to standard error."""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - 4000))
        return self._errors.read().decode(errors="replace").strip()

    def let_go(self) -> None:
        """Leave it running without us."""
        self._errors.close()
        # it is not ours to wait for any more; its end is seen in its events
        self._process.returncode = self._process.returncode or 0


def start(words: Sequence[str | Path], home: Path, passphrase: Secret) -> Run:
    """Start `build-usb WORDS` in a session of its own, the passphrase given in memory.

    The passphrase is neither among the arguments nor in the environment nor on a disk: a file in
    memory (mode 0600), named by a file descriptor that only the new process inherits.
    """
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the run
    with memory_file(passphrase) as memory:
        process = subprocess.Popen(
            command(words, home, memory.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=(memory.fileno(),),
            env=clean_environment(),
            cwd=Path(wizard.__file__).parents[1],
            start_new_session=True,
        )
    return Run(process, errors)


def command(words: Iterable[str | Path], home: Path, descriptor: int) -> list[str]:
    """Return the arguments of a `build-usb` of this program."""
    first, *others = map(str, words)
    common = ["--home", str(home), "--passphrase-file", f"/dev/fd/{descriptor}"]
    return [sys.executable, "-m", "wizard", first, *common, *others]


def clean_environment() -> dict[str, str]:
    """Return the environment without the passphrase."""
    return {name: value for name, value in os.environ.items() if name != VARIABLE}


@dataclass(frozen=True)
class Holder:
    """A process that works on a deployment, and what it is doing (`deploy demo`)."""

    pid: int
    purpose: str


def holder(folder: Path) -> Holder | None:
    """Return who works on the deployment in `folder` now, None if nobody does."""
    try:
        values = json.loads((folder / "lock").read_bytes())
        found = Holder(int(values["pid"]), str(values["purpose"]))
        # the lock's text outlives its holder, and trying the lock would keep others off it
        held = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # blocked ones have an arrow where the kind is
    return found if any(["FLOCK", str(found.pid)] == [w[1], w[4]] for w in held) else None


def stop(pid: int) -> None:
    """Ask a run to end safely: no new step starts, those under way end."""
    os.kill(pid, signal.SIGTERM)
