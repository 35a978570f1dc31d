"""What is Amazon's own: client tokens, security groups, zones, prices, quotas, rights, and all that
its APIs can answer."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from tests.contract.scenario import BUILDER, RULES, destroy, make, persist
from tests.emulators.aws import ACCESS_KEY, SECRET_KEY, STRANGER, TOKEN, AwsEmulator, Key
from wizard.answers import loader
from wizard.errors import (
    AnswersError,
    BuildUsbError,
    NotSupportedError,
    ProviderError,
    TransientError,
    UsageError,
)
from wizard.events import silent
from wizard.plan import render
from wizard.plan.build import build
from wizard.providers import aws_policy, aws_price_table, aws_session
from wizard.providers.aws import AwsProvider
from wizard.providers.base import (
    Account,
    DatabaseSpec,
    MachineSpec,
    ObjectStorage,
    Resource,
    ResourceKind,
    Size,
)
from wizard.rules import Rented, Role, Rule, from_networks, from_role
from wizard.secrets import Secret
from wizard.storage.s3 import S3Bucket

REGION = "eu-central-1"
ANSWERS = """
version: 1
name: demo
mode: development
provider: {name: aws, region: eu-central-1, credentials: {environment: AWS}}
application: {kind: wordpress, title: T, admin: {user: editor, email: editor@example.org}}
domain: {name: www.example.org}
dns: {zone: example.org, provider: cloudflare, credentials: {environment: CLOUDFLARE}}
ssh: {build_machine: 198.51.100.7}
"""


@pytest.fixture
def api() -> Iterator[AwsEmulator]:
    with AwsEmulator() as emulator:
        yield emulator
        assert emulator.violations == []


@pytest.fixture
def provider(api: AwsEmulator) -> AwsProvider:
    return opened(api)


def opened(api: AwsEmulator, token: str = TOKEN, **changes: Any) -> AwsProvider:
    account = replace(Account(Secret(token), REGION, BUILDER, api.url), **changes)
    return AwsProvider(account, pause=lambda _seconds: None)


def spec(network: str, name: str = "web1", **changes: Any) -> MachineSpec:
    wanted = MachineSpec(
        deployment="demo",
        name=name,
        role=Role.WEBSERVER,
        size="t3.small",
        image="debian-13",
        region=REGION,
        network_id=network,
        user_data=Secret("#cloud-config\n{}\n"),
    )
    return replace(wanted, **changes)


def database_spec(provider: AwsProvider, engine: str = "mysql") -> DatabaseSpec:
    return DatabaseSpec(
        deployment="demo",
        engine=engine,
        size=Size("db.t4g.micro", 2, 1024, 20, Decimal("15.88")),
        port=3306,
        region=REGION,
        network_id=provider.ensure_network("demo").id,
        rules=tuple(
            Rule(Rented.DATABASE, 3306, from_role(role), "the database")
            for role in (Role.WEBSERVER, Role.DATABASE)
        ),
        password=Secret("Abcdefgh23456789"),
    )


def deploy(provider: AwsProvider) -> None:
    """Everything of a deployment, as the engine asks for it."""
    make(provider, spec)
    provider.ensure_file_system("demo")


WHOLE = {
    "instances": 2,
    "vpcs": 1,
    "gateways": 1,
    "groups": 4,
    "roles": 1,
    "profiles": 1,
    "file systems": 1,
    "mount targets": 2,
}


# -- what is made ------------------------------------------------------------------------------


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


# -- made once ---------------------------------------------------------------------------------

CREATES = (
    "ec2:CreateVpc",
    "ec2:CreateSubnet",
    "ec2:CreateInternetGateway",
    "ec2:AttachInternetGateway",
    "ec2:CreateRoute",
    "ec2:CreateSecurityGroup",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:RunInstances",
    "iam:CreateRole",
    "iam:PutRolePolicy",
    "iam:CreateInstanceProfile",
    "iam:AddRoleToInstanceProfile",
    "elasticfilesystem:CreateFileSystem",
    "elasticfilesystem:PutFileSystemPolicy",
    "elasticfilesystem:CreateMountTarget",
)


@pytest.mark.parametrize("kind", ["lost", "truncated"])
def test_a_lost_answer_to_each_create_makes_one(
    api: AwsEmulator, provider: AwsProvider, kind: str
) -> None:
    for name in CREATES:
        api.fail(name, kind)
    for _ in range(20):
        # half an answer makes no sense and ends the run; the next run puts it right
        with contextlib.suppress(ProviderError):
            persist(lambda: deploy(provider))
            break
    assert not [fault for fault in api.faults if fault.times]
    assert api.left() == WHOLE


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


# -- what goes wrong ---------------------------------------------------------------------------

DELETES = (
    "ec2:TerminateInstances",
    "ec2:ModifyInstanceAttribute",
    "ec2:DeregisterImage",
    "ec2:DeleteSnapshot",
    "ec2:RevokeSecurityGroupIngress",
    "ec2:DeleteSecurityGroup",
    "ec2:DetachInternetGateway",
    "ec2:DeleteInternetGateway",
    "ec2:DeleteSubnet",
    "ec2:DeleteVpc",
    "iam:RemoveRoleFromInstanceProfile",
    "iam:DeleteInstanceProfile",
    "iam:DeleteRolePolicy",
    "iam:DeleteRole",
    "elasticfilesystem:DeleteMountTarget",
    "elasticfilesystem:DeleteFileSystem",
)


@pytest.mark.parametrize("what", ["RequestLimitExceeded", "InternalError", "lost", "html"])
def test_every_delete_survives_what_the_api_says(
    api: AwsEmulator, provider: AwsProvider, what: str
) -> None:
    deploy(provider)
    provider.snapshot(provider.machines("demo")[0].id, "copy")
    for name in DELETES:
        if what in ("lost", "html"):
            api.fail(name, what)
        else:
            api.refuse(name, what, 503)
    for _ in range(20):
        with contextlib.suppress(ProviderError):
            destroy(provider)
            break
    assert not [fault.match for fault in api.faults if fault.times]
    assert api.left() == {}
    assert provider.resources("demo") == []


def test_what_is_in_use_is_asked_again(api: AwsEmulator, provider: AwsProvider) -> None:
    deploy(provider)
    for resource in provider.resources("demo"):
        if resource.kind in (ResourceKind.FIREWALL, ResourceKind.NETWORK):
            with contextlib.suppress(ProviderError):
                provider.delete(resource)
    # the group of autoscalers was in nobody's use
    assert api.left()["groups"] == 3
    network = next(r for r in provider.resources("demo") if r.kind is ResourceKind.NETWORK)
    with pytest.raises(TransientError, match="DependencyViolation"):
        provider.delete(network)
    destroy(provider)
    assert api.left() == {}


def test_what_is_left_without_a_network_is_found(api: AwsEmulator, provider: AwsProvider) -> None:
    deploy(provider)
    for resource in provider.resources("demo"):
        if resource.kind is not ResourceKind.NETWORK:
            provider.delete(resource)
    provider._networks.delete("demo", str(provider._networks.all("demo")[0]["VpcId"]))
    assert api.left() == {"roles": 1, "profiles": 1}
    destroy(provider)
    assert api.left() == {}


def test_a_full_zone_leads_to_the_next(api: AwsEmulator, provider: AwsProvider) -> None:
    network = provider.ensure_network("demo")
    api.full = {"eu-central-1a"}
    provider.ensure_machine(spec(network.id))
    (instance,) = api.instances()
    assert instance.nics[0].subnet.availability_zone == "eu-central-1b"
    api.full = {"eu-central-1a", "eu-central-1b"}
    with pytest.raises(ProviderError, match="no zone has room for web2") as caught:
        provider.ensure_machine(spec(network.id, "web2"))
    assert caught.value.code == "InsufficientInstanceCapacity"
    assert "eu-central-1a" in caught.value.why
    assert "eu-central-1b" in caught.value.why
    assert "t3.small" in caught.value.cure


def test_quotas_are_looked_at_before_a_plan_is_made(
    api: AwsEmulator, provider: AwsProvider
) -> None:
    answers = loader.loads(ANSWERS, "answers")
    build(answers, provider.facts(), "bucket")
    deploy(provider)
    # what is the deployment's own already is not asked for again
    api.vcpu_limit, api.vpc_limit = 4, 2
    build(answers, provider.facts(), "bucket")
    with pytest.raises(AnswersError) as caught:
        build(answers.model_copy(update={"name": "other"}), provider.facts(), "bucket")
    assert len(caught.value.problems) == 2
    assert "4 vCPUs needed; allowed: 0 (of 4, 4 are in use)" in caught.value.why
    assert "VPCs per Region: found 1 networks needed; allowed: 0" in caught.value.why


def test_a_quota_that_is_reached_after_all_is_said(api: AwsEmulator, provider: AwsProvider) -> None:
    api.vpc_limit = 1
    with pytest.raises(ProviderError, match="VpcLimitExceeded") as caught:
        provider.ensure_network("demo")
    assert "Service Quotas" in caught.value.cure
    api.vpc_limit, api.vcpu_limit = 5, 1
    network = provider.ensure_network("demo")
    with pytest.raises(ProviderError, match="VcpuLimitExceeded"):
        provider.ensure_machine(spec(network.id))


def trouble(act: Callable[[], Any]) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        act()
    assert caught.value.cure
    return caught.value


def test_keys_that_are_wrong_are_said_with_the_cure(api: AwsEmulator) -> None:
    unknown = trouble(opened(api, "AKIDOTHER:x").facts)
    assert (unknown.code, unknown.where) == ("AuthFailure", "provider.credentials")
    assert "valid keys" in unknown.cure
    assert unknown.request_id
    assert unknown.request_id in unknown.why
    secret = trouble(lambda: opened(api, f"{ACCESS_KEY}:not-it").prepare(silent))
    assert secret.code == "SignatureDoesNotMatch"
    assert "secret key" in secret.cure
    for shown in (str(unknown), str(secret), repr(opened(api))):
        assert SECRET_KEY not in shown
        assert "not-it" not in shown


def test_a_clock_that_is_wrong_is_said(api: AwsEmulator) -> None:
    api.clock = 3600
    for act in (opened(api).facts, lambda: opened(api).prepare(silent)):
        assert "clock: it is 60 minutes behind" in trouble(act).cure


def test_credentials_that_expire_midway_are_said(api: AwsEmulator, provider: AwsProvider) -> None:
    provider.ensure_network("demo")
    api.keys[ACCESS_KEY].expired = True
    expired = trouble(lambda: provider.ensure_firewall("demo", RULES, enabled=True))
    assert expired.code == "RequestExpired"
    assert "fresh credentials" in expired.cure
    assert not isinstance(expired, TransientError)
    api.keys["AKIDNEW"] = Key(token="a-token")
    deploy(opened(api, f"AKIDNEW:{SECRET_KEY}:a-token"))
    assert api.left() == WHOLE


def test_missing_rights_are_named_before_anything_is_made(api: AwsEmulator) -> None:
    api.denied = {"ec2:RunInstances", "iam:PassRole", "s3:CreateBucket", "pricing:GetProducts"}
    provider = opened(api)
    standing = provider.standing(silent)
    assert standing.lacking == ("ec2:RunInstances", "iam:PassRole", "s3:CreateBucket")
    assert standing.unknowing == ("pricing:GetProducts",)
    assert api.account in standing.owner
    lacking = trouble(lambda: provider.prepare(silent))
    assert "ec2:RunInstances" in lacking.why
    assert "pricing:GetProducts" not in lacking.why
    assert api.left() == {}
    # who may not ask for rights is told of each when it is missed
    api.denied = {"ec2:CreateVpc", "iam:SimulatePrincipalPolicy"}
    provider.prepare(silent)
    assert provider.standing(silent).unknowing == ("iam:SimulatePrincipalPolicy",)
    refused = trouble(lambda: provider.ensure_network("demo"))
    assert refused.code == "UnauthorizedOperation"
    assert "ec2:CreateVpc" in refused.cure


def test_the_policy_is_what_is_used_and_no_more(api: AwsEmulator, provider: AwsProvider) -> None:
    policy = provider.standing(silent).policy
    provider.facts()
    deploy(provider)
    provider.snapshot(provider.machines("demo")[0].id, "copy")
    rented = opened(api, database="mysql")
    rented.facts()
    rented.ensure_database(database_spec(rented), silent)
    destroy(provider)
    provider.resources("demo")
    listed = {
        action
        for statement in json.loads(policy)["Statement"]
        for action in statement["Action"]
        if not action.startswith("s3:")
    }
    used = {request.line for request in api.requests} - {"sts:GetCallerIdentity"}
    # needed by others: to tag what is made, to give a role to a machine, by EFS for its interfaces,
    # by RDS in our name and with what we ask it for
    beside = {
        "ec2:CreateNetworkInterface",
        "ec2:CreateTags",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "iam:CreateServiceLinkedRole",
        "elasticfilesystem:TagResource",
        "iam:PassRole",
        "iam:TagInstanceProfile",
        "iam:TagRole",
        "rds:AddTagsToResource",
        "rds:CreateDBSnapshot",
        "rds:DeleteDBInstanceAutomatedBackup",
    }
    assert listed == used | beside
    assert len(json.dumps(json.loads(policy))) < 6144  # what IAM takes
    documented = Path("docs/providers.md").read_text().partition("```json\n")[2]
    shown = policy.replace(api.account, "123456789012")
    assert json.loads(documented.partition("```")[0]) == json.loads(shown)


def test_a_region_that_is_not_there_is_the_plans_to_refuse(api: AwsEmulator) -> None:
    facts = opened(api, region="mars-north-1").facts()
    assert "eu-central-1" in facts.regions
    assert "mars-north-1" not in facts.regions
    wrong = loader.loads(ANSWERS.replace("eu-central-1", "mars-north-1"), "answers")
    with pytest.raises(AnswersError, match="does not have") as caught:
        build(wrong, facts, "bucket")
    assert "mars-north-1" in caught.value.why
    api.refuse("DescribeRegions", "AuthFailure")
    assert opened(api).facts().regions == facts.regions


@pytest.mark.parametrize("kind", ["html", "truncated"])
@pytest.mark.parametrize("match", ["DescribeVpcs", "GetRole", "DescribeInstances"])
def test_a_broken_answer_is_a_clear_error(
    api: AwsEmulator, provider: AwsProvider, match: str, kind: str
) -> None:
    api.fail(match, kind)
    assert trouble(lambda: deploy(provider)).cure
    deploy(provider)
    assert api.left() == WHOLE


def test_throttling_is_waited_for(api: AwsEmulator) -> None:
    pauses: list[float] = []
    account = Account(Secret(TOKEN), REGION, BUILDER, api.url)
    api.refuse("ec2:", "RequestLimitExceeded", 503, times=4)
    AwsProvider(account, pause=pauses.append).machines("demo")
    assert len(pauses) == 4
    assert pauses == sorted(pauses)
    api.refuse("ec2:", "RequestLimitExceeded", 503, times=100)
    with pytest.raises(TransientError):
        AwsProvider(account, pause=pauses.append).machines("demo")


def test_the_build_machines_address_has_to_be_named(api: AwsEmulator) -> None:
    with pytest.raises(NotSupportedError) as caught:
        opened(api, build_machine=None).ensure_network("demo")
    assert caught.value.where == "ssh.build_machine"


# -- credentials -------------------------------------------------------------------------------


def test_a_role_can_be_assumed(api: AwsEmulator) -> None:
    role = f"arn:aws:iam::{api.account}:role/deployer"
    provider = opened(api, f"{TOKEN}@{role}")
    provider.prepare(silent)
    assert ":assumed-role/deployer/" in provider.standing(silent).owner
    first, *others = api.requests
    assert first.line == "sts:AssumeRole"
    assert ACCESS_KEY in first.headers["authorization"]
    assert all(ACCESS_KEY not in request.headers["authorization"] for request in others)
    storage = provider.services("example.org").object_storage
    assert storage is not None
    assert storage.by_role
    assert storage.session_token == Secret(api.keys[storage.access_key].token)


def test_a_profile_is_taken_from_the_file_that_is_named(api: AwsEmulator, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text(
        f"[base]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
        f"[profile ops]\nrole_arn = arn:aws:iam::{api.account}:role/ops\nsource_profile = base\n"
        "[empty]\nregion = eu-west-1\n"
    )
    opened(api, f"profile:base:{file}").prepare(silent)
    owner = opened(api, f"profile:ops:{file}").standing(silent).owner
    assert "assumed-role/ops" in owner
    for wrong in ("profile:none:", "profile:empty:", "profile::"):
        with pytest.raises(UsageError) as caught:
            opened(api, f"{wrong}{file}")
        assert caught.value.where == "provider.credentials"
    with pytest.raises(BuildUsbError, match="cannot read"):
        opened(api, f"profile:base:{tmp_path}/nothing")


@pytest.mark.parametrize("given", ["one", "a:", ":b", "a:b:c:d", "a:b@role", "profile:x", "a:b@"])
def test_other_forms_of_credentials_are_refused(given: str) -> None:
    with pytest.raises(UsageError) as caught:
        aws_session.parse(Secret(given))
    assert "ACCESS_KEY:SECRET_KEY" in caught.value.cure or "profile" in caught.value.cure


HOSTILE = """
import json, os, sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
from wizard.providers.aws import AwsProvider
from wizard.providers.base import Account
from wizard.secrets import Secret
account = Account(Secret(sys.argv[1]), "eu-central-1", "198.51.100.7", sys.argv[2])
AwsProvider(account).ensure_network("demo")
home = os.environ["HOME"]
print(json.dumps([path for path in opened if home in path or ".aws" in path]))
"""


def test_settings_of_this_computer_are_not_even_opened(api: AwsEmulator, tmp_path: Path) -> None:
    folder = tmp_path / ".aws"
    (folder / "models" / "ec2" / "2016-11-15").mkdir(parents=True)
    (folder / "models" / "ec2" / "2016-11-15" / "service-2.json").write_text("{}")
    poison = "[default]\naws_access_key_id = POISON\naws_secret_access_key = poison\nregion = xx\n"
    for name in ("config", "credentials", "own"):
        (folder / name).write_text(poison + "endpoint_url = http://127.0.0.1:9\n")
    hostile = {
        "AWS_ACCESS_KEY_ID": "POISON",
        "AWS_SECRET_ACCESS_KEY": "poison",
        "AWS_SESSION_TOKEN": "poison",
        "AWS_SECURITY_TOKEN": "poison",
        "AWS_PROFILE": "poison",
        "AWS_DEFAULT_PROFILE": "poison",
        "AWS_REGION": "xx-poison-1",
        "AWS_DEFAULT_REGION": "xx-poison-1",
        "AWS_CONFIG_FILE": str(folder / "own"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "own"),
        "AWS_DATA_PATH": str(folder / "models"),
        "AWS_CA_BUNDLE": str(folder / "ca.pem"),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_EC2": "http://127.0.0.1:9",
        "AWS_ROLE_ARN": "arn:aws:iam::666666666666:role/poison",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(folder / "token"),
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_RETRY_MODE": "legacy",
        "REQUESTS_CA_BUNDLE": str(folder / "ca.pem"),
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "BOTO_CONFIG": str(folder / "own"),
    }
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE, TOKEN, api.url],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **hostile},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
    assert api.requests
    for request in api.requests:
        assert f"Credential={ACCESS_KEY}/" in request.headers["authorization"]
        assert "/eu-central-1/" in request.headers["authorization"]


# -- facts and prices --------------------------------------------------------------------------


def test_facts_are_those_of_the_region(api: AwsEmulator, provider: AwsProvider) -> None:
    facts = provider.facts()
    assert facts.images == ("debian-12", "debian-13", "ubuntu-24.04")
    sizes = {size.name: size for size in facts.sizes}
    small = sizes["t3.small"]
    assert (small.vcpus, small.memory, small.disk) == (2, 2048, 30)
    # (0.024 USD, and 0.005 for the address) x 730 hours, and 30 GiB of 0.0952
    assert f"{small.monthly_price}" == "24.03"
    assert facts.default_size[Role.WEBSERVER] == "t3a.small"
    assert facts.notes == ()
    assert api.left() == {}


def test_prices_are_kept_for_a_day(api: AwsEmulator, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    api.prices = {"t3.small": "0.05", "t3.medium": "0.1"}
    facts = opened(api, cache=folder).facts()
    assert [size.name for size in facts.sizes] == ["t3.small", "t3.medium"]
    asked = len(api.calls("GetProducts"))
    assert opened(api, cache=folder).facts() == facts
    assert len(api.calls("GetProducts")) == asked

    # of yesterday: asked again, and used where that fails
    (file,) = folder.iterdir()
    assert datetime.now(UTC).date().isoformat() in file.read_text()
    kept = json.loads(file.read_text()) | {"date": "2026-01-02"}
    file.write_text(json.dumps(kept))
    api.denied = {"pricing:GetProducts"}
    old = opened(api, cache=folder).facts()
    assert old.sizes == facts.sizes
    assert "those of 2026-01-02" in old.notes[0]
    file.write_text("{")
    assert aws_price_table.DATE in opened(api, cache=folder).facts().notes[0]
    assert file.read_text() == "{"


def test_shipped_prices_are_marked_in_the_plan(api: AwsEmulator) -> None:
    api.denied = {"pricing:GetProducts", "servicequotas:GetServiceQuota"}
    plan = build(loader.loads(ANSWERS, "answers"), opened(api).facts(), "bucket")
    text = render.to_text(plan)
    assert f"Note: prices are those of {aws_price_table.DATE}, which this program" in text
    assert "Note: the account's quotas are not known (AccessDenied)" in text
    assert len(render.to_plain(plan)["notes"]) == 2


def test_a_price_list_that_makes_no_sense_is_not_used(api: AwsEmulator) -> None:
    api.prices = {"t3.small": "1e30"}
    assert aws_price_table.DATE in opened(api).facts().notes[0]


def test_shipped_prices_know_every_usual_region() -> None:
    for region in ("us-east-1", "eu-central-1", "eu-west-1", "ap-southeast-2", "sa-east-1"):
        prices = aws_price_table.hourly(region)
        assert 0.01 < prices["t3.small"] < 0.1
        assert prices["t3.large"] == 4 * prices["t3.small"]
    assert aws_price_table.hourly("mars-north-1") == {}


# -- counts ------------------------------------------------------------------------------------


def test_a_deployment_makes_calls_in_proportion(api: AwsEmulator, provider: AwsProvider) -> None:
    api.vcpu_limit = 1000
    network = provider.ensure_network("demo").id
    provider.ensure_firewall("demo", RULES, enabled=True)
    provider.ensure_machine(spec(network))
    counts = []
    for number in range(2, 12):
        before = len(api.requests)
        provider.ensure_machine(spec(network, f"web{number}"))
        counts.append(len(api.requests) - before)
    assert max(counts) <= 7, Counter(r.line for r in api.requests)
    assert len(set(counts)) == 1
    before = len(api.requests)
    destroy(provider)
    assert (len(api.requests) - before) / 11 <= 8


MEASURE = """
import json, sys, time
from pathlib import Path
from wizard.answers import loader
from wizard.plan.build import build
from wizard.providers.aws import AwsProvider
from wizard.providers.base import Account
from wizard.secrets import Secret
account = Account(Secret(sys.argv[1]), "eu-central-1", "198.51.100.7", sys.argv[2])
answers = loader.loads(sys.argv[3], "answers")
started = time.process_time()
provider = AwsProvider(account)
build(answers, provider.facts(), "bucket")
found = len(provider.machines("demo")), len(provider.resources("demo"))
seconds = time.process_time() - started
peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]  # KiB
print(json.dumps([*found, seconds, int(peak) / 1024]))
"""


def measure(api: AwsEmulator, count: int) -> tuple[float, float]:
    """Return the seconds (of a CPU: others use it too) and MiB that planning and inventory of so
    many machines take."""
    api.crowd = count
    command = [sys.executable, "-c", MEASURE, TOKEN, api.url, ANSWERS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    machines, resources, seconds, memory = json.loads(done.stdout)
    assert (machines, resources) == (count, count + 4)
    return seconds, memory


def test_a_thousand_machines_are_few_seconds(api: AwsEmulator, provider: AwsProvider) -> None:
    provider.ensure_machine(spec(provider.ensure_network("demo").id))
    api.vcpu_limit = 10_000
    (hundred, _), (thousand, memory) = measure(api, 100), measure(api, 1000)
    assert thousand <= 5
    assert memory <= 150
    assert thousand / hundred <= 11


@pytest.mark.parametrize("count", [1, 10, 100, 1000])
def test_inventory_asks_in_pages(api: AwsEmulator, provider: AwsProvider, count: int) -> None:
    network = provider.ensure_network("demo").id
    provider.ensure_machine(spec(network))
    api.crowd = count
    before = len(api.requests)
    assert len(provider.machines("demo")) == count
    assert len(provider.resources("demo")) == count + 4
    # a page holds two hundred
    # three of them about a database that is not there
    assert len(api.requests) - before == 8 + 2 * -(-count // 200)


# -- the bucket --------------------------------------------------------------------------------


def test_a_bucket_of_amazons_is_hardened() -> None:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    where = f"http://{host}:{port}"
    try:
        keys = ("ASIATEMPORARY", Secret("not-so-secret-key"), Secret("a-token"))
        storage = ObjectStorage(where, where, REGION, *keys, by_role=True, vendor="aws")
        bucket = S3Bucket("build-usb-demo-0123456789abcdef", storage)
        assert bucket.ensure("demo")
        assert not bucket.ensure("demo")
        own = {"Bucket": bucket.name}
        (rule,) = bucket._s3.get_bucket_encryption(**own)["ServerSideEncryptionConfiguration"][
            "Rules"
        ]
        assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        (ending,) = bucket._s3.get_bucket_lifecycle_configuration(**own)["Rules"]
        assert ending["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30
        assert bucket._s3.get_bucket_location(**own)["LocationConstraint"] == REGION
        assert bucket._s3.get_bucket_versioning(**own)["Status"] == "Enabled"
        bucket.delete_bucket("demo")

        # asked for over TLS, it is shut to all else
        asked: list[dict[str, Any]] = []
        remote = S3Bucket(bucket.name, replace(storage, build_endpoint="https://192.0.2.1"))
        for name in ("put_bucket_encryption", "put_bucket_lifecycle_configuration"):
            setattr(remote._s3, name, lambda **_what: None)
        remote._s3.put_bucket_policy = lambda **what: asked.append(what)  # type: ignore[method-assign]
        remote._harden()
    finally:
        server.stop()
    (policy,) = [json.loads(what["Policy"])["Statement"][0] for what in asked]
    assert (policy["Effect"], policy["Principal"]) == ("Deny", "*")
    assert policy["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
