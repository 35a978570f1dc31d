"""What to do with the webservers: fleet and observations in, fleet and messages out. Pure.

The result says how everything should be (whom DNS answers with, who is built, mended, removed), not
what to do once: whoever carries it out compares with what is, so a leader that dies between a
decision and its effect loses nothing. What always holds, whatever happens:

- never more webservers than the maximum, those being removed included;
- no webserver that is well leaves while that would leave fewer than wanted (or the minimum);
- DNS keeps an address as long as a webserver exists;
- when nothing answers nothing is done: the watcher is then more likely blind than right;
- lost webservers are replaced at a bounded rate;
- webservers are worked on one at a time, none begins before the one before serves again, and work
  stops at the first that does not come back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from wizard.autoscaler import rolling, snapshots
from wizard.autoscaler.draft import HOUR, Decision, Draft
from wizard.autoscaler.fleet import MEMBERS, Fleet, Phase, Policy, Seen, Webserver

MISSING = 2
"""Listings in a row that must lack a webserver until it is taken for gone: clouds' listings lag."""

_WATCHED = (Phase.SERVING, Phase.MENDING, Phase.AWAY)


def decide(policy: Policy, fleet: Fleet, seen: Seen, now: float) -> Decision:
    """Return what should be. `now` is any clock in seconds; only its progress matters, and that
    counts for two intervals at most."""
    passed = 0.0 if fleet.last is None else min(max(0.0, now - fleet.last), 2 * policy.interval)
    clock = fleet.clock + passed
    webservers = [_counted(known, seen) for known in fleet.webservers]
    blind = _blind(webservers, seen)
    work = _Rules(policy, fleet, seen, clock, webservers)
    if blind:
        # each must fail anew before anything is done about it
        work.each(lambda w: w._replace(failures=0, missing=0), *_WATCHED)
    else:
        work.forget_removed()
        work.lose()
        work.mend()
        work.recover()
        work.admit()
        rolling.proceed(work)
        if not seen.paused:
            work.give_up()
            work.finish_draining()
            work.grow()
            work.shrink()
            work.remove_dead()
            rolling.begin(work)
            snapshots.renew(work)
        work.keep_one_published()
    if blind:
        work.say("nothing answers: either all webservers are down or this autoscaler cannot see "
                 "them; nothing is changed until one answers")  # fmt: skip
    return work.result(now)


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
    members = [w for w in webservers if w.phase in (*_WATCHED, Phase.WORKING)]
    if len(members) < 2:
        return False
    if seen.existing is not None and not any(w.name in seen.existing for w in members):
        return True
    # who is worked on is not asked
    return all(w.failures for w in members if w.phase is not Phase.WORKING)


class _Rules(Draft):
    """What is done about webservers that come, fail and go."""

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
            self.debt += sum(1 for w in gone if w.phase in (*_WATCHED, Phase.WORKING))
            self.warn(*(f"{w.name} is gone from the provider" for w in gone))

    def mend(self) -> None:
        """Take those that fail out of DNS at once and try a restart of their services."""
        changed = []
        for w in self.of(Phase.SERVING, Phase.AWAY):
            if w.failures >= self.policy.failures:
                if w.phase is Phase.AWAY and self.roll:
                    self.roll = replace(self.roll, now="")
                recent = tuple(at for at in w.mends if self.clock - at < HOUR)
                self.mended.append(w.name)
                self.warn(f"{w.name} does not answer: taken out of DNS, being mended")
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
        rolled = self.roll.now if self.roll else ""
        self.tell(*(f"{w.name} answers again" for w in back if w.name != rolled))
        self.put(back)

    def admit(self) -> None:
        """Let visitors to new webservers that answer."""
        new = [
            self.enter(w, Phase.SERVING, True)._replace(successes=0)
            for w in self.of(Phase.BUILDING)
            if w.successes >= self.policy.successes
        ]
        self.tell(*(f"{w.name} is built and serves" for w in new))
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
        self.warn(*(f"{w.name} cannot be mended: it is replaced" for w in dead))
        self.warn(*(f"{w.name} could not be built" for w in stillborn))
        snapshots.distrust(self, [w.image for w in stillborn if w.image])
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
        members = self.of(*MEMBERS)
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
        image = snapshots.usable(self)
        self.webservers += [
            Webserver(f"web{self.next + number}", Phase.BUILDING, self.clock, image=image)
            for number in range(count)
        ]
        self.next += count
        if self.debt and allowance - owed <= 0:
            self.say(f"{self.policy.replacements} webservers were replaced within an hour: no more "
                     "are, until somebody has looked or the hour is over")  # fmt: skip

    def shrink(self) -> None:
        """Let those go that are too many: unfinished and failing ones first, then the newest."""
        members = self.of(*MEMBERS)
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
        self.tell(*(f"{w.name} is one too many: it leaves" for w in (*spare, *leaving)))
        self.put(self.enter(w, Phase.DRAINING, False) for w in leaving)

    def keep_one_published(self) -> None:
        """Keep an address in DNS: the likeliest to answer, if all were taken out."""
        if any(w.published for w in self.webservers):
            return
        for phase in (Phase.SERVING, Phase.AWAY, Phase.MENDING, Phase.WORKING, Phase.DEAD,
                      Phase.DRAINING):  # fmt: skip
            present = [w for w in self.of(phase) if not w.missing]
            if present:
                best = min(present, key=lambda w: w.failures)
                self.put([best._replace(published=True)])
                return
