"""What is made at Amazon, and made once: two zones, security groups, machines, a shared folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from decimal import Decimal
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.contract import at_aws
from tests.contract.at_aws import (
    ANSWERS,
    REGION,
    WHOLE,
    deploy,
    opened,
    spec,
)
from tests.contract.scenario import BUILDER, RULES, destroy, persist
from tests.emulators.aws import STRANGER, AwsEmulator
from wizard.answers import loader, support
from wizard.errors import (
    ProviderError,
    TransientError,
)
from wizard.plan import render
from wizard.plan.build import build
from wizard.providers import aws_policy
from wizard.providers.aws import AwsProvider
from wizard.providers.base import (
    Resource,
    ResourceKind,
)
from wizard.rules import Role, Rule, from_networks


@pytest.fixture
def api() -> Iterator[AwsEmulator]:
    with at_aws.account() as emulator:
        yield emulator


@pytest.fixture
def provider(api: AwsEmulator) -> AwsProvider:
    return opened(api)


def test_a_deployment_comes_and_goes(api: AwsEmulator, provider: AwsProvider) -> None:
    deploy(provider)
    assert api.left() == WHOLE
    changes = "ec2:(Create|Run|Auth|Revoke)|iam:(Create|Add)|elasticfilesystem:(Create|Put)"
    before = len(api.calls(changes))
    deploy(opened(api))
    assert len(api.calls(changes)) == before
    provider.snapshot(provider.machines("demo")[0].id, "copy")
    destroy(provider)
    assert api.left() == {}
    assert provider.resources("demo") == []


def test_the_network_has_two_zones_and_a_way_out(api: AwsEmulator, provider: AwsProvider) -> None:
    network = provider.ensure_network("demo")
    ec2 = api.ec2(REGION)
    subnets = [s for z in ec2.subnets.values() for s in z.values() if s.vpc_id == network.id]
    assert sorted(s.availability_zone for s in subnets) == ["eu-central-1a", "eu-central-1b"]
    (table,) = [t for t in ec2.route_tables.values() if t.vpc_id == network.id]
    (gateway,) = ec2.internet_gateways
    assert gateway in {getattr(route.gateway, "id", None) for route in table.routes}
    assert network.build_machine == BUILDER
    for thing in (ec2.vpcs[network.id], *subnets, ec2.internet_gateways[gateway]):
        tags = {tag["key"]: tag["value"] for tag in thing.get_tags()}
        assert tags["build-usb:deployment"] == "demo"
        assert tags["Name"].startswith("build-usb.demo")


def test_machines_are_as_promised(api: AwsEmulator, provider: AwsProvider) -> None:
    deploy(provider)
    ec2 = api.ec2(REGION)
    found = {dict(_tags(i))["Name"].rpartition(".")[2]: i for i in api.instances()}
    assert set(found) == {"web1", "db1"}
    for name, instance in found.items():
        options = instance.metadata_options
        assert options.http_tokens == "required"
        assert str(options.http_put_response_hop_limit) == "1"
        ((_, device),) = instance.get_block_device_mapping
        volume = ec2.volumes[device.volume_id]
        assert (volume.size, volume.volume_type, volume.encrypted) == (30, "gp3", True)
        assert dict(_tags(volume))["build-usb:deployment"] == "demo"
        # the newest of Debian's own, whatever strangers publish under its name
        assert ec2.amis[instance.image_id].name == "debian-13-amd64-20260901-2200"
        assert ec2.amis[instance.image_id].owner_id != STRANGER
        assert instance.disable_api_termination is (name == "db1")
        assert dict(_tags(instance))["build-usb:role"] in ("webserver", "database")
    for request in api.calls("ec2:RunInstances"):
        assert request.form["IamInstanceProfile.Name"] == f"build-usb.demo.{REGION}"


def test_disks_are_as_large_as_answers_say(api: AwsEmulator, provider: AwsProvider) -> None:
    disks = ANSWERS + "machines: {disks: {database: 100}}\n"
    facts = provider.facts()
    plain = build(loader.loads(ANSWERS, "a"), facts, "b")
    web, database = build(loader.loads(disks, "a"), facts, "b").machines
    assert (web.size.disk, database.size.disk) == (30, 100)
    assert facts.disk_monthly_price
    more = database.size.monthly_price - plain.machines[1].size.monthly_price
    assert abs(more - 70 * facts.disk_monthly_price) <= Decimal("0.01")
    network = provider.ensure_network("demo").id
    provider.ensure_machine(spec(network, "db1", role=Role.DATABASE, disk=100))
    (instance,) = api.instances()
    ((_, device),) = instance.get_block_device_mapping
    assert api.ec2().volumes[device.volume_id].size == 100


def test_webservers_can_be_of_spare_capacity(api: AwsEmulator, provider: AwsProvider) -> None:
    network = provider.ensure_network("demo").id
    provider.ensure_machine(spec(network, spot=True))
    provider.ensure_machine(spec(network, "db1", role=Role.DATABASE))
    web, database = api.calls("ec2:RunInstances")
    assert web.form["InstanceMarketOptions.MarketType"] == "spot"
    options = "InstanceMarketOptions.SpotOptions."
    assert web.form[f"{options}SpotInstanceType"] == "one-time"
    assert web.form[f"{options}InstanceInterruptionBehavior"] == "terminate"
    # no more is offered than the price on demand
    assert f"{options}MaxPrice" not in web.form
    assert web.form["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert "DisableApiTermination" not in web.form
    assert not [name for name in database.form if "Market" in name]
    # a zone without spare capacity leads to the next one, as for others
    api.full = {"eu-central-1b"}
    made = provider.ensure_machine(spec(network, "web2", spot=True))
    (instance,) = [i for i in api.instances() if i.id == made.id]
    assert instance.nics[0].subnet.availability_zone == "eu-central-1a"
    # taken back by Amazon, it is made anew
    api.ec2().get_instance(made.id)._state.name = "terminated"
    assert provider.ensure_machine(spec(network, "web2", spot=True)).id != made.id


def test_the_plan_says_what_spare_capacity_means(api: AwsEmulator) -> None:
    answers = loader.loads(ANSWERS + "machines: {spot: true}\n", "a")
    plan = build(answers, opened(api, spot=True).facts(), "bucket")
    assert "at most the price" in render.to_text(plan)
    assert not support.unsupported(answers)
    elsewhere = answers.model_copy(
        update={"provider": answers.provider.model_copy(update={"name": "digitalocean"})}
    )
    assert "machines.spot" in {problem.key for problem in support.unsupported(elsewhere)}


def _tags(thing: Any) -> list[tuple[str, str]]:
    return [(tag["key"], tag["value"]) for tag in thing.get_tags()]


def test_the_database_is_protected_until_it_is_deleted(
    api: AwsEmulator, provider: AwsProvider
) -> None:
    deploy(provider)
    database = next(m for m in provider.machines("demo") if m.role is Role.DATABASE)
    with pytest.raises(ProviderError) as caught:
        provider._api.call("ec2.terminate_instances", "end it", InstanceIds=[database.id])
    assert caught.value.code == "OperationNotPermitted"
    provider.delete(Resource(ResourceKind.MACHINE, database.id, "db1", "demo"))
    assert [m.name for m in provider.machines("demo")] == ["web1"]
    # only what is protected has its protection lifted
    assert len(api.calls("ModifyInstanceAttribute")) == 1


def test_the_shared_folder_is_reached_by_the_deployments_machines_alone(
    api: AwsEmulator, provider: AwsProvider
) -> None:
    network = provider.ensure_network("demo")
    provider.ensure_firewall("demo", RULES, enabled=False)
    made = provider.ensure_file_system("demo")
    assert made.host == f"{made.id}.efs.{REGION}.amazonaws.com"
    assert rules_of(api)["build-usb.demo.shared-config"] == {
        (2049, f"build-usb.demo.{role}") for role in Role
    }
    backend = api.files().backend
    (one,) = backend.file_systems_by_id.values()
    assert one.encrypted
    assert {"Key": "build-usb:deployment", "Value": "demo"} in backend.list_tags_for_resource(
        made.id
    )
    (statement,) = json.loads(one.file_system_policy)["Statement"]
    assert statement["Resource"] == one.file_system_arn
    assert statement["Condition"]["Bool"]["aws:SecureTransport"] == "true"
    # a machine is told of the one in its own zone first
    subnets = {s.cidr_block for z in api.ec2().subnets.values() for s in z.values()}
    assert {where for where, _ in made.targets} <= subnets
    assert len(made.targets) == 2
    for where, address in made.targets:
        assert ip_address(address) in ip_network(where)
        assert ip_network(where).subnet_of(ip_network(network.cidr))
    assert opened(api).ensure_file_system("demo") == made
    one.file_system_policy = "{}"
    provider.ensure_file_system("demo")
    assert "SecureTransport" in one.file_system_policy
    destroy(provider)
    assert api.left() == {}


def test_a_strangers_file_system_is_refused(api: AwsEmulator, provider: AwsProvider) -> None:
    provider.ensure_network("demo")
    made = provider.ensure_file_system("demo")
    api.files().backend.untag_resource(made.id, ["build-usb:deployment"])
    with pytest.raises(ProviderError, match="not this deployment's") as caught:
        provider.ensure_file_system("demo")
    assert caught.value.where == made.id


def rules_of(api: AwsEmulator) -> dict[str, set[tuple[Any, str]]]:
    groups = {g.id: g for s in api.ec2(REGION).groups.values() for g in s.values()}
    return {
        group.name: {
            (
                rule.from_port,
                rule.ip_range.get("CidrIp")
                or rule.ip_range.get("CidrIpv6")
                or groups[rule.source_group["GroupId"]].name,
            )
            for rule in group.ingress_rules
        }
        for group in groups.values()
        if group.name != "default"
    }


def test_security_groups_are_the_rules(api: AwsEmulator, provider: AwsProvider) -> None:
    cloudflare = from_networks("173.245.48.0/20", "2400:cb00::/32")
    rules = (*RULES, Rule(Role.WEBSERVER, 80, cloudflare, "proxied"))
    provider.ensure_firewall("demo", rules, enabled=True)
    assert rules_of(api) == {
        "build-usb.demo.webserver": {
            (1035, f"{BUILDER}/32"),
            (1035, "build-usb.demo.database"),
            (443, "0.0.0.0/0"),
            (443, "::/0"),
            (80, "173.245.48.0/20"),
            (80, "2400:cb00::/32"),
        },
        "build-usb.demo.database": {
            (1035, f"{BUILDER}/32"),
            (2035, "build-usb.demo.webserver"),
        },
        "build-usb.demo.autoscaler": set(),
    }
    # what somebody opened besides is closed again, ranges too
    group = api.calls("AuthorizeSecurityGroupIngress")[0].form["GroupId"]
    provider._api.call(
        "ec2.authorize_security_group_ingress",
        "open a range",
        GroupId=group,
        IpPermissions=[
            {
                "IpProtocol": "tcp",
                "FromPort": 2000,
                "ToPort": 3000,
                "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
            }
        ],
    )
    provider.ensure_firewall("demo", RULES[:4], enabled=True)
    assert rules_of(api)["build-usb.demo.database"] == {(1035, f"{BUILDER}/32")}
    assert {port for port, _ in rules_of(api)["build-usb.demo.webserver"]} == {1035, 443}
    provider.ensure_firewall("demo", RULES, enabled=False)
    assert rules_of(api)["build-usb.demo.autoscaler"] == {(None, "0.0.0.0/0"), (None, "::/0")}


def test_names_that_begin_alike_are_told_apart(api: AwsEmulator, provider: AwsProvider) -> None:
    deploy(provider)
    network = provider.ensure_network("demo-two")
    provider.ensure_machine(spec(network.id, deployment="demo-two"))
    destroy(provider)
    assert [m.name for m in provider.machines("demo-two")] == ["web1"]
    pattern = json.loads(aws_policy.for_machines("demo"))["Statement"][0]["Resource"][0]
    # the hash behind the name has 16 characters: no other deployment's bucket matches
    assert pattern.endswith(":build-usb-demo-" + "?" * 16)


CREATES = (
    "ec2:CreateVpc",
    "ec2:CreateSubnet",
    "ec2:CreateInternetGateway",
    "ec2:AttachInternetGateway",
    "ec2:CreateRoute",
    "ec2:CreateSecurityGroup",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:RunInstances",
    "ec2:AllocateAddress",
    "ec2:AssociateAddress",
    "ec2:CreateImage",
    "iam:CreateRole",
    "iam:PutRolePolicy",
    "iam:CreateInstanceProfile",
    "iam:AddRoleToInstanceProfile",
    "elasticfilesystem:CreateFileSystem",
    "elasticfilesystem:PutFileSystemPolicy",
    "elasticfilesystem:CreateMountTarget",
)


def everything(provider: AwsProvider) -> None:
    """All that a deployment without a managed database makes."""
    deploy(provider)
    web = next(m for m in provider.machines("demo") if m.role is Role.WEBSERVER)
    provider.snapshot(web.id, "copy")


EVERYTHING = WHOLE | {"images": 1, "snapshots": 1}


def test_no_create_is_missing_above(api: AwsEmulator) -> None:
    everything(opened(api, reserved=True))
    making = "Create|Run|Allocate|Associate|Attach|Authorize|Put|Add|Register|Copy|Import|Request"
    assert {request.line for request in api.calls(f":({making})")} == set(CREATES)


@pytest.mark.parametrize(
    ("kind", "unseen"), [("lost", 0), ("truncated", 0), ("InternalError", 0), ("Unavailable", 3)]
)
def test_each_create_is_done_once_whatever_is_said_of_it(
    api: AwsEmulator, kind: str, unseen: int
) -> None:
    """Done all the same: no answer, half of one, or that it failed, in status 500 or 503."""
    provider = opened(api, reserved=True)
    api.unseen = unseen
    for name in CREATES:
        if kind in ("lost", "truncated"):
            api.fail(f"{name}$", kind)
        else:
            api.refuse(f"{name}$", kind, 500 if kind == "InternalError" else 503, late=True)
    for _ in range(20):
        # half an answer makes no sense and ends the run; the next run puts it right
        with contextlib.suppress(ProviderError):
            persist(lambda: everything(provider))
            break
    assert not [fault for fault in api.faults if fault.times]
    assert api.left() == EVERYTHING
    # an address of the account's is paid for even where nobody has it
    assert len(api.ec2().addresses) == 1
    destroy(provider)
    assert api.left() == {}
    assert not api.ec2().addresses


def test_what_is_not_seen_at_once_is_made_once(api: AwsEmulator, provider: AwsProvider) -> None:
    api.unseen = 3
    api.fail("ec2:RunInstances", "lost")
    persist(lambda: deploy(provider))
    assert api.left() == WHOLE
    destroy(provider)
    assert api.left() == {}


def test_a_network_made_twice_is_made_one(api: AwsEmulator, provider: AwsProvider) -> None:
    """The answer to the create is lost, and the list does not show it yet."""
    api.fail("ec2:CreateVpc", "lost")
    api.unseen = 8
    with pytest.raises(TransientError):
        provider.ensure_network("demo")
    persist(lambda: deploy(provider))
    persist(lambda: deploy(provider))
    assert api.left() == WHOLE
    destroy(provider)
    assert api.left() == {}


def test_a_machine_that_was_deleted_can_be_made_again(
    api: AwsEmulator, provider: AwsProvider
) -> None:
    """EC2 remembers client tokens longer than machines."""
    network = provider.ensure_network("demo")
    made = []
    for _ in range(3):
        machine = provider.ensure_machine(spec(network.id))
        assert machine.state == "running"
        made.append(machine.id)
        provider.delete(Resource(ResourceKind.MACHINE, machine.id, "web1", "demo"))
    assert len(set(made)) == 3
    tokens = [request.form["ClientToken"] for request in api.calls("RunInstances")]
    assert len(set(tokens)) == 3
