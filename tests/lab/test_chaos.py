"""kill -9 at random moments: running again always ends in the same working site."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from tests.lab import leftovers
from tests.lab.deployments import REHEARSAL, Browser, Rehearsal
from wizard.providers.base import ResourceKind

pytestmark = pytest.mark.lab

KILLS = 20
SEED = 20261122


def test_killed_at_random_moments(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    rehearsal = Rehearsal(tmp_path / "home", tmp_path)
    moments = random.Random(SEED)
    killed = 0
    for number in range(KILLS):
        run = subprocess.Popen(
            rehearsal.argv("deploy", REHEARSAL),
            env=rehearsal.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            # early runs die early and late ones late, so that all stages are met
            _, errors = run.communicate(timeout=moments.uniform(0.3, 4 + number))
            assert run.returncode == 0, errors.decode()
        except subprocess.TimeoutExpired:
            run.kill()
            run.communicate()
            killed += 1
    assert killed >= KILLS // 2
    rehearsal.deploy()
    state = rehearsal.state()
    resources = rehearsal.provider().resources("demo")
    assert sorted(r.name for r in resources if r.kind is ResourceKind.MACHINE) == ["db1", "web1"]
    with Browser(state) as visitor:
        assert "My first site" in visitor.get("/").text
    assert rehearsal.run("status").returncode == 0
    rehearsal.run("destroy", "--yes")
    assert leftovers.of(rehearsal.home) == {}


def test_destroy_killed_at_random_moments(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    rehearsal = Rehearsal(tmp_path / "home", tmp_path)
    rehearsal.deploy()
    moments = random.Random(SEED)
    for _ in range(5):
        run = subprocess.Popen(
            rehearsal.argv("destroy", "--yes"),
            env=rehearsal.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            run.communicate(timeout=moments.uniform(0.3, 2.5))
            break
        except subprocess.TimeoutExpired:
            run.kill()
            run.communicate()
    if (rehearsal.home / "deployments" / "demo" / "answers.yaml").exists():
        rehearsal.run("destroy", "--yes")
    assert leftovers.of(rehearsal.home) == {}
