"""Runs inside namespaces of its own: a private D-Bus, NetworkManager with one cable, and at its
other end a network that behaves as it is told. Prints what the wizard makes of it as JSON.

Started by test_network_manager.py as: unshare -m -n -p -f --mount-proc python network_driver.py DIR
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wizard.errors import NetworkError
from wizard.secrets import Secret
from wizard.stick import nmcli
from wizard.stick.network import Network, run
from wizard.stick.nmcli import AccessPoint, Security

DEADLINE = 20.0
PASSWORD = r"pass\word: with 145"

BUS = """<busconfig>
<type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/>
<allow receive_sender="*"/><allow eavesdrop="false"/></policy>
</busconfig>
"""
MANAGER = """[main]
plugins=keyfile
auth-polkit=false
dns=none
rc-manager=unmanaged
no-auto-default=*
[connectivity]
uri=http://10.9.0.1:8088/check
response=well
interval=300
"""
# says what the file says; nothing at all when it is empty
SERVER = """
import socket, sys
listener = socket.create_server(("10.9.0.1", 8088))
while True:
    connection, _ = listener.accept()
    connection.recv(4096)
    connection.sendall(open(sys.argv[1], "rb").read())
    connection.close()
"""
WELL = b"HTTP/1.0 200 OK\r\nX-NetworkManager-Status: online\r\n\r\nwell"
PORTAL = b"HTTP/1.0 302 Found\r\nLocation: http://login.hotel.example/\r\n\r\n"


def sh(command: str) -> str:
    return subprocess.run(("sh", "-ec", command), capture_output=True, text=True, check=True).stdout


def until(what: str, true: Callable[[], bool]) -> None:
    ends = time.monotonic() + DEADLINE
    delay = 0.02
    while not true():
        if time.monotonic() > ends:
            raise SystemExit(f"not so in {DEADLINE} s: {what}")
        time.sleep(delay)
        delay = min(delay * 2, 0.5)


def refused(work: Callable[[], None]) -> dict[str, str]:
    try:
        work()
    except NetworkError as error:
        return {"what": error.what, "why": error.why}
    return {}


def outlook(network: Network) -> dict[str, Any]:
    found = network.look(anew=True)
    return {
        "managed": found.managed,
        "wired": [device.words for device in found.wired],
        "wifi": found.wifi,
        "trouble": found.trouble,
        "portal": found.portal,
    }


def main(folder: Path) -> None:
    for place in ("/run", "/var/lib/NetworkManager", "/etc/NetworkManager"):
        sh(f"mkdir -p {place}; mount -t tmpfs -o mode=755 none {place}")
    # read-only: NetworkManager does not wait for an udev that is not here
    sh("mkdir -p /run/dbus /run/NetworkManager; mount -t sysfs -o ro none /sys; ip link set lo up")
    (folder / "bus.conf").write_text(BUS)
    (folder / "manager.conf").write_text(MANAGER)
    reply = folder / "reply"
    reply.write_bytes(b"")
    log = (folder / "log").open("wb")

    def start(*argv: str | Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([str(word) for word in argv], stdout=log, stderr=log)

    found: dict[str, Any] = {}
    network = Network(resolver=folder / "reply")
    found["without"] = outlook(network)

    start("dbus-daemon", f"--config-file={folder / 'bus.conf'}", "--nofork", "--nopidfile")
    far = start("unshare", "-n", "sleep", "infinity")
    own = Path("/proc/self/ns/net").readlink()
    until("a namespace", lambda: Path(f"/proc/{far.pid}/ns/net").readlink() != own)
    sh(f"ip link add eth0 type veth peer name far0; ip link set far0 netns {far.pid}")
    there = f"nsenter -n -t {far.pid}"
    sh(f"{there} ip addr add 10.9.0.1/24 dev far0; {there} ip link set lo up")
    until("a bus", Path("/run/dbus/system_bus_socket").exists)
    start("NetworkManager", "--no-daemon", "--config", folder / "manager.conf")
    until("NetworkManager", lambda: network.look().managed)

    until("no carrier", lambda: "cable" in network.look().wired[0].words)
    found["unplugged"] = outlook(network)

    sh(f"{there} ip link set far0 up")
    until("a carrier", lambda: "cable" not in network.look().wired[0].words)
    start(*there.split(), sys.executable, "-c", SERVER, reply)
    sh(
        "nmcli connection add type ethernet ifname eth0 con-name asks ipv4.dhcp-timeout 2 "
        "ipv6.method disabled connection.autoconnect no"
    )
    said = run(("nmcli", "-t", "--wait", "15", "connection", "up", "id", "asks"), 20)
    found["no address"] = {"code": said.code, "said": said.err, "why": nmcli.reason(said.err)[0]}

    sh(
        "nmcli connection add type ethernet ifname eth0 con-name fixed ipv4.method manual "
        "ipv4.addresses 10.9.0.2/24 ipv4.gateway 10.9.0.1 ipv6.method disabled"
    )
    sh("nmcli --wait 15 connection up id fixed")
    for name, text in (("well", WELL), ("portal", PORTAL), ("cut off", b"")):
        reply.write_bytes(text)
        found[name] = outlook(network)

    # no Wi-Fi device is here: everything up to the radio is real, its refusal too
    found["scan"] = [point.name for point in network.scan()]
    point = AccessPoint("Café: \\ 7".encode(), 50, Security.PSK)
    found["join"] = refused(lambda: network.join(point, Secret(PASSWORD)))
    found["profiles"] = sh("nmcli -t -f NAME connection show").splitlines()
    network._add(nmcli.profile(point.ssid), point, hidden=True)
    found["known"] = point.ssid in network._known()
    found["ssid"] = sh(f"nmcli -g 802-11-wireless.ssid connection show {nmcli.profile(point.ssid)}")
    network.forget(point)
    found["forgotten"] = point.ssid not in network._known()
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
