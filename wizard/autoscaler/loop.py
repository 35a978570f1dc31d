"""An autoscaler's life: lead if nobody else does, look, decide, write down, carry out.

What is decided is written to the deployment's bucket first, conditionally and with the lease's
number: who does not lead any more can write nothing down, and thus begins nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from wizard.answers.model import Answers
from wizard.autoscaler.crew import Crew
from wizard.autoscaler.decide import decide
from wizard.autoscaler.draft import News
from wizard.autoscaler.fleet import Fleet, Phase, Policy, Request, Seen, Webserver, Work
from wizard.autoscaler.lease import Lease
from wizard.autoscaler.observe import Observer
from wizard.autoscaler.schedule import Wish
from wizard.engine import fleets, mailing
from wizard.engine.context import Context
from wizard.engine.fleets import Record
from wizard.errors import BuildUsbError
from wizard.providers.base import Machine

log = logging.getLogger("autoscaler")
RENEW = 5.0
"""Seconds between two renewals of the lease, and between two looks of those who do not lead."""
MEND = 20.0
"""Seconds at least that restarted services are given."""
DNS_LAG = 5.0
"""Seconds until the authoritative servers have what they were told, added to the records' TTL."""


def policy(answers: Answers) -> Policy:
    """Return the static criteria of the answers."""
    scaling, dns = answers.scaling, answers.dns
    # nobody but the proxies learns of webservers behind them
    remembered = 0 if dns.proxied else dns.ttl
    return Policy(
        minimum=scaling.minimum,
        maximum=scaling.maximum,
        interval=float(scaling.health.interval),
        failures=scaling.health.failures,
        mend=max(MEND, 2.0 * scaling.health.interval),
        ttl=remembered + DNS_LAG,
    )


class Loop:
    """One autoscaler at work."""

    def __init__(self, context: Context, name: str) -> None:
        assert context.bucket is not None
        self._context = context
        self._name = name
        self._policy = policy(context.answers)
        self._lease = Lease(context.bucket, name, fleets.seed(context))
        self._observer = Observer(context)
        self._crew: Crew | None = None
        self._over = threading.Event()
        self._turned = threading.Event()

    def run(self, ended: Callable[[], bool]) -> None:
        """Work until `ended` says so, asked in each round."""
        renewing = threading.Thread(target=self._renew, daemon=True)
        renewing.start()
        try:
            while not ended():
                begun = time.monotonic()
                self._turned.clear()
                try:
                    self._round()
                except BuildUsbError as error:
                    log.warning("%s", error)
                self._turned.wait(max(0.1, self._policy.interval - (time.monotonic() - begun)))
        finally:
            self._over.set()
            if self._crew is not None:
                self._crew.stop()
            self._lease.give_up()

    def _renew(self) -> None:
        led = False
        while not self._over.is_set():
            try:
                self._lease.try_hold()
            except BuildUsbError as error:
                log.warning("the lease: %s", error)
            except Exception:
                log.exception("the lease")
            if self._lease.is_held() != led:
                led = not led
                log.info("%s", "leads" if led else f"does not lead: {self._lease.holder} does")
                self._turned.set()
            self._over.wait(RENEW)

    def _round(self) -> None:
        if not self._lease.is_held():
            if self._crew is not None:
                self._crew.stop()
                self._crew = None
            return
        found = fleets.load(self._context)
        if found is None:
            return  # the first deploy is not done yet
        if found[0].lease > self._lease.number:
            # another one leads by now; or the lease that remembered the number was taken away
            self._lease.exceed(found[0].lease)
            return
        record, etag = found
        lead: tuple[News, ...] = ()
        if self._crew is None:
            self._crew = Crew(self._context, self._lease.is_held)
            self._crew.kept = record.keeper
            lead = (News(f"{self._name} leads"),)
        present = self._listing()
        keeper = _keeper(record.fleet, self._crew.kept)
        fleets.adapt(self._context, record.fleet, keeper, present or {})
        wish = fleets.load_wish(self._context)
        seen = self._look(record.fleet, wish, present, keeper)
        decision = decide(self._policy, record.fleet, seen, time.time())
        record = replace(
            record,
            fleet=decision.fleet,
            lease=self._lease.number,
            leader=self._name,
            keeper=self._crew.kept,
            wanted=self._policy.target(seen.wanted),
        )
        record = self._telling(record, (*lead, *decision.told))
        if not self._lease.is_held() or fleets.save(self._context, record, etag) is None:
            log.warning("nothing is done: somebody else has written the fleet")
            return
        for news in decision.told:
            log.info("%s", news.text)
        self._carry_out(record, decision.mend, present)
        if batch := record.outbox.due(record.fleet.clock):
            self._crew.post(batch)

    def _telling(self, record: Record, told: tuple[News, ...]) -> Record:
        """Return the record with what happened, and the mail that is to be sent about it."""
        assert self._crew is not None
        answers, clock = self._context.answers, record.fleet.clock
        if mailing.account(answers) is None:
            return record.telling(told)
        ended = self._crew.mailed()
        if ended:
            outbox = record.outbox.ended(ended[0], clock, well=ended[1])
            record = replace(record, outbox=outbox)
        record = record.telling(told, answers.notifications.level)
        return replace(record, outbox=record.outbox.begin(f"{answers.name}.fleet", clock))

    def _carry_out(
        self, record: Record, mend: tuple[str, ...], present: dict[str, Machine] | None
    ) -> None:
        assert self._crew is not None
        keeper = _keeper(record.fleet, record.keeper)
        fleets.adapt(self._context, record.fleet, keeper, present or {})
        self._crew.carry_out(record.fleet, mend, keeper, present)

    def _listing(self) -> dict[str, Machine] | None:
        try:
            return fleets.listing(self._context)
        except BuildUsbError as error:
            log.warning("the provider does not say which machines there are: %s", error)
            return None

    def _look(
        self, fleet: Fleet, wish: Wish, present: dict[str, Machine] | None, keeper: str
    ) -> Seen:
        crew = self._crew
        assert crew is not None

        def askable(webserver: Webserver) -> bool:
            if webserver.phase is Phase.BUILDING:
                return webserver.name in crew.built
            return webserver.phase not in (Phase.WORKING, Phase.REMOVING)

        # the decision counts up to two intervals more: whoever it may let go is asked for now
        clock = fleet.clock + 2 * self._policy.interval
        leaving = fleet.of(Phase.DRAINING, Phase.AWAY)
        drained = [w.name for w in leaving if clock - w.since >= self._policy.ttl]
        return Seen(
            wanted=fleets.wanted_now(self._context, wish),
            paused=wish.paused,
            checks=self._observer.checks(w.name for w in fleet.webservers if askable(w)),
            existing=None if present is None else frozenset(present),
            busy=self._observer.busy(drained),
            failed=frozenset(crew.failed),
            request=_request(wish, self._context.recipe),
            worked=dict(crew.worked),
            recipe=self._context.recipe,
            made=crew.made,
            keeper=keeper,
        )


def _request(wish: Wish, recipe: str) -> Request | None:
    """Return the work that was asked for last, if this autoscaler can do it: who still works by
    another recipe configures nobody."""
    if not wish.work or (wish.work == Work.CONFIGURE and wish.recipe != recipe):
        return None
    return Request(wish.works, Work(wish.work), wish.work_by, wish.recipe)


def _keeper(fleet: Fleet, kept: str) -> str:
    """Return the webserver that is to keep certificate and cron: the one that does, if it is not
    about to go, else the oldest that serves."""
    staying = fleet.of(Phase.SERVING, Phase.MENDING, Phase.AWAY, Phase.WORKING)
    if kept in {w.name for w in staying}:
        return kept
    well = [w.name for w in staying if w.phase is Phase.SERVING and not w.failures]
    return well[0] if well else kept
