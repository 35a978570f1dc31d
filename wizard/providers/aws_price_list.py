"""Amazon's price list, as it is asked: what has these attributes, and what it costs on demand.

The list has no addresses in most regions; it is asked in the one that is nearest to all.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

from wizard.providers.aws_api import HOME, Api

HOURS = Decimal(730)
"""Hours of a month, as Amazon's own calculator counts them."""

_HIGHEST = 1000  # USD an hour; what is beyond is a mistake


def products(
    api: Api, doing: str, service: str, wanted: dict[str, str]
) -> list[tuple[dict[str, Any], Decimal]]:
    """Return attributes and price (USD) of what a service has with the attributes `wanted`; what
    costs nothing is left out."""
    items = api.pages(
        "pricing.get_products",
        "PriceList",
        doing,
        region=HOME,
        ServiceCode=service,
        Filters=[
            {"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()
        ],
        FormatVersion="aws_v1",
        MaxResults=100,
    )
    found = []
    for item in items:
        try:
            product = json.loads(item) if isinstance(item, str) else item
            own = dict(product["product"]["attributes"])
            for term in product["terms"].get("OnDemand", {}).values():
                for dimension in term["priceDimensions"].values():
                    price = Decimal(dimension["pricePerUnit"]["USD"])
                    if not 0 <= price < _HIGHEST:
                        raise ValueError(f"{price} USD for {own.get('instanceType', '')}")
                    if price:
                        found.append((own, price))
        except (KeyError, TypeError, ValueError, AttributeError, InvalidOperation) as error:
            raise api.senseless(doing, f"{type(error).__name__}: {error}") from error
    return found
