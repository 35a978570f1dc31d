"""How long steps took in earlier runs of this build home, for the time that displays promise.

A memory for people, never for decisions: what cannot be read is as if it were not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from wizard.engine.graph import Step, StepResult
from wizard.engine.state import State
from wizard.errors import HomeError
from wizard.home.files import read_json, write_json
from wizard.home.home import Home


def of_run(provider: str, state: State) -> str:
    """Return what runs are compared with: the same provider's first runs, or its repeated ones;
    empty for one that continues where another stopped, which is like no other."""
    if not state.machines:
        return f"{provider} first"
    return f"{provider} again" if state.deployed_at else ""


def expected(home: Home, run: str, steps: Sequence[Step]) -> list[Step]:
    """Return the steps with the seconds that this home measured; shipped figures stay elsewhere."""
    known = _read(home).get(run) or {}
    return [replace(step, expected=known.get(_like(step), step.expected)) for step in steps]


def record(home: Home, run: str, results: Sequence[StepResult]) -> None:
    """Remember how long the steps of a whole run took: the mean of then and now."""
    if not run:
        return
    everything = _read(home)
    known = everything.get(run) or {}
    took = {_like(result.step): result.seconds for result in results}
    everything[run] = {
        key: round((seconds + known.get(key, seconds)) / 2, 2) for key, seconds in took.items()
    }
    # two runs at once may lose one's figures, which is no harm
    with suppress(HomeError):
        write_json(_file(home), everything)


def _like(step: Step) -> str:
    """Return what all machines of a role have in common: `create:web2` is like `create:web1`."""
    return step.id.rstrip("0123456789") if step.machine else step.id


def _file(home: Home) -> Path:
    return home.path / "timings.json"


def _read(home: Home) -> dict[str, dict[str, float]]:
    try:
        found: Any = read_json(_file(home))
    except HomeError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        str(run): {
            str(key): float(value) for key, value in steps.items() if isinstance(value, int | float)
        }
        for run, steps in found.items()
        if isinstance(steps, dict)
    }
