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
from wizard.autoscaler.decide import decide, target
from wizard.autoscaler.fleet import Fleet, Phase, Policy, Seen, Webserver
from wizard.autoscaler.lease import Lease
from wizard.autoscaler.observe import Observer
from wizard.engine import fleets
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
    scaling = answers.scaling
    return Policy(
        minimum=scaling.minimum,
        maximum=scaling.maximum,
        interval=float(scaling.health.interval),
        failures=scaling.health.failures,
        mend=max(MEND, 2.0 * scaling.health.interval),
        ttl=answers.dns.ttl + DNS_LAG,
    )


class Loop:
    """One autoscaler at work."""

    def __init__(self, context: Context, name: str) -> None:
        assert context.bucket is not None
        self._context = context
        self._name = name
        self._policy = policy(context.answers)
        self._lease = Lease(context.bucket, name)
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
        if found is None or found[0].lease > self._lease.number:
            return  # the first deploy is not done yet; or another one leads by now
        record, etag = found
        if self._crew is None:
            self._crew = Crew(self._context, self._lease.is_held)
            self._crew.kept = record.keeper
            record = record.telling((f"{self._name} leads",))
        present = self._listing()
        keeper = _keeper(record.fleet, self._crew.kept)
        fleets.adapt(self._context, record.fleet, keeper, present or {})
        wish = fleets.load_wish(self._context)
        wanted = fleets.wanted_now(self._context, wish)
        seen = self._look(record.fleet, wanted, wish.paused, present)
        decision = decide(self._policy, record.fleet, seen, time.time())
        record = replace(
            record,
            fleet=decision.fleet,
            lease=self._lease.number,
            leader=self._name,
            keeper=self._crew.kept,
            wanted=target(self._policy, wanted),
        ).telling(decision.told)
        if not self._lease.is_held() or fleets.save(self._context, record, etag) is None:
            log.warning("nothing is done: somebody else has written the fleet")
            return
        for text in decision.told:
            log.info("%s", text)
        self._carry_out(record, decision.mend, present)

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
        self, fleet: Fleet, wanted: int, paused: bool, present: dict[str, Machine] | None
    ) -> Seen:
        crew = self._crew
        assert crew is not None

        def askable(webserver: Webserver) -> bool:
            if webserver.phase is Phase.BUILDING:
                return webserver.name in crew.built
            return webserver.phase is not Phase.REMOVING

        clock = fleet.clock
        drained = [w.name for w in fleet.of(Phase.DRAINING) if clock - w.since >= self._policy.ttl]
        return Seen(
            wanted=wanted,
            paused=paused,
            checks=self._observer.checks(w.name for w in fleet.webservers if askable(w)),
            existing=None if present is None else frozenset(present),
            busy=self._observer.busy(drained),
            failed=frozenset(crew.failed),
        )


def _keeper(fleet: Fleet, kept: str) -> str:
    """Return the webserver that is to keep certificate and cron: the one that does, if it is not
    about to go, else the oldest that serves."""
    staying = fleet.of(Phase.SERVING, Phase.MENDING)
    if kept in {w.name for w in staying}:
        return kept
    well = [w.name for w in staying if w.phase is Phase.SERVING and not w.failures]
    return well[0] if well else kept
