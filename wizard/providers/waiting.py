"""Waiting for what a cloud does in its own time. Leaf of the providers."""

from __future__ import annotations

import time
from collections.abc import Callable

from wizard.errors import TransientError


def wait_until(
    done: Callable[[], bool],
    what: str,
    deadline: float,
    pause: Callable[[float], None],
    clock: Callable[[], float] = time.monotonic,
    *,
    see: str,
    longest: float = 5.0,
) -> None:
    """Ask `done` until it says so, with growing pauses of up to `longest` seconds; TransientError
    after `deadline` seconds, pointing at the vendor's status page `see`."""
    end, wait = clock() + deadline, 0.5
    while not done():
        if clock() >= end:
            raise TransientError(
                f"{what} takes longer than {deadline:.0f} s",
                cure=f"run again later; see {see} if it stays so",
            )
        pause(wait)
        wait = min(wait * 1.5, longest)
