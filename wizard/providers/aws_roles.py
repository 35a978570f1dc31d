"""The role that a deployment's machines have, so that no key to its bucket lies on any of them."""

from __future__ import annotations

from typing import Any

from wizard.errors import ProviderError
from wizard.providers import aws_policy
from wizard.providers import aws_values as values
from wizard.providers.aws_api import HOME, Api, is_missing

_POLICY = "bucket"
_EXISTS = "EntityAlreadyExists"


class Roles:
    """A role and an instance profile of one name for each deployment; IAM knows no regions, so
    the name does."""

    def __init__(self, api: Api, partition: str) -> None:
        self._api = api
        self._partition = partition

    def name(self, deployment: str) -> str:
        """Return what role and instance profile are called."""
        return values.name_of(deployment, self._api.region)

    def exists(self, deployment: str) -> bool:
        """Say whether anything of it is there."""
        name = self.name(deployment)
        return (
            self._get("iam.get_role", RoleName=name) is not None
            or self._get("iam.get_instance_profile", InstanceProfileName=name) is not None
        )

    def ensure(self, deployment: str) -> str:
        """Return the name of the instance profile, made with its role if missing."""
        name = self.name(deployment)
        tags = values.tags(deployment, self._api.region)
        role = self._get("iam.get_role", RoleName=name)
        if role is None:
            self._make(
                "iam.create_role",
                RoleName=name,
                AssumeRolePolicyDocument=aws_policy.trust(self._partition),
                Description=f"Machines of the Build USB deployment {deployment}",
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
            PolicyDocument=aws_policy.for_machines(deployment, self._partition),
        )
        profile = self._get("iam.get_instance_profile", InstanceProfileName=name)
        if profile is None:
            self._make("iam.create_instance_profile", InstanceProfileName=name, Tags=tags)
        if profile is None or not profile["InstanceProfile"].get("Roles"):
            self._make("iam.add_role_to_instance_profile", InstanceProfileName=name, RoleName=name)
        return name

    def delete(self, deployment: str) -> None:
        """Delete role and instance profile; what is gone already is no error."""
        name = self.name(deployment)
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
