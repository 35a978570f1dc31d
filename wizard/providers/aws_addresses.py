"""Elastic addresses at EC2: a webserver's address that survives its instance.

They carry the deployment's tag. One costs what any public address costs, with an instance or
without.
"""

from __future__ import annotations

from typing import Any

from wizard.providers import aws_values as values
from wizard.providers.aws_api import Api


class Addresses:
    """Elastic addresses of deployments."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def all(self, deployment: str) -> list[dict[str, Any]]:
        """Return the addresses of a deployment."""
        answer = self._api.call(
            "ec2.describe_addresses",
            "list the elastic addresses",
            Filters=values.ours(deployment),
        )
        # what is released is by tag: the filter is looked at again
        found = answer.get("Addresses") or ()
        ours = [item for item in found if values.tag(item, values.TAG) == deployment]
        return sorted(ours, key=lambda item: str(item["AllocationId"]))

    def ensure(self, deployment: str, instance: str, name: str) -> str:
        """Return the address that leads to the instance, the deployment's only one that keeps its
        address: one that it has, one of before, or a new one. The caller makes sure that nobody
        else does the same."""
        known = self.all(deployment)
        own = [item for item in known if item.get("InstanceId") == instance]
        # an instance that is gone may still be told as having one
        free = sorted(
            (item for item in known if item not in own),
            key=lambda item: bool(item.get("AssociationId")),
        )
        address = next(iter([*own, *free]), None) or self._allocate(deployment, name)
        if not own:
            self._api.call(
                "ec2.associate_address",
                f"give {name} its address",
                fresh=True,
                AllocationId=address["AllocationId"],
                InstanceId=instance,
                AllowReassociation=True,
            )
        surplus = [item for item in free if item is not address and not item.get("AssociationId")]
        # what lost answers left costs as much as one that is used
        for item in surplus:
            self.release(str(item["AllocationId"]), str(item["PublicIp"]))
        return str(address["PublicIp"])

    def release(self, allocation: str, address: str) -> None:
        """Give an address back; what is gone already is no error."""
        self._api.remove("ec2.release_address", f"give {address} back", AllocationId=allocation)

    def _allocate(self, deployment: str, name: str) -> dict[str, Any]:
        return self._api.call(
            "ec2.allocate_address",
            f"reserve an address for {name}",
            Domain="vpc",
            TagSpecifications=values.tagged("elastic-ip", deployment, name),
        )
