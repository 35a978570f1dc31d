"""The roles that a deployment's machines have, so that no key to its bucket, nor to the account,
lies on any of them."""

from __future__ import annotations

from typing import Any

from wizard.errors import ProviderError
from wizard.providers import aws_policy
from wizard.providers import aws_values as values
from wizard.providers.aws_api import HOME, Api, is_missing
from wizard.providers.aws_images import PUBLISHERS
from wizard.providers.aws_rights import Caller
from wizard.providers.aws_scaling_policy import for_autoscalers
from wizard.rules import Role

_POLICY = "rights"
_EXISTS = "EntityAlreadyExists"


class Roles:
    """A deployment's two roles, each with an instance profile of its name: that of autoscalers
    (`scales`), and that of all other machines. IAM knows no regions, so the names do."""

    def __init__(self, api: Api, owner: Caller) -> None:
        self._api = api
        self._owner = owner

    def name(self, deployment: str, *, scales: bool = False) -> str:
        """Return what role and instance profile are called."""
        more = (Role.AUTOSCALER.value,) if scales else ()
        return values.name_of(deployment, self._api.region, *more)

    def exists(self, deployment: str) -> bool:
        """Say whether anything of them is there."""
        return any(
            self._get("iam.get_role", RoleName=name) is not None
            or self._get("iam.get_instance_profile", InstanceProfileName=name) is not None
            for name in self._names(deployment)
        )

    def _names(self, deployment: str) -> tuple[str, ...]:
        # what is named in the other's rights goes last
        return self.name(deployment, scales=True), self.name(deployment)

    def ensure(
        self,
        deployment: str,
        names: tuple[str, ...],
        *,
        scales: bool = False,
        health_checked: bool = False,
    ) -> None:
        """Make sure of a role, its rights and its instance profile; `names` are the records that
        autoscalers may change at Route 53, with `health_checked` health checks for them too."""
        name = self.name(deployment, scales=scales)
        tags = values.tags(deployment, *name.split(".")[2:])
        whose = "Autoscalers" if scales else "Machines"
        role = self._get("iam.get_role", RoleName=name)
        if role is None:
            self._make(
                "iam.create_role",
                RoleName=name,
                AssumeRolePolicyDocument=aws_policy.trust(self._owner.partition),
                Description=f"{whose} of the Build USB deployment {deployment}",
                Tags=tags,
            )
        elif values.tag(role["Role"], values.TAG) != deployment:
            raise ProviderError(
                f"a role called {name} exists and is not this deployment's",
                where=str(role["Role"].get("Arn")),
                why=f"it carries no tag {values.TAG}={deployment}",
                cure="look what it is for; delete it, or rename the deployment",
            )
        self._make(
            "iam.put_role_policy",
            RoleName=name,
            PolicyName=_POLICY,
            PolicyDocument=self._scaling_rights(deployment, names, health_checked)
            if scales
            else aws_policy.for_machines(deployment, self._owner.partition),
        )
        profile = self._get("iam.get_instance_profile", InstanceProfileName=name)
        if profile is None:
            self._make("iam.create_instance_profile", InstanceProfileName=name, Tags=tags)
        if profile is None or not profile["InstanceProfile"].get("Roles"):
            self._make("iam.add_role_to_instance_profile", InstanceProfileName=name, RoleName=name)

    def _scaling_rights(self, deployment: str, names: tuple[str, ...], health_checked: bool) -> str:
        return for_autoscalers(
            deployment,
            self._api.region,
            self._owner.account,
            self._owner.partition,
            machines=self.name(deployment),
            publishers=PUBLISHERS,
            names=names,
            health_checked=health_checked,
        )

    def delete(self, deployment: str) -> None:
        """Delete roles and instance profiles; what is gone already is no error."""
        for name in self._names(deployment):
            both = {"InstanceProfileName": name, "RoleName": name}
            self._gone("iam.remove_role_from_instance_profile", **both)
            self._gone("iam.delete_instance_profile", InstanceProfileName=name)
            self._gone("iam.delete_role_policy", RoleName=name, PolicyName=_POLICY)
            self._gone("iam.delete_role", RoleName=name)

    def _get(self, operation: str, **what: Any) -> dict[str, Any] | None:
        try:
            return self._api.call(operation, "find the machines' role", region=HOME, **what)
        except ProviderError as error:
            if is_missing(error):
                return None
            raise

    def _make(self, operation: str, **what: Any) -> None:
        doing = "make the machines' role"
        try:
            self._api.call(operation, doing, region=HOME, fresh=True, **what)
        except ProviderError as error:
            # made before, and not seen yet
            twice = operation.endswith("add_role_to_instance_profile")
            if error.code != _EXISTS and not (twice and error.code == "LimitExceeded"):
                raise

    def _gone(self, operation: str, **what: Any) -> None:
        self._api.remove(operation, "delete the machines' role", region=HOME, **what)
