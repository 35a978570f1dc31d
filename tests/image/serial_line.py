"""A serial line of a virtual machine: what it said, kept and waited for."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>78])")


class Line:
    """Reads a connection all the time into `log`; `alive` tells whether anything can still come."""

    def __init__(self, connection: socket.socket, log: Path, alive: Callable[[], bool]) -> None:
        self._socket = connection
        self._log = log
        self._alive = alive
        self._said = b""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @classmethod
    def at(cls, path: Path, log: Path, alive: Callable[[], bool]) -> Self:
        """Connect to the socket that is a line's other end."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        return cls(connection, log, alive)

    def _read(self) -> None:
        with self._log.open("ab", buffering=0) as log:
            while True:
                try:
                    data = self._socket.recv(65536)
                except OSError:
                    data = b""
                log.write(data)
                with self._changed:
                    self._said += data
                    self._changed.notify_all()
                if not data:
                    return

    def text(self) -> str:
        """Return everything said so far, without colours and movements of the cursor."""
        with self._changed:
            said = self._said
        return _ESCAPES.sub("", said.decode(errors="replace")).replace("\r", "")

    def wait(self, pattern: str, seconds: float, *, after: int = 0) -> re.Match[str]:
        """Return the first match of a regular expression from `after` on, waiting for it."""
        ends = time.monotonic() + seconds
        while True:
            with self._changed:
                seen = len(self._said)
            text = self.text()
            if found := re.compile(pattern, re.MULTILINE).search(text, after):
                return found
            left = ends - time.monotonic()
            if left <= 0 or not (self._alive() or self._reader.is_alive()):
                raise AssertionError(f"{pattern!r} was not said; the last lines:\n{text[-3000:]}")
            with self._changed:
                if len(self._said) == seen:
                    self._changed.wait(min(left, 5))
            # a file that is printed comes in thousands of pieces: not each is worth a search
            time.sleep(0.02)

    def write(self, text: str) -> None:
        """Type."""
        self._socket.sendall(text.encode())

    def slowly(self, text: str) -> None:
        """Type as a person does: a boot menu that draws loses what comes faster."""
        for letter in text:
            self.write(letter)
            time.sleep(0.2)

    def close(self) -> None:
        """Read what is left and let go."""
        self._reader.join(timeout=5)
        self._socket.close()
