"""Runs steps side by side as their needs allow, with retries, deadlines and events.

Steps are functions that can be repeated: each looks at what exists before it changes anything.
The graph knows nothing of clouds; what a step does is its own business.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from wizard.errors import BuildUsbError, InterruptedRunError, TransientError
from wizard.events import Event, EventKind, EventSink

FIRST_DELAY, LONGEST_DELAY = 0.5, 15.0
"""Seconds between tries of a step: doubled each time, with up to a quarter of jitter."""
MOST_AT_ONCE = 16


class Reporter:
    """What a running step uses to say how far it is; also tells it when to stop."""

    def __init__(self, step: Step, sink: EventSink, stop: threading.Event) -> None:
        self._step = step
        self._sink = sink
        self.stop = stop

    @property
    def sink(self) -> EventSink:
        """Return where events go, for code that makes its own."""
        return self._sink

    @property
    def step(self) -> str:
        """Return the step's id."""
        return self._step.id

    def progress(self, what: str, done: float, total: float) -> None:
        """Report that `done` of `total` units are finished and `what` is being done now."""
        self.emit(EventKind.PROGRESS, what, done=done, total=total)

    def log(self, message: str) -> None:
        """Report something worth keeping that is not progress."""
        self.emit(EventKind.LOG, message)

    def emit(
        self,
        kind: EventKind,
        message: str = "",
        *,
        done: float | None = None,
        total: float | None = None,
        seconds: float | None = None,
        **data: object,
    ) -> None:
        """Send an event of this step."""
        self._sink(
            Event(
                kind,
                message,
                step=self._step.id,
                machine=self._step.machine,
                done=done,
                total=total,
                seconds=seconds,
                data=dict(data),
            )
        )


@dataclass(frozen=True)
class Step:
    """One step: `run` returns a short text on what it found or did.

    `needs` are ids of steps that must be done before; `expected` is its usual length in seconds
    (only for progress bars); `deadline` ends its retries, in seconds.
    """

    id: str
    title: str
    run: Callable[[Reporter], str]
    needs: tuple[str, ...] = ()
    machine: str = ""
    expected: float = 1.0
    deadline: float = 600.0


@dataclass(frozen=True)
class StepResult:
    """How a step ended: its text and how long it took in seconds, waiting for others excluded."""

    step: Step
    message: str
    seconds: float


def run(steps: Sequence[Step], sink: EventSink, stop: threading.Event) -> list[StepResult]:
    """Run all steps and return their results in the order in which they ended.

    After a failure no new step starts; those that run are waited for, then the first failure is
    raised. `stop` set (Ctrl-C) ends the run the same way with InterruptedRunError.
    """
    ids = {step.id for step in steps}
    unknown = {need for step in steps for need in step.needs} - ids
    if unknown:
        raise ValueError(f"steps need steps that do not exist: {', '.join(sorted(unknown))}")
    waiting = {step.id: step for step in steps}
    done: set[str] = set()
    results: list[StepResult] = []
    failures: list[BaseException] = []
    failed = threading.Event()

    def watched(event: Event) -> None:
        if event.kind is EventKind.STEP_FAILED:
            failed.set()  # from now on: whoever hears of it sees nothing begin any more
        sink(event)

    with ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="step") as pool:
        running: dict[Future[StepResult], Step] = {}
        while waiting or running:
            if not failed.is_set() and not stop.is_set():
                for step in [s for s in waiting.values() if done.issuperset(s.needs)]:
                    del waiting[step.id]
                    running[pool.submit(_run_step, step, watched, stop)] = step
            if not running:
                if not failures and not stop.is_set():
                    raise ValueError(f"steps wait for each other: {', '.join(sorted(waiting))}")
                break
            try:
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
            except KeyboardInterrupt:
                stop.set()
                sink(Event(EventKind.LOG, "stopping: waiting for what is under way to end safely"))
                continue
            for future in finished:
                step = running.pop(future)
                try:
                    results.append(future.result())
                    done.add(step.id)
                # the step may fail with anything; it is reported and raised below
                except BaseException as error:
                    failures.append(error)
    real = [error for error in failures if not isinstance(error, InterruptedRunError)]
    if real:
        raise real[0]
    if stop.is_set() and len(done) < len(steps):
        raise InterruptedRunError(
            "stopped before everything was done",
            cure="run the same command again: it continues; or destroy what exists",
        )
    return results


def _run_step(step: Step, sink: EventSink, stop: threading.Event) -> StepResult:
    reporter = Reporter(step, sink, stop)
    reporter.emit(EventKind.STEP_STARTED, step.title)
    started = time.monotonic()
    delay = FIRST_DELAY
    while True:
        try:
            message = step.run(reporter)
        except TransientError as error:
            remaining = step.deadline - (time.monotonic() - started)
            if remaining <= 0 or stop.is_set():
                _fail(reporter, error, started)
                raise
            pause = min(delay * random.uniform(1, 1.25), remaining)  # noqa: S311
            reporter.emit(EventKind.RETRY, f"{error.what}; trying again", seconds=round(pause, 1))
            stop.wait(pause)
            delay = min(delay * 2, LONGEST_DELAY)
        except BaseException as error:
            _fail(reporter, error, started)
            raise
        else:
            seconds = time.monotonic() - started
            reporter.emit(EventKind.STEP_DONE, message, seconds=round(seconds, 2))
            return StepResult(step, message, seconds)


def _fail(reporter: Reporter, error: BaseException, started: float) -> None:
    message = error.what if isinstance(error, BuildUsbError) else f"{type(error).__name__}: {error}"
    reporter.emit(EventKind.STEP_FAILED, message, seconds=round(time.monotonic() - started, 2))
