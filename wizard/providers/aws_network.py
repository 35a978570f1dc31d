"""A deployment's network at EC2: a VPC with subnets in two zones, a way out, security groups.

VPCs have no names of their own and no client tokens: they are found by tag, and one that is made
twice, because its answer was lost and the list did not show it yet, is made one again.
"""

from __future__ import annotations

import ipaddress
from typing import Any
from zlib import crc32

from wizard.errors import ProviderError
from wizard.providers import aws_values as values
from wizard.providers.aws_api import Api, wait_until
from wizard.rules import Role, Rule

_ZONES = 2
_SUBNET_BITS = 4  # of the VPC's range: 16 parts, of which two are used
_SEEN = 60.0  # seconds until what was made is listed


class Networks:
    """VPCs and what is in them."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def all(self, deployment: str) -> list[dict[str, Any]]:
        """Return every VPC of the deployment; more than one where one was made twice."""
        found = self._api.pages(
            "ec2.describe_vpcs", "Vpcs", "list the VPCs", Filters=values.ours(deployment)
        )
        return sorted(found, key=lambda vpc: str(vpc["VpcId"]))

    def find(self, deployment: str) -> dict[str, Any] | None:
        """Return the VPC of the deployment; of several the one that is used."""
        found = self.all(deployment)
        if len(found) < 2:
            return found[0] if found else None
        groups = {group["VpcId"] for group in self.groups(deployment)}
        return next((vpc for vpc in found if vpc["VpcId"] in groups), found[0])

    def ensure(self, deployment: str) -> dict[str, Any]:
        """Return the VPC, whole, with subnets and a way out."""
        vpc = self.find(deployment)
        if vpc is None:
            made = self._api.call(
                "ec2.create_vpc",
                "create the VPC",
                CidrBlock=_range(deployment),
                TagSpecifications=values.tagged("vpc", deployment),
            )
            vpc = dict(made["Vpc"])
            # who asks next must not make another
            wait_until(
                lambda: bool(self.all(deployment)), "creating the VPC", _SEEN, self._api.pause
            )
        for twin in self.all(deployment):
            if twin["VpcId"] != vpc["VpcId"]:
                self.delete(deployment, str(twin["VpcId"]))
        self._ensure_subnets(deployment, vpc)
        self._ensure_way_out(deployment, str(vpc["VpcId"]))
        return vpc

    # -- subnets -----------------------------------------------------------------------------------

    def subnets(self, vpc: str) -> list[dict[str, Any]]:
        """Return the subnets of a VPC, by zone."""
        found = self._api.pages(
            "ec2.describe_subnets", "Subnets", "list the subnets", Filters=_in_vpc(vpc)
        )
        return sorted(found, key=lambda subnet: str(subnet["AvailabilityZone"]))

    def zones(self) -> list[str]:
        """Return the region's zones that can be used now."""
        answer = self._api.call(
            "ec2.describe_availability_zones",
            "list the zones",
            Filters=[{"Name": "state", "Values": ["available"]}],
        )
        # neither local zones nor those of mobile networks: sizes and volumes are missing there
        return sorted(
            str(zone["ZoneName"])
            for zone in answer["AvailabilityZones"]
            if zone.get("ZoneType", "availability-zone") == "availability-zone"
        )

    def _ensure_subnets(self, deployment: str, vpc: dict[str, Any]) -> None:
        whole = ipaddress.IPv4Network(str(vpc["CidrBlock"]))
        parts = [str(part) for part in whole.subnets(_SUBNET_BITS)][:_ZONES]

        def missing() -> set[str]:
            listed = self.subnets(str(vpc["VpcId"]))
            return set(parts) - {str(subnet["CidrBlock"]) for subnet in listed}

        wanted = missing()
        if not wanted:
            return
        for zone, part in zip(self.zones(), parts, strict=False):
            if part in wanted:
                self._subnet(deployment, str(vpc["VpcId"]), zone, part)
        # machines are put into those that are listed
        wait_until(lambda: not missing(), "creating the subnets", _SEEN, self._api.pause)

    def _subnet(self, deployment: str, vpc: str, zone: str, part: str) -> None:
        try:
            self._api.call(
                "ec2.create_subnet",
                f"create the subnet in {zone}",
                fresh=True,
                VpcId=vpc,
                AvailabilityZone=zone,
                CidrBlock=part,
                TagSpecifications=values.tagged("subnet", deployment, zone),
            )
        except ProviderError as error:
            # made before, and not listed yet
            if error.code != "InvalidSubnet.Conflict":
                raise

    # -- the way out -------------------------------------------------------------------------------

    def gateways(self, deployment: str) -> list[dict[str, Any]]:
        """Return the internet gateways of the deployment."""
        return self._api.pages(
            "ec2.describe_internet_gateways",
            "InternetGateways",
            "list the internet gateways",
            Filters=values.ours(deployment),
        )

    def _ensure_way_out(self, deployment: str, vpc: str) -> None:
        found = self.gateways(deployment)
        attached = [g for g in found if _attached(g) == vpc]
        loose = [str(g["InternetGatewayId"]) for g in found if not _attached(g)]
        if attached:
            gateway = str(attached[0]["InternetGatewayId"])
        else:
            gateway = loose.pop() if loose else self._create_gateway(deployment)
            self._attach(gateway, vpc)
        for twin in loose:
            self._delete_gateway(twin, "")
        # each VPC has a main route table, which its subnets use
        tables = self._api.pages(
            "ec2.describe_route_tables",
            "RouteTables",
            "list the route tables",
            Filters=[*_in_vpc(vpc), {"Name": "association.main", "Values": ["true"]}],
        )
        if not tables:
            raise self._api.senseless("set the route out", f"{vpc} has no main route table")
        routes = tables[0].get("Routes") or ()
        if any(route.get("GatewayId") == gateway for route in routes):
            return
        self._api.call(
            "ec2.create_route",
            "set the route out",
            fresh=True,
            RouteTableId=tables[0]["RouteTableId"],
            DestinationCidrBlock="0.0.0.0/0",
            GatewayId=gateway,
        )

    def _create_gateway(self, deployment: str) -> str:
        made = self._api.call(
            "ec2.create_internet_gateway",
            "create the internet gateway",
            TagSpecifications=values.tagged("internet-gateway", deployment),
        )
        return str(made["InternetGateway"]["InternetGatewayId"])

    def _attach(self, gateway: str, vpc: str) -> None:
        try:
            self._api.call(
                "ec2.attach_internet_gateway",
                "attach the internet gateway",
                fresh=True,
                InternetGatewayId=gateway,
                VpcId=vpc,
            )
        except ProviderError as error:
            # attached before, and not listed as such yet
            if error.code != "Resource.AlreadyAssociated":
                raise

    def _delete_gateway(self, gateway: str, vpc: str) -> None:
        doing = f"delete the internet gateway {gateway}"
        if vpc:
            what = {"InternetGatewayId": gateway, "VpcId": vpc}
            self._api.remove(
                "ec2.detach_internet_gateway", doing, fine=("Gateway.NotAttached",), **what
            )
        self._api.remove("ec2.delete_internet_gateway", doing, InternetGatewayId=gateway)

    # -- security groups ---------------------------------------------------------------------------

    def groups(self, deployment: str) -> list[dict[str, Any]]:
        """Return the security groups of the deployment."""
        return self._api.pages(
            "ec2.describe_security_groups",
            "SecurityGroups",
            "list the security groups",
            Filters=values.ours(deployment),
        )

    def ensure_groups(self, deployment: str, vpc: str) -> dict[Role, dict[str, Any]]:
        """Return the security group of each role, created closed if missing."""
        found = {}
        for group in self.groups(deployment):
            if group["VpcId"] == vpc:
                found[values.tag(group, values.TAG_ROLE)] = group
        return {
            role: found.get(role)
            or self._create_group(deployment, vpc, role.value, f"{role}s", role=role)
            for role in Role
        }

    def ensure_other_group(
        self,
        deployment: str,
        vpc: str,
        short: str,
        whose: str,
        wanted: set[values.Permission],
        why: dict[tuple[str, int], str],
    ) -> str:
        """Return the id of the security group of something that is no machine, created if missing,
        once it lets in what is `wanted` and nothing else."""
        name = values.name_of(deployment, short)
        listed = [g for g in self.groups(deployment) if g.get("GroupName") == name]
        own = next((g for g in listed if g["VpcId"] == vpc), None)
        group = own or self._create_group(deployment, vpc, short, whose)
        self._make_equal(f"set the security group {name}", group, wanted, why)
        return str(group["GroupId"])

    def _create_group(
        self, deployment: str, vpc: str, short: str, whose: str, role: Role | None = None
    ) -> dict[str, Any]:
        name = values.name_of(deployment, short)
        try:
            made = self._api.call(
                "ec2.create_security_group",
                f"create the security group {name}",
                fresh=True,
                GroupName=name,
                Description=f"{whose} of the deployment {deployment}",
                VpcId=vpc,
                TagSpecifications=values.tagged("security-group", deployment, short, role=role),
            )
        except ProviderError as error:
            # made before, and not listed by its tag yet
            if error.code != "InvalidGroup.Duplicate":
                raise
            return self._group_called(vpc, name)
        return {"GroupId": made["GroupId"], "IpPermissions": []}

    def _group_called(self, vpc: str, name: str) -> dict[str, Any]:
        """Return the security group of that name once it is listed."""
        found: list[dict[str, Any]] = []

        def is_listed() -> bool:
            found[:] = self._api.pages(
                "ec2.describe_security_groups",
                "SecurityGroups",
                f"find the security group {name}",
                Filters=[*_in_vpc(vpc), {"Name": "group-name", "Values": [name]}],
            )
            return bool(found)

        wait_until(is_listed, f"creating {name}", _SEEN, self._api.pause)
        return found[0]

    def set_rules(
        self, deployment: str, vpc: str, rules: tuple[Rule, ...], build_machine: str, enabled: bool
    ) -> None:
        """Make each role's group let in what the rules say, and nothing else."""
        groups = self.ensure_groups(deployment, vpc)
        ids = {role: str(group["GroupId"]) for role, group in groups.items()}
        for role, group in groups.items():
            own = [rule for rule in rules if rule.target is role]
            why = {(rule.protocol, rule.port): rule.why for rule in own}
            wanted = values.permissions(own, ids, build_machine, enabled=enabled)
            self._make_equal(f"set the security group of {role}s", group, wanted, why)

    def ensure_files_group(self, deployment: str, vpc: str, name: str, port: int) -> str:
        """Return the security group of a file system, which lets in the machines of each role at
        that port, and nobody else."""
        groups = self.ensure_groups(deployment, vpc)
        wanted = {("tcp", port, "group", str(g["GroupId"])) for g in groups.values()}
        why = {("tcp", port): "the shared folder"}
        return self.ensure_other_group(deployment, vpc, name, "shared folder", wanted, why)

    def _make_equal(
        self,
        doing: str,
        group: dict[str, Any],
        wanted: set[values.Permission],
        why: dict[tuple[str, int], str],
    ) -> None:
        there = values.permissions_of(group)
        identity = str(group["GroupId"])
        if wanted - there:
            self._change(doing, "authorize", identity, values.to_api(wanted - there, why))
        surplus = values.entries(group, there - wanted)
        if surplus:
            self._change(doing, "revoke", identity, surplus)

    def _change(self, doing: str, what: str, group: str, entries: list[dict[str, Any]]) -> None:
        codes = {"authorize": "InvalidPermission.Duplicate", "revoke": "InvalidPermission.NotFound"}
        for entry in entries:
            try:
                self._api.call(
                    f"ec2.{what}_security_group_ingress",
                    doing,
                    fresh=what == "authorize",
                    GroupId=group,
                    IpPermissions=[entry],
                )
            except ProviderError as error:
                if error.code != codes[what]:
                    raise

    # -- what shall be no more ---------------------------------------------------------------------

    def delete_group(self, deployment: str, group: str) -> None:
        """Delete a security group; others of the deployment no longer name it first."""
        for other in self.groups(deployment):
            named = {p for p in values.permissions_of(other) if p[2:] == ("group", group)}
            if named:
                doing = f"let go of the security group {group}"
                entries = values.entries(other, named)
                self._change(doing, "revoke", str(other["GroupId"]), entries)
        self._api.remove(
            "ec2.delete_security_group", f"delete the security group {group}", GroupId=group
        )

    def delete(self, deployment: str, vpc: str) -> None:
        """Delete a VPC with all that is in it but machines. "": what was left without one."""
        for gateway in self.gateways(deployment):
            attached = _attached(gateway)
            if attached in ("", vpc):
                self._delete_gateway(str(gateway["InternetGatewayId"]), attached)
        if not vpc:
            return
        for subnet in self.subnets(vpc):
            doing = f"delete the subnet {subnet['SubnetId']}"
            self._api.remove("ec2.delete_subnet", doing, SubnetId=subnet["SubnetId"])
        for group in self.groups(deployment):
            if group["VpcId"] == vpc:
                self.delete_group(deployment, str(group["GroupId"]))
        self._api.remove("ec2.delete_vpc", f"delete the VPC {vpc}", VpcId=vpc)


def _range(deployment: str) -> str:
    """Return the range of a deployment's VPC: two of them, peered, should not have the same."""
    return f"10.{100 + crc32(deployment.encode()) % 150}.0.0/16"


def _in_vpc(vpc: str) -> list[dict[str, Any]]:
    return [{"Name": "vpc-id", "Values": [vpc]}]


def _attached(gateway: dict[str, Any]) -> str:
    """Return the VPC a gateway is attached to, "" if it is loose."""
    return next((str(a["VpcId"]) for a in gateway.get("Attachments") or ()), "")
