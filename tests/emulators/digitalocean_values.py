"""What DigitalOcean's emulated API shows: its catalogue, errors, and items as they are told."""

from __future__ import annotations

import ipaddress
import uuid
from typing import Any

from tests.emulators.server import Reply

MOMENT = "2026-01-02T03:04:05Z"
RATE = {"ratelimit-limit": "5000", "ratelimit-remaining": "4999", "ratelimit-reset": "1800000000"}
REGIONS = ("fra1", "ams3", "nyc3")
SIZES = (
    ("s-1vcpu-512mb-10gb", 1, 512, 10, 4.0, REGIONS),
    ("s-1vcpu-1gb", 1, 1024, 25, 6.0, REGIONS),
    ("s-1vcpu-2gb", 1, 2048, 50, 12.0, REGIONS),
    ("s-2vcpu-4gb", 2, 4096, 80, 24.0, REGIONS),
    ("g-2vcpu-8gb", 2, 8192, 25, 63.0, ("nyc3",)),
)
IMAGES = {"debian-12-x64": 101, "debian-13-x64": 102, "ubuntu-24-04-x64": 103, "fedora-42-x64": 104}


def error(status: int, code: str, message: str) -> Reply:
    body = {"id": code, "message": message, "request_id": str(uuid.uuid4())}
    return Reply(status, body, dict(RATE))


def refuse(message: str) -> Reply:
    return error(422, "unprocessable_entity", message)


def public(item: dict[str, Any]) -> dict[str, Any]:
    """Return what is shown of an item."""
    return {key: value for key, value in item.items() if not key.startswith("_")}


def absolute(name: str, domain: str) -> str:
    return domain if name == "@" else f"{name}.{domain}"


def network(address: str, kind: str) -> dict[str, Any]:
    gateway = str(ipaddress.ip_network(f"{address}/24", strict=False)[1])
    return {"ip_address": address, "netmask": "255.255.255.0", "gateway": gateway, "type": kind}


def network6(address: str) -> dict[str, Any]:
    gateway = str(ipaddress.ip_network(f"{address}/64", strict=False)[1])
    # written as the vendor does: at length, in capitals
    whole = ipaddress.ip_address(address).exploded.upper()
    return {"ip_address": whole, "netmask": 64, "gateway": gateway, "type": "public"}


def region(slug: str) -> dict[str, Any]:
    sizes = [size[0] for size in SIZES if slug in size[5]]
    return {
        "slug": slug,
        "name": slug.upper(),
        "available": slug in REGIONS,
        "features": ["metadata", *["ipv6"] * (slug != "ams3")],
        "sizes": sizes,
    }


def size_of(slug: str) -> dict[str, Any]:
    name, vcpus, memory, disk, price, regions = next(size for size in SIZES if size[0] == slug)
    return {
        "slug": name,
        "vcpus": vcpus,
        "memory": memory,
        "disk": disk,
        "price_monthly": price,
        "price_hourly": price / 672,
        "regions": list(regions),
        "available": True,
        "transfer": 1.0,
        "description": "Basic",
    }


def image_of(slug: str | int) -> dict[str, Any]:
    name = str(slug)
    known = name in IMAGES
    family = name.partition("-")[0].capitalize()
    return {
        "id": IMAGES[name] if known else int(name),
        "name": name,
        "distribution": family if known else "Debian",
        "slug": name if known else None,
        "public": known,
        "regions": list(REGIONS),
        "created_at": MOMENT,
        "min_disk_size": 7,
        "size_gigabytes": 1.2,
        "type": "base" if known else "snapshot",
        "description": name,
        "tags": [],
        "status": "available",
        "error_message": "",
    }
