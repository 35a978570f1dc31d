"""The agent against the real ufw of Debian, in a namespace and tree of its own."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wizard.agent import firewall
from wizard.machines.agent_zipapp import build
from wizard.machines.places import AGENT_PATH, CONFIG_PATH

pytestmark = pytest.mark.lab
SETUP = """
set -e
mount --make-rprivate /
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount -t sysfs sysfs "$1/root/sys"
mount -t tmpfs none "$1/root/run"
mount --rbind /dev "$1/root/dev"
mkdir -p "$1/root/srv/shared-config"
mount -t tmpfs none "$1/root/srv/shared-config"
ip link set lo up
echo ready
exec sleep infinity
"""
MACHINE = {
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
        {"port": 22, "protocol": "tcp", "source": {"kind": "build-machine"}, "why": "admin"},
        {"port": 22, "protocol": "tcp", "source": {"kind": "role", "role": "webserver"}},
        {"port": 22, "protocol": "tcp", "source": {"kind": "role", "role": "database"}},
        {"port": 80, "protocol": "tcp", "source": {"kind": "anyone"}},
        {
            "port": 443,
            "protocol": "tcp",
            "source": {"kind": "networks", "networks": ["173.245.48.0/20", "2400:cb00::/32"]},
        },
        {"port": 2035, "protocol": "tcp", "source": {"kind": "role", "role": "webserver"}},
    ],
    "peers": [{"name": "web1", "role": "webserver", "address": "10.77.0.11"}],
    "hosts": [],
    "shared_config": "/srv/shared-config",
    "shared_config_unit": "none.mount",
    "services": [],
    "certificate": "",
}
WEB1 = {"name": "web1", "role": "webserver", "address": "10.77.0.11"}
WEB2 = {"name": "web2", "role": "webserver", "address": "10.77.0.13"}
DB1 = {"name": "db1", "role": "database", "address": "10.77.0.12"}


class Machine:
    """A process tree with Debian's files, its own network and a shared configuration."""

    def __init__(self, process: int, root: Path) -> None:
        self._process = process
        # seen through the process: the mounts exist only in its namespace
        self.root = Path(f"/proc/{process}/root{root}")
        self._inside = str(root)

    def run(self, *command: str, check: bool = True) -> str:
        enter = ["nsenter", f"--target={self._process}", "--mount", "--net", "--pid"]
        done = subprocess.run(
            [*enter, "chroot", self._inside, *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 or not check, done.stderr + done.stdout
        return done.stdout

    def agent(self, *arguments: str) -> dict[str, Any]:
        answer = self.run(AGENT_PATH, *arguments, check=False)
        result = json.loads(answer)
        assert isinstance(result, dict)
        return result

    def write(self, path: str, value: Any) -> None:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(value if isinstance(value, str) else json.dumps(value))

    def peers(self, *peers: dict[str, str]) -> None:
        self.write("/srv/shared-config/peers.json", {"version": 1, "peers": list(peers)})

    def added(self) -> set[str]:
        """What ufw itself says was added, without its heading."""
        return set(self.run("ufw", "show", "added").splitlines()[1:])

    def filters(self) -> set[str]:
        lines = self.run("iptables", "-S").splitlines()
        return {line for line in lines if line.startswith("-A ufw-user-input ")}


@pytest.fixture
def machine(tmp_path: Path, base_tree: Path) -> Iterator[Machine]:
    unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
    shell = ["sh", "-c", SETUP, "sh", str(tmp_path), str(base_tree)]
    with subprocess.Popen([*unshare, *shell], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        made = Machine(int(children), tmp_path / "root")
        made.write(CONFIG_PATH, MACHINE)
        agent = made.root / AGENT_PATH.lstrip("/")
        agent.parent.mkdir(parents=True, exist_ok=True)
        agent.write_bytes(build())
        agent.chmod(0o755)
        try:
            yield made
        finally:
            process.kill()


def _ssh(*addresses: str) -> set[str]:
    return {
        f"ufw allow from {address} to any port 22 proto tcp comment 'build-usb'"
        for address in addresses
    }


def _database(*addresses: str) -> set[str]:
    return {
        f"ufw allow from {address} to any port 2035 proto tcp comment 'build-usb'"
        for address in addresses
    }


PUBLIC = {
    "ufw allow 80/tcp comment 'build-usb'",
    "ufw allow from 173.245.48.0/20 to any port 443 proto tcp comment 'build-usb'",
}


def test_ufw_follows_the_peers(machine: Machine) -> None:
    machine.peers(DB1, WEB1)
    first = machine.agent("firewall")
    assert first["ok"], first
    assert machine.added() == PUBLIC | _ssh("10.77.0.1", "10.77.0.11") | _database("10.77.0.11")
    assert "Status: active" in machine.run("ufw", "status")
    verbose = machine.run("ufw", "status", "verbose")
    assert "deny (incoming), allow (outgoing)" in verbose
    # no global IPv6 address here: nothing at all comes in over IPv6
    assert "-P INPUT DROP" in machine.run("ip6tables", "-S")

    started = time.monotonic()
    again = machine.agent("firewall")
    assert time.monotonic() - started < 2
    assert (again["ok"], again["done"]) == (True, [])

    machine.peers(DB1, WEB1, WEB2)
    assert len(machine.agent("firewall")["done"]) == 2
    both = ("10.77.0.11", "10.77.0.13")
    assert machine.added() == PUBLIC | _ssh("10.77.0.1", *both) | _database(*both)

    machine.peers(DB1, WEB2)
    assert machine.agent("firewall")["ok"]
    assert machine.added() == PUBLIC | _ssh("10.77.0.1", "10.77.0.13") | _database("10.77.0.13")
    assert (
        "-A ufw-user-input -s 10.77.0.13/32 -p tcp -m tcp --dport 2035 -j ACCEPT"
        in machine.filters()
    )
    assert not any("10.77.0.11" in line for line in machine.filters())


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "",
        '{"version": 1, "peers": [{"name": "x", "role": "webserver", "address": "8.8.8.8"}]}',
        '{"version": 1, "peers": [{"name": "db1", "role": "webserver", "address": "10.77.0.9"}]}',
    ],
)
def test_a_bad_file_changes_nothing_and_is_reported(machine: Machine, content: str) -> None:
    machine.peers(DB1, WEB1, WEB2)
    assert machine.agent("firewall")["ok"]
    before = machine.added()
    machine.write("/srv/shared-config/peers.json", content)
    result = machine.agent("firewall")
    assert not result["ok"]
    assert "peers.json" in result["problem"]
    assert result["synced"]
    assert machine.added() == before
    assert any("peers.json" in problem for problem in machine.agent("status")["problems"])


def test_without_a_mount_the_deploys_own_peers_count(machine: Machine) -> None:
    machine.run("umount", "/srv/shared-config")
    result = machine.agent("firewall")
    assert "not mounted" in result["problem"]
    assert machine.added() == PUBLIC | _ssh("10.77.0.1", "10.77.0.11") | _database("10.77.0.11")


def test_rules_of_others_stay_and_are_reported(machine: Machine) -> None:
    machine.peers(DB1, WEB1)
    machine.run("ufw", "allow", "9100/tcp", "comment", "monitoring")
    machine.run("ufw", "allow", "25")
    machine.run("ufw", "deny", "proto", "tcp", "from", "10.77.0.11", "to", "any", "port", "2035")
    machine.run("ufw", "limit", "in", "on", "eth9", "to", "any", "port", "22", "proto", "tcp")
    theirs = machine.added()
    result = machine.agent("firewall")
    assert theirs <= machine.added()
    assert len(result["foreign"]) == 4
    # what they deny stays denied, and is a problem that a person must look at
    assert result["problem"] == "somebody's rule in ufw denies 2035/tcp from 10.77.0.11/32"
    assert _database("10.77.0.11").isdisjoint(machine.added())
    machine.run("ufw", "delete", "deny", "proto", "tcp", "from", "10.77.0.11", "to", "any",
                "port", "2035")  # fmt: skip
    assert machine.agent("firewall")["ok"]
    assert machine.agent("firewall")["done"] == []
    assert _database("10.77.0.11") <= machine.added()


def test_rules_changed_behind_ufw_are_repaired(machine: Machine) -> None:
    machine.peers(DB1, WEB1)
    assert machine.agent("firewall")["ok"]
    right = machine.filters()
    machine.run("iptables", "-F")
    assert machine.agent("firewall")["done"] == ["loaded again"]
    assert machine.filters() == right
    machine.run("iptables", "-A", "ufw-user-input", "-p", "tcp", "--dport", "3306", "-j", "ACCEPT")
    assert machine.agent("firewall")["done"] == ["loaded again"]
    assert machine.filters() == right
    machine.run("iptables", "-P", "INPUT", "ACCEPT")
    assert machine.agent("firewall")["done"] == ["loaded again"]
    machine.run("iptables", "-I", "INPUT", "-p", "tcp", "--dport", "3306", "-j", "ACCEPT")
    assert machine.agent("firewall")["past_ufw"] == [
        "-A INPUT -p tcp -m tcp --dport 3306 -j ACCEPT"
    ]


def test_a_rule_file_cut_short_is_repaired(machine: Machine) -> None:
    # ufw does not write its files atomically: a crash can leave half of one
    machine.peers(DB1, WEB1)
    assert machine.agent("firewall")["ok"]
    right = machine.added()
    file = machine.root / "etc/ufw/user.rules"
    file.write_text(file.read_text()[:300])
    assert machine.agent("firewall")["ok"]
    assert machine.added() == right
    file.write_text("")
    assert machine.agent("firewall")["ok"]
    assert machine.added() == right


def test_switching_off_and_on(machine: Machine) -> None:
    machine.peers(DB1, WEB1)
    assert machine.agent("firewall")["ok"]
    machine.write(CONFIG_PATH, {**MACHINE, "firewall": False})
    assert machine.agent("firewall")["done"] == ["switched off"]
    assert "inactive" in machine.run("ufw", "status")
    off = machine.agent("firewall")
    assert (off["ok"], off["done"]) == (True, [])
    machine.write(CONFIG_PATH, MACHINE)
    assert machine.agent("firewall")["done"] == ["switched on"]


def test_a_global_ipv6_address_is_covered(machine: Machine) -> None:
    machine.peers(DB1, WEB1)
    assert not machine.agent("firewall")["ipv6"]
    machine.run("ip", "-6", "address", "add", "2001:db8::5/128", "dev", "lo")
    result = machine.agent("firewall")
    assert result["ok"], result
    assert result["ipv6"]
    rules6 = machine.run("ip6tables", "-S", "ufw6-user-input")
    assert "-A ufw6-user-input -p tcp -m tcp --dport 80 -j ACCEPT" in rules6
    assert "-A ufw6-user-input -s 2400:cb00::/32 -p tcp -m tcp --dport 443 -j ACCEPT" in rules6
    assert "2035" not in rules6
    again = machine.agent("firewall")
    assert (again["ok"], again["done"]) == (True, [])


def test_killed_in_the_middle_it_ends_right(machine: Machine) -> None:
    machine.peers(DB1, *({**WEB2, "name": f"web{n}", "address": f"10.77.0.{n}"}
                         for n in range(100, 108)))  # fmt: skip
    for seconds in ("0.3", "0.6", "0.9", "1.3", "1.8"):
        machine.run("timeout", "--signal=KILL", seconds, AGENT_PATH, "firewall", check=False)
    result = machine.agent("firewall")
    assert result["ok"], result
    addresses = [f"10.77.0.{n}" for n in range(100, 108)]
    assert machine.added() == PUBLIC | _ssh("10.77.0.1", *addresses) | _database(*addresses)


def test_the_heartbeat_is_written_whole(machine: Machine) -> None:
    machine.peers(DB1, WEB1)
    result = machine.agent("run")
    assert result["ok"], result
    folder = machine.root / "srv/shared-config/machines"
    assert [path.name for path in folder.iterdir()] == ["db1.json"]
    entry = json.loads((folder / "db1.json").read_text())
    assert (entry["name"], entry["role"], entry["address"]) == ("db1", "database", "10.77.0.12")
    assert entry["health"]["firewall_synced"] is True
    assert entry["health"]["mount"] is True
    assert entry["commands"]["firewall"]["ok"] is True
    started = time.monotonic()
    status = machine.agent("status")
    assert time.monotonic() - started < 1
    assert status["ok"], status
    assert status["commands"]["heartbeat"]["runs"] == 1


def test_our_reading_of_ufws_file_is_ufws_own(machine: Machine) -> None:
    machine.peers(DB1, WEB1)
    machine.run("ufw", "allow", "from", "192.0.2.7", "port", "5", "to", "any", "port", "80:90",
                "proto", "tcp", "comment", "a = comment=6275696c642d757362")  # fmt: skip
    machine.run("ufw", "allow", "Nginx Full")
    assert machine.agent("firewall")["ok"]
    held = firewall.parse((machine.root / "etc/ufw/user.rules").read_text())
    said = {line for line in machine.added() if line.endswith(" comment 'build-usb'")}
    assert len(held.ours) == len(said)
    assert len(held.foreign) == 2
