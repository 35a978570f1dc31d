"""The graph: order, parallelism, retries, failures, interruption."""

from __future__ import annotations

import threading

import pytest

from wizard.engine import graph
from wizard.engine.graph import Reporter, Step
from wizard.errors import InterruptedRunError, ProviderError, TransientError
from wizard.events import Event, EventKind, EventSink


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: EventKind) -> list[str]:
        return [event.step for event in self.events if event.kind is kind]


def nothing(_report: Reporter) -> str:
    return "done"


def run(steps: list[Step], sink: EventSink, stop: threading.Event | None = None) -> list[str]:
    return [r.step.id for r in graph.run(steps, sink, stop or threading.Event())]


def test_needs_are_done_before() -> None:
    steps = [
        Step("c", "c", nothing, needs=("a", "b")),
        Step("b", "b", nothing, needs=("a",)),
        Step("a", "a", nothing),
    ]
    assert run(steps, Recorder()) == ["a", "b", "c"]


def test_independent_steps_run_at_the_same_time() -> None:
    both_are_here = threading.Barrier(2, timeout=10)

    def meet(_report: Reporter) -> str:
        both_are_here.wait()  # raises unless the other step runs at the same time
        return ""

    assert len(run([Step("a", "a", meet), Step("b", "b", meet)], Recorder())) == 2


def test_a_passing_fault_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "FIRST_DELAY", 0.001)
    left = [TransientError("busy"), TransientError("busy")]

    def flaky(_report: Reporter) -> str:
        if left:
            raise left.pop()
        return "at last"

    sink = Recorder()
    assert run([Step("a", "a", flaky)], sink) == ["a"]
    assert len(sink.of(EventKind.RETRY)) == 2
    assert sink.events[-1].message == "at last"


def test_retries_end_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "FIRST_DELAY", 0.001)
    tries = 0

    def never(_report: Reporter) -> str:
        nonlocal tries
        tries += 1
        raise TransientError("still busy")

    with pytest.raises(TransientError, match="still busy"):
        run([Step("a", "a", never, deadline=0.05)], Recorder())
    assert tries > 1


def test_a_failure_starts_nothing_new_and_waits_for_what_runs() -> None:
    failed = threading.Event()
    finished: list[str] = []
    sink = Recorder()

    def told(event: Event) -> None:
        sink(event)
        if event.kind is EventKind.STEP_FAILED:
            failed.set()

    def fail(_report: Reporter) -> str:
        raise ProviderError("no")

    def slow(_report: Reporter) -> str:
        assert failed.wait(10)
        finished.append("slow")
        return ""

    steps = [
        Step("bad", "bad", fail),
        Step("slow", "slow", slow),
        Step("later", "later", nothing, needs=("slow",)),
    ]
    with pytest.raises(ProviderError, match="no"):
        run(steps, told)
    assert finished == ["slow"]
    assert "later" not in sink.of(EventKind.STEP_STARTED)
    assert sink.of(EventKind.STEP_FAILED) == ["bad"]


def test_stopping_ends_between_steps() -> None:
    stop = threading.Event()

    def ask_to_stop(_report: Reporter) -> str:
        stop.set()
        return "done"

    sink = Recorder()
    steps = [Step("a", "a", ask_to_stop), Step("b", "b", nothing, needs=("a",))]
    with pytest.raises(InterruptedRunError):
        run(steps, sink, stop)
    assert sink.of(EventKind.STEP_DONE) == ["a"]
    assert sink.of(EventKind.STEP_STARTED) == ["a"]


def test_mistakes_in_a_graph_are_found_before_anything_runs() -> None:
    sink = Recorder()
    with pytest.raises(ValueError, match="do not exist: x"):
        run([Step("a", "a", nothing, needs=("x",))], sink)
    assert sink.events == []


def test_a_circle_is_an_error() -> None:
    steps = [Step("a", "a", nothing, needs=("b",)), Step("b", "b", nothing, needs=("a",))]
    with pytest.raises(ValueError, match="wait for each other: a, b"):
        run(steps, Recorder())
