"""`python -m tests.bench_production PART…`: production mode measured.

How long deployments take with 1, 4 and 8 webservers, new webservers from the snapshot and from the
base image, faults, and work on one webserver after the other; visitors come 50 times a second.

Parts: deploys, scaling, faults, rolls, code; all without arguments. As root; prints Markdown.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import yaml

from tests.emulators.git_server import GitServer
from tests.lab.deployments import NAME, Rehearsal
from tests.lab.production import ANSWERS, TTL, Site, deployed
from tests.lab.visitors import Tally
from wizard.providers.base import Resource, ResourceKind

os.environ.setdefault("BUILD_USB_BASE_TREE", "/var/tmp/build-usb-base")
LONG = 600.0
TOKEN = "token-of-the-bench-4711"


def main() -> None:
    """Measure what is asked for and print it."""
    parts: dict[str, Callable[[Path], None]] = {
        "deploys": _deploys,
        "scaling": _scaling,
        "faults": _faults,
        "rolls": _rolls,
        "code": _code,
    }
    for name in sys.argv[1:] or parts:
        load = os.getloadavg()[0]
        print(f"\n{datetime.now(UTC):%Y-%m-%d}, {name}, machine loaded {load:.0f} deep\n")
        with tempfile.TemporaryDirectory(prefix="build-usb-bench-", dir="/var/tmp") as folder:
            parts[name](Path(folder))


def answers(folder: Path, **changed: object) -> Path:
    """Return a file of the rehearsal's answers with some sections changed."""
    values = yaml.safe_load(ANSWERS.read_text())
    for section, change in changed.items():
        values[section] = (
            {**values.get(section, {}), **change} if isinstance(change, dict) else change
        )
    path = folder / "answers.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def _deploys(folder: Path) -> None:
    print("| webservers | deploy, whole command (s) | times that of one |")
    print("|---:|---:|---:|")
    first = 0.0
    for count in (1, 4, 8):
        home = folder / str(count)
        (home / "user").mkdir(parents=True)
        home.chmod(0o700)
        rehearsal = Rehearsal(home / "home", home / "user")
        file = answers(
            home,
            webserver={"count": count},
            scaling={"autoscalers": 1, "minimum": 1, "maximum": 8},
        )
        try:
            rehearsal.run("validate", file)
            started = time.monotonic()
            rehearsal.run("deploy", file, "--json")
            took = time.monotonic() - started
        finally:
            rehearsal.run("destroy", "--yes", check=False)
        first = first or took
        print(f"| {count} | {took:.1f} | {took / first:.2f} |", flush=True)


@contextmanager
def _site(folder: Path, environ: dict[str, str] | None = None, **changed: object) -> Iterator[Site]:
    home = folder / "production"
    home.mkdir()
    with deployed(home, answers(folder, **changed), **(environ or {})) as site:
        print("| what | requests | failed | to the next address | slowest (s) | |")
        print("|---|---:|---:|---:|---:|---|", flush=True)
        yield site


def _row(what: str, tally: Tally, **seconds: float) -> None:
    took = ", ".join(f"{name.replace('_', ' ')} {value:.0f} s" for name, value in seconds.items())
    print(
        f"| {what} | {tally.requests} | {tally.failed} | {tally.retried} | {tally.slowest:.1f} | "
        f"{took} |",
        flush=True,
    )


def _in_dns(site: Site, count: int) -> bool:
    return len(site.visitors.resolve()) == count


def _until(what: str, true: Callable[[], bool], seconds: float = LONG) -> float:
    """Wait for something that is asked often; return the seconds it took."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < seconds, what
        time.sleep(0.2)
    return time.monotonic() - started


def _to(site: Site, count: int) -> float:
    """Ask for this many webservers; return the seconds from the request until DNS has them."""
    site.rehearsal.run("scale", str(count))
    return _until(f"DNS has {count}", lambda: _in_dns(site, count))


def _quiet(site: Site, count: int) -> None:
    """Wait until this many webservers are there and nothing goes on."""
    site.until("all is quiet", lambda: _is_quiet(site, count), LONG)
    site.visitors.take()


def _is_quiet(site: Site, count: int) -> bool:
    fleet = site.fleet()
    phases = {w["phase"] for w in fleet["webservers"]}
    return (
        phases == {"serving"}
        and len(fleet["webservers"]) == count
        and not (fleet["snapshot"]["making"])
    )


def _scaling(folder: Path) -> None:
    with _site(folder, scaling={"minimum": 1, "maximum": 6}) as site:
        site.until("there is a snapshot", lambda: site.snapshot() is not None, LONG)
        _quiet(site, 2)
        up = _to(site, 3)
        _row("2 to 3, from the snapshot", site.visitors.take(), in_DNS=up)
        site.rehearsal.run("scale", "2")
        _quiet(site, 2)
        found = site.fleet()["snapshot"]["id"]
        site.laboratory.provider.delete(Resource(ResourceKind.SNAPSHOT, found, found, NAME))
        up = _to(site, 3)
        _row("2 to 3, the snapshot is gone: from the base image", site.visitors.take(), in_DNS=up)
        _quiet(site, 3)
        up = _to(site, 6)
        _row("3 to 6", site.visitors.take(), in_DNS=up)
        site.rehearsal.run("scale", "3")
        down = site.until("three are left", lambda: _is_quiet(site, 3), LONG)
        _row("6 to 3", site.visitors.take(), removed=down)


def _faults(folder: Path) -> None:
    with _site(folder, webserver={"count": 3}) as site:
        site.until("there is a snapshot", lambda: site.snapshot() is not None, LONG)
        _quiet(site, 3)
        name = site.serving()[-1]
        site.fill(name)
        time.sleep(TTL)
        _row("a webserver's disk full", site.visitors.take())
        site.empty(name)
        site.rehearsal.on("db1", "systemctl restart mariadb.service")
        time.sleep(TTL)
        _row("database restarted", site.visitors.take())
        name = site.serving()[-1]
        site.rehearsal.on(name, "systemctl kill --signal=KILL nginx.service")
        out = _until("out of DNS", lambda: _in_dns(site, 2))
        back = _until("back in DNS", lambda: _in_dns(site, 3))
        _row("nginx killed", site.visitors.take(), out_of_DNS=out, serving_again=out + back)
        for fault, act in (("frozen", site.freeze), ("destroyed", site.destroy)):
            _quiet(site, 3)
            act(site.serving()[-1])
            out = _until("out of DNS", lambda: _in_dns(site, 2))
            back = _until("replaced", lambda: _in_dns(site, 3))
            _row(f"webserver {fault}", site.visitors.take(), out_of_DNS=out, replaced=out + back)
        for fault, act in (("cut off", site.cut_off), ("destroyed", site.destroy)):
            _quiet(site, 3)
            leader = site.fleet()["leader"]
            act(leader)
            took = site.until("another leads", lambda: site.fleet()["leader"] != leader, LONG)  # noqa: B023
            if act == site.cut_off:
                site.join_again(leader)
            _row(f"leading autoscaler {fault}", site.visitors.take(), another_leads=took)


def _rolls(folder: Path) -> None:
    with _site(folder) as site:
        _quiet(site, 2)
        for number, work in enumerate(("reboot", "certificate", "upgrade"), 1):
            site.rehearsal.run("roll", work)
            took = site.until(work, lambda: site.rolled(number), LONG)  # noqa: B023
            _row(f"{work}, two webservers", site.visitors.take(), done=took)
        changed = answers(folder, machines={"timezone": "Europe/Vienna"})
        started = time.monotonic()
        site.rehearsal.run("deploy", changed, "--json")
        took = time.monotonic() - started
        _row("deploy of changed answers, two webservers", site.visitors.take(), done=took)


def _code(folder: Path) -> None:
    pages = {"index.php": "<html>release 1</html>", "health.php": "<?php echo 'well';"}
    with GitServer(folder, TOKEN) as git:
        environ = {"GIT_SSL_CAINFO": str(git.certificate), "TOKEN": TOKEN}
        git.commit("site", pages, "first")
        source = {
            "kind": "repository",
            "url": f"{git.url}/site.git",
            "health_path": "/health.php",
            "credentials": {"environment": "TOKEN"},
        }
        own = {"kind": "php", "source": source}
        with _site(folder, environ, application=own) as site:
            _quiet(site, 2)
            git.commit("site", pages | {"index.php": "<html>release 2</html>"}, "second")
            started = time.monotonic()
            site.rehearsal.run("deploy", folder / "answers.yaml", "--json", **environ)
            took = time.monotonic() - started
            tally = site.visitors.take()
            for name in site.serving():
                assert "release 2" in site.rehearsal.on(name, "cat /srv/site/current/index.php")
            _row("another release of own PHP, two webservers", tally, done=took)
            up = _to(site, 3)
            _row("2 to 3 with own PHP", site.visitors.take(), in_DNS=up)
            new = site.serving()[-1]
            assert "release 2" in site.rehearsal.on(new, "cat /srv/site/current/index.php")


if __name__ == "__main__":
    main()
