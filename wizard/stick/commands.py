"""Runs Debian's disk tools for the helper: arguments only, secrets by stdin or memory files.

Must not import: anything of the wizard above `errors`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from wizard.errors import HomeError

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_LONGEST = 600.0  # seconds; a slow stick may take minutes to make a file system

# descriptors that every program started inherits: the helper's lock, so that a program that
# outlives a killed helper still keeps the next helper out
inherited: list[int] = []


def attempt(
    *words: str | os.PathLike[str], given: bytes = b"", descriptors: Sequence[int] = ()
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end; `given` is its standard input. HomeError if it is missing."""
    try:
        return subprocess.run(
            [os.fspath(word) for word in words],
            input=given,
            capture_output=True,
            env=ENVIRONMENT,
            cwd="/",
            pass_fds=(*inherited, *descriptors),
            timeout=_LONGEST,
            check=False,
        )
    except FileNotFoundError as error:
        raise HomeError(
            f"the program {words[0]} is missing", cure="use the unchanged image"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise HomeError(
            f"{words[0]} did not end in {_LONGEST:.0f} s",
            why="the stick does not answer, or is very slow",
            cure="try another USB port, then another stick",
        ) from error


def run(
    *words: str | os.PathLike[str],
    doing: str,
    given: bytes = b"",
    descriptors: Sequence[int] = (),
    cure: str = "try again; if it stays, the stick may be failing (dmesg tells)",
) -> bytes:
    """Return what a program printed. Raises HomeError that says `doing` when it fails."""
    ended = attempt(*words, given=given, descriptors=descriptors)
    if ended.returncode:
        raise HomeError(
            f"cannot {doing}",
            where=os.fspath(words[0]),
            why=said(ended) or f"exit code {ended.returncode}",
            cure=cure,
        )
    return ended.stdout


def said(ended: subprocess.CompletedProcess[bytes]) -> str:
    """Return the end of what a program wrote to standard error, for people."""
    return ended.stderr.decode(errors="replace").strip()[-2000:]
