"""Images at EC2: those that Debian and Ubuntu publish, and our own of machines' disks."""

from __future__ import annotations

import re
from typing import Any

from wizard.errors import ProviderError, TransientError
from wizard.providers import aws_values as values
from wizard.providers.aws_api import Api, is_missing, wait_until
from wizard.providers.base import Resource, ResourceKind

# https://wiki.debian.org/Cloud/AmazonEC2Image: the account of Debian's cloud team
_DEBIAN = "136693071363"
# https://documentation.ubuntu.com/aws/, "Find Ubuntu images": Canonical's account
_CANONICAL = "099720109477"
# name in answers -> the publisher's account and how it names its images; the newest is taken
_PUBLISHED = {
    "debian-12": (_DEBIAN, "debian-12-amd64-*"),
    "debian-13": (_DEBIAN, "debian-13-amd64-*"),
    "ubuntu-24.04": (_CANONICAL, "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*"),
}
PUBLISHERS = (_DEBIAN, _CANONICAL)
"""The accounts whose images are booted."""
_OWN_ID = re.compile(r"ami-[0-9a-f]+")
_COPY = 3600.0  # seconds that a copy of a disk may take


class Images:
    """Finds and makes images; `names` are those that answers may hold."""

    names = tuple(_PUBLISHED)

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: dict[str, dict[str, Any]] = {}

    def published(self) -> tuple[str, ...]:
        """Return the names in answers that the region has an image for."""
        there = self._newest(self.names)
        return tuple(name for name in self.names if name in there)

    def find(self, name: str) -> dict[str, Any]:
        """Return the image of that name in answers, or with that id. Asked for once a run, so that
        all its machines are of one image."""
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> dict[str, Any]:
        nothing = ProviderError(
            f"there is no image {name!r} at EC2 in {self._api.region}",
            where="machines.os",
            cure=f"use one of {', '.join(_PUBLISHED)}, or a snapshot's id",
        )
        if name in _PUBLISHED:
            found = self._newest((name,))
            if name not in found:
                raise nothing
            return found[name]
        if not _OWN_ID.fullmatch(name):
            raise nothing
        try:
            answer = self._api.call("ec2.describe_images", f"find {name}", ImageIds=[name])
        except ProviderError as error:
            if is_missing(error):
                raise nothing from error
            raise
        if not answer.get("Images"):
            raise nothing
        return dict(answer["Images"][0])

    def _newest(self, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        patterns = {name: _PUBLISHED[name] for name in names}
        listed = self._api.pages(
            "ec2.describe_images",
            "Images",
            "find the images of Debian and Ubuntu",
            Owners=sorted({owner for owner, _ in patterns.values()}),
            Filters=[
                {"Name": "name", "Values": [pattern for _, pattern in patterns.values()]},
                {"Name": "state", "Values": ["available"]},
                {"Name": "architecture", "Values": ["x86_64"]},
                {"Name": "root-device-type", "Values": ["ebs"]},
            ],
        )
        found: dict[str, dict[str, Any]] = {}
        for image in sorted(listed, key=lambda image: str(image.get("CreationDate"))):
            for name, (owner, pattern) in patterns.items():
                # who publishes under that name elsewhere is not to be trusted
                if image.get("OwnerId") == owner and str(image.get("Name")).startswith(
                    pattern.rstrip("*")
                ):
                    found[name] = image
        return found

    # -- copies of disks ---------------------------------------------------------------------------

    def copies(self, deployment: str) -> list[Resource]:
        """Return the deployment's images, and snapshots that an image left when it was deleted."""
        images = self._own(deployment)
        snapshots = self._own_snapshots(deployment)
        used = {snapshot for image in images for snapshot in _snapshots(image)}
        found = [(str(image["ImageId"]), image) for image in images]
        found += [(str(s["SnapshotId"]), s) for s in snapshots if s["SnapshotId"] not in used]
        return [
            Resource(ResourceKind.SNAPSHOT, identity, values.tag(item, "Name"), deployment)
            for identity, item in found
        ]

    def _own(self, deployment: str) -> list[dict[str, Any]]:
        return self._api.pages(
            "ec2.describe_images",
            "Images",
            "list the images",
            Owners=["self"],
            Filters=values.ours(deployment),
        )

    def copy(self, instance: dict[str, Any], name: str) -> Resource:
        """Keep an image of an instance's disk; it goes on running."""
        deployment = values.tag(instance, values.TAG)
        full = values.name_of(deployment, name)
        doing = f"copy the disk of {instance['InstanceId']}"
        found = self._called(deployment, full)
        if found is None:
            try:
                made = self._api.call(
                    "ec2.create_image",
                    doing,
                    InstanceId=instance["InstanceId"],
                    Name=full,
                    NoReboot=True,
                    TagSpecifications=[
                        *values.tagged("image", deployment, name),
                        *values.tagged("snapshot", deployment, name),
                    ],
                )
            except ProviderError as error:
                if error.code != "InvalidAMIName.Duplicate":
                    raise
                raise TransientError(
                    error.what, why=error.why, cure="run again in a moment", code=error.code
                ) from error
            identity = str(made["ImageId"])
        else:
            identity = str(found["ImageId"])
        wait_until(lambda: self._is_ready(identity, doing), doing, _COPY, self._api.pause)
        return Resource(ResourceKind.SNAPSHOT, identity, full, deployment)

    def _called(self, deployment: str, full: str) -> dict[str, Any] | None:
        return next((i for i in self._own(deployment) if i.get("Name") == full), None)

    def _is_ready(self, image: str, doing: str) -> bool:
        answer = self._api.call("ec2.describe_images", doing, fresh=True, ImageIds=[image])
        state = next((i.get("State") for i in answer.get("Images") or ()), "pending")
        if state not in ("pending", "available"):
            raise ProviderError(
                f"cannot {doing}: EC2 failed to",
                where=image,
                why=f"the image's state is {state}",
                cure="destroy it and run again; ask Amazon's support if it stays so",
            )
        return bool(state == "available")

    def delete(self, copy: Resource) -> None:
        """Delete an image with its snapshots, or a snapshot alone; what is gone is no error."""
        doing = f"delete {copy.name}"
        snapshots = [copy.id]
        if copy.id.startswith("ami-"):
            self._api.remove("ec2.deregister_image", doing, ImageId=copy.id)
            # by their name, not by the image's word: a run that was killed here finds them again
            named = {"Name": "tag:Name", "Values": [copy.name]}
            listed = self._own_snapshots(copy.deployment, named)
            snapshots = [str(snapshot["SnapshotId"]) for snapshot in listed]
        for snapshot in snapshots:
            self._api.remove("ec2.delete_snapshot", doing, SnapshotId=snapshot)

    def _own_snapshots(self, deployment: str, *filters: dict[str, Any]) -> list[dict[str, Any]]:
        return self._api.pages(
            "ec2.describe_snapshots",
            "Snapshots",
            "list the snapshots",
            OwnerIds=["self"],
            Filters=[*values.ours(deployment), *filters],
        )


def _snapshots(image: dict[str, Any]) -> list[str]:
    mapped = image.get("BlockDeviceMappings") or ()
    return [str(m["Ebs"]["SnapshotId"]) for m in mapped if (m.get("Ebs") or {}).get("SnapshotId")]
