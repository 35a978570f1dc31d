"""From rules and peers to ufw's openings, and the difference to what ufw holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard.agent import firewall, ufw
from wizard.agent.config import Config, Peer, parse
from wizard.agent.errors import AgentError
from wizard.agent.firewall import Held, Opening

TUPLES = """*filter
### RULES ###

### tuple ### allow tcp 22 0.0.0.0/0 any 10.0.0.5 in comment=6275696c642d757362
-A ufw-user-input -p tcp --dport 22 -s 10.0.0.5 -j ACCEPT

### tuple ### allow tcp 80 0.0.0.0/0 any 0.0.0.0/0 in comment=6275696c642d757362
### tuple ### allow tcp 2035 0.0.0.0/0 any 10.1.0.0/20 in comment=6275696c642d757362
### tuple ### deny_log tcp 80:90 0.0.0.0/0 5 10.0.0.1 in_eth0 comment=782079203d20636f6d6d656e743d31
### tuple ### allow tcp 80,443 0.0.0.0/0 any 0.0.0.0/0 Nginx%20Full - in
### tuple ### allow any 25 0.0.0.0/0 any 0.0.0.0/0 in
### tuple ### deny any any 0.0.0.0/0 any 1.2.3.4 in
### tuple ### limit tcp 26 0.0.0.0/0 any 10.0.0.9 in comment=6275696c642d757362
### tuple ### route:allow tcp 27 0.0.0.0/0 any 10.0.0.9 in
### tuple ### allow any 53 0.0.0.0/0 any 0.0.0.0/0 out
### tuple ### allow tcp 443 ::/0 any 2001:db8::/32 in comment=6275696c642d757362
"""


def settings(**changes: Any) -> dict[str, Any]:
    values = {
        "version": 1,
        "deployment": "demo",
        "name": "db1",
        "role": "database",
        "private_address": "10.77.0.12",
        "network_cidr": "10.77.0.0/24",
        "build_machine": "10.77.0.1",
        "ssh_port": 22,
        "firewall": True,
        "rules": [
            {"port": 22, "protocol": "tcp", "source": {"kind": "build-machine"}},
            {"port": 2035, "protocol": "tcp", "source": {"kind": "role", "role": "webserver"}},
            {"port": 80, "protocol": "tcp", "source": {"kind": "anyone"}},
            {
                "port": 443,
                "protocol": "tcp",
                "source": {"kind": "networks", "networks": ["173.245.48.0/20", "2400:cb00::/32"]},
            },
        ],
        "peers": [],
        "shared_config": "/srv/shared-config",
        "shared_config_unit": "x.mount",
    }
    return {**values, **changes}


CONFIG: Config = parse(settings())
WEB1 = Peer("web1", "webserver", "10.77.0.11")
SCALER = Peer("auto1", "autoscaler", "10.77.0.20")
SSH = Opening("10.77.0.1/32", 22, "tcp")


def test_rules_and_peers_make_openings() -> None:
    assert firewall.wanted(CONFIG, [WEB1, SCALER], ipv6=False) == {
        SSH,
        Opening("10.77.0.11/32", 2035, "tcp"),
        Opening("0.0.0.0/0", 80, "tcp"),
        Opening("173.245.48.0/20", 443, "tcp"),
    }


def test_ipv6_adds_what_is_open_to_anyone_and_to_ipv6_networks() -> None:
    more = firewall.wanted(CONFIG, [], ipv6=True) - firewall.wanted(CONFIG, [], ipv6=False)
    assert more == {Opening("::/0", 80, "tcp"), Opening("2400:cb00::/32", 443, "tcp")}


def test_peers_are_let_in_from_the_private_network_alone() -> None:
    config = parse(settings(ipv6="2001:db8::5"))
    assert firewall.wanted(config, [WEB1], ipv6=True) - firewall.wanted(config, [], ipv6=True) == {
        Opening("10.77.0.11/32", 2035, "tcp")
    }


def test_global_addresses_are_read_from_the_kernels_table(tmp_path: Path) -> None:
    table = tmp_path / "if_inet6"
    table.write_text(
        "00000000000000000000000000000001 01 80 10 80       lo\n"
        "fe800000000000000000000000000002 02 40 20 80    host0\n"
        "fd77000000000000000000000000000b 02 80 00 80    host0\n"
    )
    assert ufw.global_ipv6(table) == {"fd77::b"}
    assert ufw.global_ipv6(tmp_path / "none") == frozenset()
    table.write_text("what\n")
    assert ufw.global_ipv6(table) == frozenset()


def test_ufws_file_is_read() -> None:
    held = firewall.parse(TUPLES)
    assert held.ours == {
        Opening("10.0.0.5/32", 22, "tcp"),
        Opening("0.0.0.0/0", 80, "tcp"),
        Opening("10.1.0.0/20", 2035, "tcp"),
        Opening("2001:db8::/32", 443, "tcp"),
    }
    assert len(held.foreign) == 7
    assert held.same == {
        Opening("0.0.0.0/0", 25, "tcp"),
        Opening("0.0.0.0/0", 25, "udp"),
        # with our comment, but not a rule that we make: `limit` is somebody's change
        Opening("10.0.0.9/32", 26, "tcp"),
    }
    assert held.denied == {Opening("10.0.0.9/32", 26, "tcp")}


@given(st.text())
def test_reading_ufws_file_never_fails(text: str) -> None:
    firewall.parse(text)
    firewall.parse("### tuple ### " + text)


def test_the_build_machine_comes_first_and_goes_last() -> None:
    wanted = firewall.wanted(CONFIG, [WEB1], ipv6=False)
    change = firewall.difference(wanted, firewall.parse(""), CONFIG.build_machine)
    assert change.add[0] == SSH
    assert set(change.add) == wanted
    everything = Held(wanted, (), frozenset(), frozenset())
    assert firewall.difference(frozenset(), everything, CONFIG.build_machine).delete[-1] == SSH


openings = st.frozensets(
    st.builds(
        Opening,
        st.sampled_from(["10.77.0.1/32", "10.77.0.2/32", "0.0.0.0/0", "::/0"]),
        st.integers(20, 24),
        st.just("tcp"),
    )
)


@given(openings, openings, openings)
def test_the_difference_leads_to_what_is_wanted(
    wanted: frozenset[Opening], ours: frozenset[Opening], same: frozenset[Opening]
) -> None:
    held = Held(ours, (), same, frozenset())
    change = firewall.difference(wanted, held, CONFIG.build_machine)
    assert (ours | set(change.add)) - set(change.delete) | (wanted & same) == wanted | (
        wanted & same
    )
    # what is wanted and there is never touched, nor what is somebody else's
    assert not set(change.delete) & wanted
    assert not set(change.add) & same
    after = Held(wanted, (), frozenset(), frozenset())
    assert not firewall.difference(wanted, after, CONFIG.build_machine)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rules": []}, "build machine"),
        ({"rules": [{"port": 22, "protocol": "tcp", "source": {"kind": "all"}}]}, "source"),
        ({"rules": [{"port": 0, "protocol": "tcp", "source": {"kind": "anyone"}}]}, "port"),
        ({"role": "mail"}, "role"),
        ({"name": "../db1"}, "name"),
        ({"network_cidr": "10.0.0.1/8"}, "network"),
        ({"firewall": "yes"}, "firewall"),
        ({"version": 2}, "version"),
        ({"shared_config": "srv"}, "shared_config"),
        ({"peers": [{"name": "web1", "role": "webserver", "address": "nowhere"}]}, "nowhere"),
    ],
)
def test_a_wrong_configuration_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(AgentError, match=words):
        parse(settings(**changes))


def test_settings_of_ufw_are_read_and_replaced() -> None:
    text = '# IPV6=maybe\nIPV6=yes\nDEFAULT_INPUT_POLICY="DROP" # closed\nODD="\n'
    assert firewall.read_setting(text, "IPV6") == "yes"
    assert firewall.read_setting(text, "DEFAULT_INPUT_POLICY") == "drop"
    assert firewall.read_setting(text, "MISSING") == ""
    assert firewall.replace_setting(text, "IPV6", "no") == text.replace("\nIPV6=yes", "\nIPV6=no")
    with pytest.raises(AgentError, match="MISSING"):
        firewall.replace_setting(text, "MISSING", "x")
