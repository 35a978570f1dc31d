"""What object storage must do, against moto's S3 server."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from wizard.errors import ProviderError, TransientError
from wizard.providers.base import ObjectStorage
from wizard.secrets import Secret
from wizard.storage import s3
from wizard.storage.names import bucket_name, bucket_prefix
from wizard.storage.s3 import S3Bucket, find_buckets

NAME = bucket_name("demo", "token")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def storage(endpoint: str) -> ObjectStorage:
    import urllib.request

    # moto's servers in one process share what they hold, with those of other tests too
    with urllib.request.urlopen(f"{endpoint}/moto-api/reset", data=b"", timeout=10):
        pass
    return ObjectStorage(endpoint, endpoint, "us-east-1", "access", Secret("not-so-secret-key"))


@pytest.fixture
def bucket(storage: ObjectStorage) -> S3Bucket:
    made = S3Bucket(NAME, storage, pause=lambda _seconds: None)
    assert made.ensure("demo")
    return made


def test_a_bucket_comes_and_goes(storage: ObjectStorage) -> None:
    bucket = S3Bucket(NAME, storage)
    assert not bucket.exists()
    assert bucket.ensure("demo")
    assert not bucket.ensure("demo")
    assert bucket.exists()
    assert find_buckets(storage, "demo") == [NAME]
    assert find_buckets(storage, "dem") == []
    for round_ in range(3):
        bucket.put("a", b"%d" % round_)
    bucket.put("b/c", b"")
    bucket.delete("a")  # leaves versions and a delete marker
    bucket.delete_bucket("demo")
    bucket.delete_bucket("demo")
    assert not bucket.exists()
    assert find_buckets(storage, "demo") == []


def test_more_objects_than_one_page(bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_PAGE", 3)
    names = [f"many/{n}" for n in range(8)]
    for name in names:
        bucket.put(name, b"")
    assert bucket.keys("many/") == names
    bucket.delete_bucket("demo")
    assert not bucket.exists()


def test_is_private_versioned_and_tagged(bucket: S3Bucket) -> None:
    client = bucket._s3
    block = client.get_public_access_block(Bucket=NAME)["PublicAccessBlockConfiguration"]
    assert set(block.values()) == {True}
    assert client.get_bucket_versioning(Bucket=NAME)["Status"] == "Enabled"
    assert client.get_bucket_tagging(Bucket=NAME)["TagSet"] == [
        {"Key": "build-usb:deployment", "Value": "demo"}
    ]


def test_objects(bucket: S3Bucket) -> None:
    assert bucket.get("none") is None
    bucket.delete("none")
    etag = bucket.put("k/1", b"\x00data\xff")
    stored = bucket.get("k/1")
    assert stored is not None
    assert (stored.data, stored.etag) == (b"\x00data\xff", etag)
    bucket.put("k/0", b"")
    bucket.put("l", b"")
    assert bucket.keys("k/") == ["k/0", "k/1"]
    assert bucket.keys() == ["k/0", "k/1", "l"]


def test_conditional_writes(bucket: S3Bucket) -> None:
    first = bucket.put("lease", b"1", if_absent=True)
    assert first
    assert bucket.put("lease", b"2", if_absent=True) is None
    second = bucket.put("lease", b"2", if_etag=first)
    assert second not in (None, first)
    assert bucket.put("lease", b"3", if_etag=first) is None
    assert bucket.put("no such key", b"3", if_etag=first) is None
    stored = bucket.get("lease")
    assert stored is not None
    assert stored.data == b"2"
    with pytest.raises(ValueError, match="exclude"):
        bucket.put("lease", b"", if_etag=first, if_absent=True)


def test_only_one_of_many_gets_the_lease(bucket: S3Bucket) -> None:
    won: list[int] = []

    def take(number: int) -> None:
        if bucket.put("lease", b"%d" % number, if_absent=True):
            won.append(number)

    threads = [threading.Thread(target=take, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = bucket.get("lease")
    assert stored is not None
    assert [int(stored.data)] == won


def test_others_buckets_are_refused(bucket: S3Bucket, storage: ObjectStorage) -> None:
    bucket.put("precious", b"1")
    for act in (bucket.ensure, bucket.delete_bucket):
        with pytest.raises(ProviderError, match="not this deployment's") as error:
            act("another")
        assert error.value.cure
    untagged = S3Bucket("somebodys", storage)
    untagged._s3.create_bucket(Bucket="somebodys")
    untagged.put("precious", b"1")
    for act in (untagged.ensure, untagged.delete_bucket):
        with pytest.raises(ProviderError, match="not this deployment's"):
            act("demo")
    assert untagged.keys() == bucket.keys() == ["precious"]


def test_continues_after_being_killed_before_tagging(storage: ObjectStorage) -> None:
    bucket = S3Bucket(NAME, storage)
    bucket._s3.create_bucket(Bucket=NAME)
    assert not bucket.ensure("demo")
    assert find_buckets(storage, "demo") == [NAME]
    second = S3Bucket("second", storage)
    second._s3.create_bucket(Bucket="second")
    second.delete_bucket("demo")
    assert not second.exists()


def test_regions_are_named_when_the_endpoint_wants_them(storage: ObjectStorage) -> None:
    bucket = S3Bucket(NAME, replace(storage, region="eu-west-3"))
    assert bucket.ensure("demo")
    location = bucket._s3.get_bucket_location(Bucket=NAME)
    assert location["LocationConstraint"] == "eu-west-3"


def test_errors_keep_code_and_request_id(storage: ObjectStorage) -> None:
    bucket = S3Bucket(NAME, storage)
    with pytest.raises(ProviderError) as error:
        bucket.put("k", b"")
    assert error.value.code == "NoSuchBucket"
    assert error.value.request_id
    assert error.value.request_id in str(error.value)
    assert not isinstance(error.value, TransientError)


def test_an_endpoint_that_is_gone_is_transient(
    storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_ATTEMPTS", 2)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    bucket = S3Bucket(NAME, replace(storage, build_endpoint=f"http://127.0.0.1:{port}"))
    for act in (bucket.exists, bucket.keys):
        with pytest.raises(TransientError) as error:
            act()
        assert error.value.cure
        assert "not-so-secret-key" not in str(error.value)


def test_amazons_own_endpoint_is_used_without_one() -> None:
    bucket = S3Bucket(NAME, ObjectStorage("", "", "eu-west-3", "a", Secret("b")))
    url = bucket._s3.generate_presigned_url("get_object", Params={"Bucket": NAME, "Key": "k"})
    assert url.startswith(f"https://{NAME}.s3.")


ISOLATED = """
import sys
opened = []
def watch(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str):
        opened.append(arguments[0])
sys.addaudithook(watch)
from wizard.providers.base import ObjectStorage
from wizard.secrets import Secret
from wizard.storage.s3 import S3Bucket
home, endpoint = sys.argv[1:]
bucket = S3Bucket("isolated", ObjectStorage(endpoint, endpoint, "us-east-1", "mine", Secret("s")))
assert bucket.ensure("demo") and bucket.put("k", b"v")
key = bucket._s3._request_signer._credentials.access_key
assert key == "mine", key
assert bucket._s3.meta.region_name == "us-east-1"
touched = [path for path in opened if path.startswith(home)]
assert not touched, touched
print("isolated")
"""


def test_nothing_of_the_computers_own_settings_is_used(
    tmp_path: Path, storage: ObjectStorage
) -> None:
    folder = tmp_path / ".aws"
    (folder / "models" / "s3" / "2006-03-01").mkdir(parents=True)
    for name in ("config", "credentials", "models/endpoints.json"):
        (folder / name).write_text("poison")
    (folder / "models/s3/2006-03-01/service-2.json").write_text("poison")
    poison = {
        "AWS_ACCESS_KEY_ID": "poison",
        "AWS_SECRET_ACCESS_KEY": "poison",
        "AWS_SESSION_TOKEN": "poison",
        "AWS_PROFILE": "poison",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_CA_BUNDLE": "/poison",
        "AWS_CONFIG_FILE": str(folder / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
        "AWS_DATA_PATH": str(folder / "models"),
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_CSM_ENABLED": "true",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }
    ran = subprocess.run(
        [sys.executable, "-I", "-c", ISOLATED, str(tmp_path), storage.build_endpoint],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], **poison},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout.strip() == "isolated", ran.stderr


def test_names_are_valid_and_stable() -> None:
    longest = "a" * 24
    for deployment in ("demo", "a1", longest):
        for token in ("", "x", "é/ s3alias"):
            name = bucket_name(deployment, token)
            assert re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", name)
            assert name.startswith(bucket_prefix(deployment))
            assert name == bucket_name(deployment, token)
    assert bucket_name("demo", "a") != bucket_name("demo", "b")
    assert "build-usb-demo-" + NAME[-16:] == NAME
