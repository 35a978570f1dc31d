"""Backups in a second storage, with a key that cannot delete: they outlive the first one's loss."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.emulators.store import APPEND_ONLY, READ_ONLY, Rule, Store
from tests.lab.test_cloud_deployment import ZONE, Cloud, cloud
from wizard.lab import addresses
from wizard.lab.namespaces import OtherNetwork
from wizard.machines.places import AGENT_PATH
from wizard.storage.s3 import S3Bucket

__all__ = ["cloud"]
pytestmark = [pytest.mark.lab, pytest.mark.parametrize("cloud", ["digitalocean"], indirect=True)]
UPLOADS = "/var/lib/wordpress/wp-content/uploads"


@dataclass
class Site:
    """The deployment, and its second store, which is in front of the lab's."""

    cloud: Cloud
    second: Store

    def on(self, name: str, command: str) -> str:
        machines = {m.name: m.id for m in self.cloud.laboratory.provider.machines("demo")}
        return self.cloud.laboratory.enter(machines[name], "sh", "-c", command)

    def agent(self, name: str, words: str) -> dict[str, Any]:
        return dict(json.loads(self.on(name, f"{AGENT_PATH} {words} || true")))

    def points(self, *more: str) -> list[dict[str, Any]]:
        return list(json.loads(self.cloud.run("points", "--json", *more).stdout))


@pytest.fixture
def site(cloud: Cloud) -> Iterator[Site]:
    storage = cloud.laboratory.provider.services(ZONE).object_storage
    assert storage is not None
    with contextlib.ExitStack() as stack:
        descriptor = os.open(f"/proc/{cloud.laboratory.processes()[-1]}/ns/net", os.O_RDONLY)
        stack.callback(os.close, descriptor)
        inside = OtherNetwork(descriptor)

        listener = inside.run(lambda: socket.create_server((addresses.SERVICES, 0), backlog=64))
        second = stack.enter_context(Store(storage.build_endpoint, listener, "second"))
        second.rules = [APPEND_ONLY]
        cloud.environment |= {"BUILD_USB_AWS_STORAGE_URL": second.url, "SECOND": "second:a-key"}
        values = yaml.safe_load(cloud.answers.read_text())
        values["backups"] = {
            "periods": ["hourly", "weekly"],
            "keep": {"hourly": 1},
            "second_storage": {
                "provider": "aws",
                "region": "us-east-1",
                "append_only": True,
                "credentials": {"environment": "SECOND"},
            },
        }
        cloud.answers.write_text(yaml.safe_dump(values))
        yield Site(cloud, second)


def test_a_point_comes_back_from_the_second_storage_when_the_first_is_lost(site: Site) -> None:
    cloud = site.cloud
    assert "append-only" in cloud.run("plan", cloud.answers).stdout
    cloud.run("deploy", cloud.answers, "--json", "--yes")
    site.on("web1", f"mkdir -p {UPLOADS} && echo precious > {UPLOADS}/kept.txt")
    point = cloud.run("backup", "demo", "--check").stderr.split(" is kept")[0].split()[-1]
    assert point in [p["name"] for p in site.points()]
    assert point in [p["name"] for p in site.points("--second") if p["whole"]]
    assert site.second.foreign == []

    # old ones are forgotten in the first alone, and a weekly one prunes nothing in the second
    for hour in (1, 2):
        for machine in ("db1", "web1"):
            made = site.agent(machine, f"backup hourly --point hourly-2026-01-01T0{hour}00")
            assert made["ok"], made
            assert made["places"] == 2
    for machine in ("db1", "web1"):
        made = site.agent(machine, "backup weekly --point weekly-2026-01-01")
        assert made["ok"], made
    old = "hourly-2026-01-01T0100"
    assert old not in [p["name"] for p in site.points()]
    assert old in [p["name"] for p in site.points("--second")]
    assert site.second.refused == [], "nothing was tried that the key may not do"
    checked = site.agent("web1", "check weekly")
    assert (checked["ok"], checked["places"]) == (True, 2)

    # the account of the first is gone with all that was in it
    storage = cloud.laboratory.provider.services(ZONE).object_storage
    assert storage is not None
    lost = S3Bucket(f"{cloud.state().bucket}-backups", storage)
    for key in lost.keys(""):
        lost.delete(key)
    site.on("web1", f"echo spoilt > {UPLOADS}/kept.txt")
    cloud.run("restore", "--yes", point, "--second")
    assert site.on("web1", f"cat {UPLOADS}/kept.txt") == "precious\n"
    made = site.agent("db1", "backup hourly")
    assert made["ok"], made
    assert made["places"] == 2, "the first is begun anew"

    _troubled(site)

    # a second that fails makes a period's backup fail, and keeps nobody from the first
    site.second.access_key = "revoked"
    made = site.agent("db1", "backup hourly --point hourly-2026-01-01T0500")
    assert not made["ok"]
    assert "second storage: " in made["problem"]
    assert made["places"] == 1
    shown = cloud.run("status", check=False)
    assert "second storage: " in shown.stdout
    manual = cloud.run("backup", "demo")
    assert "second storage: " in manual.stdout + manual.stderr
    site.second.access_key = "second"

    done = cloud.run("destroy", "--yes", "demo", "--with-backups", "--without-last-backup")
    assert "its backups stay in" in done.stderr
    assert "-second at aws" in done.stderr
    left = S3Bucket(f"{lost.name.removesuffix('-backups')}-second", storage)
    assert "config" in left.keys("")
    assert cloud.run("secret", "backups-demo").stdout.strip()


def _troubled(site: Site) -> None:
    """The store fails, is full for a while, may only be read: no success that is none."""
    for rule in (
        Rule(r"^PUT /[^/]+/data/", 507, "InsufficientStorage", times=3),
        Rule(r"^(GET|PUT|HEAD) ", 500, "InternalError", times=4),
        Rule(r"^GET ", 503, "SlowDown", times=3),
    ):
        site.second.rules = [APPEND_ONLY, rule]
        made = site.agent("db1", "backup manual")
        assert rule.times == 0, "it was met"
        assert made["ok"], made
        assert made["places"] == 2, made
    before = [p["name"] for p in site.points("--second")]
    site.second.rules = [READ_ONLY]
    made = site.agent("db1", "backup hourly --point hourly-2026-01-01T0400")
    assert not made["ok"]
    assert "second storage: " in made["problem"]
    assert "Access Denied" in made["problem"] or "AccessDenied" in made["problem"]
    site.second.rules = [APPEND_ONLY]
    assert [p["name"] for p in site.points("--second")] == before
    made = site.agent("db1", "backup hourly --point hourly-2026-01-01T0400")
    assert made["ok"], made
