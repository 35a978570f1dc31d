"""The fleet as the leading autoscaler knows it: plain values, kept in the deployment's bucket.

Times are seconds of the fleet's own clock (`Fleet.clock`), which only moves while a leader decides
and never jumps: whoever leads next, and however wrong its clock is, durations stay right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Phase(StrEnum):
    """Where a webserver is in its life."""

    BUILDING = "building"
    SERVING = "serving"
    MENDING = "mending"
    DEAD = "dead"
    DRAINING = "draining"
    REMOVING = "removing"


# a NamedTuple: a decision on 10 000 webservers copies those that change, and must take no time
class Webserver(NamedTuple):
    """One webserver. `since`: when its phase began; `failures`, `successes`: checks in a row;
    `missing`: listings in a row that lack it; `mends`: when it was last mended."""

    name: str
    phase: Phase
    since: float = 0.0
    published: bool = False
    failures: int = 0
    successes: int = 0
    missing: int = 0
    mends: tuple[float, ...] = ()


@dataclass(frozen=True)
class Policy:
    """The static criteria, from the answers; durations in seconds.

    `ttl` is that of the DNS records, `drain` bounds how long open connections are waited for,
    `boot` how long a new webserver may take until it answers, `mend` how long a restart of the
    services may take to help. `replacements` bounds the lost webservers replaced in an hour,
    `builds` how many are built at a time.
    """

    minimum: int = 2
    maximum: int = 10
    interval: float = 30.0
    failures: int = 3
    successes: int = 2
    ttl: float = 60.0
    drain: float = 300.0
    boot: float = 600.0
    mend: float = 60.0
    mends_an_hour: int = 3
    replacements: int = 6
    builds: int = 4


@dataclass(frozen=True)
class Seen:
    """What was observed since the last decision.

    `checks`: which webservers answered; one that was not asked is absent. `existing`: the
    provider's listing, None if it did not answer. `busy`: draining webservers with connections
    still open. `failed`: webservers whose building failed.
    """

    wanted: int
    paused: bool = False
    checks: dict[str, bool] = field(default_factory=dict)
    existing: frozenset[str] | None = None
    busy: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Fleet:
    """All webservers, and what must be remembered about them.

    `debt`: lost webservers that are not replaced yet; `replaced`: when ones were, in the last
    hour; `told`: conditions that people know of; `next`: number of the next name; `last`: the
    leader's own time at the last decision.
    """

    webservers: tuple[Webserver, ...] = ()
    clock: float = 0.0
    last: float | None = None
    debt: int = 0
    replaced: tuple[float, ...] = ()
    told: frozenset[str] = frozenset()
    next: int = 1

    @property
    def published(self) -> frozenset[str]:
        """Return the names that DNS must answer with."""
        return frozenset(w.name for w in self.webservers if w.published)

    def of(self, *phases: Phase) -> tuple[Webserver, ...]:
        """Return the webservers in these phases."""
        return tuple(w for w in self.webservers if w.phase in phases)
