"""Who we are to Amazon, and what we may do: the rights that the credentials lack, by name."""

from __future__ import annotations

from dataclasses import dataclass

from wizard.errors import ProviderError
from wizard.providers import aws_policy
from wizard.providers.aws_api import HOME, Api, is_forbidden, is_missing

_SIMULATE = "iam:SimulatePrincipalPolicy"


@dataclass(frozen=True)
class Caller:
    """The account (12 digits), its partition ("aws", "aws-cn", …) and the ARN of user or role."""

    account: str
    partition: str
    arn: str


def caller(api: Api) -> Caller:
    """Return whose credentials these are. Needs no right at all."""
    doing = "ask whose credentials these are"
    answer = api.call("sts.get_caller_identity", doing)
    arn = str(answer.get("Arn", ""))
    parts = arn.split(":", 5)
    if len(parts) != 6:
        raise api.senseless(doing, f"{arn!r} is no ARN")
    return Caller(str(answer.get("Account")), parts[1], arn)


def missing(api: Api, own: Caller) -> list[str]:
    """Return the IAM actions that the credentials lack, sorted; with `iam:SimulatePrincipalPolicy`
    among them alone, nothing more can be told."""
    if own.arn.endswith(":root"):
        return []
    found = set()
    for statement in aws_policy.statements(own.account, own.partition):
        # resources that exist for the sake of the question
        resources = [r.replace("*", "a") if r != "*" else r for r in statement["Resource"]]
        for resource in resources:
            actions = [a for a in statement["Action"] if _concerns(a, resource)]
            try:
                results = api.pages(
                    "iam.simulate_principal_policy",
                    "EvaluationResults",
                    "ask for the rights of the credentials",
                    region=HOME,
                    PolicySourceArn=_source(api, own),
                    ActionNames=actions,
                    ResourceArns=[resource],
                )
            except ProviderError as error:
                if is_forbidden(error) or is_missing(error) or error.code == "InvalidInput":
                    return [_SIMULATE]
                raise
            found |= {
                str(result["EvalActionName"])
                for result in results
                # what depends on more than we asked with is not held against them
                if result["EvalDecision"] != "allowed" and not result.get("MissingContextValues")
            }
    return sorted(found)


def _concerns(action: str, resource: str) -> bool:
    """Say whether an action of IAM is about roles or about instance profiles, as the resource."""
    if ":instance-profile/" in resource:
        return "InstanceProfile" in action
    if ":role/" in resource:
        return "InstanceProfile" not in action
    return True


def _source(api: Api, own: Caller) -> str:
    """Return the ARN that IAM knows: credentials of an assumed role have the session's."""
    head, _, rest = own.arn.partition(":assumed-role/")
    if not rest:
        return own.arn
    name = rest.split("/")[0]
    try:
        answer = api.call("iam.get_role", f"ask for the role {name}", region=HOME, RoleName=name)
    except ProviderError as error:
        if not (is_forbidden(error) or is_missing(error)):
            raise
        return f"{head.replace(':sts:', ':iam:')}:role/{name}"
    return str(answer["Role"]["Arn"])
