"""A real terminal: tmux runs a program in it, keys go in, what is drawn comes out."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PATIENCE = 120.0
"""Seconds that a program on a busy computer may take to draw."""
STILL = 0.5
"""Seconds after which a cursor that has not moved is where the program wants it."""


class Terminal:
    """A program in a terminal of its own, 80x24; `folder` keeps tmux's socket."""

    def __init__(self, folder: Path, environ: Mapping[str, str], argv: Sequence[str]) -> None:
        self._socket = folder / "tmux"
        self._environ = dict(environ)
        # what the pane sees is what the server was started with; TERM is tmux's own unless given
        term = f"TERM={environ['TERM']}" if "TERM" in environ else "BUILD_USB_TEST=1"
        self._tmux("new-session", "-d", "-x", "80", "-y", "24", "env", term, *argv)

    def _tmux(self, *words: str) -> str:
        return subprocess.run(
            ["tmux", "-S", self._socket, "-f", "/dev/null", *words],
            env={**self._environ, "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    @property
    def pid(self) -> int:
        """Return the process id of the program."""
        return int(self._tmux("display-message", "-p", "#{pane_pid}"))

    def screen(self) -> str:
        """Return what is drawn."""
        return self._tmux("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names: Enter, Escape, F2, Down."""
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        """Type text."""
        self._tmux("send-keys", "-l", text)

    def resize(self, wide: int, high: int) -> None:
        """Give the terminal another size."""
        self._tmux("resize-window", "-x", str(wide), "-y", str(high))

    def wait(self, wanted: str | Callable[[str], bool], seconds: float = PATIENCE) -> str:
        """Return the screen as soon as it shows `wanted`; fails with what it shows instead."""
        shown = self.screen()
        ends = time.monotonic() + seconds
        while not (wanted(shown) if callable(wanted) else wanted in shown):
            if time.monotonic() > ends:
                raise AssertionError(f"{wanted!r} is not shown after {seconds} s:\n{shown}")
            time.sleep(0.1)
            shown = self.screen()
        return shown

    def press_until_changed(self, key: str, seconds: float = PATIENCE) -> str:
        """Press a key until the first line is another one, and return the screen; a key pressed
        between two screens is for neither."""
        title = self.screen().splitlines()[0]
        ends = time.monotonic() + seconds
        while True:
            self.press(key)
            try:
                return self.wait(
                    lambda text: (
                        bool(text.splitlines()[0].strip()) and text.splitlines()[0] != title
                    ),
                    3,
                )
            except AssertionError:
                if time.monotonic() > ends:
                    raise

    def wait_at(self, wanted: str, seconds: float = PATIENCE) -> str:
        """Return the screen as soon as the cursor stands still in a line with `wanted`: what is
        pressed before the focus is there may go elsewhere."""
        ends = time.monotonic() + seconds
        while wanted not in self.still():
            assert time.monotonic() < ends, f"not at {wanted!r} after {seconds} s:\n{self.screen()}"
        return self.screen()

    def still(self) -> str:
        """Return the line that the cursor is in when it has been there for a moment: while a screen
        is drawn it passes through others."""
        line, since = self.line(), time.monotonic()
        while time.monotonic() - since < STILL:
            time.sleep(0.05)
            if (now := self.line()) != line:
                line, since = now, time.monotonic()
        return line

    def line(self, shown: str | None = None) -> str:
        """Return the line that the cursor is in, of the screen as it is now or was `shown`."""
        row = int(self._tmux("display-message", "-p", "#{cursor_y}"))
        lines = (self.screen() if shown is None else shown).splitlines()
        return lines[row] if row < len(lines) else ""

    def kill(self) -> None:
        """End the program as a power cut would."""
        process = os.pidfd_open(self.pid)
        try:
            signal.pidfd_send_signal(process, signal.SIGKILL)
            assert select.select([process], [], [], 10)[0], "it does not end"
        finally:
            os.close(process)

    def close(self) -> None:
        """End the terminal and all that runs in it."""
        subprocess.run(
            ["tmux", "-S", self._socket, "kill-server"], capture_output=True, check=False
        )
