"""One run at a time on a deployment; the kernel lets go when a run dies, however it dies."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from wizard.errors import LockedError
from wizard.home.files import explained


@contextmanager
def locked(path: Path, purpose: str) -> Iterator[None]:
    """Hold the lock file for the duration; `purpose` (`deploy demo`) is what others are told.

    Raises LockedError at once if another process holds it, HomeError if it cannot be made.
    """
    descriptor = _acquire(path)
    try:
        holder = {
            "pid": os.getpid(),
            "purpose": purpose,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with explained(path, "write"):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode() + b"\n", 0)
        yield
    finally:
        os.close(descriptor)


def _acquire(path: Path) -> int:
    while True:
        with explained(path, "open"):
            # close-on-exec: a program started meanwhile must not keep the lock after our death
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            error = _held(path, os.pread(descriptor, 4096, 0))
            os.close(descriptor)
            raise error from None
        # the holder before us may have deleted the deployment, this file with it
        try:
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, exist_ok=True)
        os.close(descriptor)


def _held(path: Path, data: bytes) -> LockedError:
    try:
        holder = json.loads(data)
        who = f"process {holder['pid']} ({holder['purpose']}), since {holder['since']}"
        cure = f"wait until it ends, or stop it with: kill {holder['pid']}"
    except (ValueError, KeyError, TypeError):
        who, cure = "it has only just started", "wait until it ends"
    return LockedError(
        "another run works on this deployment",
        where=str(path.parent),
        why=who,
        cure=f"{cure}; then run the same command again",
    )
