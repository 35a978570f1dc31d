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

from wizard.autoscaler.fleet import Fleet, Phase
from wizard.engine import agents, graph, joining, site, ssh
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
        self.built: set[str] = set()
        self.failed: set[str] = set()
        self.kept: str = ""

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
                self._begin(webserver.name, lambda stop, n=webserver.name: self._build(n, stop))  # type: ignore[misc]
        for name in mend:
            self._begin(f"mend {name}", lambda _stop, name=name: self._mend(name))  # type: ignore[misc]
        if present is not None:
            self._remove(fleet, present)
        if keeper and keeper != self.kept:
            self._begin("keeper", lambda stop: self._keep(keeper, stop))

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
        def sink(event: Event) -> None:
            if event.kind in (EventKind.STEP_DONE, EventKind.STEP_FAILED, EventKind.RETRY):
                log.info("%s %s: %s (%s s)", event.step, event.kind, event.message, event.seconds)

        graph.run(steps, sink, stop)

    def _planned(self, name: str) -> PlannedMachine:
        return next(m for m in self._context.plan.machines if m.name == name)

    def _build(self, name: str, stop: threading.Event) -> None:
        try:
            self._run(joining.join(self._context, self._planned(name), self._turn), stop)
        except BaseException:
            if not stop.is_set():
                self.failed.add(name)
            raise
        self.built.add(name)

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
        addresses = frozenset(machines[n].public_address for n in published if n in machines)
        at, pointed = self._pointed
        if not addresses or (addresses == pointed and time.monotonic() - at < _POINT_AGAIN):
            return

        def work(stop: threading.Event) -> None:
            self._run([Step("dns", "DNS records", lambda r: site.point(context, r))], stop)
            self._pointed = (time.monotonic(), addresses)

        self._begin("dns", work)


def _number(name: str) -> int:
    digits = name.removeprefix("web")
    return int(digits) if digits.isdecimal() else 0
