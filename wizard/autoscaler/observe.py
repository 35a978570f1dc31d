"""What an autoscaler sees: which webservers answer, and to which visitors are still connected."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import httpx

from wizard.engine import agents, open, ssh, verify
from wizard.engine.context import Context
from wizard.errors import MachineError

log = logging.getLogger("autoscaler")
# an argument passes nginx's page cache by: PHP and the database must answer as well
_PAST_CACHE = "build-usb=health"
_SSH_SECONDS = 5.0
_OPEN = ("established", "close-wait", "fin-wait-1", "closing", "last-ack")
"""A socket that nginx has closed may have much left to send: it is in one of the later states."""
_COUNT = (
    "ss",
    "-Htn",
    *(word for state in _OPEN for word in ("state", state)),
    "( sport = :443 or sport = :80 )",
)


class Observer:
    """Looks at webservers, all at the same time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._root = open.authority(context.answers, context.services).root
        health = context.answers.scaling.health
        # own code may say itself where it is well
        path = context.plan.application.health_path if health.path == "/" else health.path
        mark = "&" if "?" in path else "?"
        self._path = f"{path}{mark}{_PAST_CACHE}"
        self._seconds = float(health.timeout)
        self._pool = ThreadPoolExecutor(50, thread_name_prefix="look")

    def checks(self, names: Iterable[str]) -> dict[str, bool]:
        """Return whether each of these webservers answers as it should."""
        asked = tuple(names)
        return dict(zip(asked, self._pool.map(self._answers, asked), strict=True))

    def busy(self, names: Iterable[str]) -> frozenset[str]:
        """Return those of these webservers that visitors are connected to."""
        asked = tuple(names)
        return frozenset(
            name
            for name, found in zip(asked, self._pool.map(self._connected, asked), strict=True)
            if found
        )

    def _answers(self, name: str) -> bool:
        machine = self._context.state.machines.get(name)
        if machine is None:
            return False
        host = self._context.plan.application.hosts[0]
        address = self._context.address(machine)
        try:
            return verify.ask(host, address, self._root, self._path, self._seconds).healthy
        except httpx.HTTPError as error:
            log.info("%s does not answer: %s", name, error or type(error).__name__)
            return False

    def _connected(self, name: str) -> bool:
        try:
            connection = agents.connection(self._context, name)
            with ssh.connect(connection, _SSH_SECONDS) as client:
                _, output, _ = ssh.run(client, _COUNT, seconds=_SSH_SECONDS)
        except (MachineError, KeyError):
            # who cannot be asked is not waited for; the longest wait is bounded anyway
            return False
        return bool(output.strip())
