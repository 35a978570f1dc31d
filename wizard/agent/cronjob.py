"""Runs a program for cron: what it prints goes where it always went, how it ended is remembered."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any

from wizard.agent import registry
from wizard.agent.alarms import CRON
from wizard.agent.state import Places, locked, record

SETTLED = 60.0
_LAST_WORDS = 5.0
_LINE = 400


def run(name: str, user: str, words: list[str], places: Places, settled: float = SETTLED) -> int:
    """Run a program, as `user` where one is named; return its exit code. One that runs for longer
    than `settled` seconds is well: the autoscaler does not end by itself."""
    begun, last = time.monotonic(), [words[0]]
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            **_as(user),
        )
    except (OSError, KeyError) as error:
        _keep(places, name, begun, f"{words[0]} cannot be run: {error}")
        return 127
    assert process.stdout is not None
    passing = threading.Thread(target=_pass_on, args=(process.stdout, last), daemon=True)
    passing.start()
    try:
        process.wait(settled)
    except subprocess.TimeoutExpired:
        _keep(places, name, begun, "")
    code = process.wait()
    # what it has left behind may hold its output for long
    passing.join(_LAST_WORDS)
    if not passing.is_alive():
        process.stdout.close()
    _keep(places, name, begun, f"{last[0]} (ended with {code})"[-_LINE:] if code else "")
    return code


def _pass_on(lines: Iterable[str], last: list[str]) -> None:
    for line in lines:
        sys.stdout.write(line)
        sys.stdout.flush()
        last[0] = line.strip() or last[0]


def _keep(places: Places, name: str, begun: float, problem: str) -> None:
    result: dict[str, Any] = {"ok": not problem, "at": registry.now()}
    result["seconds"] = round(time.monotonic() - begun, 2)
    if problem:
        result["problem"] = problem
    with locked(places.lock, 120.0):
        record(places.last, f"{CRON}{name}", result)


def _as(user: str) -> dict[str, Any]:
    if not user:
        return {}
    found = pwd.getpwnam(user)
    environment = {**os.environ, "HOME": found.pw_dir, "LOGNAME": user, "USER": user}
    return {"user": user, "group": found.pw_gid, "extra_groups": [], "env": environment}
