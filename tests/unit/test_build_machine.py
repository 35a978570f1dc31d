"""Where the build machine is: asked for, signed, and believed by machines or not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.emulators.address import AddressTeller
from wizard.agent import build_machine, mount
from wizard.agent.config import Config
from wizard.agent.errors import AgentError
from wizard.agent.state import Places
from wizard.engine import letting_in, whereabouts
from wizard.engine.state import MachineState, State
from wizard.errors import ProviderError
from wizard.home import keys
from wizard.providers.aws import AwsProvider
from wizard.providers.base import Account
from wizard.rules import Role
from wizard.secrets import Secret

KEY, OTHER = keys.generate_ssh_key(), keys.generate_ssh_key()
CONFIG = Config(
    deployment="demo",
    name="web1",
    role="webserver",
    private_address="10.77.0.11",
    network_cidr="10.77.0.0/24",
    build_machine="198.51.100.7",
    build_machine_at=1000,
    administrator=keys.public_key(KEY),
    ssh_port=22,
    firewall=True,
    rules=(),
    peers=(),
    shared_config=Path("/srv/shared-config"),
    shared_config_unit="x.mount",
    registry=Path("/srv/shared-config"),
)


# -- asked for -------------------------------------------------------------------------------------


@pytest.fixture
def teller(monkeypatch: pytest.MonkeyPatch) -> Iterator[AddressTeller]:
    with AddressTeller("8.8.4.4\n") as server:
        monkeypatch.setitem(whereabouts.ASKED, "aws", server.url)
        monkeypatch.delenv(whereabouts.VARIABLE, raising=False)
        yield server


@pytest.mark.parametrize(
    "says", ["8.8.4.4", "8.8.4.4\n", "fl=1\nh=api.example\nip=8.8.4.4\nts=1.2\n"]
)
def test_the_cloud_tells_who_asks_it(teller: AddressTeller, says: str) -> None:
    teller.says = says
    assert whereabouts.ask("aws") == "8.8.4.4"


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("<html>Sign in to the network</html>", "something else than an address"),
        ("", "something else than an address"),
        ("ip=2001:db8::1\n", "something else than an address"),
        ("8.8.4.4/8", "something else than an address"),
        ("10.0.0.7", "no address on the Internet"),
        ("0.0.0.0", "no address on the Internet"),
        ("127.0.0.1", "no address on the Internet"),
    ],
)
def test_what_is_no_address_opens_nothing(teller: AddressTeller, says: str, words: str) -> None:
    teller.says = says
    with pytest.raises(ProviderError) as caught:
        whereabouts.ask("aws")
    assert words in caught.value.why
    assert caught.value.where == "ssh.build_machine"
    assert "name it" in caught.value.cure


def test_a_place_of_ones_own_may_tell_a_private_address(
    teller: AddressTeller, monkeypatch: pytest.MonkeyPatch
) -> None:
    teller.says = "10.0.0.7"
    monkeypatch.setenv(whereabouts.VARIABLE, teller.url)
    assert whereabouts.ask("digitalocean") == "10.0.0.7"
    monkeypatch.setenv(whereabouts.VARIABLE, "http://127.0.0.1:9/")
    with pytest.raises(ProviderError, match="was not found out"):
        whereabouts.ask("digitalocean")


@pytest.mark.parametrize(
    ("said", "known", "there", "found"),
    [
        ("8.8.4.4", "198.51.100.7", True, "8.8.4.4"),
        ("8.8.4.4", "8.8.4.4", True, ""),
        ("8.8.4.4", "", True, ""),
        ("8.8.4.4", "198.51.100.7", False, ""),
        # who cannot be told must not be kept from machines that may well answer
        ("<html>", "198.51.100.7", True, ""),
    ],
)
def test_that_it_has_moved_is_said_of_machines_that_know_another_place(
    teller: AddressTeller, said: str, known: str, there: bool, found: str
) -> None:
    teller.says = said
    account = Account(Secret("key:secret"), "eu-central-1", lambda: whereabouts.ask("aws"))
    machine = MachineState("i-1", "web1", Role.WEBSERVER, "10.0.0.7", "8.8.8.8", "8.8.8.8")
    state = State(
        "demo",
        "bucket",
        build_machine=known,
        machines={"web1": machine} if there else {},
    )
    assert letting_in.moved_to(AwsProvider(account), state) == found


# -- signed ----------------------------------------------------------------------------------------


def test_a_signature_is_as_ssh_keygen_makes_it(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY.reveal())
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "text").write_text("what is signed")
    command = ("ssh-keygen", "-Y", "sign", "-n", "a-name", "-f", tmp_path / "key")
    subprocess.run((*command, tmp_path / "text"), check=True, capture_output=True)
    # ed25519 signs the same text in the same way
    made = (tmp_path / "text.sig").read_text()
    assert keys.sign(KEY, "a-name", b"what is signed") == made


# -- believed --------------------------------------------------------------------------------------


def told(key: Any = KEY, *, namespace: str = build_machine.NAMESPACE, **changes: Any) -> bytes:
    values = {"version": 1, "deployment": "demo", "address": "203.0.113.9", "at": 2000, **changes}
    text = json.dumps(values)
    signature = keys.sign(key, namespace, text.encode())
    return json.dumps({"text": text, "signature": signature}).encode()


Machine = Callable[[bytes], tuple[str, str]]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """What a machine says is wrong with a file in the shared folder, and whom it lets in then."""
    places = Places(state=tmp_path / "state")

    def look(data: bytes) -> tuple[str, str]:
        monkeypatch.setattr(mount, "read_shared", lambda _config, _name: data)
        problem = build_machine.ensure(CONFIG, places)
        return problem, build_machine.applied(CONFIG, places.build_machine).build_machine

    return look


def test_a_signed_word_is_believed_and_an_older_one_no_more(machine: Machine) -> None:
    assert machine(b"") == ("", "198.51.100.7")
    assert machine(told()) == ("", "203.0.113.9")
    assert machine(told(address="203.0.113.10", at=1999)) == ("", "203.0.113.9")
    assert machine(told(address="203.0.113.0/24", at=2001)) == ("", "203.0.113.0/24")
    assert machine(b"") == ("", "203.0.113.0/24")


def test_what_a_later_deploy_says_counts_more(machine: Machine, tmp_path: Path) -> None:
    assert machine(told(at=1000)) == ("", "198.51.100.7")
    machine(told())
    later = replace(CONFIG, build_machine_at=2000)
    assert build_machine.applied(later, Places(state=tmp_path / "state").build_machine) is later


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (told(OTHER), "not signed"),
        (told(namespace="git"), "not signed"),
        (told().replace(b"203.0.113.9", b"203.0.113.8"), "not signed"),
        (b'{"text": "{}", "signature": ""}', "does not say where"),
        (told(address="0.0.0.0/0 and all"), "does not say where"),
        (told(version=9), "does not say where"),
        (told()[:-9], "not JSON"),
        (b"[" * 3000, "not JSON"),
        (b"null", "not JSON"),
        (b" " * 5000, "larger"),
    ],
)
def test_what_others_write_changes_nothing(machine: Machine, data: bytes, words: str) -> None:
    problem, address = machine(data)
    assert words in problem
    assert address == "198.51.100.7"


def test_another_deployments_word_is_not_for_this_machine(machine: Machine) -> None:
    assert machine(told(deployment="other")) == ("", "198.51.100.7")


def test_a_machine_that_knows_no_administrator_believes_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mount, "read_shared", lambda _config, _name: told())
    nobody = replace(CONFIG, administrator="")
    assert build_machine.ensure(nobody, Places(state=tmp_path)) == ""
    assert not (tmp_path / "build-machine.json").exists()


def test_a_dead_mount_is_the_peers_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(_config: Config, _name: str) -> bytes:
        raise AgentError("not mounted")

    monkeypatch.setattr(mount, "read_shared", dead)
    assert build_machine.ensure(CONFIG, Places(state=tmp_path)) == ""
