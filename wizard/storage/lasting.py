"""Whether what is put into a bucket stays there: its lifecycle rules, and who may delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from wizard.providers.base import ObjectStorage
from wizard.storage.s3 import client_of, code_of, errors

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import LifecycleRuleOutputTypeDef

# a repository of restic; locks may go
_NEEDED = ("config", "data/", "index/", "keys/", "snapshots/")
# out of these nothing can be read at once
_ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")
_NO_RULES = ("NoSuchLifecycleConfiguration", "NotImplemented", "MethodNotAllowed")
_NO_LOCK = ("ObjectLockConfigurationNotFoundError", "NotImplemented", "MethodNotAllowed",
            "InvalidRequest", "NoSuchObjectLockConfiguration")  # fmt: skip
_REFUSED = ("AccessDenied", "403")
_NOT_THERE = "data/00/" + "0" * 64


def expiring(bucket: str, storage: ObjectStorage) -> list[str]:
    """Return in words the bucket's own rules that would take parts of a repository away."""
    with errors(bucket, "read its lifecycle rules"):
        try:
            rules = client_of(storage).get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        except ClientError as error:
            if code_of(error) in _NO_RULES:
                return []
            raise
    return [found for rule in rules if (found := _harm(rule))]


def _harm(rule: LifecycleRuleOutputTypeDef) -> str:
    chosen = rule.get("Filter") or {}
    both = chosen.get("And") or {}
    if chosen.get("Tag") or both.get("Tags"):
        return ""  # restic tags nothing
    prefix = chosen.get("Prefix") or both.get("Prefix") or rule.get("Prefix") or ""
    meant = [n for n in _NEEDED if n.startswith(prefix) or prefix.startswith(n)]
    if rule["Status"] != "Enabled" or not meant:
        return ""
    name = rule.get("ID") or "without a name"
    where = f"below {prefix}" if prefix else "of all there is"
    ends = rule.get("Expiration") or {}
    if ends.get("Days") or ends.get("Date"):
        when = f"after {ends['Days']} days" if ends.get("Days") else f"on {ends.get('Date')}"
        return f"the rule {name} deletes {where} {when}"
    moved = [t for t in rule.get("Transitions") or [] if t.get("StorageClass") in _ARCHIVES]
    if moved:
        return f"the rule {name} moves {where} to {moved[0].get('StorageClass')}"
    return ""


def open_to_loss(bucket: str, storage: ObjectStorage) -> str:
    """Return how this key could take away for good what is in the bucket, empty if it could not.
    Tried with an object that is not there: a key without the right is refused all the same."""
    client = client_of(storage)
    with errors(bucket, "ask whether its objects are locked"):
        try:
            lock = client.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
            if (lock.get("Rule") or {}).get("DefaultRetention"):
                return ""
        except ClientError as error:
            if code_of(error) not in (*_NO_LOCK, *_REFUSED):
                raise
    with errors(bucket, "ask whether it keeps versions"):
        if client.get_bucket_versioning(Bucket=bucket).get("Status") != "Enabled":
            return "the bucket keeps no versions: what is written over is lost"
    with errors(bucket, "ask whether its objects may be deleted"):
        try:
            client.delete_object(Bucket=bucket, Key=_NOT_THERE, VersionId="null")
        except ClientError as error:
            return "" if code_of(error) in _REFUSED else f"{code_of(error)} when it is tried"
    return "the key may delete versions"
