"""Measures the wizard in a real pseudo-terminal: part of `make bench`, or by itself
`python -m tests.tui.measure`.

Start to first painted screen beside a bare Textual application, key to repaint while events come
200 a second, and memory. On a machine that does other work too, the smallest figures and those of
processor time say more than the medians.
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
ROUNDS = 15
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

    def processor(self) -> float:
        """Return the seconds of processor time it took so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

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
    """Measure and print a Markdown table for docs/benchmarks.md."""
    # seconds until painted, and of processor time
    wizard: list[tuple[float, float]] = []
    bare: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        home = f"{folder}/home"
        for _ in range(ROUNDS):
            for found, arguments, text in (
                (bare, ("-c", BARE), b"Build home"),
                (wizard, ("-m", "wizard", "--home", home), b"Open saved answers"),
            ):
                terminal = Terminal(*arguments)
                found.append((terminal.until(text), terminal.processor()))
                terminal.close()
        print("| the wizard | measured | aim |\n|---|---:|---:|")
        for what, column in (("first screen", 0), ("... processor time", 1)):
            ours, others = ([both[column] for both in found] for found in (wizard, bare))
            middle, other = statistics.median(ours), statistics.median(others)
            aim = ("600 ms", "1.5 times") if column == 0 else ("", "")
            _row(f"{what}, median of {ROUNDS}", f"{middle * 1000:.0f} ms", aim[0])
            _row(f"{what}, smallest", f"{min(ours) * 1000:.0f} ms", "")
            text = f"{middle / other:.2f} times, smallest {min(ours) / min(others):.2f}"
            _row(f"... beside a bare Textual app ({other * 1000:.0f} ms)", text, aim[1])
        _keys(Path(home))


def _row(what: str, measured: str, aim: str) -> None:
    print(f"| {what} | {measured} | {aim} |")


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
        what = f"key to repaint at {EVENTS_A_SECOND} events/s, 95th percentile of 100"
        _row(what, f"{times[94] * 1000:.1f} ms", "50 ms")
        time.sleep(20)
        terminal.key(b"\t")
        _row("memory", f"{terminal.memory():.0f} MiB", "120 MB")
        done.set()
        writer.join()
        terminal.close()


if __name__ == "__main__":
    main()
