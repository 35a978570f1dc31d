"""A repository of restic: where it is, what opens it, and restic run on it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wizard.agent.errors import AgentError, TimeLimitError

LONGEST = 6 * 3600.0
"""Seconds that one program may take."""
# the other machine's lock; if that was killed restic takes its lock for dead after 30 minutes
_WAIT_FOR_LOCK = "35m"

SNAPSHOTS = ("snapshots", "--json", "--no-lock")
_SHORT_WAIT = "30s"
_PATIENCE = 120.0
_NO_REPOSITORY, _LOCKED = 10, 11  # restic's exit codes, documented


@dataclass(frozen=True)
class Repository:
    """Where it is, in restic's words, with the files that hold its password and the store's keys.
    Into a `foreign` one nothing is written, no lock either; from an `append_only` one nothing but
    locks can be deleted: its key may not."""

    place: str
    options: tuple[str, ...]
    password_file: Path
    credentials_file: Path
    foreign: bool = False
    append_only: bool = False

    def command(self, *words: str, wait: str = _WAIT_FOR_LOCK) -> list[str]:
        """Return the command that runs restic; `wait`: how long for the locks of others."""
        options = [part for option in self.options for part in ("-o", option)]
        return [
            "restic",
            "--repo",
            self.place,
            "--password-file",
            str(self.password_file),
            "--retry-lock",
            wait,
            *(["--no-lock"] if self.foreign else []),
            "--cache-dir",
            "/var/cache/build-usb/restic",
            *options,
            *words,
        ]

    @property
    def environment(self) -> dict[str, str]:
        """Return restic's environment."""
        # the keys themselves are in a file of root's: an environment can be read in /proc
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C",
            "HOME": "/root",
            "AWS_SHARED_CREDENTIALS_FILE": str(self.credentials_file),
            "RESTIC_PROGRESS_FPS": "0.1",
        }

    def ask(
        self, *words: str, seconds: float = LONGEST, wait: str = _WAIT_FOR_LOCK
    ) -> subprocess.CompletedProcess[str]:
        """Run restic and return how it ended."""
        try:
            return subprocess.run(
                self.command(*words, wait=wait),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                env=self.environment,
                check=False,
            )
        except FileNotFoundError as error:
            raise AgentError("restic is not installed") from error
        except subprocess.TimeoutExpired as error:
            raise TimeLimitError(f"restic {words[0]}: no end after {seconds:.0f} s") from error

    def run(self, *words: str) -> str:
        """Run restic and return what it prints; AgentError with its words if it fails."""
        # who is killed leaves a lock: this machine's is known to be of the dead at once, the
        # other's after half an hour
        for wait in (_SHORT_WAIT, _WAIT_FOR_LOCK, _SHORT_WAIT):
            done = self.ask(*words, wait=wait)
            if done.returncode != _LOCKED:
                break
            self.ask("unlock")
        if done.returncode:
            raise AgentError(f"restic {words[0]}: {_said(done)}")
        return done.stdout

    def forget(self, snapshots: Sequence[str]) -> bool:
        """Forget snapshots by their ids; False if another machine is at work there, or was killed
        there: it is for the next time then."""
        if not snapshots:
            return True
        self.ask("unlock")
        done = self.ask("forget", *snapshots, wait=_SHORT_WAIT)
        if done.returncode not in (0, _LOCKED):
            raise AgentError(f"restic forget: {_said(done)}")
        return done.returncode == 0

    def swallow(self, *words: str) -> None:
        """Run restic and throw away what it prints; AgentError with its words if it fails."""
        done = subprocess.run(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=LONGEST,
            env=self.environment,
            check=False,
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()[-300:]
            raise AgentError(f"restic {words[0]}: {said or f'exit {done.returncode}'}")

    def exists(self) -> bool:
        """Say whether it is there and can be opened."""
        return self.ask("cat", "config", "--no-lock").returncode == 0

    def require(self) -> None:
        """Raise AgentError if it is not there, or cannot be opened."""
        self.run("cat", "config", "--no-lock")

    def prepare(self) -> str:
        """Make it if it is missing (two machines may find it missing at once), and return its
        snapshots as restic prints them. AgentError if it does not answer, which restic alone would
        wait for a quarter of an hour."""
        found = self.ask(*SNAPSHOTS, seconds=_PATIENCE)
        if found.returncode == 0:
            return found.stdout
        if found.returncode != _NO_REPOSITORY:
            raise AgentError(f"the backups' repository cannot be opened: {_said(found)}")
        made = self.ask("init", "--repository-version", "2")
        if made.returncode and not self.exists():
            raise AgentError(f"the backups' repository cannot be made: {_said(made)}")
        return ""

    def back_up(self, *words: str) -> dict[str, Any]:
        """Make a snapshot and return restic's summary of it."""
        printed = self.run("backup", "--json", *words)
        for line in reversed(printed.splitlines()):
            try:
                values = json.loads(line)
            except ValueError:
                continue
            if isinstance(values, dict) and values.get("message_type") == "summary":
                return values
        raise AgentError("restic did not say what it kept")


class Reading:
    """A file being read out of a snapshot; its exit status is known after the block."""

    def __init__(self, repository: Repository, snapshot: str, path: str) -> None:
        self._process = subprocess.Popen(
            repository.command("dump", "--no-lock", snapshot, path),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=repository.environment,
        )

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self._process

    def __exit__(self, *_: object) -> None:
        if self._process.stdout:
            self._process.stdout.close()
        self._process.wait()


def _said(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return " ".join(lines[-3:])[:500] or f"exit {done.returncode}"
