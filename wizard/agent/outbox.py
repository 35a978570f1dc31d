"""What people are to be told by mail, and when: grouped, at a bounded rate, none lost, none twice.
Pure; kept by whoever sends (a machine's agent on its disk, the autoscalers in the bucket).

What waits is put into a batch, and the batch is written down with its id before it is sent. Whoever
is killed in between sends the same batch with the same id again, by which mail servers and programs
know that they have it. Times are seconds of any one clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

LEVELS = ("info", "error", "mandatory")
"""What a note is: for information; something failed; a person must look. The worst last."""
GROUP = 15.0
"""Seconds that a first note waits for those that belong to it."""
PAUSE = 300.0
"""Seconds between two mails at least."""
_LONGEST = 3600.0
_KEPT = 100


class Note(NamedTuple):
    """One thing to tell: when it happened (ISO 8601, UTC), its level, one line of text."""

    at: str
    level: str
    text: str


class Batch(NamedTuple):
    """One mail: an id that no other has here, its notes, and how many older ones there is no room
    for."""

    id: str
    notes: tuple[Note, ...]
    lost: int = 0


@dataclass(frozen=True)
class Outbox:
    """What waits, the batch that is being sent, how often that failed, and the time (`after`) that
    nothing is sent before; `number` counts the batches."""

    waiting: tuple[Note, ...] = ()
    lost: int = 0
    batch: Batch | None = None
    failed: int = 0
    after: float = 0.0
    number: int = 0

    def add(self, notes: Iterable[Note], clock: float) -> Outbox:
        """Return it with these notes."""
        all_ = (*self.waiting, *notes)
        if len(all_) == len(self.waiting):
            return self
        after = self.after
        if not self.waiting and self.batch is None:
            after = max(after, clock + GROUP) if self._is_near(clock) else clock + GROUP
        lost = self.lost + max(0, len(all_) - _KEPT)
        return replace(self, waiting=all_[-_KEPT:], lost=lost, after=after)

    def begin(self, sender: str, clock: float) -> Outbox:
        """Return it with a batch where one is due; it must be written down before it is sent."""
        if self.batch or not self.waiting or not self._is_time(clock):
            return self
        number = self.number + 1
        # numbers begin anew where this was lost: the time tells those apart
        at = "".join(filter(str.isdigit, self.waiting[0].at))
        batch = Batch(f"{sender}.{number}.{at}", self.waiting, self.lost)
        return replace(self, waiting=(), lost=0, batch=batch, number=number)

    def due(self, clock: float) -> Batch | None:
        """Return the batch that is to be sent now."""
        return self.batch if self._is_time(clock) else None

    def ended(self, batch_id: str, clock: float, *, well: bool) -> Outbox:
        """Return it after a batch was sent, or could not be: then it is tried again, ever later."""
        if self.batch is None or self.batch.id != batch_id:
            return self
        if well:
            return replace(self, batch=None, failed=0, after=clock + PAUSE)
        pause = min(60.0 * 2.0**self.failed, _LONGEST)
        return replace(self, failed=self.failed + 1, after=clock + pause)

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {**asdict(self), "batch": self.batch and self.batch._asdict()}

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> Outbox:
        """Rebuild it from `to_plain()`'s values. ValueError, TypeError or KeyError if damaged."""
        batch = values["batch"]
        return cls(
            waiting=_notes(values["waiting"]),
            lost=int(values["lost"]),
            batch=batch and Batch(str(batch["id"]), _notes(batch["notes"]), int(batch["lost"])),
            failed=int(values["failed"]),
            after=float(values["after"]),
            number=int(values["number"]),
        )

    def _is_near(self, clock: float) -> bool:
        # a clock that was set back must not silence a machine for years
        return self.after <= clock + _LONGEST

    def _is_time(self, clock: float) -> bool:
        return clock >= self.after or not self._is_near(clock)


def wanted(notes: Iterable[Note], level: str) -> tuple[Note, ...]:
    """Return the notes that are at least of this level."""
    least = LEVELS.index(level)
    return tuple(note for note in notes if LEVELS.index(note.level) >= least)


def _notes(values: Iterable[Iterable[str]]) -> tuple[Note, ...]:
    return tuple(Note(*map(str, value)) for value in values)
