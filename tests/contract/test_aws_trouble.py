"""What goes wrong at Amazon: deletes, full zones, quotas, answers that make no sense."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.contract import at_aws
from tests.contract.at_aws import (
    ANSWERS,
    REGION,
    WHOLE,
    deploy,
    opened,
    spec,
    trouble,
)
from tests.contract.scenario import BUILDER, destroy
from tests.emulators.aws import DEBIAN, STRANGER, TOKEN, AwsEmulator
from tests.emulators.aws_answers import AwsRequest
from tests.emulators.server import Reply
from wizard.answers import loader
from wizard.errors import (
    AnswersError,
    ProviderError,
    TransientError,
)
from wizard.plan.build import build
from wizard.providers.aws import AwsProvider
from wizard.providers.base import (
    Account,
    ResourceKind,
)
from wizard.secrets import Secret


@pytest.fixture
def api() -> Iterator[AwsEmulator]:
    with at_aws.account() as emulator:
        yield emulator


@pytest.fixture
def provider(api: AwsEmulator) -> AwsProvider:
    return opened(api)


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


def test_quotas_of_spot_and_of_elastic_addresses_count_where_they_are_wanted(
    api: AwsEmulator, provider: AwsProvider
) -> None:
    plain = loader.loads(ANSWERS, "answers")
    reserved = plain.model_copy(
        update={"provider": plain.provider.model_copy(update={"reserved_address": True})}
    )
    wanted = reserved.model_copy(
        update={"machines": plain.machines.model_copy(update={"spot": True})}
    )
    opened_for = opened(api, spot=True, reserved=True)
    network = opened_for.ensure_network("demo").id
    opened_for.ensure_machine(spec(network, spot=True))
    # the webserver is no part of what is rented on demand, and what is its own does not count
    api.vcpu_limit, api.spot_limit, api.address_limit = 2, 2, 1
    build(wanted, opened_for.facts(), "bucket")
    with pytest.raises(AnswersError) as caught:
        build(wanted.model_copy(update={"name": "other"}), opened_for.facts(), "bucket")
    assert len(caught.value.problems) == 2
    spare = "Spot Instance Requests: found 2 vCPUs of spare capacity needed; allowed: 0 (of 2, 2"
    assert spare in caught.value.why
    assert "Elastic IPs: found 1 reserved addresses needed; allowed: 0" in caught.value.why
    # who wants none of them is not kept back
    api.vcpu_limit = 4
    asked = len(api.calls("GetServiceQuota"))
    build(plain.model_copy(update={"name": "other"}), opened(api).facts(), "bucket")
    assert len(api.calls("GetServiceQuota")) == asked + 2
    with pytest.raises(ProviderError, match="MaxSpotInstanceCountExceeded"):
        opened_for.ensure_machine(spec(network, "web2", spot=True))
    with pytest.raises(ProviderError, match="AddressLimitExceeded"):
        opened_for._addresses._allocate("demo", "web2")


def test_a_quota_that_is_reached_after_all_is_said(api: AwsEmulator, provider: AwsProvider) -> None:
    api.vpc_limit = 1
    with pytest.raises(ProviderError, match="VpcLimitExceeded") as caught:
        provider.ensure_network("demo")
    assert "Service Quotas" in caught.value.cure
    api.vpc_limit, api.vcpu_limit = 5, 1
    network = provider.ensure_network("demo")
    with pytest.raises(ProviderError, match="VcpuLimitExceeded"):
        provider.ensure_machine(spec(network.id))


class Careless(AwsEmulator):
    """Answers with images of whoever, not only of those who were asked for."""

    def _ec2(self, request: AwsRequest) -> Reply:
        for key in [key for key in request.form if key.startswith("Owner.")]:
            del request.form[key]
        return super()._ec2(request)


def test_a_strangers_image_is_never_taken(api: AwsEmulator, provider: AwsProvider) -> None:
    """Anybody may publish an image under Debian's names: where Debian has none, there is none."""
    ec2 = api.ec2(REGION)
    for image in [i for i in ec2.amis.values() if i.owner_id != STRANGER]:
        if image.name.startswith("debian-13-amd64-"):
            del ec2.amis[image.id]
    theirs = [i.name for i in ec2.amis.values() if i.owner_id == STRANGER]
    assert theirs == ["debian-13-amd64-20261111-6666"]
    assert "debian-13" not in provider.facts().images
    network = provider.ensure_network("demo").id
    with pytest.raises(ProviderError, match="no image 'debian-13'"):
        provider.ensure_machine(spec(network))
    (asked,) = {r.form["Owner.1"] for r in api.calls("DescribeImages") if "Owner.2" not in r.form}
    assert asked == DEBIAN
    assert not api.calls("RunInstances")


def test_a_strangers_image_is_not_taken_unasked_either() -> None:
    with Careless() as api:
        for image in api.ec2(REGION).amis.values():
            image.owner_id = STRANGER
        assert opened(api).facts().images == ()
        assert len(api.calls("DescribeImages")) == 1


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
    account = Account(Secret(TOKEN), REGION, lambda: BUILDER, api.url)
    api.refuse("ec2:", "RequestLimitExceeded", 503, times=4)
    AwsProvider(account, pause=pauses.append).machines("demo")
    assert len(pauses) == 4
    assert pauses == sorted(pauses)
    api.refuse("ec2:", "RequestLimitExceeded", 503, times=100)
    with pytest.raises(TransientError):
        AwsProvider(account, pause=pauses.append).machines("demo")
