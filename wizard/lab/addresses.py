"""The lab's addresses. All of them are inside its own network namespace, but the 127.77.* ones,
which are on the loopback interface of this computer. Leaf module."""

from __future__ import annotations

CIDR = "10.77.0.0/24"
ROUTER = "10.77.0.1"
BUILD_MACHINE = "10.77.0.2"
VISITOR = "10.77.0.3"
SERVICES = "10.77.0.5"
FIRST_MACHINE = 11
LAST_MACHINE = 254

PREFIX_6 = "fd77::"
"""The lab's IPv6 addresses end as its others do, for machines that are to have one."""

S3_PORT = 9000
DNS_PORT = 53
ACME_PORT = 14000
ACME_MANAGEMENT_PORT = 15000
API_PORT = 7700
SERVICE_PORTS = (S3_PORT, DNS_PORT, ACME_PORT, ACME_MANAGEMENT_PORT)


def machine_address(octet: int) -> str:
    """Return the address of a machine in the lab."""
    return f"10.77.0.{octet}"


def ipv6_of(address: str) -> str:
    """Return the IPv6 address in the lab that goes with another."""
    return f"{PREFIX_6}{int(address.rpartition('.')[2]):x}"


def access_address(lab: int, octet: int) -> str:
    """Return the loopback address at which this computer reaches it; `lab` tells labs apart."""
    return f"127.77.{lab}.{octet}"


def services_address(lab: int) -> str:
    """Return the loopback address at which this computer reaches the lab's services."""
    return access_address(lab, 5)
