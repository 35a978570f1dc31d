"""What the roles of machines at Amazon may do, and that it is nothing else: their policies are
evaluated with resources and conditions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.contract import at_aws
from tests.contract.at_aws import opened, spec, trouble
from tests.emulators import aws_asks
from tests.emulators.aws import AwsEmulator
from tests.emulators.aws_identity import Ask, allowed
from tests.emulators.route53 import Route53Emulator
from wizard.dns.base import Health, RecordSet
from wizard.dns.hosted import marker_of
from wizard.dns.route53 import Route53
from wizard.errors import ProviderError
from wizard.events import silent
from wizard.providers import aws_policy
from wizard.providers.aws import AwsProvider
from wizard.providers.aws_values import tagged
from wizard.providers.base import Network, Resource, ResourceKind
from wizard.rules import Role
from wizard.secrets import Secret
from wizard.storage.names import bucket_prefix

HOST = "www.example.org"


@dataclass
class Deployment:
    """A deployment at Amazon with one machine of each role, and the keys of two of them."""

    api: AwsEmulator
    builder: AwsProvider
    network: Network
    machines: dict[str, str]

    def role(self, *, scales: bool) -> str:
        roles = sorted(self.api.iam.roles.values(), key=lambda role: len(role.name))
        return str(roles[scales].name)

    def keys(self, *, scales: bool) -> str:
        name = self.api.key_of_role(self.role(scales=scales), "i-0123")
        key = self.api.keys[name]
        return f"{name}:{key.secret}:{key.token}"

    def rights(self, *, scales: bool) -> list[Any]:
        (role,) = (r for r in self.api.iam.roles.values() if r.name == self.role(scales=scales))
        (text,) = role.policies.values()
        found: list[Any] = json.loads(text)["Statement"]
        return found


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    with at_aws.account() as api:
        builder = opened(api, names=(HOST, marker_of(HOST)))
        network = builder.ensure_network("demo")
        builder.ensure_firewall("demo", (), enabled=True)
        machines = {
            name: builder.ensure_machine(spec(network.id, name, role=role)).id
            for name, role in (
                ("web1", Role.WEBSERVER),
                ("db1", Role.DATABASE),
                ("scaler1", Role.AUTOSCALER),
            )
        }
        yield Deployment(api, builder, network, machines)


def test_an_autoscaler_does_its_work_with_its_role(deployment: Deployment) -> None:
    own = opened(deployment.api, deployment.keys(scales=True), inside=True)
    own.prepare(silent)
    made = own.ensure_machine(spec(deployment.network.id, "web2"))
    golden = own.ensure_machine(spec(deployment.network.id, "golden"))
    copy = own.snapshot(golden.id, "golden-1")
    own.delete(Resource(ResourceKind.MACHINE, golden.id, "golden", "demo"))
    again = own.ensure_machine(spec(deployment.network.id, "web3", image=copy.id, spot=True))
    listed = {resource.name for resource in own.resources("demo")}
    assert listed == {"web1", "web2", "web3", "db1", "scaler1", copy.name}
    own.delete(copy)
    for machine in (made, again):
        own.delete(Resource(ResourceKind.MACHINE, machine.id, machine.name, "demo"))
    assert {m.name for m in deployment.builder.machines("demo")} == {"web1", "db1", "scaler1"}
    assert "snapshots" not in deployment.api.left()


def raw(provider: AwsProvider, operation: str, **wanted: Any) -> Callable[[], Any]:
    return lambda: provider._api.call(operation, "try", **wanted)


def test_an_autoscaler_does_nothing_else(deployment: Deployment) -> None:
    api, network, machines = deployment.api, deployment.network.id, deployment.machines
    own = opened(api, deployment.keys(scales=True), inside=True)
    # what the provider itself does where it is not held back
    other = opened(api, deployment.keys(scales=True))
    stranger = deployment.builder.ensure_network("other")
    deployment.builder.ensure_machine(spec(stranger.id, "web1", deployment="other"))
    (theirs,) = [m.id for m in deployment.builder.machines("other")]
    copy = deployment.builder.snapshot(theirs, "copy")
    before = api.left()

    def end(name: str, identity: str) -> Callable[[], Any]:
        return lambda: own.delete(Resource(ResourceKind.MACHINE, identity, name, "demo"))

    run = {
        "ImageId": next(i.id for i in api.ec2().amis.values() if "debian-13" in str(i.name)),
        "InstanceType": "t3.small",
        "MinCount": 1,
        "MaxCount": 1,
        "NetworkInterfaces": [
            {"DeviceIndex": 0, "SubnetId": own._networks.subnets(network)[0]["SubnetId"]}
        ],
    }
    tags = [
        part
        for kind in ("instance", "volume", "network-interface")
        for part in tagged(kind, "demo", "web9", role=Role.WEBSERVER)
    ]
    of_scalers = {"Name": deployment.role(scales=True)}
    tries = {
        "ends the database": end("db1", machines["db1"]),
        "ends an autoscaler": end("scaler1", machines["scaler1"]),
        "ends a machine of another deployment": end("web1", theirs),
        "rents a database": lambda: own.ensure_machine(spec(network, "db2", role=Role.DATABASE)),
        "rents in another network": lambda: own.ensure_machine(spec(stranger.id, "web7")),
        "rents for another": lambda: own.ensure_machine(
            spec(stranger.id, "web7", deployment="other")
        ),
        "rents without tags": raw(own, "ec2.run_instances", **run),
        "gives away its own role": raw(
            own, "ec2.run_instances", **run, TagSpecifications=tags, IamInstanceProfile=of_scalers
        ),
        "calls the database a webserver": raw(
            own,
            "ec2.create_tags",
            Resources=[machines["db1"]],
            Tags=[{"Key": "build-usb:role", "Value": "webserver"}],
        ),
        "unprotects the database": raw(
            own,
            "ec2.modify_instance_attribute",
            InstanceId=machines["db1"],
            DisableApiTermination={"Value": False},
        ),
        "copies the database": lambda: own.snapshot(machines["db1"], "stolen"),
        "deletes another's copy": raw(own, "ec2.deregister_image", ImageId=copy.id),
        "opens a firewall": raw(
            own,
            "ec2.authorize_security_group_ingress",
            GroupId=next(iter(api.ec2().groups[network])),
            IpPermissions=[{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
        ),
        "makes a network": lambda: other.ensure_network("third"),
        "takes the network away": lambda: other._networks.delete("demo", network),
        "looks after its own rights": lambda: other._roles.ensure("demo", (), scales=True),
        "reads its own rights": raw(
            own, "iam.get_role", region="us-east-1", RoleName=deployment.role(scales=True)
        ),
        "lists databases": raw(own, "rds.describe_db_instances"),
        "looks at another region": raw(own, "ec2.describe_instances", region="us-east-1"),
        "takes another role": raw(
            own,
            "sts.assume_role",
            RoleArn=f"arn:aws:iam::{api.account}:role/other",
            RoleSessionName="thief",
        ),
    }
    for what, act in tries.items():
        refused = trouble(act)
        assert refused.code in ("UnauthorizedOperation", "AccessDenied"), (what, refused)
    assert api.left() == before


def test_other_machines_may_do_nothing_at_all_but_in_their_buckets(deployment: Deployment) -> None:
    own = opened(deployment.api, deployment.keys(scales=False), inside=True)
    for act in (
        lambda: own.machines("demo"),
        lambda: own.ensure_machine(spec(deployment.network.id, "web2")),
        raw(own, "ec2.terminate_instances", InstanceIds=[deployment.machines["web1"]]),
        raw(own, "route53.list_hosted_zones_by_name", region="us-east-1"),
    ):
        assert trouble(act).code in ("UnauthorizedOperation", "AccessDenied")


@pytest.mark.parametrize("scales", [False, True])
def test_a_machine_reaches_its_own_buckets_alone(deployment: Deployment, scales: bool) -> None:
    rights = deployment.rights(scales=scales)
    bucket = f"{bucket_prefix('demo')}{'a' * 16}"

    def may(action: str, resource: str) -> bool:
        return allowed(rights, Ask(f"s3:{action}", f"arn:aws:s3:::{resource}"))

    for own in (bucket, f"{bucket}-backups"):
        assert may("ListBucket", own)
        assert not may("DeleteBucket", own)
        assert not may("PutBucketPolicy", own)
        assert not may("DeleteObjectVersion", f"{own}/a")
        for action in ("GetObject", "PutObject", "DeleteObject"):
            assert may(action, f"{own}/uploads/a")
    for keys in ("product/a", "state/a"):
        assert may("GetObject", f"{bucket}/{keys}")
        assert not may("PutObject", f"{bucket}/{keys}")
    assert may("PutObject", f"{bucket}/autoscaler/fleet.json") is scales
    for other in (f"{bucket_prefix('demo2')}{'a' * 16}", f"{bucket}x", "another", f"{bucket}-x"):
        assert not may("ListBucket", other)
        assert not may("GetObject", f"{other}/a")
    assert not may("ListAllMyBuckets", "*")


def test_an_autoscaler_points_at_webservers_and_changes_no_other_name(
    deployment: Deployment,
) -> None:
    with Route53Emulator(keys=deployment.api.keys) as served:
        zone = served.add_zone("example.org")

        def asks(text: str) -> Route53:
            server = Route53("example.org", Secret(text), url=served.url, pause=lambda _s: None)
            server._zone()
            return server

        own = asks(deployment.keys(scales=True))
        record = RecordSet(HOST, ("192.0.2.1", "192.0.2.2"), 60)
        assert own.ensure_record("demo", record)
        assert served.values(zone, HOST, "A") == ["192.0.2.1", "192.0.2.2"]
        own.delete_record("demo", HOST)
        assert served.values(zone, HOST, "A") == []
        with pytest.raises(ProviderError, match="AccessDenied") as refused:
            own.ensure_record("demo", RecordSet("mail.example.org", ("192.0.2.1",), 60))
        assert refused.value.code == "AccessDenied"
        values = [{"Value": "10 mail.example.net"}]
        mail = {"Name": f"{HOST}.", "Type": "MX", "TTL": 60, "ResourceRecords": values}
        with pytest.raises(ProviderError, match="AccessDenied"):
            own._api.call(
                "route53.change_resource_record_sets",
                "take the site's mail",
                HostedZoneId=zone,
                ChangeBatch={"Changes": [{"Action": "CREATE", "ResourceRecordSet": mail}]},
            )
        with pytest.raises(ProviderError):
            asks(deployment.keys(scales=False))


def test_an_autoscaler_makes_health_checks_where_they_are_chosen_and_deletes_none(
    deployment: Deployment,
) -> None:
    record = RecordSet(HOST, ("192.0.2.1", "192.0.2.2"), 60, health=Health(HOST, "/"))
    with Route53Emulator(keys=deployment.api.keys) as served:
        served.add_zone("example.org")

        def asks(text: str) -> Route53:
            return Route53("example.org", Secret(text), url=served.url, pause=lambda _s: None)

        own = asks(deployment.keys(scales=True))
        with pytest.raises(ProviderError, match="AccessDenied"):
            own.ensure_record("demo", record)
        assert served.checks.held == {}
        builder = opened(deployment.api, names=(HOST, marker_of(HOST)), health_checked=True)
        builder.ensure_machine(spec(deployment.network.id, "scaler1", role=Role.AUTOSCALER))
        assert own.ensure_record("demo", record)
        assert own.ensure_record("demo", replace(record, addresses=("192.0.2.3",)))
        assert served.checks.asked() == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
        with pytest.raises(ProviderError, match="AccessDenied"):
            own.sweep("demo")
        assert asks("AKIDGOOD:a-secret-key").sweep("demo") == 2
        assert served.checks.asked() == ["192.0.2.3"]


def test_what_is_not_known_of_a_policy_is_an_error() -> None:
    ask = Ask("s3:GetObject", "arn:aws:s3:::a/b")
    one = aws_policy.allow("A", ["s3:Get*"], ["arn:aws:s3:::a/?"])
    assert allowed([one], ask)
    assert not allowed([one, {**one, "Effect": "Deny"}], ask)
    assert not allowed([], ask)
    for unknown in ({"NotAction": "x"}, {"Condition": {"StringNotLike": {"a": "b"}}}):
        with pytest.raises(NotImplementedError):
            allowed([{**one, **unknown}], ask)
    assert aws_asks.of_route53("GetChange", "/2013-04-01/change/C1", b"")[0].resource == "*"
