"""How much Amazon is asked, and how long its answers take to read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.contract import at_aws
from tests.contract.at_aws import (
    ANSWERS,
    opened,
    spec,
)
from tests.contract.scenario import RULES, destroy
from tests.emulators.aws import TOKEN, AwsEmulator
from wizard.providers.aws import AwsProvider


@pytest.fixture
def api() -> Iterator[AwsEmulator]:
    with at_aws.account() as emulator:
        yield emulator


@pytest.fixture
def provider(api: AwsEmulator) -> AwsProvider:
    return opened(api)


def test_a_deployment_makes_calls_in_proportion(api: AwsEmulator, provider: AwsProvider) -> None:
    api.vcpu_limit = 1000
    network = provider.ensure_network("demo").id
    provider.ensure_firewall("demo", RULES, enabled=True)
    provider.ensure_machine(spec(network))
    counts = []
    for number in range(2, 12):
        before = len(api.requests)
        provider.ensure_machine(spec(network, f"web{number}"))
        counts.append(len(api.requests) - before)
    assert max(counts) <= 7, Counter(r.line for r in api.requests)
    assert len(set(counts)) == 1
    before = len(api.requests)
    destroy(provider)
    assert (len(api.requests) - before) / 11 <= 8


MEASURE = """
import json, sys, time
from pathlib import Path
from wizard.answers import loader
from wizard.plan.build import build
from wizard.providers.aws import AwsProvider
from wizard.providers.base import Account
from wizard.secrets import Secret
account = Account(Secret(sys.argv[1]), "eu-central-1", lambda: "198.51.100.7", sys.argv[2])
answers = loader.loads(sys.argv[3], "answers")
started = time.process_time()
provider = AwsProvider(account)
build(answers, provider.facts(), "bucket")
found = len(provider.machines("demo")), len(provider.resources("demo"))
seconds = time.process_time() - started
peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]  # KiB
print(json.dumps([*found, seconds, int(peak) / 1024]))
"""


def measure(api: AwsEmulator, count: int) -> tuple[float, float]:
    """Return the seconds (of a CPU: others use it too) and MiB that planning and inventory of so
    many machines take."""
    api.crowd = count
    command = [sys.executable, "-c", MEASURE, TOKEN, api.url, ANSWERS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    machines, resources, seconds, memory = json.loads(done.stdout)
    assert (machines, resources) == (count, count + 4)
    return seconds, memory


def test_a_thousand_machines_are_few_seconds(api: AwsEmulator, provider: AwsProvider) -> None:
    provider.ensure_machine(spec(provider.ensure_network("demo").id))
    api.vcpu_limit = 10_000
    (hundred, _), (thousand, memory) = measure(api, 100), measure(api, 1000)
    assert thousand <= 5
    assert memory <= 150
    assert thousand / hundred <= 11


@pytest.mark.parametrize("count", [1, 10, 100, 1000])
def test_inventory_asks_in_pages(api: AwsEmulator, provider: AwsProvider, count: int) -> None:
    network = provider.ensure_network("demo").id
    provider.ensure_machine(spec(network))
    api.crowd = count
    before = len(api.requests)
    assert len(provider.machines("demo")) == count
    assert len(provider.resources("demo")) == count + 4
    # a page holds two hundred
    # three of them about a database that is not there
    assert len(api.requests) - before == 9 + 2 * -(-count // 200)
