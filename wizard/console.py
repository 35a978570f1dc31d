"""Renders a run's events: a live display a machine on a terminal, plain lines elsewhere, or JSON.

Everything but JSON goes to standard error, which is for people. Must not import: engine.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from wizard.events import Event, EventKind

if TYPE_CHECKING:
    from rich.progress import TaskID

ALL = "deployment"
"""The row of steps that belong to no machine."""


class StepView(Protocol):
    """What a display needs to know of a step."""

    @property
    def id(self) -> str:
        """Id."""

    @property
    def title(self) -> str:
        """Text for people."""

    @property
    def machine(self) -> str:
        """Machine, or empty."""

    @property
    def expected(self) -> float:
        """Usual length in seconds."""


class Display(Protocol):
    """A consumer of events that is open during a run."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def __call__(self, event: Event) -> None:
        """Take one event."""


@dataclass
class Row:
    """How far one machine is: each step weighs its expected seconds."""

    name: str
    weights: dict[str, float] = field(default_factory=dict)
    fractions: dict[str, float] = field(default_factory=dict)
    running: dict[str, str] = field(default_factory=dict)
    failure: str = ""

    @property
    def doing(self) -> str:
        """Return what happens now, in words."""
        if self.failure:
            return f"FAILED {self.failure}"
        if self.running:
            return list(self.running.values())[-1]
        return "done" if self.fraction > 0.999 else "waiting for the others"

    @property
    def fraction(self) -> float:
        """Return the share done, 0 to 1."""
        whole = sum(self.weights.values())
        done = sum(self.weights[step] * share for step, share in self.fractions.items())
        return done / whole if whole else 1.0


class Rows:
    """The state behind a live display; pure, so that it can be tested without a terminal."""

    def __init__(self, steps: Sequence[StepView]) -> None:
        self.titles: dict[str, str] = {}
        self.of_step: dict[str, Row] = {}
        self._rows: dict[str, Row] = {}
        for step in steps:
            self._add(step.id, step.title, step.machine, step.expected)

    @property
    def rows(self) -> list[Row]:
        """Return a row a machine, in the order in which they were first met."""
        return list(self._rows.values())

    def _add(self, step: str, title: str, machine: str, expected: float) -> None:
        row = self._rows.setdefault(machine or ALL, Row(machine or ALL))
        row.weights[step] = max(expected, 0.1)
        self.titles[step] = title
        self.of_step[step] = row

    def apply(self, event: Event) -> None:
        """Take one event into account."""
        if not event.step:
            return
        if event.step not in self.of_step:
            # what there is to destroy is only known once the provider was asked
            self._add(event.step, event.message or event.step, event.machine, 1.0)
        row = self.of_step[event.step]
        title = self.titles[event.step]
        if event.kind is EventKind.STEP_STARTED:
            row.fractions.setdefault(event.step, 0.0)
            row.running[event.step] = title
        elif event.kind is EventKind.PROGRESS:
            if event.total:
                # a step may not look finished before it says so
                share = min((event.done or 0.0) / event.total, 0.99)
                row.fractions[event.step] = max(share, row.fractions.get(event.step, 0.0))
            row.running[event.step] = f"{title}: {event.message}" if event.message else title
        elif event.kind is EventKind.RETRY:
            row.running[event.step] = f"{title}: {event.message}"
        elif event.kind is EventKind.STEP_DONE:
            row.fractions[event.step] = 1.0
            row.running.pop(event.step, None)
        elif event.kind is EventKind.STEP_FAILED:
            row.failure = f"{title}: {event.message}"


class JsonLines:
    """Writes every event as one line of JSON to standard output."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, event: Event) -> None:
        """Write the event."""
        with self._lock:
            self._out.write(event.to_json() + "\n")
            self._out.flush()


class PlainLines:
    """Writes what starts, ends, fails and is tried again as lines; progress every few seconds."""

    EVERY = 5.0

    def __init__(self, steps: Sequence[StepView], out: TextIO | None = None) -> None:
        self._rows = Rows(steps)
        self._out = out or sys.stderr
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, event: Event) -> None:
        """Write what is worth a line."""
        with self._lock:
            self._rows.apply(event)
            title = self._rows.titles.get(event.step, event.step)
            text = {
                EventKind.STEP_STARTED: f"{title} …",
                EventKind.STEP_DONE: f"{title}: {event.message or 'done'} ({event.seconds} s)",
                EventKind.STEP_FAILED: f"FAILED {title}: {event.message}",
                EventKind.RETRY: f"{title}: {event.message} in {event.seconds} s",
                EventKind.LOG: event.message,
            }.get(event.kind)
            if event.kind is EventKind.PROGRESS and self._due(event):
                row = self._rows.of_step[event.step]
                text = f"{title}: {event.message} ({row.name} {row.fraction:.0%})"
            if text:
                elapsed = time.monotonic() - self._started
                self._out.write(f"{elapsed:6.1f} s  {event.machine or '-':<6} {text}\n")
                self._out.flush()

    def _due(self, event: Event) -> bool:
        now = time.monotonic()
        if now - self._last.get(event.step, 0.0) < self.EVERY:
            return False
        self._last[event.step] = now
        return True


class Live:
    """A bar a machine, redrawn in place."""

    def __init__(self, steps: Sequence[StepView]) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
        )
        from rich.table import Column

        self._rows = Rows(steps)
        self._lock = threading.Lock()
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.fields[name]}", table_column=Column(min_width=10), markup=False),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn(
                "{task.description}",
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
                markup=False,
            ),
            console=console,
            expand=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._draw()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Redraw the bars."""
        with self._lock:
            self._rows.apply(event)
            if event.kind is EventKind.LOG and event.message:
                self._progress.console.print(event.message, markup=False, highlight=False)
            self._draw()

    def _draw(self) -> None:
        for row in self._rows.rows:
            if row.name not in self._tasks:
                self._tasks[row.name] = self._progress.add_task("", total=1.0, name=row.name)
            self._progress.update(
                self._tasks[row.name], completed=row.fraction, description=row.doing
            )


def display(steps: Sequence[StepView], *, json: bool) -> Display:
    """Return the right display for where output goes."""
    if json:
        return JsonLines()
    return Live(steps) if sys.stderr.isatty() else PlainLines(steps)
