"""Measures the wizard in a real pseudo-terminal: `python -m tests.tui.measure`.

Start to first painted screen beside a bare Textual application, key to repaint while events come
200 a second, and memory.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

BARE = (
    "from textual.app import App; from textual.widgets import Static\n"
    "class Bare(App):\n"
    "    def compose(self): yield Static('Build home')\n"
    "Bare().run()\n"
)
ROUNDS = 7
EVENTS_A_SECOND = 200


class Terminal:
    """A program on a pseudo-terminal of 80x24."""

    def __init__(self, *arguments: str) -> None:
        self.started = time.perf_counter()
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            environ = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
            os.execve(sys.executable, [sys.executable, *arguments], environ)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    def until(self, text: bytes, seconds: float = 20.0) -> float:
        """Read until `text` was drawn; return the seconds since the start."""
        seen = b""
        while text not in seen:
            if not select.select([self.descriptor], [], [], seconds)[0]:
                raise TimeoutError(f"{text!r} was not drawn")
            seen += os.read(self.descriptor, 65536)
        return time.perf_counter() - self.started

    def key(self, keys: bytes) -> float:
        """Press a key; return the seconds until something is drawn."""
        while select.select([self.descriptor], [], [], 0)[0]:
            os.read(self.descriptor, 65536)
        began = time.perf_counter()
        os.write(self.descriptor, keys)
        select.select([self.descriptor], [], [], 5)
        return time.perf_counter() - began

    def memory(self) -> float:
        """Return the resident memory in MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def close(self) -> None:
        """End it."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.descriptor)


def main() -> None:
    """Measure and print."""
    wizard, bare = [], []
    with tempfile.TemporaryDirectory() as folder:
        home = f"{folder}/home"
        for _ in range(ROUNDS):
            for found, arguments, text in (
                (bare, ("-c", BARE), b"Build home"),
                (wizard, ("-m", "wizard", "--home", home), b"Open saved answers"),
            ):
                terminal = Terminal(*arguments)
                found.append(terminal.until(text))
                terminal.close()
        first, other = statistics.median(wizard), statistics.median(bare)
        print(f"first screen       {first * 1000:6.0f} ms (median of {ROUNDS})")
        print(f"bare Textual       {other * 1000:6.0f} ms, ratio {first / other:.2f}")
        _keys(Path(home))


def _keys(home: Path) -> None:
    """Measure keys on the deploy screen while a run's events come in."""
    from wizard.answers import loader
    from wizard.events import Event, EventKind
    from wizard.home.home import Home
    from wizard.home.lock import locked
    from wizard.paths import config_templates

    deployment = Home.open(home).deployment("demo")
    deployment.create()
    ready = loader.load(config_templates() / "answers" / "rehearsal.yaml")
    loader.save(ready, deployment.answers_file)
    steps = [
        {"id": f"s{n}", "title": f"step {n}", "machine": f"web{n % 5}", "expected": 5, "needs": []}
        for n in range(20)
    ]
    done = threading.Event()

    def write() -> None:
        with deployment.events_file.open("w") as file:
            started = Event(EventKind.RUN_STARTED, "deploy demo", data={"steps": steps})
            file.write(started.to_json() + "\n")
            number = 0
            while not done.wait(1 / EVENTS_A_SECOND):
                number += 1
                kind = EventKind.LOG if number % 4 == 0 else EventKind.PROGRESS
                event = Event(
                    kind, f"event {number}", f"s{number % 20}", done=number % 90, total=99
                )
                file.write(event.to_json() + "\n")
                file.flush()

    with locked(deployment.folder / "lock", "deploy demo"):
        writer = threading.Thread(target=write)
        writer.start()
        terminal = Terminal("-m", "wizard", "--home", str(home))
        terminal.until(b"Open saved answers")
        terminal.key(b"\r")
        terminal.until(b"Leave it running")
        time.sleep(2)
        times = sorted(terminal.key(b"\t") for _ in range(100) if not time.sleep(0.05))
        print(f"key to repaint     {times[94] * 1000:6.1f} ms (95th percentile of 100)")
        time.sleep(20)
        terminal.key(b"\t")
        print(f"memory             {terminal.memory():6.1f} MiB")
        done.set()
        writer.join()
        terminal.close()


if __name__ == "__main__":
    main()
