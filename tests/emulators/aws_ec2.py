"""Amazon's EC2: moto's, and in front of it what moto does not have: time, client tokens, what is in
use, full zones, quotas, and that what was made is not seen at once."""

from __future__ import annotations

import base64
import itertools
from typing import Any
from xml.etree import ElementTree

from moto.ec2.models.instance_types import INSTANCE_TYPES

from tests.emulators.aws_answers import (
    NAMESPACE,
    AwsRequest,
    Refusal,
    crowded,
    in_use,
    instance_types,
    vcpus,
)
from tests.emulators.server import Reply

_X = f"{{{NAMESPACE}}}"
_UNSEEN = {
    "ami": "InvalidAMIID.NotFound",
    "i": "InvalidInstanceID.NotFound",
    "igw": "InvalidInternetGatewayID.NotFound",
    "sg": "InvalidGroup.NotFound",
    "subnet": "InvalidSubnetID.NotFound",
    "vpc": "InvalidVpcID.NotFound",
}
_MADE = {
    "CreateInternetGateway": "internetGatewayId",
    "CreateSecurityGroup": "groupId",
    "CreateSubnet": "subnetId",
    "CreateVpc": "vpcId",
    "RunInstances": "instanceId",
}


class Machines:
    """The part of the emulator that is about EC2."""

    steps: int
    files: Any
    used_by_databases: Any
    instances: Any
    begin_instance: Any
    end_instance: Any
    begin_image: Any
    end_image: Any
    groups_changed: Any
    ec2: Any
    _ask_moto: Any

    def begin_machines(self) -> None:
        self.full: set[str] = set()
        self.unseen = 0
        self.vcpu_limit, self.vpc_limit = 32, 5
        self.spot_limit, self.address_limit = 32, 5
        self.crowd = 0
        self._tokens: dict[str, tuple[dict[str, str], Reply]] = {}
        self._hidden: dict[str, int] = {}
        self._under_way: dict[str, tuple[int, str, int]] = {}

    def _ec2(self, request: AwsRequest) -> Reply:
        backend = self.ec2(request.region)
        self._pass_time(request, backend)
        self._refuse_unseen(request)
        if request.action == "DescribeInstanceTypes":
            return instance_types(request)
        refuse = getattr(self, f"_may_{request.action}", None)
        token = request.form.get("ClientToken", "")
        if token in self._tokens:
            before, reply = self._tokens[token]
            if before != request.form:
                raise Refusal("IdempotentParameterMismatch", "used before with other parameters")
            return reply
        if refuse:
            refuse(request, backend)
        snapshot_tags = _without_snapshot_tags(request)
        asked = dict(request.form)
        if self.crowd:
            request.form.pop("NextToken", None)
        reply = self._ask_moto(request)
        request.form.update(asked)
        if reply.status != 200:
            return reply
        self._made(request, reply, backend, snapshot_tags)
        if token:
            self._tokens[token] = (dict(request.form), reply)
        if request.action == "DescribeInstances" and self.crowd:
            return crowded(request, reply, self.crowd)
        if request.action.startswith("Describe"):
            reply = self._without_unseen(reply)
        return reply

    def _made(self, request: AwsRequest, reply: Reply, backend: Any, snapshot_tags: Any) -> None:
        tree = ElementTree.fromstring(reply.body)
        if request.action == "RunInstances":
            identity = tree.findtext(f".//{_X}instanceId", "")
            instance = backend.get_instance(identity)
            instance.disable_api_termination = request.form.get("DisableApiTermination") == "true"
            given = base64.b64decode(request.form.get("UserData", "")).decode()
            self.begin_instance(instance, given)
            self._begin(instance, "pending", 0)
        elif request.action == "TerminateInstances":
            for number in itertools.count(1):
                identity = request.form.get(f"InstanceId.{number}", "")
                if not identity:
                    break
                instance = backend.get_instance(identity)
                if self._under_way.get(identity, ("", "", 0))[1] != "terminated":
                    self.end_instance(instance)
                    self._begin(instance, "shutting-down", 32)
        elif request.action == "CreateImage":
            image = backend.amis[tree.findtext(f".//{_X}imageId", "")]
            image.ebs_snapshot.add_tags(snapshot_tags)
            self.begin_image(image, request.form["InstanceId"])
        elif request.action == "DeregisterImage":
            self.end_image(request.form["ImageId"])
        if request.action.startswith(("Authorize", "Revoke", "RunInstances", "Terminate")):
            self.groups_changed()
        if self.unseen and request.action in _MADE:
            identity = tree.findtext(f".//{_X}{_MADE[request.action]}", "")
            self._hidden[identity] = self.unseen

    def _begin(self, instance: Any, state: str, code: int) -> None:
        after = {"pending": ("running", 16), "shutting-down": ("terminated", 48)}[state]
        self._under_way[instance.id] = (self.steps, *after)
        instance._state.name, instance._state.code = state, code

    def _pass_time(self, request: AwsRequest, backend: Any) -> None:
        if request.action != "DescribeInstances":
            return
        for identity, (left, name, code) in list(self._under_way.items()):
            if identity not in {i.id for i in backend.all_instances()}:
                continue
            if left > 0:
                self._under_way[identity] = (left - 1, name, code)
            else:
                del self._under_way[identity]
                instance = backend.get_instance(identity)
                instance._state.name, instance._state.code = name, code

    def _refuse_unseen(self, request: AwsRequest) -> None:
        for name, value in request.form.items():
            if value in self._hidden and not name.startswith("Filter."):
                self._show_soon(value)
                code = _UNSEEN[value.partition("-")[0]]
                raise Refusal(code, f"The ID '{value}' does not exist")

    def _without_unseen(self, reply: Reply) -> Reply:
        hidden = [identity for identity in self._hidden if identity.encode() in reply.body]
        if not hidden:
            return reply
        ElementTree.register_namespace("", NAMESPACE)
        tree = ElementTree.fromstring(reply.body)
        for parent in list(tree.iter()):
            for item in list(parent):
                if item.tag == f"{_X}item" and any(child.text in hidden for child in item):
                    parent.remove(item)
        for identity in hidden:
            self._show_soon(identity)
        return Reply(reply.status, ElementTree.tostring(tree))

    def _show_soon(self, identity: str) -> None:
        self._hidden[identity] -= 1
        if not self._hidden[identity]:
            del self._hidden[identity]

    # -- what EC2 refuses and moto does not --------------------------------------------------------

    def _may_RunInstances(self, request: AwsRequest, backend: Any) -> None:
        form = request.form
        subnet = backend.get_subnet(form["NetworkInterface.1.SubnetId"])
        zone = subnet.availability_zone
        if zone in self.full:
            message = f"We do not have sufficient capacity in the Zone you requested ({zone})."
            raise Refusal("InsufficientInstanceCapacity", message, 500)
        if form["InstanceType"] not in INSTANCE_TYPES:
            message = f"Invalid value '{form['InstanceType']}' for InstanceType."
            raise Refusal("InvalidParameterValue", message)
        cpus, spot = vcpus(form["InstanceType"]), "InstanceMarketOptions.MarketType" in form
        same = [i for i in self.instances(request.region) if (i.lifecycle == "spot") is spot]
        used = sum(vcpus(i.instance_type) for i in same)
        if spot and used + cpus > self.spot_limit:
            raise Refusal("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
        if not spot and used + cpus > self.vcpu_limit:
            message = "You have requested more vCPU capacity than your current vCPU limit allows"
            raise Refusal("VcpuLimitExceeded", message)

    def _may_CreateVpc(self, request: AwsRequest, backend: Any) -> None:
        if len(backend.vpcs) >= self.vpc_limit:
            raise Refusal("VpcLimitExceeded", "The maximum number of VPCs has been reached.")

    def _may_AllocateAddress(self, request: AwsRequest, backend: Any) -> None:
        if len(backend.addresses) >= self.address_limit:
            message = "The maximum number of addresses has been reached."
            raise Refusal("AddressLimitExceeded", message)

    def _may_DeleteSecurityGroup(self, request: AwsRequest, backend: Any) -> None:
        group = request.form["GroupId"]
        if self.files(request.region).uses(group) or self.used_by_databases(request.region, group):
            raise in_use(group)
        for instance in self._there(backend):
            if any(g.id == group for nic in instance.nics.values() for g in nic.group_set):
                raise in_use(group)
        for groups in backend.groups.values():
            for other in groups.values():
                named = {rule.source_group.get("GroupId") for rule in other.ingress_rules}
                if other.id != group and group in named:
                    raise in_use(group)

    def _may_DeleteSubnet(self, request: AwsRequest, backend: Any) -> None:
        subnet = request.form["SubnetId"]
        if self.files(request.region).uses(subnet) or self.used_by_databases(
            request.region, subnet
        ):
            raise in_use(subnet)
        for instance in self._there(backend):
            if any(nic.subnet.id == subnet for nic in instance.nics.values()):
                raise in_use(subnet)

    def _may_DetachInternetGateway(self, request: AwsRequest, backend: Any) -> None:
        vpc = request.form["VpcId"]
        for instance in self._there(backend):
            if any(nic.subnet.vpc_id == vpc and nic.public_ip for nic in instance.nics.values()):
                raise in_use(vpc)

    def _may_DeleteVpc(self, request: AwsRequest, backend: Any) -> None:
        vpc = request.form["VpcId"]
        subnets = [s for zone in backend.subnets.values() for s in zone.values()]
        gateways = [g for g in backend.internet_gateways.values() if g.vpc]
        groups = [g for g in backend.groups.get(vpc, {}).values() if g.name != "default"]
        inside = [s for s in subnets if s.vpc_id == vpc]
        if inside or groups or any(g.vpc.id == vpc for g in gateways):
            raise in_use(vpc)

    def _there(self, backend: Any) -> list[Any]:
        return [i for i in backend.all_instances() if i._state.name != "terminated"]


def _without_snapshot_tags(request: AwsRequest) -> dict[str, str]:
    """Take the tags for snapshots out of a request, which moto cannot do, and return them."""
    found: dict[str, str] = {}
    if request.action != "CreateImage":
        return found
    for number in (1, 2):
        head = f"TagSpecification.{number}."
        if request.form.get(f"{head}ResourceType") == "snapshot":
            own = {k: request.form.pop(k) for k in list(request.form) if k.startswith(head)}
            for key in [k for k in own if k.endswith(".Key")]:
                found[own[key]] = own[key.removesuffix(".Key") + ".Value"]
    return found
