"""What should be true on a machine, as values: roles return them, the worker makes them true.

A machine is described as ordered parts. Of each part the files come first, then the handlers whose
files changed, then services, then steps. Must not import: pyinfra, gevent.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from wizard.secrets import Secret


@dataclass(frozen=True)
class File:
    """A file with exactly this content. `handlers` run after it changed."""

    path: str
    content: str | bytes | Secret
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    handlers: tuple[str, ...] = ()

    @property
    def data(self) -> bytes:
        """The content as bytes."""
        content = self.content.reveal() if isinstance(self.content, Secret) else self.content
        return content.encode() if isinstance(content, str) else content

    def state(self) -> list[Any]:
        """Return what the probe reports when the file is as wanted."""
        digest = hashlib.sha256(self.data).hexdigest()
        return ["file", digest, self.mode, self.owner, self.group]

    def order(self) -> dict[str, Any]:
        """Return what the machine is told to make it so."""
        return {"content": base64.b64encode(self.data).decode()}


@dataclass(frozen=True)
class Folder:
    """A directory; what is in it is not looked at."""

    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"
    handlers: tuple[str, ...] = ()

    def state(self) -> list[Any]:
        """Return what the probe reports when the directory is as wanted."""
        return ["folder", "", self.mode, self.owner, self.group]

    def order(self) -> dict[str, Any]:
        """Return what the machine is told to make it so."""
        return {}


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    path: str
    target: str
    handlers: tuple[str, ...] = ()

    def state(self) -> list[Any]:
        """Return what the probe reports when the link is as wanted."""
        return ["link", self.target, 0, "root", "root"]

    def order(self) -> dict[str, Any]:
        """Return what the machine is told to make it so."""
        return {}


@dataclass(frozen=True)
class Absent:
    """A file or link that must not be there."""

    path: str
    handlers: tuple[str, ...] = ()

    def state(self) -> list[Any]:
        """Return what the probe reports when nothing is there."""
        return ["absent", "", 0, "", ""]

    def order(self) -> dict[str, Any]:
        """Return what the machine is told to make it so."""
        return {}


Item = File | Folder | Link | Absent


@dataclass(frozen=True)
class Handler:
    """A shell command run after one of its files changed. That it is due is noted on the machine
    before the first file is written, so a run killed in between does not lose it."""

    name: str
    command: str


@dataclass(frozen=True)
class Step:
    """A shell command that need not run again while its input is the same as last time and what
    `observe` prints is what it printed after the last run. `secret_input` goes to its stdin."""

    name: str
    command: str
    observe: str
    secret_input: Secret = field(default_factory=lambda: Secret(""))

    def digest(self) -> str:
        """Return a digest of the command and its input; 139 random bits make it safe to keep."""
        text = json.dumps([self.command, self.secret_input.reveal()])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Part:
    """One nameable part of a machine, such as "nginx"."""

    name: str
    items: tuple[Item, ...] = ()
    handlers: tuple[Handler, ...] = ()
    services: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What is found on a machine before deciding: missing packages, whether it is a container
    (which has no clock of its own), PHP's version (empty without PHP)."""

    missing: tuple[str, ...] = ()
    container: bool = False
    php: str = ""
