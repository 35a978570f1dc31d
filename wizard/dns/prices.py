"""What health checks of Route 53 cost a month, as assumed on a day. Data.

USD a check, everywhere the same: an address of Amazon's or another, and more because it is asked
over HTTPS. The first checks of an account may be free; that is not counted on.
"""

from __future__ import annotations

from decimal import Decimal

DATE = "2026-11"
"""The month of these prices, which Amazon's price list was not asked for."""

_BASIC = {True: Decimal("0.50"), False: Decimal("0.75")}
_HTTPS = {True: Decimal("1.00"), False: Decimal("2.00")}


def health_check(*, at_amazon: bool) -> Decimal:
    """Return the price of one health check of an address, at Amazon or elsewhere."""
    return _BASIC[at_amazon] + _HTTPS[at_amazon]
