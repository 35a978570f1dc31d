"""The displays: the same events as bars, lines or JSON."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

from wizard.console import JsonLines, PlainLines, Rows
from wizard.events import Event, EventKind


@dataclass(frozen=True)
class FakeStep:
    id: str
    title: str
    machine: str
    expected: float


STEPS = (
    FakeStep("network", "private network", "", 1),
    FakeStep("create:web1", "create web1", "web1", 1),
    FakeStep("configure:web1", "configure web1", "web1", 9),
)


def test_a_bar_is_the_share_of_expected_time() -> None:
    rows = Rows(STEPS)
    web1 = next(row for row in rows.rows if row.name == "web1")
    assert web1.fraction == 0
    rows.apply(Event(EventKind.STEP_STARTED, step="create:web1"))
    rows.apply(Event(EventKind.STEP_DONE, step="create:web1"))
    assert web1.fraction == 0.1
    rows.apply(Event(EventKind.PROGRESS, "nginx", step="configure:web1", done=5, total=10))
    assert round(web1.fraction, 3) == 0.55
    assert web1.doing == "configure web1: nginx"


def test_a_bar_never_goes_back_nor_looks_finished_early() -> None:
    rows = Rows(STEPS)
    web1 = next(row for row in rows.rows if row.name == "web1")
    rows.apply(Event(EventKind.PROGRESS, step="configure:web1", done=10, total=10))
    most = web1.fraction
    assert most < 0.9
    rows.apply(Event(EventKind.PROGRESS, step="configure:web1", done=1, total=10))
    assert web1.fraction == most


def test_a_failure_is_said_in_words() -> None:
    rows = Rows(STEPS)
    rows.apply(Event(EventKind.STEP_FAILED, "no route", step="create:web1"))
    web1 = next(row for row in rows.rows if row.name == "web1")
    assert web1.doing == "FAILED create web1: no route"


def test_plain_lines_name_machine_and_step() -> None:
    out = io.StringIO()
    with PlainLines(STEPS, out) as sink:
        sink(Event(EventKind.STEP_STARTED, step="create:web1", machine="web1"))
        sink(Event(EventKind.STEP_DONE, "10.0.0.1", step="create:web1", machine="web1", seconds=2))
    lines = out.getvalue().splitlines()
    assert lines[0].endswith("web1   create web1 …")
    assert lines[1].endswith("web1   create web1: 10.0.0.1 (2 s)")


def test_json_lines_are_whole_events() -> None:
    out = io.StringIO()
    with JsonLines(out) as sink:
        sink(Event(EventKind.LOG, "hello"))
        sink(Event(EventKind.LOG, "again"))
    assert [json.loads(line)["message"] for line in out.getvalue().splitlines()] == [
        "hello",
        "again",
    ]
