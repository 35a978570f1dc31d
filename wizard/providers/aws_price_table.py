"""What EC2 cost on a day in the past: shown, as such, where Amazon's price list cannot be asked.

USD an hour for the size `large` of a family, Linux, on demand, without taxes. The sizes of a family
cost in proportion to each other. Read from Amazon's price list as published with Apache Libcloud
3.9.1, where dearer kinds of machine (dedicated ones) are mixed in: the lowest of a family is taken.
From m6a on, only what two sizes agree on and what stands to m5, c5 and r5 there as everywhere else
(6a nine tenths, 6i the same, 7i a twentieth more, within a hundredth) is taken, the rest left out.
"""

from __future__ import annotations

from decimal import Decimal

DATE = "2025-03-02"
"""The day of these prices."""

STORAGE = Decimal("0.0952")
"""USD a GiB and month of gp3 in Frankfurt; most regions lie between 0.08 and 0.12."""

_FAMILIES = ("t3", "t3a", "m6i", "m6a", "m7i", "c6a", "c6i", "c7i", "r6a", "r7i")
_LARGE = """
af-south-1     0.1085      -  0.127      -      -      -  0.114      -      -      -
ap-east-1      0.1168      -  0.132      -      - 0.0972  0.108      -      -      -
ap-northeast-1 0.1088 0.0979  0.124 0.1116 0.1302 0.0963  0.107 0.1124 0.1368 0.1596
ap-northeast-2  0.104 0.0936  0.118      - 0.1239      -  0.096 0.1008      - 0.1596
ap-northeast-3 0.1088      -  0.124      -      -      -      -      -      -      -
ap-south-1     0.0896 0.0493  0.101      -  0.106      -  0.085 0.0892      - 0.1365
ap-south-2     0.0896      -  0.101      -      -      -  0.085      -      -      -
ap-southeast-1 0.1056 0.0944   0.12  0.108  0.126 0.0882  0.098 0.1029 0.1368 0.1596
ap-southeast-2 0.1056  0.095   0.12  0.108  0.126 0.0999  0.111 0.1166 0.1359 0.1586
ap-southeast-3 0.1056      -   0.12      -  0.126      -      -      -      - 0.1596
ap-southeast-4 0.1056      -      -      -      -      -      -      -      -      -
ap-southeast-5  0.095      -  0.102      -      -      -      -      -      -      -
ap-southeast-7  0.095      -  0.102      -      -      -      -      -      -      -
ca-central-1   0.0928 0.0835  0.107 0.0963 0.1124 0.0837  0.093 0.0976 0.1242 0.1449
ca-west-1      0.0928      -  0.107      -      -      -  0.093      -      -      -
eu-central-1    0.096 0.0864  0.115 0.1035 0.1208 0.0873  0.097 0.1018 0.1368 0.1596
eu-central-2   0.1056      - 0.1265      -      -      -      -      -      -      -
eu-north-1     0.0864      -  0.102      - 0.1071      -  0.091 0.0956      - 0.1407
eu-south-1     0.0959 0.0862  0.112 0.1008      -      -  0.101      -      - 0.1554
eu-south-2     0.0912      -      -      - 0.1124      -      - 0.1008      -  0.148
eu-west-1      0.0912 0.0816  0.107 0.0963 0.1124      -      -      - 0.1269  0.148
eu-west-2      0.0944 0.0849  0.111 0.0999 0.1166 0.0909  0.101  0.106      - 0.1554
eu-west-3      0.0944 0.0849  0.112 0.1008 0.1176      -      -  0.106      - 0.1554
il-central-1   0.0959 0.0858 0.1124      -      -      -      -      -      -      -
me-central-1   0.1003      - 0.1177      -      -      -      -      -      -      -
me-south-1     0.1003      -  0.132      -      -      - 0.1056      -      -      -
mx-central-1   0.0873      - 0.1008      -      -      -      -      -      -      -
sa-east-1      0.1344  0.121  0.153 0.1377 0.1606 0.1179  0.131 0.1376      -  0.211
us-east-1      0.0832 0.0752  0.096 0.0864 0.1008 0.0765  0.085 0.0892 0.1134 0.1323
us-east-2      0.0832 0.0752  0.096 0.0864 0.1008 0.0765  0.085 0.0892 0.1134 0.1323
us-west-1      0.0992 0.0893  0.112 0.1008 0.1176 0.0954  0.106 0.1113  0.126  0.147
us-west-2      0.0832 0.0752  0.096 0.0864 0.1008 0.0765  0.085 0.0892 0.1134 0.1323
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
