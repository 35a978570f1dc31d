"""The shared folder of a deployment at EFS: one encrypted file system, reached in each zone.

Its creation token makes it once however often it is asked for, and finds it again. Who reaches it
is said twice: its security group lets in the deployment's machines alone, its policy nobody without
TLS. Access points are not used: one that sets the user would let any process of a machine write
what all machines read.
"""

from __future__ import annotations

import json
from typing import Any

from wizard.errors import ProviderError
from wizard.providers import aws_policy
from wizard.providers import aws_values as values
from wizard.providers.aws_api import Api, is_missing, wait_until
from wizard.providers.aws_network import Networks
from wizard.providers.base import FileSystem

PORT = 2049
_NAME = "shared-config"
_BIRTH, _DEATH = 600.0, 600.0  # seconds; a mount target takes about 90
_DNS = {"aws-cn": "amazonaws.com.cn"}


class FileSystems:
    """File systems of deployments; at most one each."""

    def __init__(self, api: Api, networks: Networks) -> None:
        self._api = api
        self._networks = networks

    def find(self, deployment: str) -> dict[str, Any] | None:
        """Return the deployment's file system as it is now; None if there is none."""
        for item in self._listed(
            "efs.describe_file_systems",
            "FileSystems",
            "look for the file system",
            CreationToken=values.name_of(deployment),
        ):
            if item.get("LifeCycleState") == "deleted":
                continue
            if values.tag(item, values.TAG) != deployment:
                raise ProviderError(
                    f"a file system made as {values.name_of(deployment)} is not this deployment's",
                    where=str(item.get("FileSystemId")),
                    why=f"it carries no tag {values.TAG}={deployment}",
                    cure="give it back its tag; or look what it is for and delete it",
                )
            return item
        return None

    def ensure(self, deployment: str) -> FileSystem:
        """Return the file system once each zone of the deployment's network reaches it."""
        found: dict[str, Any] = {}

        def is_there() -> bool:
            known = self.find(deployment)
            if known is None:
                self._create(deployment)
                return False
            found.update(known)
            return known.get("LifeCycleState") == "available"

        wait_until(is_there, "creating the file system", _BIRTH, self._api.pause)
        identity, arn = str(found["FileSystemId"]), str(found["FileSystemArn"])
        self._ensure_policy(identity, aws_policy.for_files(arn))
        vpc = self._networks.find(deployment)
        if vpc is None:
            raise ProviderError(
                "the file system has no network to be reached in",
                where=identity,
                cure="run `build-usb deploy` again",
            )
        subnets = self._networks.subnets(str(vpc["VpcId"]))
        group = self._networks.ensure_files_group(deployment, str(vpc["VpcId"]), _NAME, PORT)
        for subnet in self._unreached(identity, subnets):
            self._reach(identity, subnet, group)
        wait_until(
            lambda: not self._unreached(identity, subnets, "available"),
            f"reaching the file system {identity}",
            _BIRTH,
            self._api.pause,
        )
        ranges = {str(s["SubnetId"]): str(s["CidrBlock"]) for s in subnets}
        domain = _DNS.get(arn.split(":")[1], "amazonaws.com")
        return FileSystem(
            id=identity,
            host=f"{identity}.efs.{self._api.region}.{domain}",
            port=PORT,
            targets=tuple(
                sorted(
                    (ranges[str(t["SubnetId"])], str(t["IpAddress"]))
                    for t in self._targets(identity)
                    if str(t["SubnetId"]) in ranges
                )
            ),
        )

    def delete(self, deployment: str, identity: str) -> None:
        """Delete a file system with what reaches it, and return when it is gone."""
        doing = f"delete the file system {identity}"

        def has_no_targets() -> bool:
            return not self._targets(identity)

        for target in self._targets(identity):
            if target.get("LifeCycleState") not in ("deleting", "deleted"):
                self._api.remove(
                    "efs.delete_mount_target", doing, MountTargetId=target["MountTargetId"]
                )
        # EFS refuses to delete what is still reached
        wait_until(has_no_targets, f"closing the file system {identity}", _DEATH, self._api.pause)
        self._api.remove("efs.delete_file_system", doing, FileSystemId=identity)
        wait_until(lambda: self.find(deployment) is None, doing, _DEATH, self._api.pause)

    def _create(self, deployment: str) -> None:
        try:
            self._api.call(
                "efs.create_file_system",
                "create the file system",
                CreationToken=values.name_of(deployment),
                Encrypted=True,
                PerformanceMode="generalPurpose",
                # what is stored is all that is paid for
                ThroughputMode="bursting",
                Tags=values.tags(deployment, _NAME),
            )
        except ProviderError as error:
            # made before, and not listed yet
            if error.code != "FileSystemAlreadyExists":
                raise

    def _ensure_policy(self, identity: str, wanted: str) -> None:
        doing = f"set the policy of the file system {identity}"
        try:
            answer = self._api.call("efs.describe_file_system_policy", doing, FileSystemId=identity)
            there = json.loads(answer["Policy"])
        except ProviderError as error:
            if error.code != "PolicyNotFound":
                raise
            there = None
        except (KeyError, ValueError) as error:
            raise self._api.senseless(doing, f"its policy: {error}") from error
        if there != json.loads(wanted):
            self._api.call(
                "efs.put_file_system_policy", doing, FileSystemId=identity, Policy=wanted
            )

    def _targets(self, identity: str) -> list[dict[str, Any]]:
        """Return what reaches a file system; nothing does where it is gone."""
        return self._listed(
            "efs.describe_mount_targets",
            "MountTargets",
            f"ask who reaches the file system {identity}",
            FileSystemId=identity,
        )

    def _listed(self, operation: str, key: str, doing: str, **what: Any) -> list[dict[str, Any]]:
        """Return a list; EFS answers with 404 where what is asked about is gone."""
        try:
            return self._api.pages(operation, key, doing, **what)
        except ProviderError as error:
            if is_missing(error):
                return []
            raise

    def _unreached(
        self, identity: str, subnets: list[dict[str, Any]], state: str = ""
    ) -> list[dict[str, Any]]:
        """Return the subnets without a mount target (of that state)."""
        targets = [t for t in self._targets(identity) if state in ("", t.get("LifeCycleState"))]
        reached = {t["SubnetId"] for t in targets if t.get("LifeCycleState") != "deleted"}
        return [subnet for subnet in subnets if subnet["SubnetId"] not in reached]

    def _reach(self, identity: str, subnet: dict[str, Any], group: str) -> None:
        try:
            self._api.call(
                "efs.create_mount_target",
                f"reach the file system {identity} in {subnet['AvailabilityZone']}",
                fresh=True,
                FileSystemId=identity,
                SubnetId=subnet["SubnetId"],
                SecurityGroups=[group],
            )
        except ProviderError as error:
            # made before, and not listed yet
            if error.code != "MountTargetConflict":
                raise
