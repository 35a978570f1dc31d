"""What to do with the webservers: fleet and observations in, fleet and messages out. Pure.

The result says how everything should be (whom DNS answers with, who is built, mended, removed), not
what to do once: whoever carries it out compares with what is, so a leader that dies between a
decision and its effect loses nothing. What always holds, whatever happens:

- never more webservers than the maximum, those being removed included;
- no webserver that is well leaves while that would leave fewer than wanted (or the minimum);
- DNS keeps an address as long as a webserver exists;
- when nothing answers nothing is done: the watcher is then more likely blind than right;
- lost webservers are replaced at a bounded rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from wizard.autoscaler.fleet import Fleet, Phase, Policy, Seen, Webserver

HOUR = 3600.0
MISSING = 2
"""Listings in a row that must lack a webserver until it is taken for gone: clouds' listings lag."""


@dataclass(frozen=True)
class Decision:
    """How the fleet should be, whom to mend now, and what people should be told (each once)."""

    fleet: Fleet
    mend: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


def decide(policy: Policy, fleet: Fleet, seen: Seen, now: float) -> Decision:
    """Return what should be. `now` is any clock in seconds; only its progress matters, and that
    counts for two intervals at most."""
    passed = 0.0 if fleet.last is None else min(max(0.0, now - fleet.last), 2 * policy.interval)
    clock = fleet.clock + passed
    webservers = [_counted(known, seen) for known in fleet.webservers]
    blind = _blind(webservers, seen)
    work = _Work(policy, fleet, seen, clock, webservers)
    if blind:
        # each must fail anew before anything is done about it
        work.each(lambda w: w._replace(failures=0, missing=0), Phase.SERVING, Phase.MENDING)
    else:
        work.forget_removed()
        work.lose()
        work.mend()
        work.recover()
        work.admit()
        if not seen.paused:
            work.give_up()
            work.finish_draining()
            work.grow()
            work.shrink()
            work.remove_dead()
        work.keep_one_published()
    if blind:
        work.say("nothing answers: either all webservers are down or this autoscaler cannot see "
                 "them; nothing is changed until one answers")  # fmt: skip
    return work.result(now)


def target(policy: Policy, wanted: int) -> int:
    """Return a wanted number of webservers within the policy's bounds."""
    return min(max(wanted, policy.minimum), policy.maximum)


def _counted(known: Webserver, seen: Seen) -> Webserver:
    """Return a webserver with the checks and the listing counted; the same object if unchanged."""
    answered = seen.checks.get(known.name)
    if answered is not None:
        if not answered:
            known = known._replace(failures=known.failures + 1, successes=0)
        elif known.failures or known.phase is not Phase.SERVING:
            known = known._replace(failures=0, successes=known.successes + 1)
    if seen.existing is not None and known.phase is not Phase.BUILDING:
        if known.name not in seen.existing:
            known = known._replace(missing=known.missing + 1)
        elif known.missing:
            known = known._replace(missing=0)
    return known


def _blind(webservers: Iterable[Webserver], seen: Seen) -> bool:
    """Say whether all of at least two webservers seem dead, or gone from the provider's listing."""
    members = [w for w in webservers if w.phase in (Phase.SERVING, Phase.MENDING)]
    if len(members) < 2:
        return False
    if seen.existing is not None and not any(w.name in seen.existing for w in members):
        return True
    return all(w.failures for w in members)


class _Work:
    """One decision under way."""

    def __init__(
        self, policy: Policy, fleet: Fleet, seen: Seen, clock: float, webservers: list[Webserver]
    ) -> None:
        self.policy, self.fleet, self.seen, self.clock = policy, fleet, seen, clock
        self.webservers = webservers
        self.target = target(policy, seen.wanted)
        self.debt = fleet.debt
        self.replaced = tuple(at for at in fleet.replaced if clock - at < HOUR)
        self.next = fleet.next
        self.mended: list[str] = []
        self.conditions: list[str] = []
        self.news: list[str] = []

    # -- helpers ---------------------------------------------------------------------------------

    def of(self, *phases: Phase) -> list[Webserver]:
        return [w for w in self.webservers if w.phase in phases]

    def each(self, change: Callable[[Webserver], Webserver], *phases: Phase) -> None:
        self.webservers = [change(w) if w.phase in phases else w for w in self.webservers]

    def put(self, changed: Iterable[Webserver]) -> None:
        by_name = {w.name: w for w in changed}
        if by_name:
            self.webservers = [by_name.get(w.name, w) for w in self.webservers]

    def enter(self, webserver: Webserver, phase: Phase, published: bool) -> Webserver:
        return webserver._replace(phase=phase, since=self.clock, published=published)

    def age(self, webserver: Webserver) -> float:
        return self.clock - webserver.since

    def say(self, condition: str) -> None:
        self.conditions.append(condition)

    # -- what happened -----------------------------------------------------------------------------

    def forget_removed(self) -> None:
        """Forget what was removed and is not listed any more."""
        self.webservers = [
            w
            for w in self.webservers
            if not (w.phase is Phase.REMOVING and w.missing >= MISSING)
        ]  # fmt: skip

    def lose(self) -> None:
        """Forget those that the provider does not have any more: nobody asked for that."""
        gone = [
            w for w in self.webservers if w.phase is not Phase.REMOVING and w.missing >= MISSING
        ]
        if gone:
            names = {w.name for w in gone}
            self.webservers = [w for w in self.webservers if w.name not in names]
            self.debt += sum(1 for w in gone if w.phase in (Phase.SERVING, Phase.MENDING))
            self.news += [f"{w.name} is gone from the provider" for w in gone]

    def mend(self) -> None:
        """Take those that fail out of DNS at once and try a restart of their services."""
        changed = []
        for w in self.of(Phase.SERVING):
            if w.failures >= self.policy.failures:
                recent = tuple(at for at in w.mends if self.clock - at < HOUR)
                self.mended.append(w.name)
                self.news.append(f"{w.name} does not answer: taken out of DNS, being mended")
                changed.append(
                    self.enter(w, Phase.MENDING, False)._replace(mends=(*recent, self.clock))
                )
        self.put(changed)

    def recover(self) -> None:
        """Bring back those that answer again."""
        back = [
            self.enter(w, Phase.SERVING, True)._replace(successes=0)
            for w in self.of(Phase.MENDING)
            if w.successes >= self.policy.successes and not self._hopeless(w)
        ]
        self.news += [f"{w.name} answers again" for w in back]
        self.put(back)

    def admit(self) -> None:
        """Let visitors to new webservers that answer."""
        new = [
            self.enter(w, Phase.SERVING, True)._replace(successes=0)
            for w in self.of(Phase.BUILDING)
            if w.successes >= self.policy.successes
        ]
        self.news += [f"{w.name} is built and serves" for w in new]
        self.put(new)

    def give_up(self) -> None:
        """Give up those that mending did not help, and new ones that never answered."""
        dead = [
            w
            for w in self.of(Phase.MENDING)
            if self._hopeless(w) or (w.failures and self.age(w) >= self.policy.mend)
        ]
        stillborn = [
            w
            for w in self.of(Phase.BUILDING)
            if w.name in self.seen.failed or self.age(w) >= self.policy.boot
        ]
        self.debt += len(dead) + len(stillborn)
        self.news += [f"{w.name} cannot be mended: it is replaced" for w in dead]
        self.news += [f"{w.name} could not be built" for w in stillborn]
        self.put(self.enter(w, Phase.DEAD, w.published) for w in dead)
        self.put(self.enter(w, Phase.REMOVING, False) for w in stillborn)

    def remove_dead(self) -> None:
        """Remove the dead; the last address in DNS stays until another one is there, unless its
        successor cannot be built for want of room."""
        others = any(w.published for w in self.webservers if w.phase is not Phase.DEAD)
        full = len(self.webservers) >= self.policy.maximum
        dead = self.of(Phase.DEAD)
        if not others and not full:
            dead = [w for w in dead if not w.published]
        self.put(self.enter(w, Phase.REMOVING, False) for w in dead)

    def _hopeless(self, webserver: Webserver) -> bool:
        return len(webserver.mends) > self.policy.mends_an_hour

    def finish_draining(self) -> None:
        """Remove those that nobody is sent to any more and nobody is connected to."""
        self.put(
            self.enter(w, Phase.REMOVING, False)
            for w in self.of(Phase.DRAINING)
            if self.age(w) >= self.policy.ttl
            and (w.name not in self.seen.busy or self.age(w) >= self.policy.drain)
        )

    # -- how many there should be ------------------------------------------------------------------

    def grow(self) -> None:
        """Add webservers: first those that were about to leave, then new ones."""
        members = self.of(Phase.BUILDING, Phase.SERVING, Phase.MENDING)
        due = self.target - len(members)
        self.debt = min(self.debt, max(0, due))
        if due <= 0:
            return
        kept = [w for w in self.of(Phase.DRAINING) if not w.failures][:due]
        self.put(self.enter(w, Phase.SERVING, True) for w in kept)
        due -= len(kept)
        self.debt = min(self.debt, due)
        room = self.policy.maximum - len(self.webservers)
        at_once = self.policy.builds - len(self.of(Phase.BUILDING))
        free = due - self.debt
        allowance = self.policy.replacements - len(self.replaced)
        count = max(0, min(free + min(self.debt, max(0, allowance)), room, at_once))
        owed = max(0, count - free)
        self.debt -= owed
        self.replaced += (self.clock,) * owed
        self.webservers += [
            Webserver(f"web{self.next + number}", Phase.BUILDING, self.clock)
            for number in range(count)
        ]
        self.next += count
        if self.debt and allowance - owed <= 0:
            self.say(f"{self.policy.replacements} webservers were replaced within an hour: no more "
                     "are, until somebody has looked or the hour is over")  # fmt: skip

    def shrink(self) -> None:
        """Let those go that are too many: unfinished and failing ones first, then the newest."""
        members = self.of(Phase.BUILDING, Phase.SERVING, Phase.MENDING)
        surplus = len(members) - self.target
        if surplus <= 0:
            return
        spare = [*reversed(self.of(Phase.BUILDING)), *reversed(self.of(Phase.MENDING))][:surplus]
        self.put(self.enter(w, Phase.REMOVING, False) for w in spare)
        surplus -= len(spare)
        serving = self.of(Phase.SERVING)
        unwell = [w for w in serving if w.failures]
        well = [w for w in serving if not w.failures]
        leaving = [*unwell, *reversed(well[self.target :])][:surplus]
        self.put(self.enter(w, Phase.DRAINING, False) for w in leaving)

    def keep_one_published(self) -> None:
        """Keep an address in DNS: the likeliest to answer, if all were taken out."""
        if any(w.published for w in self.webservers):
            return
        for phase in (Phase.SERVING, Phase.MENDING, Phase.DEAD, Phase.DRAINING):
            present = [w for w in self.of(phase) if not w.missing]
            if present:
                best = min(present, key=lambda w: w.failures)
                self.put([best._replace(published=True)])
                return

    def result(self, now: float) -> Decision:
        """Return the decision."""
        conditions = frozenset(self.conditions)
        new = [text for text in self.conditions if text not in self.fleet.told]
        fleet = replace(
            self.fleet,
            webservers=tuple(self.webservers),
            clock=self.clock,
            last=now,
            debt=self.debt,
            replaced=self.replaced,
            told=conditions,
            next=self.next,
        )
        return Decision(fleet, tuple(self.mended), (*self.news, *new))
