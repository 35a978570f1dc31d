"""What managed databases cost at Amazon: sizes and prices of RDS from the price list, kept in the
build home for a day. Without the list there are none: no table of ours would be right for long.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from wizard.errors import ProviderError
from wizard.home.files import write_atomic
from wizard.providers.aws_api import Api
from wizard.providers.aws_databases import PORTS, STORAGE
from wizard.providers.aws_price_list import HOURS, products
from wizard.providers.base import DatabaseFacts, Size

_DOING = "read Amazon's price list of databases"
# what the price list calls them
_ENGINES = {"mariadb": "MariaDB", "mysql": "MySQL", "postgresql": "PostgreSQL"}
_LEAST_MEMORY = 1024  # MiB
# GiB in the price list's words, such as "0.5 GiB"
_MEMORY = re.compile(r"([\d,]+(?:\.\d+)?) GiB")


@dataclass(frozen=True)
class _Prices:
    """USD an hour for each size (vCPUs, MiB), and a month for a GiB of gp3, of a day."""

    date: str
    storage: Decimal
    sizes: dict[str, tuple[int, int, Decimal]]


def obtain(
    api: Api, region: str, engine: str, folder: Path | None
) -> tuple[DatabaseFacts | None, str]:
    """Return the sizes of an engine in a region with what they cost, and what is to be said of
    them. None where the price list cannot be read: what has no price is not rented."""
    today = datetime.now(UTC).date().isoformat()
    path = folder / f"aws-database-prices-{region}-{engine}.json" if folder else None
    kept = _read(path)
    port = PORTS[engine]
    if kept is not None and kept.date == today:
        return _facts(kept, port), ""
    try:
        asked = _Prices(today, _storage(api, region, engine), _sizes(api, region, engine))
    except ProviderError as error:
        why = error.code or error.what
        if kept is None:
            return None, f"managed databases cannot be priced: Amazon's list is closed ({why})"
        return _facts(kept, port), (
            f"the managed database's price is of {kept.date}; Amazon's list cannot be read ({why})"
        )
    if path and asked.sizes:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(path, _dumps(asked))
    return _facts(asked, port), ""


def _facts(prices: _Prices, port: int) -> DatabaseFacts | None:
    sizes = [
        Size(
            name,
            vcpus,
            memory,
            STORAGE,
            (hourly * HOURS + prices.storage * STORAGE).quantize(Decimal("0.01")),
        )
        for name, (vcpus, memory, hourly) in prices.sizes.items()
        if memory >= _LEAST_MEMORY
    ]
    sizes.sort(key=lambda size: (size.monthly_price, size.memory, size.name))
    return DatabaseFacts(tuple(sizes), sizes[0].name, port) if sizes else None


# -- the price list --------------------------------------------------------------------------------


def _products(
    api: Api, region: str, engine: str, attributes: dict[str, str]
) -> list[tuple[dict[str, Any], Decimal]]:
    wanted = {
        "databaseEngine": _ENGINES[engine],
        "deploymentOption": "Single-AZ",
        "regionCode": region,
        **attributes,
    }
    return products(api, _DOING, "AmazonRDS", wanted)


def _sizes(api: Api, region: str, engine: str) -> dict[str, tuple[int, int, Decimal]]:
    wanted = {"productFamily": "Database Instance", "currentGeneration": "Yes"}
    found: dict[str, tuple[int, int, Decimal]] = {}
    for own, price in _products(api, region, engine, wanted):
        memory = _MEMORY.fullmatch(str(own.get("memory")))
        name, vcpus = str(own.get("instanceType")), str(own.get("vcpu"))
        if memory and vcpus.isdecimal() and name.startswith("db."):
            mebibytes = int(Decimal(memory[1].replace(",", "")) * 1024)
            found[name] = (int(vcpus), mebibytes, price)
    return found


def _storage(api: Api, region: str, engine: str) -> Decimal:
    wanted = {"productFamily": "Database Storage", "volumeType": "General Purpose-GP3"}
    prices = [price for _, price in _products(api, region, engine, wanted)]
    if not prices:
        # storage is listed for all engines together in some regions
        wanted["databaseEngine"] = "Any"
        prices = [price for _, price in _products(api, region, engine, wanted)]
    if not prices:
        raise api.senseless(_DOING, "it has no price of gp3")
    return min(prices)


# -- what is kept ----------------------------------------------------------------------------------


def _dumps(prices: _Prices) -> bytes:
    plain = {
        "date": prices.date,
        "storage": str(prices.storage),
        "sizes": {n: [v, m, str(p)] for n, (v, m, p) in sorted(prices.sizes.items())},
    }
    return (json.dumps(plain, indent=1) + "\n").encode()


def _read(path: Path | None) -> _Prices | None:
    """Return what was kept; None if nothing was, or something else."""
    try:
        plain: Any = json.loads(path.read_text()) if path else None
        if plain is None:
            return None
        sizes = {str(n): (int(v), int(m), Decimal(p)) for n, (v, m, p) in plain["sizes"].items()}
        return _Prices(str(plain["date"]), Decimal(plain["storage"]), sizes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidOperation):
        return None
