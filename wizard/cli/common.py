"""What several commands do. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wizard.answers.model import Answers
    from wizard.answers.sections import CredentialSource
    from wizard.home.home import Home
    from wizard.home.store import SecretStore


def say(text: str) -> None:
    """Tell a person something, on standard error."""
    print(text, file=sys.stderr, flush=True)


def open_home(arguments: argparse.Namespace) -> Home:
    """Return the build home that the command names."""
    from wizard.home.home import Home

    return Home.open(Home.locate(arguments.home))


def load(path: Path) -> Answers:
    """Return answers that are right and that this version can carry out."""
    from wizard.answers import loader, support
    from wizard.paths import on_stick

    loaded = loader.load(path)
    support.refuse_unsupported(loaded, str(path), stick=on_stick())
    return loaded


def credentials(
    arguments: argparse.Namespace, home: Home, sources: Sequence[CredentialSource | None]
) -> SecretStore | None:
    """Return the home's own secrets if a source names one; asks for the passphrase only then."""
    from wizard.operations import session

    if not any(source and source.home for source in sources):
        return None
    return session.unlock(home, arguments.passphrase_file).credentials


def stop_on_signals() -> threading.Event:
    """SIGTERM stops a run as Ctrl-C does: no new step starts, those under way end safely."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    return stop
