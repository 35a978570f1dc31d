"""Runs what may hang: other programs, and every touch of a mounted file system.

A process that waits for a dead FUSE daemon cannot even be killed. So such work is done in a child
that is left behind when it does not answer, never by the agent itself.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable

from wizard.agent.errors import AgentError, TimeLimitError

# cron's PATH has no sbin; C so that output can be read by a program
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root"}
_MAXIMUM_ANSWER = 1 << 20


def run(*command: str, seconds: float = 20.0, given: str = "") -> str:
    """Run a program with `given` as its standard input and return its standard output; AgentError
    if it fails or takes longer."""
    try:
        done = subprocess.run(
            command,
            input=given,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env=_ENVIRONMENT,
            check=False,
        )
    except FileNotFoundError as error:
        raise AgentError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise TimeLimitError(f"{' '.join(command)}: no end after {seconds:.0f} s") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise AgentError(f"{' '.join(command)}: {said[0] if said else f'exit {done.returncode}'}")
    return done.stdout


def apart(what: str, call: Callable[[], bytes], seconds: float) -> bytes:
    """Call in a child process and return its bytes; AgentError with the child's own OSError text,
    TimeLimitError if it has not answered in time (the child is killed, and not waited for)."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(call, writable)
    os.close(writable)
    try:
        answer = _collect(readable, time.monotonic() + seconds)
    except TimeLimitError:
        os.kill(child, signal.SIGKILL)
        raise TimeLimitError(f"{what}: no answer after {seconds:.0f} s") from None
    finally:
        os.close(readable)
    os.waitpid(child, 0)
    if answer[:1] != b"+":
        raise AgentError(f"{what}: {answer[1:].decode(errors='replace') or 'the child died'}")
    return answer[1:]


def _answer(call: Callable[[], bytes], writable: int) -> None:
    # never returns: whatever happens here must not run the parent's code a second time
    status = 1
    try:
        # a child that is left behind must hold nothing: neither the lock nor cron's or ssh's pipes
        os.dup2(writable, 3)
        os.closerange(4, 65536)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
        try:
            answer = b"+" + call()
        except OSError as error:
            answer = b"-" + (error.strerror or type(error).__name__).encode()
        except Exception as error:
            answer = b"-" + f"{type(error).__name__}: {error}".encode(errors="replace")
        with os.fdopen(3, "wb") as pipe:
            pipe.write(answer)
        status = 0
    finally:
        os._exit(status)


def _collect(readable: int, deadline: float) -> bytes:
    answer = b""
    while True:
        ready, _, _ = select.select([readable], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeLimitError("no answer")
        part = os.read(readable, 65536)
        if not part or len(answer) > _MAXIMUM_ANSWER:
            return answer
        answer += part


class TimeLimit:
    """`with TimeLimit(seconds):` raises TimeLimitError inside the block when time is up."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        signal.signal(signal.SIGALRM, self._expire)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _expire(self, *_: object) -> None:
        raise TimeLimitError(f"no end after {self._seconds:.0f} s")
