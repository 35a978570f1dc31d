"""The peers file is a stranger's data: nothing in it opens more than the deployment's network."""

from __future__ import annotations

import ipaddress
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard.agent import peers
from wizard.agent.config import ROLES, Config, Peer
from wizard.agent.errors import AgentError

CONFIG = Config(
    deployment="demo",
    name="db1",
    role="database",
    private_address="10.77.0.12",
    network_cidr="10.77.0.0/24",
    build_machine="10.77.0.1",
    ssh_port=22,
    firewall=True,
    rules=(),
    peers=(Peer("web9", "webserver", "10.77.0.99"),),
    shared_config=Path("/srv/shared-config"),
    shared_config_unit="x.mount",
    registry=Path("/srv/shared-config"),
)
DB1 = {"name": "db1", "role": "database", "address": "10.77.0.12"}
WEB1 = {"name": "web1", "role": "webserver", "address": "10.77.0.11"}


def document(*entries: Any, **more: Any) -> bytes:
    return json.dumps({"version": 1, "peers": list(entries), **more}).encode()


def test_the_machine_itself_is_left_out() -> None:
    assert peers.parse(document(DB1, WEB1), CONFIG) == (Peer("web1", "webserver", "10.77.0.11"),)
    assert peers.parse(document(), CONFIG) == ()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (document(WEB1)[:-5], "not JSON"),
        (b"\xff\xfe", "UTF-8"),
        (b"[" * 60000, "not JSON"),
        (b" " * 70000, "larger"),
        (b'{"version": 1}', "no list"),
        (b'{"version": 9, "peers": []}', "version"),
        (b"null", "version"),
        (document(*[WEB1] * 101), "more than"),
        (document(WEB1, WEB1), "twice"),
        (document(WEB1, {**WEB1, "name": "web2"}), "twice"),
        (document({**WEB1, "address": "8.8.8.8"}), "network"),
        (document({**WEB1, "address": "10.77.0.0"}), "network"),
        (document({**WEB1, "address": "10.77.0.255"}), "network"),
        (document({**WEB1, "address": "10.77.0.0/24"}), "no IPv4"),
        (document({**WEB1, "address": "::1"}), "no IPv4"),
        (document({**WEB1, "address": 172818443}), "no IPv4"),
        (document({**WEB1, "address": "10.77.0.12"}), "claims"),
        (document({**DB1, "address": "10.77.0.13"}), "claims"),
        (document({**WEB1, "role": "root"}), "role"),
        (document({**WEB1, "role": ["webserver"]}), "role"),
        (document({**WEB1, "name": "../../etc"}), "name"),
        (document({**WEB1, "name": "web1\n"}), "name"),
        (document("web1"), "not an object"),
    ],
)
def test_anything_wrong_refuses_the_whole_file(data: bytes, words: str) -> None:
    with pytest.raises(AgentError, match=words):
        peers.parse(data, CONFIG)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
entries = st.fixed_dictionaries(
    {},
    optional={
        "name": st.from_regex(r"[a-z0-9-]{0,10}\n?", fullmatch=True) | json_values,
        "role": st.sampled_from(ROLES) | json_values,
        "address": st.ip_addresses().map(str)
        | st.integers(0, 300).map(lambda n: f"10.77.0.{n}")
        | json_values,
    },
)
documents = st.fixed_dictionaries(
    {"version": st.just(1) | json_values, "peers": st.lists(entries, max_size=4) | json_values}
).map(lambda value: json.dumps(value).encode())


@given(st.binary() | st.text().map(str.encode) | json_values.map(lambda v: json.dumps(v).encode()))
def test_no_bytes_get_an_address_outside_the_network(data: bytes) -> None:
    _check(data)


@given(documents)
def test_no_document_gets_an_address_outside_the_network(data: bytes) -> None:
    _check(data)


def _check(data: bytes) -> None:
    try:
        found = peers.parse(data, CONFIG)
    except AgentError:
        return
    network = ipaddress.ip_network(CONFIG.network_cidr)
    for peer in found:
        address = ipaddress.ip_address(peer.address)
        assert address in network
        assert address not in (network.network_address, network.broadcast_address)
        assert peer.address != CONFIG.private_address
        assert peer.role in ROLES
        assert "/" not in peer.name


def test_the_last_good_peers_count_unless_the_deploy_came_after(tmp_path: Path) -> None:
    config_file, copy = tmp_path / "machine.json", tmp_path / "peers.json"
    config_file.write_text("{}")
    assert peers.last_good(CONFIG, config_file, copy) == CONFIG.peers
    known = (Peer("web1", "webserver", "10.77.0.11"),)
    copy.write_bytes(peers.serialize(known))
    os.utime(config_file, (1000, 1000))
    assert peers.last_good(CONFIG, config_file, copy) == known
    os.utime(copy, (999, 999))
    assert peers.last_good(CONFIG, config_file, copy) == CONFIG.peers
    os.utime(copy, (2000, 2000))
    copy.write_bytes(b"cut")
    assert peers.last_good(CONFIG, config_file, copy) == CONFIG.peers
