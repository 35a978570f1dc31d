"""The IAM policy of autoscalers: what a leader does, on what is the deployment's. Data.

They rent webservers with the webservers' own role, and end them; they cannot touch the database,
the network, or a firewall, nor give rights to anyone. Where IAM can tell, it is by tag, by region,
and by the very names of the DNS records.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wizard.providers import aws_policy
from wizard.providers.aws_policy import allow, document
from wizard.providers.aws_values import TAG, TAG_ROLE
from wizard.rules import Role

_LOOK = ("Images", "Instances", "SecurityGroups", "Snapshots", "Subnets")
_MADE = ("instance", "network-interface", "volume")
_CHANGE = "route53:ChangeResourceRecordSets"
# not to delete them: IAM tells one from another by its id alone (no tag, no condition key), and a
# policy written at the deploy cannot name the ids of those that autoscalers make later
_CHECKS = (allow("Watch", ["route53:CreateHealthCheck", "route53:ListHealthChecks"], ["*"]),)


def for_autoscalers(
    deployment: str,
    region: str,
    account: str,
    partition: str,
    *,
    machines: str,
    publishers: Sequence[str],
    names: Sequence[str],
    health_checked: bool = False,
) -> str:
    """Return the policy as JSON text. `machines` is the name of the webservers' role, `publishers`
    are the accounts whose images they may boot, beside this one; `names` the records they may
    change at Route 53, with `health_checked` health checks for them too."""

    def some(*kinds: str) -> list[str]:
        own = {"image", "snapshot"}  # of no account, as EC2 names them
        return [
            f"arn:{partition}:ec2:{region}:{'' if kind in own else account}:{kind}/*"
            for kind in kinds
        ]

    def tagged(where: str, *, webserver: bool = True) -> dict[str, Any]:
        wanted = {f"aws:{where}Tag/{TAG}": deployment}
        if webserver:
            wanted[f"aws:{where}Tag/{TAG_ROLE}"] = Role.WEBSERVER.value
        return {"StringEquals": wanted}

    here = {"StringEquals": {"aws:RequestedRegion": region}}
    ours = tagged("Resource", webserver=False)
    fresh = tagged("Request", webserver=False)
    service = {"StringEquals": {"iam:PassedToService": aws_policy.service_of(partition)}}
    owners = {"StringEquals": {"ec2:Owner": [*publishers, account]}}
    making = {"StringEquals": {"ec2:CreateAction": ["RunInstances", "CreateImage"]}}
    run, role = ["ec2:RunInstances"], f"arn:{partition}:iam::{account}:role/{machines}"
    copies = some("image", "snapshot")
    return document(
        [
            *aws_policy.of_bucket(deployment, partition, aws_policy.NOT_AUTOSCALERS),
            allow("Look", [f"ec2:Describe{name}" for name in _LOOK], ["*"], here),
            allow("Rent", run, some(*_MADE), tagged("Request")),
            allow("RentBehind", run, some("security-group"), tagged("Resource")),
            allow("RentIn", run, some("subnet"), ours),
            # nothing by itself: the instance that it asks for has to be allowed as well
            allow("RentSpare", run, some("spot-instances-request")),
            allow("RentFrom", run, some("image"), owners),
            allow("Tag", ["ec2:CreateTags"], some(*_MADE, "image", "snapshot"), making),
            allow("WithRole", ["iam:PassRole"], [role], service),
            allow("End", ["ec2:TerminateInstances"], some("instance"), tagged("Resource")),
            allow("Copy", ["ec2:CreateImage"], some("instance"), tagged("Resource")),
            allow("CopyInto", ["ec2:CreateImage"], copies, fresh),
            allow("Forget", ["ec2:DeregisterImage", "ec2:DeleteSnapshot"], copies, ours),
            *_names(names, partition),
            *(_CHECKS if names and health_checked else ()),
        ]
    )


def _names(names: Sequence[str], partition: str) -> list[dict[str, Any]]:
    if not names:
        return []
    zones = [f"arn:{partition}:route53:::hostedzone/*"]
    # narrower than a zone, and no zone's id is needed
    only = {
        "ForAllValues:StringEquals": {
            f"{_CHANGE}NormalizedRecordNames": list(names),
            f"{_CHANGE}RecordTypes": ["A", "TXT"],
        }
    }
    read = ["route53:GetHostedZone", "route53:ListResourceRecordSets"]
    return [
        allow("FindZone", ["route53:GetChange", "route53:ListHostedZonesByName"], ["*"]),
        allow("ReadZone", read, zones),
        allow("Point", ["route53:ChangeResourceRecordSets"], zones, only),
    ]
