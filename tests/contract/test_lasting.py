"""What would eat into backups is found beforehand: rules of the bucket, keys that may delete."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from tests.emulators.store import APPEND_ONLY, Store
from wizard.answers import loader
from wizard.events import silent
from wizard.home.home import Home
from wizard.operations import checks
from wizard.operations.checks import Finding, Level
from wizard.providers.base import ObjectStorage
from wizard.secrets import Secret
from wizard.storage.lasting import expiring, open_to_loss
from wizard.storage.s3 import S3Bucket, client_of

NAME = "copies-of-the-shop"
ANSWERS = f"""
version: 1
name: shop
mode: development
provider: {{name: digitalocean, region: fra1, credentials: {{environment: TOKEN}}}}
application:
  kind: wordpress
  title: Shop
  admin: {{user: editor, email: editor@shop.test}}
domain: {{name: www.shop.test}}
dns: {{provider: digitalocean, zone: shop.test}}
ssh: {{build_machine: 192.0.2.7}}
backups:
  periods: [daily]
  second_storage:
    provider: PROVIDER
    region: fra1
    bucket: {NAME}
    append_only: true
    credentials: {{environment: SECOND}}
"""


@pytest.fixture
def store() -> Iterator[Store]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with Store(f"http://{host}:{port}", socket.create_server(("127.0.0.1", 0)), "second") as made:
        yield made
    server.stop()


@pytest.fixture
def storage(store: Store) -> Iterator[ObjectStorage]:
    found = ObjectStorage(store.url, store.url, "us-east-1", "second", Secret("a-key"))
    S3Bucket(NAME, found).ensure("shop")
    yield found
    S3Bucket(NAME, found).delete_bucket("shop")


def rules(storage: ObjectStorage, *given: dict[str, Any]) -> None:
    named: Any = [{"ID": f"r{n}", "Status": "Enabled", **rule} for n, rule in enumerate(given)]
    client_of(storage).put_bucket_lifecycle_configuration(
        Bucket=NAME, LifecycleConfiguration={"Rules": named}
    )


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            {"Filter": {"Prefix": ""}, "Expiration": {"Days": 30}},
            "deletes of all there is after 30",
        ),
        ({"Filter": {"Prefix": "data/"}, "Expiration": {"Days": 1}}, "deletes below data/ after 1"),
        ({"Filter": {"Prefix": "data/0"}, "Expiration": {"Days": 1}}, "deletes below data/0"),
        (
            {"Filter": {"Prefix": ""}, "Transitions": [{"Days": 9, "StorageClass": "GLACIER"}]},
            "moves of all there is to GLACIER",
        ),
        ({"Filter": {"Prefix": "locks/"}, "Expiration": {"Days": 1}}, ""),
        ({"Filter": {"Prefix": "other/"}, "Expiration": {"Days": 1}}, ""),
        ({"Filter": {"Tag": {"Key": "a", "Value": "b"}}, "Expiration": {"Days": 1}}, ""),
        ({"Filter": {"Prefix": ""}, "Expiration": {"Days": 1}, "Status": "Disabled"}, ""),
        ({"Filter": {"Prefix": ""}, "NoncurrentVersionExpiration": {"NoncurrentDays": 3}}, ""),
        (
            {
                "Filter": {"Prefix": ""},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 3},
            },
            "",
        ),
    ],
)
def test_rules_that_would_eat_a_repository_are_named(
    storage: ObjectStorage, rule: dict[str, Any], words: str
) -> None:
    assert expiring(NAME, storage) == []
    rules(storage, rule)
    found = expiring(NAME, storage)
    assert bool(found) == bool(words)
    assert words in "".join(found)


def test_a_key_that_may_delete_is_told_from_one_that_may_not(
    store: Store, storage: ObjectStorage
) -> None:
    S3Bucket(NAME, storage).put("data/00/pack", b"kept")
    assert open_to_loss(NAME, storage) == "the key may delete versions"
    store.rules = [APPEND_ONLY]
    assert open_to_loss(NAME, storage) == ""
    client_of(storage).put_bucket_versioning(
        Bucket=NAME, VersioningConfiguration={"Status": "Suspended"}
    )
    assert "written over is lost" in open_to_loss(NAME, storage)
    store.rules = []
    assert S3Bucket(NAME, storage).keys() == ["data/00/pack"]


def test_an_object_lock_holds_what_a_key_could_delete(storage: ObjectStorage) -> None:
    client = client_of(storage)
    client.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    client.put_object_lock_configuration(
        Bucket="locked",
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}},
        },
    )
    assert open_to_loss("locked", storage) == ""


def test_a_check_says_what_is_wrong_with_the_second_storage(
    store: Store, storage: ObjectStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILD_USB_AWS_STORAGE_URL", store.url)
    monkeypatch.setenv("BUILD_USB_DIGITALOCEAN_STORAGE_URL", store.url)
    monkeypatch.setenv("SECOND", "second:a-key")

    def check(provider: str = "aws") -> list[Finding]:
        answers = loader.loads(ANSWERS.replace("PROVIDER", provider), "answers.yaml")
        return checks.check_second(answers, Home.open(tmp_path / "home"), None, silent)

    (open_to_deletes,) = check()
    assert open_to_deletes.level is Level.BAD
    assert open_to_deletes.key == "backups.second_storage.append_only"
    store.rules = [APPEND_ONLY]
    (good,) = check()
    assert good.level is Level.GOOD, good
    (near,) = check("digitalocean")
    assert near.level is Level.WARNING
    store.rules = []
    rules(storage, {"Filter": {"Prefix": ""}, "Expiration": {"Days": 30}})
    store.rules = [APPEND_ONLY]
    (eaten,) = check()
    assert eaten.level is Level.BAD
    assert "deletes of all there is after 30 days" in eaten.why
    monkeypatch.setenv("SECOND", "other:a-key")
    (foreign,) = check()
    assert foreign.level is Level.BAD
    assert foreign.key == "backups.second_storage.credentials"
    monkeypatch.delenv("SECOND")
    (missing,) = check()
    assert missing.key == "backups.second_storage.credentials"
    store.rules = []
