"""Where tokens, keys and addresses come from when answers name a cloud."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wizard.answers.loader import loads
from wizard.answers.model import Answers
from wizard.engine import open as engine_open
from wizard.errors import NotSupportedError, UsageError
from wizard.providers.base import ObjectStorage, Services
from wizard.secrets import Secret

CLOUD = """
version: 1
name: demo
mode: development
provider: {name: digitalocean, region: fra1, credentials: {environment: TOKEN}}
application:
  {kind: wordpress, title: A site, admin: {user: jo, email: jo@example.org}, source: {kind: fresh}}
domain: {name: www.example.org}
dns: {provider: digitalocean, zone: example.org}
object_storage: {credentials: {environment: KEYS}}
ssh: {build_machine: 203.0.113.7}
"""


def answers(old: str = "", new: str = "") -> Answers:
    assert old in CLOUD
    return loads(CLOUD.replace(old, new) if old else CLOUD, "a.yaml")


def test_the_account_of_a_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "dop_v1_secret")
    account = engine_open.account(answers(), None)
    assert account is not None
    assert account.token == Secret("dop_v1_secret")
    assert (account.region, account.url) == ("fra1", "")
    assert account.build_machine is not None
    assert account.build_machine() == "203.0.113.7"
    assert "dop_v1_secret" not in repr(account)
    monkeypatch.setenv("BUILD_USB_DIGITALOCEAN_URL", "http://127.0.0.1:1/v2")
    account = engine_open.account(answers(), None)
    assert account is not None
    assert account.url == "http://127.0.0.1:1/v2"


@pytest.mark.parametrize("token", ["two words", "tab\there", "caf\u00e9", "one\ntwo"])
def test_what_is_no_token_is_refused_without_showing_it(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", token)
    with pytest.raises(UsageError) as caught:
        engine_open.account(answers(), None)
    assert caught.value.where == "provider.credentials"
    assert token not in str(caught.value)


def test_a_token_in_a_locked_home_is_said() -> None:
    with pytest.raises(UsageError, match="not unlocked") as caught:
        engine_open.account(answers("environment: TOKEN", "home: do-token"), None)
    assert "environment" in caught.value.cure


def test_dns_of_the_same_vendor_uses_the_same_token(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Any = None
    monkeypatch.setenv("TOKEN", "dop_v1_secret")
    opened = engine_open.dns(answers(), Services(), nothing)
    assert opened.name == "digitalocean"
    with pytest.raises(UsageError) as caught:
        engine_open.dns(
            answers("provider: digitalocean", "provider: cloudflare"), Services(), nothing
        )
    assert caught.value.where == "dns.credentials"


def test_spaces_are_in_the_region_with_keys_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYS", "DO00ACCESS:secret/with:colon")
    storage = engine_open.storage(answers(), Services(), None)
    assert storage.build_endpoint == "https://fra1.digitaloceanspaces.com"
    assert storage.machine_endpoint == storage.build_endpoint
    assert (storage.region, storage.access_key) == ("fra1", "DO00ACCESS")
    assert storage.secret_key == Secret("secret/with:colon")
    elsewhere = answers(
        "credentials: {environment: KEYS}", "credentials: {environment: KEYS}, region: ams3"
    )
    assert "//ams3." in engine_open.storage(elsewhere, Services(), None).build_endpoint


@pytest.mark.parametrize("keys", ["no-colon", ":secret", "access:"])
def test_half_a_key_is_refused_without_showing_it(
    keys: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYS", keys)
    with pytest.raises(UsageError, match="ACCESS_KEY:SECRET_KEY") as caught:
        engine_open.storage(answers(), Services(), None)
    assert keys not in str(caught.value)


def test_storage_without_keys_or_of_others_is_refused_by_name() -> None:
    with pytest.raises(UsageError) as caught:
        engine_open.storage(answers("object_storage", "# object_storage"), Services(), None)
    assert caught.value.where == "object_storage.credentials"
    other = answers("{credentials: {environment: KEYS}}", "{provider: hetzner}")
    with pytest.raises(NotSupportedError, match="hetzner"):
        engine_open.storage(other, Services(), None)


def test_storage_of_a_cloud_that_gives_roles_needs_no_keys() -> None:
    given = ObjectStorage("", "", "r", "k", Secret("s"), by_role=True, vendor="aws")
    services = Services(object_storage=given)
    bare = answers("object_storage: {credentials: {environment: KEYS}}", "").model_copy()
    cloud = bare.provider.model_copy(update={"name": "aws", "region": "eu-west-1"})
    storage = engine_open.storage(bare.model_copy(update={"provider": cloud}), services, None)
    assert storage.build_endpoint == "https://s3.eu-west-1.amazonaws.com"
    assert storage.machine_endpoint == storage.build_endpoint
    assert (storage.region, storage.by_role) == ("eu-west-1", True)


def test_a_rehearsal_keeps_its_own_storage(tmp_path: Path) -> None:
    own = ObjectStorage("http://a", "http://b", "r", "k", Secret("s"))
    assert engine_open.storage(answers(), Services(object_storage=own), None) == own


def test_route53_may_use_the_keys_of_the_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "AKID:a-secret")
    dns = engine_open.dns_of(
        answers("dns: {provider: digitalocean", "dns: {provider: route53").dns,
        "aws",
        answers().provider.credentials,
        None,
    )
    assert dns.name == "route53"
    with pytest.raises(UsageError, match="API token"):
        engine_open.dns(
            answers("dns: {provider: digitalocean", "dns: {provider: route53"), Services(), None
        )
