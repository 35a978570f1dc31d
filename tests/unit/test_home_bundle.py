"""A lost build home is replaced from the bundle by the passphrase alone; forgeries are refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wizard.errors import HomeError, PassphraseError
from wizard.home import Home, Vault, bundle
from wizard.home.bundle import digest, pack, unpack
from wizard.home.files import write_atomic, write_json
from wizard.home.home import DeploymentHome
from wizard.home.keys import SshHost, generate_ssh_key, key_pair, public_key, write_ssh_files
from wizard.home.vault import encrypt_to
from wizard.secrets import Secret

PASSPHRASE = Secret("seven brown owls reading")
ANSWERS = "version: 1\nname: demo\ntitle: Café\n"


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Vault]:
    """One home for all tests of the module: its passphrase takes a second."""
    home = Home.open(tmp_path_factory.mktemp("lost") / "home")
    return home, home.create_identity(PASSPHRASE)


@pytest.fixture(scope="module")
def demo(lost: tuple[Home, Vault]) -> DeploymentHome:
    home, vault = lost
    demo = home.deployment("demo")
    demo.create()
    write_atomic(demo.answers_file, ANSWERS.encode())
    write_json(demo.state_file, {"bucket": "b", "bundle_digest": "old"})
    key_pair(demo.vault(vault), "ssh_key")
    demo.vault(vault).set("password", Secret("pass word"))
    write_ssh_files(demo, [SshHost("web1", "192.0.2.1", 1035, public_key(generate_ssh_key()))])
    return demo


@pytest.fixture
def packed(lost: tuple[Home, Vault], demo: DeploymentHome) -> bytes:
    return pack(demo, lost[1])


@pytest.fixture
def new(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "new")


def test_another_home_takes_over(
    lost: tuple[Home, Vault], demo: DeploymentHome, packed: bytes, new: Home
) -> None:
    adopted = unpack(packed, PASSPHRASE, new)
    assert new.deployments() == ["demo"]
    vault = new.unlock(PASSPHRASE)
    assert vault.recipient == lost[1].recipient
    assert adopted.vault(vault).items() == demo.vault(lost[1]).items()
    assert adopted.answers_file.read_text() == ANSWERS
    assert json.loads(adopted.state_file.read_text()) == {"bucket": "b"}
    assert adopted.known_hosts.read_text() == demo.known_hosts.read_text()
    assert str(adopted.known_hosts) in adopted.ssh_config.read_text()
    assert str(demo.known_hosts) not in adopted.ssh_config.read_text()
    assert digest(adopted, vault) == digest(demo, lost[1])
    assert {path.name for path in adopted.folder.iterdir()} == {
        *("answers.yaml", "state.json", "known_hosts", "ssh_config", "secrets.age"),
        *("lock", "logs"),
    }
    with pytest.raises(HomeError, match="knows demo already"):
        unpack(packed, PASSPHRASE, new)


def test_a_home_with_its_own_passphrase_keeps_it(
    lost: tuple[Home, Vault], demo: DeploymentHome, packed: bytes, new: Home
) -> None:
    own = Secret("other words than before")
    vault = new.create_identity(own)
    adopted = unpack(packed, PASSPHRASE, new)
    assert new.recipient() == vault.recipient != lost[1].recipient
    assert adopted.vault(vault).items() == demo.vault(lost[1]).items()


def test_an_adoption_killed_halfway_is_repeated(packed: bytes, new: Home) -> None:
    half = new.deployment("demo")
    half.create()
    half.secrets_file.write_bytes(b"half")
    assert unpack(packed, PASSPHRASE, new).exists()


def test_tells_nothing_without_the_passphrase(packed: bytes, new: Home) -> None:
    whole = packed + b"".join(
        base64.b64decode(json.loads(packed)[key]) for key in ("identity", "payload")
    )
    # long enough not to come about by chance
    for text in ("pass word", "title: Caf", "192.0.2.1", "PRIVATE KEY", "AGE-SECRET", "Host web1"):
        assert text.encode() not in whole
    with pytest.raises(PassphraseError, match="wrong passphrase"):
        unpack(packed, Secret("seven brown owls sleeping"), new)
    assert not new.has_identity()
    assert new.deployments() == []


def test_the_digest_changes_with_the_contents_only(
    lost: tuple[Home, Vault], demo: DeploymentHome
) -> None:
    vault = lost[1]
    before = digest(demo, vault)
    pack(demo, vault)
    write_json(demo.state_file, {"bucket": "b", "bundle_digest": "new"})
    assert digest(demo, vault) == before
    for change, undo in (
        (lambda: demo.vault(vault).set("x", Secret("1")), lambda: demo.vault(vault).delete("x")),
        (
            lambda: write_json(demo.state_file, {"bucket": "c"}),
            lambda: write_json(demo.state_file, {"bucket": "b"}),
        ),
    ):
        change()
        assert digest(demo, vault) != before
        undo()
        assert digest(demo, vault) == before


def with_values(data: bytes, **changes: Any) -> bytes:
    return json.dumps({**json.loads(data), **changes}).encode()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_forged_payload_is_refused(lost: tuple[Home, Vault], packed: bytes, new: Home) -> None:
    """Who can write to the bucket and knows the recipient still cannot make a bundle."""
    contents = {"deployment": "demo", "answers": "x", "state": None, "hosts": [], "secrets": {}}
    forged = encrypt_to(lost[1].recipient, json.dumps(contents).encode())
    with pytest.raises(HomeError, match="cannot be used") as error:
        unpack(with_values(packed, payload=b64(forged)), PASSPHRASE, new)
    assert "holder of the passphrase" in error.value.why
    with pytest.raises(HomeError, match="cannot be used"):
        unpack(with_values(packed, deployment="other"), PASSPHRASE, new)
    assert new.deployments() == []
    assert not new.has_identity()


DAMAGES: list[Callable[[bytes], bytes]] = [
    lambda data: b"",
    lambda data: data[:-10],
    lambda data: b"[]",
    lambda data: b"[" * 100000,
    lambda data: b"\xff" + data,
    lambda data: b" " * (17 * 2**20),
    lambda data: with_values(data, format="x"),
    lambda data: with_values(data, version=2),
    lambda data: with_values(data, payload=3),
    lambda data: with_values(data, payload="no base64!"),
    lambda data: with_values(data, mac=None),
    lambda data: with_values(data, deployment=["demo"]),
    lambda data: with_values(data, deployment="../../etc"),
    lambda data: with_values(data, identity=b64(b"rubbish")),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_explained(packed: bytes, new: Home, damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(HomeError) as error:
        unpack(damage(packed), PASSPHRASE, new)
    assert error.value.cure
    assert not isinstance(error.value, PassphraseError)
    assert new.deployments() == []


@pytest.mark.parametrize(
    "change",
    [
        {"answers": 3},
        {"state": []},
        {"hosts": [{"name": "x"}]},
        {"hosts": ["web1"]},
        {"secrets": {"a": 1}},
        {"secrets": []},
        {"deployment": "other"},
    ],
)
def test_wrong_contents_are_refused(change: dict[str, Any]) -> None:
    """Even those that a holder of the passphrase made by another program."""
    contents = {"deployment": "demo", "answers": "x", "state": None, "hosts": [], "secrets": {}}
    assert bundle._contents(json.dumps(contents).encode(), "demo").answers == "x"
    with pytest.raises(HomeError, match="cannot be used"):
        bundle._contents(json.dumps({**contents, **change}).encode(), "demo")


def test_without_answers_there_is_nothing_to_pack(lost: tuple[Home, Vault]) -> None:
    empty = lost[0].deployment("empty")
    with pytest.raises(HomeError, match="no answers"):
        pack(empty, lost[1])
