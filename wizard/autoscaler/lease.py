"""Who leads among several autoscalers: a lease in the deployment's bucket.

One object, written only conditionally. No clocks are compared: a holder counts on its lease from
before it asked for it, others wait from when they first saw it unchanged, each by its own monotonic
clock, and the holder stops `margin` earlier than anybody else may begin. The lease's number grows
with every new leader; the fleet's record carries it, and is written conditionally as well, so a
leader of yesterday that wakes up cannot write down, and thus not begin, anything.

The object is signed, as webservers can write to the bucket too: where one of them has put something
else there, or has taken it away, who holds the lease writes it again, and others wait as long as
for any holder that does not renew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from wizard.autoscaler.signed import sealed, unsealed
from wizard.errors import BuildUsbError
from wizard.secrets import Secret

KEY = "autoscaler/lease.json"
_UNKNOWN = "?"
"""Who holds a lease that was damaged, forged or taken away."""


class Store(Protocol):
    """What a lease needs of a bucket; see wizard.storage.base.Bucket."""

    def get(self, key: str) -> Stored | None:
        """Return an object, or None."""

    def put(
        self, key: str, data: bytes, *, if_etag: str | None = None, if_absent: bool = False
    ) -> str | None:
        """Write an object whole, if the condition holds; return its new ETag, else None."""


class Stored(Protocol):
    """An object and its version."""

    @property
    def data(self) -> bytes:
        """Its bytes."""

    @property
    def etag(self) -> str:
        """Its version."""


@dataclass(frozen=True)
class Term:
    """A lease seen: who holds it, the how manieth leader that is, its version, since when (by our
    monotonic clock) it is unchanged."""

    holder: str
    number: int
    etag: str
    seen: float


class Lease:
    """One autoscaler's view of the lease, signed by a key from `seed`. `term` and `margin` in
    seconds: after `term` without a renewal others may take over; the holder counts on
    `term - margin` only."""

    def __init__(
        self,
        store: Store,
        name: str,
        seed: Secret,
        *,
        term: float = 30.0,
        margin: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._name, self._seed, self._clock = store, name, seed, clock
        self.term, self.margin = term, margin
        self._known: Term | None = None
        self._least = 0
        self._held_until = float("-inf")

    @property
    def number(self) -> int:
        """Return the number of the lease last seen, 0 before any was."""
        return self._known.number if self._known else 0

    def exceed(self, number: int) -> None:
        """Have a number above this one from the next renewal on: somebody has taken the object
        that remembered it away. Whoever does not hold the lease any more cannot renew it."""
        self._least = max(self._least, number + 1)

    @property
    def holder(self) -> str:
        """Return who held the lease when it was last looked at."""
        return self._known.holder if self._known else ""

    def is_held(self) -> bool:
        """Say whether this autoscaler leads, now: ask before every action."""
        return self._clock() < self._held_until

    def remaining(self) -> float:
        """Return for how many seconds it still leads; an action that may take longer must wait."""
        return self._held_until - self._clock()

    def try_hold(self) -> bool:
        """Renew the lease, or take it if nobody holds it; say whether this autoscaler leads.

        Raises BuildUsbError when the store does not answer; what was held stays so until its end.
        """
        asked = self._clock()
        stored = self._store.get(KEY)
        found = self._read(stored, asked)
        if found is None:
            return self._write(asked, 1, "")
        if self.is_held() and found.holder in (self._name, _UNKNOWN):
            number = found.number + (found.holder == _UNKNOWN)
            return self._write(asked, number, found.etag)
        if found.holder and asked - found.seen < self.term:
            self._held_until = float("-inf")
            return False
        return self._write(asked, found.number + 1, found.etag)

    def give_up(self) -> None:
        """Let the next one lead at once; an error is no matter, the lease ends by itself."""
        known, held = self._known, self.is_held()
        self._held_until = float("-inf")
        if known and held:
            try:
                self._store.put(KEY, self._document("", known.number), if_etag=known.etag)
            except BuildUsbError:
                return

    def _read(self, stored: Stored | None, now: float) -> Term | None:
        """Return the lease as it is now; None if there was never one."""
        known, etag = self._known, stored.etag if stored else ""
        if known is None and stored is None:
            return None
        if known is None or known.etag != etag:
            holder, number = self._parse(stored.data) if stored else (_UNKNOWN, 0)
            # whoever writes nonsense again and again does not put the takeover off
            again = known is not None and known.holder == holder == _UNKNOWN
            seen = known.seen if known and again else now
            # numbers never go back, whatever somebody wrote into the object
            self._known = Term(holder, max(number, self.number), etag, seen)
        return self._known

    def _write(self, asked: float, number: int, etag: str) -> bool:
        number = max(number, self._least)
        data = self._document(self._name, number)
        if etag:
            new = self._store.put(KEY, data, if_etag=etag)
        else:
            new = self._store.put(KEY, data, if_absent=True)
        if new is None:
            self._held_until = float("-inf")
            return False
        self._known = Term(self._name, number, new, asked)
        self._held_until = asked + self.term - self.margin
        return True

    def _document(self, holder: str, number: int) -> bytes:
        # the time makes every renewal another version: equal bytes would have an equal ETag
        values = {"holder": holder, "number": number, "renewed": time.time_ns()}
        return sealed(self._seed, KEY, values)

    def _parse(self, data: bytes) -> tuple[str, int]:
        """Return holder and number."""
        try:
            values = unsealed(self._seed, KEY, data)
            return str(values["holder"]), int(values["number"])
        except (ValueError, KeyError, TypeError):
            return _UNKNOWN, 0
