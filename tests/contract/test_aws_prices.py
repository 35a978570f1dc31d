"""What plans know of Amazon: regions, images, sizes, prices of today and of before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from tests.contract import at_aws
from tests.contract.at_aws import (
    ANSWERS,
    opened,
)
from tests.emulators.aws import AwsEmulator
from wizard.answers import loader
from wizard.plan import render
from wizard.plan.build import build
from wizard.providers import aws_price_table
from wizard.providers.aws import AwsProvider
from wizard.rules import Role

_REGIONS = [line.split()[0] for line in aws_price_table._LARGE.strip().splitlines()]


@pytest.fixture
def api() -> Iterator[AwsEmulator]:
    with at_aws.account() as emulator:
        yield emulator


@pytest.fixture
def provider(api: AwsEmulator) -> AwsProvider:
    return opened(api)


def test_facts_are_those_of_the_region(api: AwsEmulator, provider: AwsProvider) -> None:
    facts = provider.facts()
    assert facts.images == ("debian-12", "debian-13", "ubuntu-24.04")
    sizes = {size.name: size for size in facts.sizes}
    small = sizes["t3.small"]
    assert (small.vcpus, small.memory, small.disk) == (2, 2048, 30)
    # (0.024 USD, and 0.005 for the address) x 730 hours, and 30 GiB of 0.0952
    assert f"{small.monthly_price}" == "24.03"
    assert facts.default_size[Role.WEBSERVER] == "t3a.small"
    assert facts.notes == ()
    assert api.left() == {}


def test_prices_are_kept_for_a_day(api: AwsEmulator, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    api.prices = {"t3.small": "0.05", "t3.medium": "0.1"}
    facts = opened(api, cache=folder).facts()
    assert [size.name for size in facts.sizes] == ["t3.small", "t3.medium"]
    asked = len(api.calls("GetProducts"))
    assert opened(api, cache=folder).facts() == facts
    assert len(api.calls("GetProducts")) == asked

    # of yesterday: asked again, and used where that fails
    (file,) = folder.iterdir()
    assert datetime.now(UTC).date().isoformat() in file.read_text()
    kept = json.loads(file.read_text()) | {"date": "2026-01-02"}
    file.write_text(json.dumps(kept))
    api.denied = {"pricing:GetProducts"}
    old = opened(api, cache=folder).facts()
    assert old.sizes == facts.sizes
    assert "those of 2026-01-02" in old.notes[0]
    file.write_text("{")
    assert aws_price_table.DATE in opened(api, cache=folder).facts().notes[0]
    assert file.read_text() == "{"


def test_shipped_prices_are_marked_in_the_plan(api: AwsEmulator) -> None:
    api.denied = {"pricing:GetProducts", "servicequotas:GetServiceQuota"}
    plan = build(loader.loads(ANSWERS, "answers"), opened(api).facts(), "bucket")
    text = render.to_text(plan)
    assert f"Note: prices are those of {aws_price_table.DATE}, which this program" in text
    assert "Note: the account's quotas are not known (AccessDenied)" in text
    assert len(render.to_plain(plan)["notes"]) == 2


def test_a_price_list_that_makes_no_sense_is_not_used(api: AwsEmulator) -> None:
    api.prices = {"t3.small": "1e30"}
    assert aws_price_table.DATE in opened(api).facts().notes[0]


def test_shipped_prices_know_every_usual_region() -> None:
    for region in ("us-east-1", "eu-central-1", "eu-west-1", "ap-southeast-2", "sa-east-1"):
        prices = aws_price_table.hourly(region)
        assert 0.01 < prices["t3.small"] < 0.1
        assert prices["t3.large"] == 4 * prices["t3.small"]
    assert aws_price_table.hourly("mars-north-1") == {}


def test_shipped_prices_know_more_than_small_machines() -> None:
    prices = aws_price_table.hourly("eu-central-1")
    families = {size.partition(".")[0] for size in prices}
    assert families == {"t3", "t3a", "m6i", "m6a", "m7i", "c6a", "c6i", "c7i", "r6a", "r7i"}
    assert prices["r7i.xlarge"] == Decimal("0.3192")
    assert "m7i.small" not in prices  # there is none
    # not known of a region: not offered there, rather than at a guessed price
    assert "c6i.large" not in aws_price_table.hourly("eu-west-3")


@pytest.mark.parametrize("region", _REGIONS)
def test_shipped_prices_are_of_shared_machines(region: str) -> None:
    prices = aws_price_table.hourly(region)
    # a dedicated machine is a tenth dearer: it would break what families cost to each other
    for one, other, ratio in (
        ("c6a", "c6i", "0.9"),
        ("c7i", "c6i", "1.05"),
        ("r6a", "r7i", "0.857"),
        ("m6a", "m7i", "0.857"),
    ):
        known = prices.get(f"{one}.large"), prices.get(f"{other}.large")
        if known[0] and known[1]:
            assert abs(known[0] / known[1] / Decimal(ratio) - 1) < Decimal("0.02"), (one, other)


def test_a_size_of_the_shipped_families_can_be_planned_without_the_list(api: AwsEmulator) -> None:
    api.denied = {"pricing:GetProducts"}
    sizes = {size.name: size for size in opened(api).facts().sizes}
    # (0.3192 USD, and 0.005 for the address) x 730 hours, and 30 GiB of 0.0952
    assert f"{sizes['r7i.xlarge'].monthly_price}" == "239.52"
