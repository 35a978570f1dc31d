"""Carries decisions out: compares how the fleet should be with what is, again and again.

Everything takes threads of its own, so that a slow cloud delays no check of a webserver; nothing is
begun, and what is under way ends soon, once this autoscaler does not lead any more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from wizard.agent.outbox import Batch
from wizard.autoscaler.fleet import Fleet, Made, Phase, Snapshot, Webserver, Work
from wizard.engine import agents, golden, graph, joining, mailing, site, ssh, works
from wizard.engine.context import Context
from wizard.engine.graph import Step
from wizard.errors import BuildUsbError
from wizard.events import Event, EventKind
from wizard.plan.model import PlannedMachine
from wizard.providers.base import Machine, Resource, ResourceKind
from wizard.rules import Role

log = logging.getLogger("autoscaler")
_POINT_AGAIN = 300.0
"""Seconds after which DNS is compared again though nothing has changed: people change it too."""
_MEND_SECONDS = 30.0
_LONGEST = 300
_FORBIDDEN = ("forbidden", "AccessDenied", "UnauthorizedOperation")
"""What clouds call it when a token may not do something."""
_MEND = ("sh", "-c", "systemctl restart 'php*-fpm.service' nginx.service")


class Crew:
    """Does what one leader decides, for as long as `leads` says that it is one."""

    def __init__(self, context: Context, leads: Callable[[], bool]) -> None:
        self._context = context
        self._leads = leads
        self._pool = ThreadPoolExecutor(16, thread_name_prefix="crew")
        self._jobs: dict[str, Future[None]] = {}
        self._stops: dict[str, threading.Event] = {}
        self._turn = threading.Lock()
        self._pointed: tuple[float, frozenset[str]] = (0.0, frozenset())
        self._strangers: frozenset[str] = frozenset()
        self._settled = False
        self._tidied: str | None = None
        self.built: set[str] = set()
        self.failed: set[str] = set()
        self.worked: dict[str, str] = {}
        self.made: Made | None = None
        self.kept: str = ""
        self._mailed: tuple[str, bool] | None = None

    def stop(self) -> None:
        """End what is under way soon, and forget it: another one leads."""
        for stop in self._stops.values():
            stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def carry_out(
        self, fleet: Fleet, mend: Sequence[str], keeper: str, present: dict[str, Machine] | None
    ) -> None:
        """Begin what must be done so that all becomes as the fleet says; returns at once."""
        self._jobs = {name: job for name, job in self._jobs.items() if not job.done()}
        self._point()
        if not self._settled:
            self._settled = True
            self._begin("settle", lambda stop: self._run(joining.leave(self._context), stop))
        for webserver in fleet.of(Phase.BUILDING):
            if webserver.name not in self.built | self.failed:
                self._begin(webserver.name, lambda stop, w=webserver: self._build(w, stop))  # type: ignore[misc]
        for name in mend:
            self._begin(f"mend {name}", lambda _stop, name=name: self._mend(name))  # type: ignore[misc]
        self._work(fleet)
        if present is not None:
            self._remove(fleet, present)
            self._copy(fleet.snapshot, present)
        if keeper and keeper != self.kept:
            self._begin("keeper", lambda stop: self._keep(keeper, stop))

    def mailed(self) -> tuple[str, bool] | None:
        """Return the id of the mail that was tried since this was asked last, and whether it was
        sent; None if there was none."""
        found, self._mailed = self._mailed, None
        return found

    def post(self, batch: Batch) -> None:
        """Begin to send a mail."""
        if self._mailed is None:  # else how it ended is not written down yet
            self._begin("mail", lambda _stop: self._post(batch))

    def _post(self, batch: Batch) -> None:
        context, well = self._context, False
        try:
            mailing.deliver(context.answers, context.credentials, "autoscalers", batch)
            well = True
        finally:
            self._mailed = (batch.id, well)

    def _begin(self, name: str, work: Callable[[threading.Event], None]) -> None:
        if name in self._jobs or not self._leads():
            return
        stop = self._stops[name] = threading.Event()

        def guarded() -> None:
            started = time.monotonic()
            try:
                work(stop)
            except BuildUsbError as error:
                log.warning("%s: %s", name, error)
            except Exception:
                log.exception("%s", name)
            else:
                log.info("%s: done in %.1f s", name, time.monotonic() - started)

        self._jobs[name] = self._pool.submit(guarded)

    def _run(self, steps: Sequence[Step], stop: threading.Event) -> None:
        graph.run(steps, _told, stop)

    def _planned(self, name: str) -> PlannedMachine:
        return next(m for m in self._context.plan.machines if m.name == name)

    def _build(self, webserver: Webserver, stop: threading.Event) -> None:
        name = webserver.name
        planned = self._planned(name)
        if webserver.image:
            planned = replace(planned, image=webserver.image)
        try:
            self._run(joining.join(self._context, planned, self._turn), stop)
        except BaseException:
            if not stop.is_set():
                self.failed.add(name)
            raise
        self.built.add(name)

    def _work(self, fleet: Fleet) -> None:
        """Do what the webserver is away for whose turn it is."""
        working = [w.name for w in fleet.of(Phase.WORKING)]
        self.worked = {name: how for name, how in self.worked.items() if name in working}
        roll = fleet.roll
        if roll and roll.now in working and roll.now not in self.worked:
            self._begin(f"{roll.work} {roll.now}", lambda stop: self._do(roll.work, roll.now, stop))

    def _do(self, work: Work, name: str, stop: threading.Event) -> None:
        try:
            works.do(self._context, self._planned(name), work, _told, stop)
        except BuildUsbError as error:
            if not stop.is_set():
                self.worked[name] = shortened(error)
            raise
        self.worked[name] = ""

    def _copy(self, snapshot: Snapshot, present: dict[str, Machine]) -> None:
        """Make the snapshot that is to be made; take away what is left of older ones."""
        if snapshot.making:
            name = f"{golden.TEMPLATE}-{snapshot.making[:8]}-{snapshot.tried or 0:.0f}"
            if self.made is None or self.made.recipe != snapshot.making:
                self._begin("snapshot", lambda stop: self._make(snapshot.making, name, stop))
            return
        self.made = None
        if "snapshot" in self._jobs:
            self._stops["snapshot"].set()
        elif golden.TEMPLATE in present:
            self._begin("template", lambda _stop: log.info(golden.clear(self._context)))
        elif self._tidied != snapshot.id:
            self._begin("snapshots", lambda _stop: self._tidy(snapshot.id))

    def _make(self, recipe: str, name: str, stop: threading.Event) -> None:
        making = golden.Golden(self._context, name)
        try:
            self._run(making.steps(), stop)
        except BuildUsbError as error:
            if not stop.is_set():
                refused = getattr(error, "code", "") in _FORBIDDEN
                self.made = Made(recipe, why=shortened(error), forbidden=refused)
            raise
        self.made = Made(recipe, making.id)

    def _tidy(self, kept: str) -> None:
        self._tidied = kept  # once: what cannot be deleted now is at the next one
        log.info("older snapshots: %s", golden.forget(self._context, kept))

    def _mend(self, name: str) -> None:
        with ssh.connect(agents.connection(self._context, name)) as client:
            status, _, errors = ssh.run(client, _MEND, seconds=_MEND_SECONDS)
        if status:
            log.warning("%s: its services do not restart: %s", name, errors[-500:])

    def _keep(self, name: str, stop: threading.Event) -> None:
        self._run(joining.keep(self._context, self._planned(name)), stop)
        self.kept = name

    def _remove(self, fleet: Fleet, present: dict[str, Machine]) -> None:
        members = {w.name for w in fleet.webservers}
        leaving = {w.name for w in fleet.of(Phase.REMOVING)}
        webservers = {name for name, m in present.items() if m.role is Role.WEBSERVER}
        strangers = frozenset(
            name for name in webservers - members if _number(name) in range(1, fleet.next)
        )
        # one that appears after its removal: made by a leader of before, in its last moment
        doomed = (leaving & webservers) | (strangers & self._strangers)
        self._strangers = strangers
        for name in doomed:
            if name in self._jobs:
                self._stops[name].set()  # it is still being built: first that must end
                continue
            machine = present[name]
            self._begin(f"remove {name}", lambda stop, m=machine: self._delete(m, stop))  # type: ignore[misc]

    def _delete(self, machine: Machine, stop: threading.Event) -> None:
        deployment = self._context.plan.deployment
        self._context.provider.delete(
            Resource(ResourceKind.MACHINE, machine.id, machine.name, deployment)
        )
        with self._turn:
            self._run(joining.leave(self._context), stop)

    def _point(self) -> None:
        """Make DNS answer with those that are published, if they are others than last time."""
        context = self._context
        published = context.published or frozenset()
        machines = context.state.machines
        addresses = frozenset(
            a for n in published if n in machines for a in site.addresses(context, machines[n])
        )
        at, pointed = self._pointed
        if not addresses or (addresses == pointed and time.monotonic() - at < _POINT_AGAIN):
            return

        def work(stop: threading.Event) -> None:
            self._run([Step("dns", "DNS records", lambda r: site.point(context, r))], stop)
            self._pointed = (time.monotonic(), addresses)

        self._begin("dns", work)


def _told(event: Event) -> None:
    if event.kind in (EventKind.STEP_DONE, EventKind.STEP_FAILED, EventKind.RETRY):
        log.info("%s %s: %s (%s s)", event.step, event.kind, event.message, event.seconds)


def shortened(error: BuildUsbError) -> str:
    """Return an error in one line, for the fleet's history."""
    last = error.why.strip().splitlines()[-1:] if error.why else []
    return ": ".join([error.what, *last])[:_LONGEST]


def _number(name: str) -> int:
    digits = name.removeprefix("web")
    return int(digits) if digits.isdecimal() else 0
