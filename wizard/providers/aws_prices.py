"""What machines cost: Amazon's price list, kept in the build home for a day, or an older one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from wizard.errors import ProviderError
from wizard.home.files import write_atomic
from wizard.providers import aws_price_table as shipped
from wizard.providers.aws_api import Api
from wizard.providers.aws_price_list import HOURS, products

# https://aws.amazon.com/vpc/pricing, read 2026-11: USD an hour of a public IPv4 address, everywhere
_ADDRESS = Decimal("0.005")
_LINUX = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
    "currentGeneration": "Yes",
}
_GP3 = {"productFamily": "Storage", "volumeApiName": "gp3"}


@dataclass(frozen=True)
class Prices:
    """USD an hour for each size, USD a month for a GiB of gp3, of a day (ISO 8601); `note` says
    what is to be known of them, "" where they are of today."""

    date: str
    hourly: dict[str, Decimal]
    storage: Decimal
    note: str = ""

    def monthly(self, size: str, disk: int) -> Decimal | None:
        """Return what a machine of that size costs a month with its disk (GiB) and its public
        address; None where that is not known."""
        if size not in self.hourly:
            return None
        whole = (self.hourly[size] + _ADDRESS) * HOURS + self.storage * disk
        return whole.quantize(Decimal("0.01"))


def obtain(api: Api, region: str, folder: Path | None) -> Prices:
    """Return the prices of a region, the newest that can be had. `folder` is where they are kept,
    None for nowhere."""
    today = datetime.now(UTC).date().isoformat()
    path = folder / f"aws-prices-{region}.json" if folder else None
    kept = _read(path)
    if kept is not None and kept.date == today:
        return kept
    try:
        asked = Prices(today, _hourly(api, region), _storage(api, region))
    except ProviderError as error:
        return _older(region, kept, error.code or error.what)
    if not asked.hourly:
        return _older(region, kept, f"it has none for {region}")
    if path:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(path, _dumps(asked))
    return asked


def _older(region: str, kept: Prices | None, why: str) -> Prices:
    if kept is not None:
        note = f"prices are those of {kept.date}; Amazon's list cannot be read now ({why})"
        return Prices(kept.date, kept.hourly, kept.storage, note)
    note = (
        f"prices are those of {shipped.DATE}, which this program came with; "
        f"Amazon's list cannot be read ({why})"
    )
    return Prices(shipped.DATE, shipped.hourly(region), shipped.STORAGE, note)


# -- the price list --------------------------------------------------------------------------------


def _products(
    api: Api, region: str, attributes: dict[str, str]
) -> list[tuple[dict[str, Any], Decimal]]:
    wanted = {**attributes, "regionCode": region}
    return products(api, "read Amazon's price list", "AmazonEC2", wanted)


def _hourly(api: Api, region: str) -> dict[str, Decimal]:
    listed = _products(api, region, _LINUX)
    return {str(own.get("instanceType", "")): price for own, price in listed}


def _storage(api: Api, region: str) -> Decimal:
    prices = [price for _, price in _products(api, region, _GP3)]
    return min(prices, default=shipped.STORAGE)


# -- what is kept ----------------------------------------------------------------------------------


def _dumps(prices: Prices) -> bytes:
    plain = {
        "date": prices.date,
        "storage": str(prices.storage),
        "hourly": {size: str(price) for size, price in sorted(prices.hourly.items())},
    }
    return (json.dumps(plain, indent=1) + "\n").encode()


def _read(path: Path | None) -> Prices | None:
    """Return what was kept; None if nothing was, or something else."""
    try:
        plain: Any = json.loads(path.read_text()) if path else None
        if plain is None:
            return None
        hourly = {str(size): Decimal(price) for size, price in plain["hourly"].items()}
        return Prices(str(plain["date"]), hourly, Decimal(plain["storage"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidOperation):
        return None
