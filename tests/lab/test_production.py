"""Production mode: visitors come all the time, webservers come, go and die, nobody is sent away.

Everything after the deployment is the autoscalers' own doing: the build machine only wishes and
looks. Each test prints what visitors saw and how long things took (pytest -rP).
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import leftovers
from tests.lab.deployments import NAME, Rehearsal
from tests.lab.laboratory import Laboratory
from tests.lab.visitors import Tally, Visitors
from wizard.lab import addresses
from wizard.paths import config_templates
from wizard.providers.base import Resource, ResourceKind

pytestmark = pytest.mark.lab

ANSWERS = config_templates() / "answers" / "rehearsal-production.yaml"
TTL = 30
RECOVERED = 60 + TTL
"""Seconds within which an unplanned fault must be over."""


class Site:
    """The deployment, its visitors, and ways to break it behind everybody's back."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self.rehearsal = rehearsal
        self.laboratory = Laboratory(rehearsal.home / "lab")
        state = rehearsal.state()
        lab = int(state.url.split("//")[1].split(".")[2])
        self.visitors = Visitors(
            state.hosts[0], state.authority_root, addresses.services_address(lab)
        )

    def fleet(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.rehearsal.run("status", "--json", check=False).stdout
        )["fleet"]
        return found

    def serving(self) -> list[str]:
        return [
            w["name"]
            for w in self.fleet()["webservers"]
            if w["phase"] == "serving" and w["published"]
        ]

    def until(self, what: str, true: Callable[[], bool], seconds: float) -> float:
        """Wait for something; return the seconds it took."""
        started = time.monotonic()
        while not true():
            assert time.monotonic() - started < seconds, (what, self.fleet())
            time.sleep(1)
        return time.monotonic() - started

    def machine_id(self, name: str) -> str:
        machines = self.laboratory.provider.machines(NAME)
        return next(m.id for m in machines if m.name == name)

    def destroy(self, name: str) -> None:
        """Delete a machine at the provider, as somebody in its console would."""
        resource = Resource(ResourceKind.MACHINE, self.machine_id(name), name, NAME)
        self.laboratory.provider.delete(resource)

    def freeze(self, name: str) -> None:
        """Stop all processes of a machine where they are."""
        group = self.laboratory.cgroup() / self.machine_id(name)
        (group / "cgroup.freeze").write_text("1")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("production")
    folder.chmod(0o700)
    user = folder / "user"
    user.mkdir()
    rehearsal = Rehearsal(folder / "home", user)
    before = leftovers.present(str(rehearsal.home))
    rehearsal.run("deploy", ANSWERS, "--json")
    made = Site(rehearsal)
    made.until("an autoscaler leads", lambda: bool(made.fleet()["leader"]), 90)
    made.visitors.start()
    yield made
    made.visitors.stop()
    rehearsal.run("destroy", "--yes")
    assert leftovers.new_since(before, str(rehearsal.home)) == {}


def told(what: str, tally: Tally, **seconds: float) -> None:
    took = ", ".join(f"{name.replace('_', ' ')} {value:.0f} s" for name, value in seconds.items())
    print(f"{what}: {tally}; {took}")


def test_scaling_by_a_wish_loses_no_request(site: Site) -> None:
    site.visitors.take()
    site.rehearsal.run("scale", "3")
    up = site.until("three serve", lambda: len(site.serving()) == 3, 150)
    site.until("DNS has three", lambda: len(site.visitors.resolve()) == 3, 10)
    site.rehearsal.run("scale", "2")
    down = site.until(
        "the third is gone",
        lambda: len(site.laboratory.provider.machines(NAME)) == 5,
        TTL + 90,
    )
    tally = site.visitors.take()
    told("scale 2 to 3 and back", tally, serving=up, removed=down)
    assert tally.failed == 0, tally.reasons[-5:]
    assert tally.requests > 1000
    fleet = site.fleet()
    assert fleet["wish"]["webservers"] == 2
    assert "@" in fleet["wish"]["by"]


def test_a_number_out_of_bounds_is_refused(site: Site) -> None:
    done = site.rehearsal.run("scale", "50", check=False)
    assert done.returncode == 2
    assert "from 1 to 5" in done.stderr


def test_uploads_are_the_same_everywhere(site: Site) -> None:
    first, second = site.serving()[:2]
    path = "/var/lib/wordpress/wp-content/uploads/a-picture.txt"
    site.rehearsal.on(first, f"runuser -u www-data -- sh -c 'echo shared > {path}'")
    assert site.rehearsal.on(second, f"cat {path}") == "shared\n"


def test_a_webserver_without_nginx_is_mended(site: Site) -> None:
    name = site.serving()[-1]
    site.visitors.take()
    site.rehearsal.on(name, "systemctl kill --signal=KILL nginx.service")
    out = site.until("it is out of DNS", lambda: name not in site.serving(), 60)
    mended = site.until("it is mended", lambda: name in site.serving(), RECOVERED)
    tally = site.visitors.take()
    told("nginx killed", tally, out_of_DNS=out, serving_again=out + mended)
    assert tally.failed == 0, tally.reasons[-5:]


@pytest.mark.parametrize("fault", ["destroyed", "frozen"])
def test_a_lost_webserver_is_replaced(site: Site, fault: str) -> None:
    before = site.serving()
    name = before[-1]
    site.visitors.take()
    started = time.monotonic()
    (site.destroy if fault == "destroyed" else site.freeze)(name)
    out = site.until("it is out of DNS", lambda: name not in site.serving(), RECOVERED)
    site.until("two others serve", lambda: len(set(site.serving()) - {name}) == 2, 240)
    replaced = time.monotonic() - started
    tally = site.visitors.take()
    told(f"webserver {fault}", tally, out_of_DNS=out, replaced=replaced)
    assert tally.failed == 0, tally.reasons[-5:]
    assert set(before) - set(site.serving()) == {name}


def test_another_autoscaler_takes_over(site: Site) -> None:
    leader = site.fleet()["leader"]
    site.visitors.take()
    site.destroy(leader)
    took = site.until("another one leads", lambda: site.fleet()["leader"] != leader, 60)
    tally = site.visitors.take()
    told("leading autoscaler destroyed", tally, another_leads=took)
    assert tally.failed == 0, tally.reasons[-5:]
    # a deploy brings the lost autoscaler back, and leaves the webservers as they are
    before = site.fleet()["webservers"]
    site.rehearsal.run("deploy", ANSWERS, "--json")
    assert site.fleet()["webservers"] == before
    assert site.rehearsal.run("status").returncode == 0


def test_a_mode_cannot_be_changed(site: Site, tmp_path: Path) -> None:
    other = tmp_path / "answers.yaml"
    other.write_text((config_templates() / "answers" / "rehearsal.yaml").read_text())
    done = site.rehearsal.run("deploy", other, check=False)
    assert done.returncode == 4
    assert "its mode cannot be changed" in done.stderr


def test_the_station_holds_no_more_than_it_needs(site: Site) -> None:
    secrets = site.rehearsal.secrets()
    leader = site.fleet()["leader"]
    text = site.rehearsal.on(leader, "cat /etc/build-usb/station.json")
    assert secrets["admin_password"].reveal() not in text
    assert secrets["ssh_key"].reveal().splitlines()[2] not in text
    mode = site.rehearsal.on(leader, "stat -c '%a %U' /etc/build-usb/station.json")
    assert mode == "600 root\n"
    # nothing of it is an argument of a process there
    listed = subprocess.run(
        ["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True
    )
    assert secrets["fleet_seed"].reveal() not in listed.stdout
