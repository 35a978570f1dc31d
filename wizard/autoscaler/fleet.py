"""The fleet as the leading autoscaler knows it: plain values, kept in the deployment's bucket.

Times are seconds of the fleet's own clock (`Fleet.clock`), which only moves while a leader decides
and never jumps: whoever leads next, and however wrong its clock is, durations stay right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Phase(StrEnum):
    """Where a webserver is in its life. AWAY: out of DNS until its visitors are gone, to be worked
    on; WORKING: being worked on, after which it has to answer like one that was mended."""

    BUILDING = "building"
    SERVING = "serving"
    MENDING = "mending"
    AWAY = "away"
    WORKING = "working"
    DEAD = "dead"
    DRAINING = "draining"
    REMOVING = "removing"


MEMBERS = (Phase.BUILDING, Phase.SERVING, Phase.MENDING, Phase.AWAY, Phase.WORKING)
"""Those that count as webservers that are wanted."""


class Work(StrEnum):
    """What is done to one webserver after the other."""

    CONFIGURE = "configure"
    UPGRADE = "upgrade"
    REBOOT = "reboot"
    CERTIFICATE = "certificate"


class Request(NamedTuple):
    """Work that is asked for: the how manieth, which, by whom; `recipe` that webservers are to be
    made by, where they are to be configured."""

    number: int
    work: Work
    by: str = ""
    recipe: str = ""


@dataclass(frozen=True)
class Roll:
    """Work on one webserver after the other: those that are `left`, the one whose turn it is
    (`now`), and why it `stopped` before all were done."""

    number: int
    work: Work
    left: tuple[str, ...] = ()
    now: str = ""
    stopped: str = ""
    recipe: str = ""

    @property
    def goes_on(self) -> bool:
        """Say whether there is work left that was not given up."""
        return bool(self.left) and not self.stopped

    def __str__(self) -> str:
        if self.stopped:
            return f"{self.work}: STOPPED, {len(self.left)} left: {self.stopped}"
        if not self.left:
            return f"{self.work}: done"
        return f"{self.work}: {len(self.left)} left{f', now {self.now}' if self.now else ''}"


class Made(NamedTuple):
    """How making a snapshot by a recipe ended: its id, or why there is none; `forbidden`: because
    the autoscalers' token may not make any."""

    recipe: str
    id: str = ""
    why: str = ""
    forbidden: bool = False


@dataclass(frozen=True)
class Snapshot:
    """The snapshot that new webservers are built from: its id (empty: there is none), of which
    recipe and since when. `making`: the recipe that one is being made by; `tried`: when that was
    begun last; `rest`: for how many seconds from then on none is tried."""

    id: str = ""
    recipe: str = ""
    since: float = 0.0
    making: str = ""
    tried: float | None = None
    rest: float = 0.0

    def __str__(self) -> str:
        """Say what new webservers are built from."""
        if self.making:
            return "the base image; a snapshot is being made"
        return f"the snapshot {self.id}" if self.id else "the base image"


# a NamedTuple: a decision on 10 000 webservers copies those that change, and must take no time
class Webserver(NamedTuple):
    """One webserver. `since`: when its phase began; `failures`, `successes`: checks in a row;
    `missing`: listings in a row that lack it; `mends`: when it was last mended; `image`: the
    snapshot that it is built from, empty for the base image."""

    name: str
    phase: Phase
    since: float = 0.0
    published: bool = False
    failures: int = 0
    successes: int = 0
    missing: int = 0
    mends: tuple[float, ...] = ()
    image: str = ""


@dataclass(frozen=True)
class Policy:
    """The static criteria, from the answers; durations in seconds.

    `ttl` is that of the DNS records, `drain` bounds how long open connections are waited for,
    `boot` how long a new webserver may take until it answers, `mend` how long a restart of the
    services may take to help, `work` how long a webserver may be worked on. `replacements` bounds
    the lost webservers replaced in an hour, `builds` how many are built at a time. Snapshots are
    renewed at the age `renew`, and not built from any more at the age `stale`.
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
    work: float = 3600.0
    renew: float = 7 * 86400.0
    stale: float = 30 * 86400.0

    def target(self, wanted: int) -> int:
        """Return a wanted number of webservers within the bounds."""
        return min(max(wanted, self.minimum), self.maximum)


@dataclass(frozen=True)
class Seen:
    """What was observed since the last decision.

    `checks`: which webservers answered; one that was not asked is absent. `existing`: the
    provider's listing, None if it did not answer. `busy`: webservers out of DNS with connections
    still open. `failed`: webservers whose building failed. `request`: the work that was asked for
    last; `worked`: how it ended on a webserver, empty for well. `recipe`: what the leader makes
    webservers by; `made`: how making a snapshot ended. `keeper`: who keeps certificate and cron.
    """

    wanted: int
    paused: bool = False
    checks: dict[str, bool] = field(default_factory=dict)
    existing: frozenset[str] | None = None
    busy: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    request: Request | None = None
    worked: dict[str, str] = field(default_factory=dict)
    recipe: str = ""
    made: Made | None = None
    keeper: str = ""


@dataclass(frozen=True)
class Fleet:
    """All webservers, and what must be remembered about them.

    `debt`: lost webservers that are not replaced yet; `replaced`: when ones were, in the last
    hour; `told`: conditions that people know of; `next`: number of the next name; `last`: the
    leader's own time at the last decision; `recipe`: what all webservers are made by.
    """

    webservers: tuple[Webserver, ...] = ()
    clock: float = 0.0
    last: float | None = None
    debt: int = 0
    replaced: tuple[float, ...] = ()
    told: frozenset[str] = frozenset()
    next: int = 1
    recipe: str = ""
    roll: Roll | None = None
    snapshot: Snapshot = Snapshot()

    @property
    def published(self) -> frozenset[str]:
        """Return the names that DNS must answer with."""
        return frozenset(w.name for w in self.webservers if w.published)

    def of(self, *phases: Phase) -> tuple[Webserver, ...]:
        """Return the webservers in these phases."""
        return tuple(w for w in self.webservers if w.phase in phases)
