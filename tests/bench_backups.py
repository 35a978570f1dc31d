"""`make bench`: backups and restores beside plain tar, mariadb-dump and gzip of the same data.

Prints Markdown tables for docs/benchmarks.md. The object storage is moto's, on the same cores: it
takes a good part of them, as no object storage elsewhere would.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tests.bench import machine
from tests.lab.deployments import REHEARSAL, Browser, Rehearsal
from tests.lab.laboratory import Laboratory
from wizard.machines.places import AGENT_PATH

FILES, FILE_BYTES = 1000, 600_000
ROWS = 60_000
CONTENT = "/var/lib/wordpress/wp-content"
_WINDOW, _PACE = 20.0, 0.1  # seconds of asking, and between two requests
# photographs do not compress, the rest of a site does: two of three files are photographs
FILL = f"""
import os, random
from pathlib import Path
words = [os.urandom(4).hex() for _ in range(4000)]
random.seed(1)
for number in range({FILES}):
    folder = Path("{CONTENT}/uploads/bench", f"{{number % 20:02}}")
    folder.mkdir(parents=True, exist_ok=True)
    text = " ".join(random.choices(words, k={FILE_BYTES} // 9)).encode()
    data = os.urandom({FILE_BYTES}) if number % 3 else text
    (folder / f"{{number}}.bin").write_bytes(data)
"""
TABLE = f"""
import os, random
words = [os.urandom(4).hex() for _ in range(4000)]
print("CREATE TABLE bench (id INT PRIMARY KEY AUTO_INCREMENT, body TEXT) ENGINE=InnoDB;")
for _ in range({ROWS} // 500):
    rows = ",".join(f"('{{' '.join(random.choices(words, k=120))}}')" for _ in range(500))
    print(f"INSERT INTO bench (body) VALUES {{rows}};")
"""
CHANGE = f"""
import os
from pathlib import Path
for path in sorted(Path("{CONTENT}/uploads/bench").rglob("*.bin"))[::100]:
    path.write_bytes(os.urandom(path.stat().st_size))
"""


class Bench:
    """A site with some content, its machines, and what was measured."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self.rehearsal = rehearsal

    def seconds(self, name: str, command: str) -> float:
        """Return how long a command takes on a machine, measured there."""
        script = f"sync; a=$(date +%s.%N); {{ {command}; }} >&2; b=$(date +%s.%N); echo $a $b"
        before, after = self.rehearsal.on(name, f"bash -euo pipefail -c '{script}'").split()
        return float(after) - float(before)

    def agent(self, name: str, words: str) -> tuple[float, dict[str, Any]]:
        """Return how long the agent takes over a command, and its answer."""
        started = time.monotonic()
        answer = json.loads(self.rehearsal.on(name, f"{AGENT_PATH} {words}"))
        took = answer.get("seconds", time.monotonic() - started)
        assert answer["ok"], answer
        return float(took), answer


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="build-usb-bench-", dir="/var/tmp") as folder:
        print(f"{datetime.now(UTC):%Y-%m-%d}, {machine()}, `make bench`\n")
        rehearsal = Rehearsal(Path(folder, "home"), Path(folder, "user"))
        rehearsal.user.mkdir()
        values = yaml.safe_load(REHEARSAL.read_text())
        values["backups"] = {"periods": ["daily"]}
        answers = Path(folder, "answers.yaml")
        answers.write_text(yaml.safe_dump(values))
        try:
            rehearsal.run("deploy", answers, "--json")
            measure(Bench(rehearsal))
        finally:
            Laboratory(rehearsal.home / "lab").clear("demo")
    return 0


def measure(bench: Bench) -> None:
    """Fill the site, then measure each part, and visitors while it is backed up."""
    on = bench.rehearsal.on
    on("web1", "python3 -", FILL)
    on("db1", "python3 - | mariadb wordpress", TABLE)
    sizes = {
        "web1": int(on("web1", f"du -sb {CONTENT} | cut -f1")),
        "db1": int(on("db1", "mariadb-dump --single-transaction wordpress | wc -c")),
    }
    plain = {
        "web1": (
            bench.seconds("web1", f"tar -C {CONTENT} -cf - . | gzip > /var/tmp/plain.gz"),
            bench.seconds(
                "web1",
                "mkdir /var/tmp/plain && gzip -dc /var/tmp/plain.gz | tar -C /var/tmp/plain -xf -",
            ),
        ),
        "db1": (
            bench.seconds(
                "db1", "mariadb-dump --single-transaction wordpress | gzip > /var/tmp/plain.gz"
            ),
            bench.seconds(
                "db1",
                'mariadb -e "CREATE DATABASE plain" && gzip -dc /var/tmp/plain.gz | mariadb plain',
            ),
        ),
    }
    on("web1", "rm -r /var/tmp/plain /var/tmp/plain.gz")
    on("db1", "rm /var/tmp/plain.gz; mariadb -e 'DROP DATABASE plain'")
    quiet = _visit(bench.rehearsal, _for(_WINDOW))
    ours: dict[str, list[tuple[float, int]]] = {"web1": [], "db1": []}
    times: list[float] = []

    def back_up(point: str) -> None:
        for name in ("db1", "web1"):
            took, answer = bench.agent(name, f"backup manual --point {point}")
            ours[name].append((took, int(answer["added"])))

    times = _visit(bench.rehearsal, lambda: back_up("manual-2026-01-01T000001"))
    quiet += _visit(bench.rehearsal, _for(_WINDOW))
    on("web1", "python3 -", CHANGE)
    on("db1", f"mariadb wordpress -e 'UPDATE bench SET body = UUID() WHERE id <= {ROWS // 100}'")
    back_up("manual-2026-01-01T000002")
    restored = {}
    on("web1", f"rm -r {CONTENT}/uploads/bench")
    for name in ("db1", "web1"):
        started = time.monotonic()
        bench.agent(name, "restore manual-2026-01-01T000002")
        restored[name] = time.monotonic() - started
    print("| MB/s (of what is kept) | size | backup | plain | restore | plain |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, title in (
        ("web1", "files: restic, `tar` and `gzip`"),
        ("db1", "database: restic, `mariadb-dump` and `gzip`"),
    ):
        rates = (ours[name][0][0], plain[name][0], restored[name], plain[name][1])
        row = " | ".join(f"{sizes[name] / 1e6 / seconds:.1f}" for seconds in rates)
        print(f"| {title} | {sizes[name] / 1e6:.0f} MB | {row} |")
    print("\n| after 1 % change | first | second | ratio | first | second | ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, title in (("web1", "files"), ("db1", "database")):
        (first, added), (second, more) = ours[name]
        print(f"| {title} | {first:.1f} s | {second:.1f} s | {second / first:.0%} "
              f"| {added / 1e6:.1f} MB | {more / 1e6:.1f} MB | {more / added:.1%} |")  # fmt: skip
    print("\n| a page that no cache holds, 10 a second | requests | median | p95 |")
    print("|---|---:|---:|---:|")
    for title, found in (("no backup", quiet), ("while both parts are backed up", times)):
        print(f"| {title} | {len(found)} | {statistics.median(found) * 1000:.0f} ms "
              f"| {_p95(found) * 1000:.0f} ms |")  # fmt: skip
    print(f"| **ratio of p95** | | | **{_p95(times) / _p95(quiet):.2f}** |\n")


def _for(seconds: float) -> Callable[[], None]:
    return lambda: time.sleep(seconds)


def _visit(rehearsal: Rehearsal, meanwhile: Callable[[], None]) -> list[float]:
    """Return the seconds that answers took, asked for at an even pace while something is done."""
    ended, found = threading.Event(), []

    def ask() -> None:
        with Browser(rehearsal.state()) as visitor:
            due = time.monotonic()
            while not ended.is_set():
                started = time.monotonic()
                assert visitor.client.get("/?s=words").status_code == 200
                found.append(time.monotonic() - started)
                due = max(due + _PACE, time.monotonic())
                ended.wait(due - time.monotonic())

    visits = threading.Thread(target=ask)
    visits.start()
    try:
        meanwhile()
    finally:
        ended.set()
        visits.join()
    return found


def _p95(times: list[float]) -> float:
    return sorted(times)[math.ceil(len(times) * 0.95) - 1]


if __name__ == "__main__":
    sys.exit(main())
