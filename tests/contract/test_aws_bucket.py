"""The bucket at Amazon: more than others can do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from moto.server import ThreadedMotoServer

from tests.contract.at_aws import (
    REGION,
)
from wizard.providers.base import (
    ObjectStorage,
)
from wizard.secrets import Secret
from wizard.storage.s3 import S3Bucket


def test_a_bucket_of_amazons_is_hardened() -> None:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    where = f"http://{host}:{port}"
    try:
        keys = ("ASIATEMPORARY", Secret("not-so-secret-key"), Secret("a-token"))
        storage = ObjectStorage(where, where, REGION, *keys, by_role=True, vendor="aws")
        bucket = S3Bucket("build-usb-demo-0123456789abcdef", storage)
        assert bucket.ensure("demo")
        assert not bucket.ensure("demo")
        own = {"Bucket": bucket.name}
        (rule,) = bucket._s3.get_bucket_encryption(**own)["ServerSideEncryptionConfiguration"][
            "Rules"
        ]
        assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        (ending,) = bucket._s3.get_bucket_lifecycle_configuration(**own)["Rules"]
        assert ending["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30
        assert bucket._s3.get_bucket_location(**own)["LocationConstraint"] == REGION
        assert bucket._s3.get_bucket_versioning(**own)["Status"] == "Enabled"
        bucket.delete_bucket("demo")

        # asked for over TLS, it is shut to all else
        asked: list[dict[str, Any]] = []
        remote = S3Bucket(bucket.name, replace(storage, build_endpoint="https://192.0.2.1"))
        for name in ("put_bucket_encryption", "put_bucket_lifecycle_configuration"):
            setattr(remote._s3, name, lambda **_what: None)
        remote._s3.put_bucket_policy = lambda **what: asked.append(what)  # type: ignore[method-assign]
        remote._harden()
    finally:
        server.stop()
    (policy,) = [json.loads(what["Policy"])["Statement"][0] for what in asked]
    assert (policy["Effect"], policy["Principal"]) == ("Deny", "*")
    assert policy["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
