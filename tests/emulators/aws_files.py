"""Amazon's EFS: moto's, and what moto does not have: names of operations, states that take time,
and that what is not there yet cannot be reached."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import botocore.session
from moto.backends import get_backend

SERVICE = "elasticfilesystem"


@cache
def _operations() -> list[tuple[str, re.Pattern[str], str]]:
    model = botocore.session.get_session().get_service_model("efs")
    found = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        pattern = re.sub(r"{\w+}", r"[^/]+", http["requestUri"])
        found.append((http["method"], re.compile(f"{pattern}/?$"), name))
    return found


def operation(method: str, path: str) -> str:
    """Return the name of the operation that a request is, "" for none."""
    return next((n for m, p, n in _operations() if m == method and p.match(path)), "")


class Refused(Exception):
    """What EFS refuses: code and message."""


class Files:
    """File systems and mount targets of one account and region; what is under way is done after it
    was asked for `steps` times."""

    def __init__(self, account: str, region: str, steps: int) -> None:
        self.backend: Any = get_backend("efs")[account][region]
        self._steps = steps
        self._coming: dict[str, int] = {}
        self._going: dict[str, int] = {}
        self._gone: set[str] = set()

    def before(self, action: str, path: str, asked: dict[str, Any]) -> bool:
        """Refuse what EFS would; True: the request is dealt with."""
        last = path.rstrip("/").rpartition("/")[2]
        if action in ("CreateMountTarget", "PutFileSystemPolicy"):
            identity = asked.get("FileSystemId") or path.split("/")[-2]
            if identity in self._coming:
                raise Refused("IncorrectFileSystemLifeCycleState", f"{identity} is not available")
        if action == "DescribeFileSystems" and asked.get("CreationToken") in self._gone:
            raise Refused("FileSystemNotFound", "it is gone")
        if action == "DeleteFileSystem" and last in self.backend.file_systems_by_id:
            known = self.backend.file_systems_by_id[last]
            if not known.number_of_mount_targets:
                self._gone.add(known.creation_token)
        if action == "DeleteMountTarget" and last in self.backend.mount_targets_by_id:
            self._going.setdefault(last, self._steps)
            return True
        return False

    def after(self, action: str, body: Any) -> Any:
        """Return the answer with the states that things have."""
        if action == "CreateFileSystem":
            self._gone.discard(body["CreationToken"])
            self._coming[body["FileSystemId"]] = self._steps
        elif action == "CreateMountTarget":
            self._coming[body["MountTargetId"]] = self._steps
        if not action.startswith(("Create", "DescribeFileSystems", "DescribeMountTargets")):
            return body
        body = json.loads(json.dumps(body))
        for item in body.get("FileSystems") or body.get("MountTargets") or [body]:
            if action == "DescribeFileSystems" or "MountTargetId" not in item:
                identity = item.get("FileSystemId", "")
            else:
                identity = item["MountTargetId"]
            for states, name in ((self._coming, "creating"), (self._going, "deleting")):
                if identity in states:
                    item["LifeCycleState"] = name
                    self._pass(states, identity, bool(action.startswith("Describe")))
        return body

    def _pass(self, states: dict[str, int], identity: str, asked: bool) -> None:
        states[identity] -= asked
        if states[identity] >= 0:
            return
        del states[identity]
        if states is self._going:
            self.backend.delete_mount_target(identity)

    def uses(self, thing: str) -> bool:
        """Say whether a mount target uses a security group or a subnet."""
        targets = self.backend.mount_targets_by_id.values()
        return any(thing in (t.subnet_id, *(t.security_groups or ())) for t in targets)

    def left(self) -> dict[str, int]:
        """Count what is there."""
        return {
            "file systems": len(self.backend.file_systems_by_id),
            "mount targets": len(self.backend.mount_targets_by_id),
        }
