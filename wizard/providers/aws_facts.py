"""What a plan needs to know of EC2: regions, sizes, prices, quotas."""

from __future__ import annotations

import re
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from wizard.errors import ProviderError
from wizard.providers import aws_database_prices, aws_prices
from wizard.providers import aws_values as values
from wizard.providers.aws_api import HOME, Api, is_forbidden
from wizard.providers.aws_images import Images
from wizard.providers.base import ProviderFacts, Quota, Size, Unit
from wizard.rules import Role

# memory (MiB) that a role needs to run well; the cheapest size that has it is its default
_MEMORY = {Role.WEBSERVER: 2048, Role.DATABASE: 2048, Role.AUTOSCALER: 1024}
_LEAST_MEMORY = 512
# https://aws.amazon.com/s3/pricing, read 2026-11: about 10 GiB; what is stored is what is paid
_BUCKET_PRICE = Decimal("0.25")
# an estimate, as the bucket's: a GiB at what it costs in Frankfurt; what is stored is what is paid
_FILES_PRICE = Decimal("0.36")
# of a GiB in standard EBS snapshots, a little more in some regions
_SNAPSHOT_PRICE = Decimal("0.05")
# graphics, programmable and learning hardware: dear, and of no use to a website
_SPECIAL = ("GpuInfo", "FpgaInfo", "InferenceAcceleratorInfo", "NeuronInfo", "MediaAcceleratorInfo")
# the families whose CPUs the quota counts: "Running On-Demand Standard instances"
_STANDARD = re.compile(r"(a|c|d|h|i|m|r|t|z)\d")
# https://docs.aws.amazon.com/general/latest/gr/ec2-service.html and vpc-service.html
_VCPUS = ("ec2", "L-1216C47A", "Running On-Demand Standard instances")
_SPOT = ("ec2", "L-34B43A08", "All Standard Spot Instance Requests")
_VPCS = ("vpc", "L-F678F1CE", "VPCs per Region")
_ADDRESSES = ("ec2", "L-0263D0A3", "EC2-VPC Elastic IPs")


def facts(
    api: Api,
    images: Images,
    folder: Path | None,
    database: str = "",
    *,
    spot: bool = False,
    reserved: bool = False,
) -> ProviderFacts:
    """Return what plans need; sizes are those of the region, or of another where it is unknown.
    `database` is the engine of the managed database that is wanted, "" for none; `spot`,
    `reserved`: spot instances and an elastic address are wanted, whose quotas count then."""
    regions = _regions(api)
    region = api.region if api.region in regions else HOME
    types = _types(api, region)
    prices = aws_prices.obtain(api, region, folder)
    sizes = sorted(filter(None, (_size(api, item, prices) for item in types)), key=_cheapness)
    if not sizes:
        raise ProviderError(
            f"EC2 offers no size with a known price in {region}",
            where="provider.region",
            why=prices.note,
            cure=f"choose another: {', '.join(regions)}",
        )
    cpus = {str(item.get("InstanceType")): item["VCpuInfo"]["DefaultVCpus"] for item in types}
    databases, doubt = None, ""
    if database:
        databases, doubt = aws_database_prices.obtain(api, region, database, folder)
    quotas, notes = _quotas(api, cpus, spot, reserved) if region == api.region else ((), ())
    return ProviderFacts(
        regions=regions,
        images=images.published() if region == api.region else images.names,
        sizes=tuple(sizes),
        currency="USD",
        default_size={
            role: next((s.name for s in sizes if s.memory >= memory), sizes[-1].name)
            for role, memory in _MEMORY.items()
        },
        bucket_monthly_price=_BUCKET_PRICE,
        file_system_monthly_price=_FILES_PRICE,
        disk_monthly_price=prices.storage,
        snapshot_monthly_price=_SNAPSHOT_PRICE,
        quotas=quotas,
        notes=tuple(filter(None, (prices.note, doubt, *notes))),
        databases=databases,
    )


def _regions(api: Api) -> tuple[str, ...]:
    """Return the regions that are switched on for the account."""
    doing = "list the regions"
    # organisations often allow their own regions only
    first = api.region if api.knows(api.region) else HOME
    try:
        answer = api.call("ec2.describe_regions", doing, region=first)
    except ProviderError as error:
        # a region that is not switched on answers as if the keys were wrong
        if first == HOME or error.code not in ("AuthFailure", "OptInRequired"):
            raise
        answer = api.call("ec2.describe_regions", doing, region=HOME)
    return tuple(sorted(str(item["RegionName"]) for item in answer["Regions"]))


def _types(api: Api, region: str) -> list[dict[str, Any]]:
    wanted = {
        "bare-metal": "false",
        "current-generation": "true",
        "processor-info.supported-architecture": "x86_64",
        "supported-root-device-type": "ebs",
    }
    found = api.pages(
        "ec2.describe_instance_types",
        "InstanceTypes",
        "list the sizes",
        region=region,
        Filters=[{"Name": name, "Values": [value]} for name, value in wanted.items()],
        MaxResults=100,
    )
    return [item for item in found if not any(item.get(name) for name in _SPECIAL)]


def _size(api: Api, item: dict[str, Any], prices: aws_prices.Prices) -> Size | None:
    name = str(item.get("InstanceType"))
    try:
        vcpus = int(item["VCpuInfo"]["DefaultVCpus"])
        memory = int(item["MemoryInfo"]["SizeInMiB"])
    except (KeyError, TypeError, ValueError) as error:
        raise api.senseless(f"read the size {name}", f"{error}") from error
    if vcpus < 1 or memory < 1:
        raise api.senseless(f"read the size {name}", f"{vcpus} CPUs, {memory} MiB")
    price = prices.monthly(name, values.DISK)
    if price is None or memory < _LEAST_MEMORY:
        return None
    return Size(name, vcpus, memory, values.DISK, price)


def _cheapness(size: Size) -> tuple[Decimal, int, str]:
    return size.monthly_price, size.memory, size.name


# -- quotas ----------------------------------------------------------------------------------------


def _quotas(
    api: Api, cpus: dict[str, int], spot: bool, reserved: bool
) -> tuple[tuple[Quota, ...], tuple[str, ...]]:
    """Return the account's quotas, and what is to be said where they cannot be read."""
    wanted = {Unit.VCPUS: _VCPUS, Unit.NETWORKS: _VPCS}
    wanted |= {Unit.SPOT_VCPUS: _SPOT} if spot else {}
    wanted |= {Unit.ADDRESSES: _ADDRESSES} if reserved else {}
    try:
        limits = {unit: _limit(api, *quota) for unit, quota in wanted.items()}
    except ProviderError as error:
        if not is_forbidden(error) and error.code != "NoSuchResourceException":
            raise
        return (), (f"the account's quotas are not known ({error.code})",)
    used = _used_vcpus(api, cpus)
    used[Unit.NETWORKS] = _owners(api.pages("ec2.describe_vpcs", "Vpcs", "count the VPCs"))
    if reserved:
        answer = api.call("ec2.describe_addresses", "count the elastic addresses")
        used[Unit.ADDRESSES] = _owners(answer.get("Addresses") or [])
    return tuple(
        Quota(name, unit, limits[unit], dict(used[unit])) for unit, (_, _, name) in wanted.items()
    ), ()


def _owners(items: list[dict[str, Any]]) -> Counter[str]:
    return Counter(values.tag(item, values.TAG) for item in items)


def _limit(api: Api, service: str, code: str, name: str) -> int:
    doing = f"ask for the quota {name}"
    answer = api.call(
        "service-quotas.get_service_quota", doing, ServiceCode=service, QuotaCode=code
    )
    try:
        return int(answer["Quota"]["Value"])
    except (KeyError, TypeError, ValueError) as error:
        raise api.senseless(doing, f"{error}") from error


def _used_vcpus(api: Api, cpus: dict[str, int]) -> dict[Unit, Counter[str]]:
    running = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    used: dict[Unit, Counter[str]] = {Unit.VCPUS: Counter(), Unit.SPOT_VCPUS: Counter()}
    for reservation in api.pages(
        "ec2.describe_instances",
        "Reservations",
        "count the CPUs in use",
        Filters=running,
        MaxResults=200,
    ):
        for item in reservation.get("Instances") or ():
            size = str(item.get("InstanceType"))
            if _STANDARD.match(size):
                own = item.get("CpuOptions") or {}
                count = int(own.get("CoreCount", 1)) * int(own.get("ThreadsPerCore", 1))
                spare = item.get("InstanceLifecycle") == "spot"
                owners = used[Unit.SPOT_VCPUS if spare else Unit.VCPUS]
                owners[values.tag(item, values.TAG)] += cpus.get(size, count)
    return used
