"""A decision under way: what its rules read and change. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from wizard.autoscaler.fleet import Fleet, Phase, Policy, Seen, Webserver

HOUR = 3600.0
DAY = 24 * HOUR


class News(NamedTuple):
    """What people should be told; `level` says for what (see wizard.agent.outbox.LEVELS)."""

    text: str
    level: str = "info"


@dataclass(frozen=True)
class Decision:
    """How the fleet should be, whom to mend now, and what people should be told (each once)."""

    fleet: Fleet
    mend: tuple[str, ...] = ()
    told: tuple[News, ...] = ()


class Draft:
    """One decision under way."""

    def __init__(
        self, policy: Policy, fleet: Fleet, seen: Seen, clock: float, webservers: list[Webserver]
    ) -> None:
        self.policy, self.fleet, self.seen, self.clock = policy, fleet, seen, clock
        self._webservers = webservers
        self._by_phase: dict[Phase, list[Webserver]] = {}
        self.debt = fleet.debt
        self.replaced = tuple(at for at in fleet.replaced if clock - at < HOUR)
        self.next = fleet.next
        self.roll = fleet.roll
        self.recipe = fleet.recipe
        self.snapshot = fleet.snapshot
        self.mended: list[str] = []
        self.conditions: list[str] = []
        self.news: list[News] = []

    @property
    def webservers(self) -> list[Webserver]:
        """All of them, in the order in which they came."""
        return self._webservers

    @webservers.setter
    def webservers(self, webservers: list[Webserver]) -> None:
        self._webservers = webservers
        self._by_phase = {}

    @property
    def target(self) -> int:
        """How many there should be: one more while they are worked on, if there would be fewer
        than the minimum otherwise and the maximum allows it."""
        policy = self.policy
        wanted = policy.target(self.seen.wanted)
        if self.roll and self.roll.goes_on and wanted - 1 < policy.minimum:
            return min(wanted + 1, policy.maximum)
        return wanted

    def of(self, *phases: Phase) -> list[Webserver]:
        """Return the webservers in these phases."""
        if not self._by_phase:
            for webserver in self._webservers:
                self._by_phase.setdefault(webserver.phase, []).append(webserver)
        found = [self._by_phase[phase] for phase in phases if phase in self._by_phase]
        # thousands need no second look
        if len(found) < 2:
            return [*found[0]] if found else []
        if len(found) == len(self._by_phase):
            return [*self._webservers]
        return [w for w in self._webservers if w.phase in phases]

    def each(self, change: Callable[[Webserver], Webserver], *phases: Phase) -> None:
        """Change those in these phases."""
        self.webservers = [change(w) if w.phase in phases else w for w in self.webservers]

    def put(self, changed: Iterable[Webserver]) -> None:
        """Put these in place of those of the same names."""
        by_name = {w.name: w for w in changed}
        if by_name:
            self.webservers = [by_name.get(w.name, w) for w in self.webservers]

    def enter(self, webserver: Webserver, phase: Phase, published: bool) -> Webserver:
        """Return a webserver at the beginning of a phase."""
        return webserver._replace(phase=phase, since=self.clock, published=published)

    def age(self, webserver: Webserver) -> float:
        """Return for how many seconds a webserver is in its phase."""
        return self.clock - webserver.since

    def tell(self, *texts: str) -> None:
        """Tell people of what went as it should."""
        self.news += [News(text) for text in texts]

    def warn(self, *texts: str) -> None:
        """Tell people of what failed, and is being seen to."""
        self.news += [News(text, "error") for text in texts]

    def call(self, text: str) -> None:
        """Tell people of what they have to look at themselves."""
        self.news.append(News(text, "mandatory"))

    def say(self, condition: str) -> None:
        """Tell people of a condition that lasts until they do something, once."""
        self.conditions.append(condition)

    def result(self, now: float) -> Decision:
        """Return the decision."""
        conditions = frozenset(self.conditions)
        for text in self.conditions:
            if text not in self.fleet.told:
                self.call(text)
        fleet = replace(
            self.fleet,
            webservers=tuple(self.webservers),
            clock=self.clock,
            last=now,
            debt=self.debt,
            replaced=self.replaced,
            told=conditions,
            next=self.next,
            recipe=self.recipe,
            roll=self.roll,
            snapshot=self.snapshot,
        )
        return Decision(fleet, tuple(self.mended), tuple(self.news))
