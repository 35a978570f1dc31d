"""Keys of Spaces: machines get one that opens the deployment's buckets and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract import accounts
from tests.contract.accounts import opened_account as opened
from tests.contract.scenario import destroy, persist
from tests.emulators.digitalocean import TOKEN, DigitalOceanEmulator
from tests.emulators.server import Reply
from wizard.answers import loader
from wizard.engine import open as engine_open
from wizard.errors import ProviderError, TransientError
from wizard.events import silent
from wizard.home.home import Home
from wizard.operations.template import template
from wizard.providers.base import ResourceKind
from wizard.providers.digitalocean import DigitalOceanProvider
from wizard.secrets import Secret

BUCKETS = ("build-usb-demo-1", "build-usb-demo-1-backups")


@pytest.fixture
def api() -> Iterator[DigitalOceanEmulator]:
    with accounts.digitalocean() as emulator:
        yield emulator


@pytest.fixture
def provider(api: DigitalOceanEmulator) -> DigitalOceanProvider:
    return opened(api)


def test_a_key_opens_the_deployments_buckets_alone(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    made = provider.ensure_storage_key("demo", BUCKETS, None)
    (key,) = api.storage_keys.values()
    assert key["name"] == "build-usb.demo"
    assert key["grants"] == [{"bucket": name, "permission": "readwrite"} for name in BUCKETS]
    access_key, _, secret = made.reveal().partition(":")
    assert access_key == key["access_key"]
    assert secret == api.storage_secret(access_key)
    assert secret not in repr(made)
    assert provider.ensure_storage_key("demo", BUCKETS, made) == made
    assert len(api.calls("^POST /v2/spaces")) == 1
    # a deployment that makes backups now: another key, and the one of before opens nothing
    other = provider.ensure_storage_key("demo", BUCKETS[:1], made)
    assert other != made
    assert list(api.storage_keys) == [other.reveal().partition(":")[0]]


def test_keys_go_with_their_deployment_and_no_other(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider
) -> None:
    for name in ("demo", "demo-2"):
        provider.ensure_storage_key(name, BUCKETS, None)
    (found,) = provider.resources("demo")
    assert found.kind is ResourceKind.KEY
    destroy(provider)
    assert [key["name"] for key in api.storage_keys.values()] == ["build-usb.demo-2"]
    provider.delete(found)


@pytest.mark.parametrize("kind", ["lost", "truncated"])
def test_a_key_whose_secret_was_lost_is_made_anew(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider, kind: str
) -> None:
    api.fail("POST /v2/spaces/keys", kind)
    with pytest.raises(ProviderError):
        provider.ensure_storage_key("demo", BUCKETS, None)
    made = persist(lambda: provider.ensure_storage_key("demo", BUCKETS, None))
    assert list(api.storage_keys) == [made.reveal().partition(":")[0]]
    api.fail("DELETE /v2/spaces/keys", "lost")
    with pytest.raises(TransientError):
        provider.ensure_storage_key("demo", BUCKETS, None)
    assert persist(lambda: provider.ensure_storage_key("demo", BUCKETS, None))
    assert len(api.storage_keys) == 1


@pytest.mark.parametrize(
    "key", [None, {}, {"access_key": "A"}, {"access_key": "", "secret_key": "s"}]
)
def test_a_senseless_key_is_a_clear_error(
    api: DigitalOceanEmulator, provider: DigitalOceanProvider, key: object
) -> None:
    api.fail("POST /v2/spaces/keys", reply=Reply(201, {"key": key}))
    with pytest.raises(ProviderError, match="makes no sense"):
        provider.ensure_storage_key("demo", BUCKETS, None)


def test_missing_scopes_are_named(api: DigitalOceanEmulator) -> None:
    kinds = ("droplet", "vpc", "firewall", "tag", "ssh_key", "snapshot")
    everything = frozenset(f"{kind}:read" for kind in kinds)
    api.tokens[TOKEN] = everything
    with pytest.raises(ProviderError) as caught:
        opened(api).prepare(silent)
    assert caught.value.why.endswith("the scopes spaces_key:read, project:read")
    lacking = opened(api).standing(silent).lacking
    assert {"spaces_key:read", "spaces_key:delete"} <= set(lacking)
    # making one cannot be asked for without making one: it is named when it is missed
    api.tokens[TOKEN] = everything | {"spaces_key:read"}
    with pytest.raises(ProviderError) as caught:
        opened(api).ensure_storage_key("demo", BUCKETS, None)
    assert "spaces_key:create_credentials" in caught.value.cure
    # who never had a key needs no scope to be destroyed
    api.tokens[TOKEN] = None
    opened(api).resources("demo")


def test_machines_are_given_that_key_and_the_build_machine_keeps_its_own(
    api: DigitalOceanEmulator, tmp_path: object
) -> None:
    home = Home.open(tmp_path / "home")  # type: ignore[operator]
    vault = home.create_identity(Secret("x" * 30))
    credentials = home.vault(vault)
    credentials.set("spaces", Secret("OWN:mine"))
    text = template("digitalocean", "digitalocean", production=False)
    answers = loader.loads(text.replace("{environment: SPACES_KEYS}", "{home: spaces}"), "answers")
    assert answers.object_storage.credentials is not None
    deployment = home.deployment(answers.name)
    deployment.create()
    secrets = deployment.vault(vault)
    services = opened(api).services("example.org")
    # before it is made, and for the build machine: the user's own
    before = engine_open.machines_storage(answers, services, credentials, secrets)
    assert (before.access_key, before.secret_key) == ("OWN", Secret("mine"))
    secrets.set(engine_open.STORAGE_KEY, Secret("DO00:theirs"))
    found = engine_open.machines_storage(answers, services, credentials, secrets)
    assert (found.access_key, found.secret_key) == ("DO00", Secret("theirs"))
    assert engine_open.storage(answers, services, credentials).access_key == "OWN"
