"""Object storage that speaks S3, through botocore: Amazon's own, a vendor's, or the rehearsal's.

Credentials, endpoint and region are what the caller says, never what this computer is set up for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
)

from wizard.errors import ProviderError, TransientError
from wizard.providers import aws_policy, aws_session
from wizard.providers.base import ObjectStorage
from wizard.storage.base import StoredObject
from wizard.storage.names import bucket_prefix

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

TAG = "build-usb:deployment"
_CONNECT_TIMEOUT = 5.0  # seconds
_READ_TIMEOUT = 30.0  # seconds; objects are small
_ATTEMPTS = 5
_EMPTYING_ROUNDS = 5
_OLD_VERSIONS, _UNFINISHED = 30, 7  # days until these are deleted
_PAGE = 1000  # objects a request; what S3 allows at most

_MISSING = frozenset({"404", "NoSuchBucket", "NoSuchKey", "NotFound"})
_CONDITION_FAILED = frozenset({"PreconditionFailed", "412"})
_UNSUPPORTED = frozenset({"NotImplemented", "MethodNotAllowed", "405", "501"})
_TRANSIENT = frozenset(
    {
        "BucketNotEmpty",  # an object was written while the bucket was being emptied
        "ConditionalRequestConflict",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
    }
)
_CURES = {
    "ExpiredToken": "put fresh credentials where the answers name them, and run again: it goes on",
    "InvalidAccessKeyId": "check the access key: it was deleted, or belongs to another vendor",
    "SignatureDoesNotMatch": "check the secret key: it does not belong to the access key",
    "AccessDenied": "give the credentials the right to do this to buckets and objects",
    "403": "check the credentials; if they are right, another account owns a bucket of this name",
    "RequestTimeTooSkewed": "set this computer's clock",
    "BucketAlreadyExists": "another account has a bucket of this name: rename the deployment",
    "TooManyBuckets": "delete buckets that are no longer needed, or ask for a higher limit",
}


def client_of(storage: ObjectStorage) -> S3Client:
    """Return the client of an object storage."""
    token = storage.session_token
    keys = aws_session.Credentials(storage.access_key, storage.secret_key, token)
    client = aws_session.client(
        storage.session or aws_session.session(keys),
        "s3",
        storage.region or "us-east-1",
        storage.build_endpoint,
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=_READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        # vendors' own endpoints rarely know Amazon's newer checksums and host names
        s3={"addressing_style": "path" if storage.build_endpoint else "virtual"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return cast("S3Client", client)


def find_buckets(storage: ObjectStorage, deployment: str) -> list[str]:
    """Return the names of all buckets tagged as the deployment's, sorted."""
    client = client_of(storage)
    prefix = bucket_prefix(deployment)
    with errors("all buckets", "list the buckets"):
        names = sorted(bucket["Name"] for bucket in client.list_buckets()["Buckets"])
    return [
        name
        for name in names
        if name.startswith(prefix) and _tags(client, name).get(TAG) == deployment
    ]


class S3Bucket:
    """One bucket of an S3 service; see `storage.base.Bucket`. Usable from several threads."""

    def __init__(
        self, name: str, storage: ObjectStorage, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.name = name
        self._storage = storage
        self._pause = pause
        self._s3 = client_of(storage)

    def __repr__(self) -> str:
        return f"S3Bucket({self.name!r}, {self._storage.build_endpoint or 'Amazon'!r})"

    def ensure(self, deployment: str, *, versioned: bool = True) -> bool:
        """Create the bucket, private and tagged, if missing; True if made. `versioned`: what is
        overwritten or deleted is kept, where the service can do that.

        Raises ProviderError if one of that name is not the deployment's. An empty one without any
        tag is what a run killed between creating and tagging leaves, and is tagged now.
        """
        made = not self.exists()
        if made:
            self._create()
        self._claim(deployment)
        with errors(self.name, "configure the bucket"):
            with _where_supported():
                self._s3.put_public_access_block(
                    Bucket=self.name,
                    PublicAccessBlockConfiguration={
                        "BlockPublicAcls": True,
                        "IgnorePublicAcls": True,
                        "BlockPublicPolicy": True,
                        "RestrictPublicBuckets": True,
                    },
                )
            if versioned:
                with _where_supported():
                    self._s3.put_bucket_versioning(
                        Bucket=self.name, VersioningConfiguration={"Status": "Enabled"}
                    )
            if self._storage.vendor == "aws":
                self._harden()
        return made

    def _harden(self) -> None:
        """What Amazon can do and others cannot: encryption, TLS only, an end of old versions."""
        self._s3.put_bucket_encryption(
            Bucket=self.name,
            ServerSideEncryptionConfiguration={
                "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
            },
        )
        self._s3.put_bucket_lifecycle_configuration(
            Bucket=self.name,
            LifecycleConfiguration={
                "Rules": [
                    {
                        "ID": "old versions",
                        "Status": "Enabled",
                        "Filter": {"Prefix": ""},
                        "NoncurrentVersionExpiration": {"NoncurrentDays": _OLD_VERSIONS},
                        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": _UNFINISHED},
                    }
                ]
            },
        )
        # whoever reaches it without TLS himself (a gateway, a test) would be shut out
        if not self._storage.build_endpoint.startswith("http:"):
            policy = aws_policy.only_tls(self.name, self._s3.meta.partition)
            self._s3.put_bucket_policy(Bucket=self.name, Policy=policy)

    def exists(self) -> bool:
        """Say whether the bucket exists. ProviderError if our credentials do not reach it."""
        with errors(self.name, "ask for the bucket"):
            try:
                self._s3.head_bucket(Bucket=self.name)
            except ClientError as error:
                if code_of(error) in _MISSING:
                    return False
                raise
            return True

    def get(self, key: str) -> StoredObject | None:
        """Return an object, or None if there is none of that key."""
        with errors(self.name, f"read {key}"):
            try:
                answer = self._s3.get_object(Bucket=self.name, Key=key)
                return StoredObject(answer["Body"].read(), answer["ETag"])
            except ClientError as error:
                if code_of(error) == "NoSuchKey":
                    return None
                raise

    def put(
        self, key: str, data: bytes, *, if_etag: str | None = None, if_absent: bool = False
    ) -> str | None:
        """Write an object whole and return its ETag; None when the condition does not hold."""
        if if_etag is not None and if_absent:
            raise ValueError("if_etag and if_absent exclude each other")
        condition: dict[str, Any] = {"IfMatch": if_etag} if if_etag is not None else {}
        if if_absent:
            condition = {"IfNoneMatch": "*"}
        with errors(self.name, f"write {key}"):
            try:
                return self._s3.put_object(Bucket=self.name, Key=key, Body=data, **condition)[
                    "ETag"
                ]
            except ClientError as error:
                gone = if_etag is not None and code_of(error) == "NoSuchKey"
                if not condition or not (gone or code_of(error) in _CONDITION_FAILED):
                    raise
                retried = error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0
        # the first attempt may have written it and only its answer got lost
        stored = self.get(key) if retried else None
        return stored.etag if stored is not None and stored.data == data else None

    def keys(self, prefix: str = "") -> list[str]:
        """Return the keys that start with `prefix`, sorted."""
        with errors(self.name, "list the objects"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=prefix, PaginationConfig={"PageSize": _PAGE}
            )
            return sorted(item["Key"] for page in pages for item in page.get("Contents", []))

    def delete(self, key: str) -> None:
        """Delete one object; what is gone already is no error."""
        with errors(self.name, f"delete {key}"):
            self._s3.delete_object(Bucket=self.name, Key=key)

    def delete_bucket(self, deployment: str) -> None:
        """Delete the bucket with all objects and versions, if it is the deployment's; one that is
        gone already is no error. Raises ProviderError if it carries another tag or none."""
        if not self.exists():
            return
        self._claim(deployment)
        for attempt in range(_EMPTYING_ROUNDS):
            try:
                self._delete()
            except TransientError:
                # a machine wrote once more while its bucket was being emptied
                if attempt == _EMPTYING_ROUNDS - 1:
                    raise
                self._pause(0.2 * 2**attempt)
            else:
                return

    # -- steps -----------------------------------------------------------------------------------

    def _create(self) -> None:
        with errors(self.name, "create the bucket"):
            region = self._storage.region
            plain = self._storage.build_endpoint != "" or region in ("", "us-east-1")
            if plain:
                # vendors differ in whether they want their region named: ask without first
                try:
                    self._create_in("")
                except ClientError as error:
                    if "LocationConstraint" not in code_of(error):
                        raise
                    self._create_in(region)
            else:
                self._create_in(region)

    def _create_in(self, region: str) -> None:
        location: Any = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            self._s3.create_bucket(Bucket=self.name, **(location if region else {}))
        except ClientError as error:
            # an earlier attempt of ours whose answer got lost
            if code_of(error) != "BucketAlreadyOwnedByYou":
                raise

    def _delete(self) -> None:
        with errors(self.name, "delete the bucket"):
            try:
                self._empty()
                self._s3.delete_bucket(Bucket=self.name)
            except ClientError as error:
                if code_of(error) not in _MISSING:
                    raise

    def _claim(self, deployment: str) -> None:
        tags = _tags(self._s3, self.name)
        owner = tags.get(TAG)
        if owner == deployment:
            return
        if tags or not self._is_empty():
            raise ProviderError(
                "a bucket of this name exists and is not this deployment's",
                where=self.name,
                why=f"its tag {TAG} says {owner}" if owner else f"it carries no tag {TAG}",
                cure="look what it is for; delete or rename it, or choose another deployment name",
            )
        with errors(self.name, "tag the bucket"):
            self._s3.put_bucket_tagging(
                Bucket=self.name, Tagging={"TagSet": [{"Key": TAG, "Value": deployment}]}
            )

    def _is_empty(self) -> bool:
        with errors(self.name, "list the objects"):
            return not self._s3.list_objects_v2(Bucket=self.name, MaxKeys=1).get("Contents")

    def _empty(self) -> None:
        pages = self._s3.get_paginator("list_object_versions").paginate(
            Bucket=self.name, PaginationConfig={"PageSize": _PAGE}
        )
        for page in pages:
            doomed: list[ObjectIdentifierTypeDef] = [
                {"Key": item["Key"], "VersionId": item["VersionId"]}
                for item in (*page.get("Versions", []), *page.get("DeleteMarkers", []))
            ]
            if doomed:
                answer = self._s3.delete_objects(
                    Bucket=self.name, Delete={"Objects": doomed, "Quiet": True}
                )
                for failure in answer.get("Errors", []):
                    raise ProviderError(
                        "cannot delete an object",
                        where=f"{self.name}/{failure.get('Key', '')}",
                        why=failure.get("Message", ""),
                        code=failure.get("Code", ""),
                    )


def _tags(client: S3Client, bucket: str) -> dict[str, str]:
    with errors(bucket, "ask whose bucket it is"):
        try:
            tags = client.get_bucket_tagging(Bucket=bucket)["TagSet"]
        except ClientError as error:
            if code_of(error) != "NoSuchTagSet":
                raise
            return {}
        return {tag["Key"]: tag["Value"] for tag in tags}


@contextmanager
def _where_supported() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if code_of(error) not in _UNSUPPORTED:
            raise


@contextmanager
def errors(bucket: str, doing: str) -> Iterator[None]:
    """Turn what goes wrong into a ProviderError, or TransientError, that says what it was about."""
    try:
        yield
    except ClientError as error:
        raise _refused(bucket, doing, error) from error
    except (ConnectionError, HTTPClientError, IncompleteReadError) as error:
        raise TransientError(
            f"cannot {doing}: the object storage does not answer",
            where=bucket,
            why=str(error),
            cure="check the network and the endpoint's address, then run again",
        ) from error
    except BotoCoreError as error:
        raise ProviderError(f"cannot {doing}", where=bucket, why=str(error)) from error


def _refused(bucket: str, doing: str, error: ClientError) -> ProviderError:
    code = code_of(error)
    answer = error.response.get("Error", {})
    metadata = error.response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode", 0))
    transient = code in _TRANSIENT or status >= 500 or status == 429
    kind = TransientError if transient else ProviderError
    cure = "run again in a moment" if transient else "ask the vendor, naming the request id"
    request_id = str(metadata.get("RequestId", ""))
    detail = f"{code}: {answer.get('Message', '')}"
    if request_id:
        detail += f" (request {request_id})"
    return kind(
        f"cannot {doing}",
        where=bucket,
        why=detail,
        cure=_CURES.get(code, cure),
        code=code,
        request_id=request_id,
    )


def code_of(error: ClientError) -> str:
    """Return the vendor's code for an error."""
    return str(error.response.get("Error", {}).get("Code", ""))
