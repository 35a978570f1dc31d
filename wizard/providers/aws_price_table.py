"""What EC2 cost on a day in the past: shown, as such, where Amazon's price list cannot be asked.

USD an hour for the size `large` of a family, Linux, on demand, without taxes. The sizes of a family
cost in proportion to each other. Read from Amazon's price list as published with Apache Libcloud
3.9.1, where dearer kinds of machine (dedicated ones) are mixed in: the lowest is taken.
"""

from __future__ import annotations

from decimal import Decimal

DATE = "2025-03-02"
"""The day of these prices."""

STORAGE = Decimal("0.0952")
"""USD a GiB and month of gp3 in Frankfurt; most regions lie between 0.08 and 0.12."""

_FAMILIES = ("t3", "t3a", "m6i")
_LARGE = """
af-south-1      0.1085      -  0.127
ap-east-1       0.1168      -  0.132
ap-northeast-1  0.1088 0.0979 0.1364
ap-northeast-2   0.104 0.0936  0.118
ap-northeast-3  0.1088      -  0.124
ap-south-1      0.0896 0.0493  0.101
ap-south-2      0.0896      -  0.101
ap-southeast-1  0.1056 0.0944   0.12
ap-southeast-2  0.1056  0.095   0.12
ap-southeast-3  0.1056      -   0.12
ap-southeast-4  0.1056      -      -
ap-southeast-5   0.095      -  0.102
ap-southeast-7   0.095      -  0.102
ca-central-1    0.0928 0.0835  0.107
ca-west-1       0.0928      -  0.107
eu-central-1     0.096 0.0864  0.115
eu-central-2    0.1056      - 0.1265
eu-north-1      0.0864      -  0.102
eu-south-1      0.0959 0.0862  0.112
eu-south-2      0.0912      -      -
eu-west-1       0.0912 0.0816  0.107
eu-west-2       0.0944 0.0849  0.111
eu-west-3       0.0944 0.0849  0.112
il-central-1    0.0959 0.0858 0.1124
me-central-1    0.1003      - 0.1177
me-south-1      0.1003      -  0.132
mx-central-1    0.0873      - 0.1008
sa-east-1       0.1344  0.121  0.153
us-east-1       0.0832 0.0752  0.096
us-east-2       0.0832 0.0752  0.096
us-west-1       0.0992 0.0893  0.112
us-west-2       0.0832 0.0752  0.096
"""
# of a size `large`
_PARTS = {
    "nano": Decimal(1) / 16,
    "micro": Decimal(1) / 8,
    "small": Decimal(1) / 4,
    "medium": Decimal(1) / 2,
    "large": Decimal(1),
    "xlarge": Decimal(2),
    "2xlarge": Decimal(4),
}


def hourly(region: str) -> dict[str, Decimal]:
    """Return what each size cost an hour in a region; nothing where that is not known."""
    for line in _LARGE.strip().splitlines():
        name, *prices = line.split()
        if name == region:
            known = {f: Decimal(p) for f, p in zip(_FAMILIES, prices, strict=True) if p != "-"}
            return {
                f"{family}.{size}": price * part
                for family, price in known.items()
                for size, part in _PARTS.items()
                # only families that begin with t have sizes below large
                if part >= 1 or family.startswith("t")
            }
    return {}
