"""What EC2 says and wants, as the provider's values and back. Asks no one.

Everything of a deployment carries the tags `build-usb:deployment` and `Name`, machines and security
groups `build-usb:role` too. Names are `build-usb.<deployment>…`; deployments' names hold no dots.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from typing import Any

from wizard.errors import ProviderError
from wizard.providers.aws_api import Api
from wizard.providers.base import Machine, MachineSpec
from wizard.rules import Role, Rule, SourceKind

TAG = "build-usb:deployment"
TAG_ROLE = "build-usb:role"
DISK = 30
"""GiB of a root volume of which nothing is said."""
LIVE = ("pending", "running", "stopping", "stopped", "shutting-down")
"""The states of an instance that exists."""

_STATES = {"pending": "starting", "shutting-down": "ending"}
_ANYWHERE = ("0.0.0.0/0", "::/0")
_LONGEST_USER_DATA = 16 * 1024  # bytes; EC2's limit before base64


def name_of(deployment: str, *parts: str) -> str:
    """Return the name of something of the deployment."""
    return ".".join(("build-usb", deployment, *parts))


def tags(deployment: str, *parts: str, role: Role | None = None) -> list[dict[str, str]]:
    """Return the tags of something called by `parts`."""
    own = {TAG: deployment, "Name": name_of(deployment, *parts)}
    if role:
        own[TAG_ROLE] = role.value
    return [{"Key": key, "Value": value} for key, value in own.items()]


def tagged(kind: str, *given: Any, **more: Any) -> list[dict[str, Any]]:
    """Return TagSpecifications for one kind of resource; arguments are those of `tags`."""
    return [{"ResourceType": kind, "Tags": tags(*given, **more)}]


def ours(deployment: str) -> list[dict[str, Any]]:
    """Return the filter that finds what is the deployment's."""
    return [{"Name": f"tag:{TAG}", "Values": [deployment]}]


def tag(item: dict[str, Any], key: str) -> str:
    """Return the value of a tag, "" where there is none."""
    return next((str(t["Value"]) for t in item.get("Tags") or () if t.get("Key") == key), "")


def short_name(item: dict[str, Any]) -> str:
    """Return the machine's name in answers and plans, from its tag Name."""
    full = tag(item, "Name")
    return full.removeprefix(name_of(tag(item, TAG)) + ".")


def machine(api: Api, instance: dict[str, Any]) -> Machine:
    """Return an instance as a machine; its addresses are empty until it has them."""
    name = short_name(instance)
    try:
        role = Role(tag(instance, TAG_ROLE))
    except ValueError as error:
        raise ProviderError(
            f"the instance {name} carries no tag of a role",
            where=str(instance.get("InstanceId")),
            why=f"its tag {TAG_ROLE} is {tag(instance, TAG_ROLE) or 'missing'}",
            cure=f"give it back its tag, such as {TAG_ROLE}={Role.WEBSERVER}",
        ) from error
    state = str((instance.get("State") or {}).get("Name"))
    try:
        private, public = (
            str(ipaddress.IPv4Address(instance[key])) if instance.get(key) else ""
            for key in ("PrivateIpAddress", "PublicIpAddress")
        )
    except ValueError as error:
        raise api.senseless(f"ask for {name}", f"its addresses: {error}") from error
    return Machine(
        id=str(instance["InstanceId"]),
        name=name,
        role=role,
        state=_STATES.get(state, state),
        private_address=private,
        public_address=public,
        access_address=public,
    )


def client_token(network: str, wanted: dict[str, Any], generation: int) -> str:
    """Return what makes EC2 create one machine however often it is asked (at most 64 characters).
    Another network has others: EC2 remembers tokens for a day, and what is gone with them."""
    whole = json.dumps([network, wanted, generation], sort_keys=True, default=str)
    return hashlib.sha256(whole.encode()).hexdigest()


def instance(
    spec: MachineSpec, image: dict[str, Any], groups: list[str], profile: str
) -> dict[str, Any]:
    """Return what RunInstances wants, but for subnet and token."""
    user_data = spec.user_data.reveal()
    if len(user_data.encode()) > _LONGEST_USER_DATA:
        raise ProviderError(
            f"the user-data of {spec.name} is longer than EC2 takes",
            why=f"{len(user_data.encode())} bytes; {_LONGEST_USER_DATA} are allowed",
            cure="this is a mistake of the program: report it",
        )
    wanted: dict[str, Any] = {
        "ImageId": image["ImageId"],
        "InstanceType": spec.size,
        "MinCount": 1,
        "MaxCount": 1,
        "UserData": user_data,
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
            "InstanceMetadataTags": "disabled",
        },
        "BlockDeviceMappings": [
            {
                "DeviceName": image["RootDeviceName"],
                "Ebs": {
                    "VolumeSize": spec.disk or DISK,
                    "VolumeType": "gp3",
                    "Encrypted": True,
                    "DeleteOnTermination": True,
                },
            }
        ],
        "NetworkInterfaces": [
            {"DeviceIndex": 0, "Groups": groups, "AssociatePublicIpAddress": True}
        ],
        "DisableApiTermination": spec.role is Role.DATABASE,
        "InstanceInitiatedShutdownBehavior": "stop",
        "TagSpecifications": [
            part
            for kind in ("instance", "volume", "network-interface")
            for part in tagged(kind, spec.deployment, spec.name, role=spec.role)
        ],
    }
    if spec.spot:
        # taken back, it is gone: what is made again is another one
        wanted["InstanceMarketOptions"] = {
            "MarketType": "spot",
            "SpotOptions": {
                "SpotInstanceType": "one-time",
                "InstanceInterruptionBehavior": "terminate",
            },
        }
        # of those that can only be ended, EC2 takes no other wish
        del wanted["DisableApiTermination"]
        wanted["InstanceInitiatedShutdownBehavior"] = "terminate"
    if profile:
        wanted["IamInstanceProfile"] = {"Name": profile}
    return wanted


# -- security groups -------------------------------------------------------------------------------

Permission = tuple[str, int, str, str]
"""What one rule lets in: protocol, port (-1: all), kind of source ("v4", "v6", "group"), source."""


def permissions(
    rules: list[Rule], groups: dict[Role, str], build_machine: str, *, enabled: bool
) -> set[Permission]:
    """Return what the group of one role shall let in; `groups` are the ids by role."""
    if not enabled:
        return {("-1", -1, "v4", "0.0.0.0/0"), ("-1", -1, "v6", "::/0")}
    found = set()
    for rule in rules:
        if rule.source.kind is SourceKind.ROLE:
            assert rule.source.role is not None
            found.add((rule.protocol, rule.port, "group", groups[rule.source.role]))
            continue
        networks = {
            SourceKind.ANYONE: _ANYWHERE,
            SourceKind.BUILD_MACHINE: (build_machine,),
            SourceKind.NETWORKS: rule.source.networks,
        }[rule.source.kind]
        for network in map(ipaddress.ip_network, networks):
            found.add((rule.protocol, rule.port, f"v{network.version}", str(network)))
    return found


_ENDS = {
    "v4": ("IpRanges", "CidrIp"),
    "v6": ("Ipv6Ranges", "CidrIpv6"),
    "group": ("UserIdGroupPairs", "GroupId"),
    "list": ("PrefixListIds", "PrefixListId"),
}


def permissions_of(group: dict[str, Any]) -> set[Permission]:
    """Return what a security group of the API lets in."""
    return {
        permission
        for entry in group.get("IpPermissions") or ()
        for permission, _, _ in _of_entry(entry)
    }


def entries(group: dict[str, Any], some: set[Permission]) -> list[dict[str, Any]]:
    """Return some of the permissions of a security group as the API shows them, to be revoked."""
    found = []
    for entry in group.get("IpPermissions") or ():
        kept: dict[str, list[Any]] = {}
        for permission, name, item in _of_entry(entry):
            if permission in some:
                kept.setdefault(name, []).append(item)
        if kept:
            names = {name for name, _ in _ENDS.values()}
            found.append({k: v for k, v in entry.items() if k not in names} | kept)
    return found


def _of_entry(entry: dict[str, Any]) -> list[tuple[Permission, str, dict[str, Any]]]:
    """Return each permission of an entry, with the list it is in and what it is there."""
    protocol, port = str(entry["IpProtocol"]), int(entry.get("FromPort", -1))
    if protocol != "-1" and entry.get("ToPort", -1) != port:
        port = -2  # a range: none of ours
    return [
        ((protocol, port, kind, str(item[key])), name, item)
        for kind, (name, key) in _ENDS.items()
        for item in entry.get(name) or ()
    ]


def to_api(wanted: set[Permission], why: dict[tuple[str, int], str]) -> list[dict[str, Any]]:
    """Return permissions as EC2 wants them, one for each port; `why` describes ports for people."""
    ports: dict[tuple[str, int], dict[str, Any]] = {}
    for protocol, port, kind, end in sorted(wanted):
        entry = ports.setdefault((protocol, port), {"IpProtocol": protocol})
        if port != -1:
            entry |= {"FromPort": port, "ToPort": port}
        name, key = _ENDS[kind]
        # the characters that EC2 allows
        text = re.sub(r"[^\w .:/()#,@+=&;{}!$*-]", "", why.get((protocol, port), ""))[:255]
        entry.setdefault(name, []).append({key: end} | ({"Description": text} if text else {}))
    return list(ports.values())
