"""What happens during a run, as values: the live display, plain lines, `--json` and logs are
renderings of the same events.

Leaf module: standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class EventKind(StrEnum):
    """The kinds of event, in the order in which a step meets them."""

    RUN_STARTED = "run-started"
    STEP_STARTED = "step-started"
    PROGRESS = "progress"
    RETRY = "retry"
    LOG = "log"
    STEP_DONE = "step-done"
    STEP_FAILED = "step-failed"
    RUN_DONE = "run-done"
    RUN_FAILED = "run-failed"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Event:
    """One event.

    `step` is the step's id; `machine` the machine it works on, or empty; `done` of `total` are
    countable units (operations, bytes, seconds of a known wait); `seconds` is how long a finished
    step took. `data` holds plain JSON values, never a secret.
    """

    kind: EventKind
    message: str = ""
    step: str = ""
    machine: str = ""
    done: float | None = None
    total: float | None = None
    seconds: float | None = None
    data: dict[str, Any] = field(default_factory=dict)
    at: str = field(default_factory=_now)

    def to_json(self) -> str:
        """Return the event as one line of JSON without empty fields."""
        values = {k: v for k, v in asdict(self).items() if v not in ("", None, {})}
        return json.dumps(values, ensure_ascii=False)


EventSink = Callable[[Event], None]
Progress = Callable[[str, float, float], None]
"""Called with (what is being done, done, total) while something takes long."""


def silent(_what: str, _done: float, _total: float) -> None:
    """A `Progress` that nobody watches."""


def tee(*sinks: EventSink) -> EventSink:
    """Return a sink that hands every event to all of `sinks`."""

    def send(event: Event) -> None:
        for sink in sinks:
            sink(event)

    return send
