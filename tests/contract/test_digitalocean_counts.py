"""How much DigitalOcean is asked, and how long its answers take to read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.contract import accounts
from tests.contract.accounts import opened_account as opened
from tests.contract.at_digitalocean import spec
from tests.contract.scenario import BUILDER, RULES, destroy
from tests.emulators.digitalocean import TOKEN, DigitalOceanEmulator
from wizard.operations.template import template
from wizard.providers.digitalocean import DigitalOceanProvider

MEASURE = """
import json, sys, time
from pathlib import Path
from wizard.answers import loader
from wizard.plan.build import build
from wizard.providers.base import Account
from wizard.providers.digitalocean import DigitalOceanProvider
from wizard.secrets import Secret
token, url, builder, text = sys.argv[1:]
answers = loader.loads(text, "answers")
started = time.process_time()
provider = DigitalOceanProvider(Account(Secret(token), "fra1", lambda: builder, url))
build(answers, provider.facts(), "bucket")
found = len(provider.machines("demo")), len(provider.resources("demo"))
seconds = time.process_time() - started
peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]  # KiB
print(json.dumps([*found, seconds, int(peak) / 1024]))
"""


@pytest.fixture
def api() -> Iterator[DigitalOceanEmulator]:
    with accounts.digitalocean() as emulator:
        emulator.droplet_limit = 2000
        yield emulator


@pytest.fixture
def provider(api: DigitalOceanEmulator) -> DigitalOceanProvider:
    return opened(api)


def crowd(api: DigitalOceanEmulator, provider: DigitalOceanProvider, count: int) -> None:
    """Let there be so many machines."""
    api.document = None  # checking half a megabyte against a schema takes seconds
    one = provider.ensure_machine(spec(provider.ensure_network("demo").id))
    for number in range(1, count):
        identity = 500_000 + number
        name = {"id": identity, "name": f"web{number + 1}"}
        api.droplets[identity] = api.droplets[int(one.id)] | name


def measure(api: DigitalOceanEmulator, count: int) -> tuple[float, float]:
    """Return the seconds (of a CPU: others use it too) and MiB that planning and inventory of so
    many machines take."""
    answers = template("digitalocean", "digitalocean", production=False)
    command = [sys.executable, "-c", MEASURE, TOKEN, api.url, BUILDER, answers]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    machines, resources, seconds, memory = json.loads(done.stdout)
    assert (machines, resources) == (count, count + 1)
    return seconds, memory


def test_a_thousand_machines_are_few_seconds() -> None:
    measured = []
    for count in (100, 1000):
        with accounts.digitalocean() as api:
            crowd(api, opened(api), count)
            measured.append(measure(api, count))
    (hundred, _), (thousand, memory) = measured
    assert thousand <= 5
    assert memory <= 150
    assert thousand / hundred <= 11


@pytest.mark.parametrize("count", [1, 10, 100, 1000])
def test_inventory_asks_in_pages(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider, count: int
) -> None:
    crowd(api, provider, count)
    before = len(api.requests)
    assert len(provider.machines("demo")) == count
    assert len(provider.resources("demo")) == count + 1
    # a page holds two hundred; beside the machines, one request for each kind of thing
    assert len(api.requests) - before == 6 + 2 * -(-count // 200)


def test_a_deployment_makes_calls_in_proportion(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    network = provider.ensure_network("demo").id
    provider.ensure_firewall("demo", RULES, enabled=True)
    provider.ensure_machine(spec(network))
    counts = []
    for number in range(2, 12):
        before = len(api.requests)
        provider.ensure_machine(spec(network, f"web{number}"))
        counts.append(len(api.requests) - before)
    assert max(counts) <= 6
    assert len(set(counts)) == 1
    before = len(api.requests)
    destroy(provider)
    assert (len(api.requests) - before) / 11 <= 6
