"""The network of this computer: how it is, which Wi-Fi there is, joining one.

Where NetworkManager runs it is asked and told, through nmcli; elsewhere the network is only looked
at. What nmcli's words mean is in `nmcli`; whether a cloud can be reached in `reach`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from wizard.errors import NetworkError
from wizard.secrets import Secret
from wizard.stick import nmcli
from wizard.stick.nmcli import AccessPoint, Device, Security

QUICK = 5.0  # seconds; what only asks answers in milliseconds
CHECK = 20.0  # seconds; NetworkManager itself gives up sooner
SCAN = 30.0  # seconds; a scan of all bands takes 3 to 10
JOIN = 60  # seconds; NetworkManager itself gives up after 25 (password) and 45 (address)
RESOLVER = Path("/etc/resolv.conf")


@dataclass(frozen=True)
class Said:
    """What a program said, and how it ended."""

    code: int
    out: str
    err: str


class Programs(Protocol):
    """The one way out of this module: runs a program of this computer."""

    def __call__(self, argv: Sequence[str], seconds: float, secret: Secret | None = None) -> Said:
        """Run it; `{secret}` in an argument names a file only the program reads. OSError if there
        is no such program; killed after `seconds` its code is 3, which is nmcli's for too late."""


@dataclass(frozen=True)
class Outlook:
    """How the network is: `trouble` is what a person should know, empty when all is well."""

    managed: bool
    devices: tuple[Device, ...] = ()
    wifi: str = "missing"
    trouble: str = ""
    cure: str = ""
    portal: bool = False

    @property
    def well(self) -> bool:
        """Say whether nothing has to be done."""
        return not self.trouble

    @property
    def wired(self) -> tuple[Device, ...]:
        """Return the sockets for cables."""
        return tuple(device for device in self.devices if device.kind == "ethernet")


class Network:
    """This computer's network; every method but the constructor is slow: call it in a thread."""

    def __init__(self, programs: Programs | None = None, resolver: Path = RESOLVER) -> None:
        self._programs = programs or run
        self._resolver = resolver

    # -- looking ---------------------------------------------------------------------------------

    def look(self, *, anew: bool = False) -> Outlook:
        """Return how the network is, as far as is known (milliseconds); `anew`: the way to the
        internet is tried out now (up to CHECK seconds)."""
        if anew:
            self._nmcli(("networking", "connectivity", "check"), CHECK)
        general = nmcli.general(self._ask("-f", ",".join(nmcli.GENERAL), "general"))
        return self._without_manager() if general is None else self._with_manager(general)

    def _with_manager(self, general: nmcli.General) -> Outlook:
        found = tuple(nmcli.devices(self._ask("-f", ",".join(nmcli.DEVICES), "device")))
        if not any(device.state != "unmanaged" for device in found):
            # it runs, but the network is somebody else's business
            return self._without_manager()
        trouble, cure, portal = "", "", general.connectivity == "portal"
        if portal:
            trouble = "this network wants you to log in on a web page first (a captive portal)"
            cure = (
                "there is no browser here: use a phone's USB tethering, a cable, or another Wi-Fi"
            )
        elif not any(device.connected for device in found):
            trouble = "there is no connection"
            cure = "plug a cable in, or join a Wi-Fi network"
        elif general.connectivity in ("limited", "none"):
            trouble = "there is a connection, but the internet cannot be reached through it"
            cure = "check the router; a firewall may want you to log in somewhere else first"
        return Outlook(True, found, general.wifi, trouble, cure, portal)

    def _without_manager(self) -> Outlook:
        """Return what `ip` knows: link, address, default route, resolver."""
        links = self._json("link")
        up = {link["ifname"] for link in links if "UP" in link.get("flags", ())} - {"lo"}
        addresses = {
            link["ifname"]
            for link in self._json("address")
            if any(known.get("scope") == "global" for known in link.get("addr_info", ()))
        }
        routes = [
            *self._json("route", "show", "default"),
            *self._json("-6", "route", "show", "default"),
        ]
        trouble, cure = "", "use the computer's own network settings, then look again"
        if not up:
            trouble = "no network device is up"
        elif not up & addresses:
            trouble = "no network device has an address"
        elif not routes:
            trouble = "there is no way out: no default route"
        elif not self._resolvers():
            trouble = "no DNS server is known, so that no name can be looked up"
        devices = tuple(
            Device(name, "ethernet", "connected" if name in addresses else "disconnected")
            for name in sorted(up)
        )
        return Outlook(False, devices, "missing", trouble, cure if trouble else "")

    def _resolvers(self) -> bool:
        try:
            lines = self._resolver.read_text(errors="replace").splitlines()
        except OSError:
            return False
        return any(line.split()[:1] == ["nameserver"] for line in lines)

    def firmware(self) -> list[str]:
        """Return the firmware that Wi-Fi devices miss, as far as the kernel's log may be read."""
        for argv in (("journalctl", "-k", "-b", "-q", "-o", "cat", "--no-pager"), ("dmesg",)):
            try:
                said = self._programs(argv, QUICK)
            except OSError:
                continue
            if said.code == 0 and said.out:
                return nmcli.missing_firmware(said.out)
        return []

    # -- Wi-Fi -----------------------------------------------------------------------------------

    def scan(self) -> list[AccessPoint]:
        """Return the Wi-Fi networks in reach (3 to 10 seconds). Raises NetworkError."""
        words = ("-f", ",".join(nmcli.SCAN), "device", "wifi", "list", "--rescan", "yes")
        said = self._nmcli(words, SCAN)
        if said.code:
            raise _failed("the Wi-Fi networks cannot be listed", said)
        return nmcli.access_points(said.out, self._known())

    def _known(self) -> set[bytes]:
        return nmcli.profiles(self._ask("-f", "NAME", "connection", "show"))

    def join(self, point: AccessPoint, password: Secret | None, *, hidden: bool = False) -> None:
        """Join a network and remember it; without `password` by what is remembered.

        A profile that did not work is not kept. Raises NetworkError with the reason in words.
        """
        if refusal := point.refusal:
            raise NetworkError("this network cannot be joined", where=point.name, why=refusal)
        name = nmcli.profile(point.ssid)
        new = password is not None or point.ssid not in self._known()
        if new:
            if point.security.needs_password:
                _refuse_impossible(password, point)
            self._delete(name)
            self._add(name, point, hidden=hidden)
        up = ["--wait", str(JOIN), "connection", "up", "id", name]
        up += ["ifname", point.device] if point.device else []
        up += ["passwd-file", "{secret}"] if password else []
        line = _passwd_file(password) if password else None
        said = self._nmcli(up, JOIN + QUICK, line)
        # older nmcli ends with 0 all the same
        if said.code or not self._is_up(name):
            if new:
                self._delete(name)
            raise _failed("the network was not joined", said, point.name)

    def _add(self, name: str, point: AccessPoint, *, hidden: bool) -> None:
        words = [
            "connection",
            "add",
            "type",
            "wifi",
            "con-name",
            name,
            "ifname",
            point.device or "*",
        ]
        words += ["ssid", point.ssid.decode(), "connection.autoconnect", "yes"]
        words += ["802-11-wireless.hidden", "yes"] if hidden else []
        if point.security is not Security.OPEN:
            words += ["wifi-sec.key-mgmt", point.security.value]
        said = self._nmcli(words, QUICK)
        if said.code:
            raise _failed("the network cannot be set up", said, point.name)

    def _is_up(self, name: str) -> bool:
        return name in self._ask("-f", "NAME", "connection", "show", "--active").splitlines()

    def _delete(self, name: str) -> None:
        self._nmcli(("connection", "delete", "id", name), QUICK)

    def forget(self, point: AccessPoint) -> None:
        """Leave a network and forget its password; one that is not known is no error."""
        self._delete(nmcli.profile(point.ssid))

    def switch_on(self) -> None:
        """Switch Wi-Fi on. Raises NetworkError, also where a switch of the computer blocks it."""
        said = self._nmcli(("radio", "wifi", "on"), QUICK)
        general = nmcli.general(self._ask("-f", ",".join(nmcli.GENERAL), "general"))
        if said.code or general is None or general.wifi != "on":
            raise _failed("Wi-Fi cannot be switched on", said)

    # -- running ---------------------------------------------------------------------------------

    def _nmcli(self, words: Sequence[str], seconds: float, secret: Secret | None = None) -> Said:
        argv = ("nmcli", "--colors", "no", "-t", "-e", "yes", *words)
        try:
            return self._programs(argv, seconds, secret)
        except OSError as error:
            return Said(127, "", str(error))

    def _ask(self, *words: str) -> str:
        said = self._nmcli(words, QUICK)
        return said.out if said.code == 0 else ""

    def _json(self, *words: str) -> list[dict[str, Any]]:
        try:
            said = self._programs(("ip", "-json", *words), QUICK)
            found = json.loads(said.out or "[]")
        except (OSError, ValueError):
            return []
        return [item for item in found if isinstance(item, dict)]


def run(argv: Sequence[str], seconds: float, secret: Secret | None = None) -> Said:
    """Run a program of this computer, as `Programs` says."""
    path = shutil.which(argv[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise FileNotFoundError(argv[0])
    reader = -1
    if secret is not None:
        reader = _pipe(secret)
        argv = [word.replace("{secret}", f"/dev/fd/{reader}") for word in argv]
    try:
        process = subprocess.Popen(
            argv,
            executable=path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # in other languages its words would not be known
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            pass_fds=() if secret is None else (reader,),
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    finally:
        if secret is not None:
            os.close(reader)
    with process:
        _running.add(process)
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return Said(3, "", f"Error: Timeout expired ({seconds:.0f} seconds)")
        finally:
            _running.discard(process)
    return Said(process.returncode, out, err)


_running: set[subprocess.Popen[str]] = set()


def abandon() -> None:
    """End what `run` waits for: this program is being closed, and nobody waits for the answer."""
    for process in list(_running):
        process.kill()


def _pipe(secret: Secret) -> int:
    """Return a descriptor from which the secret can be read once."""
    reader, writer = os.pipe()
    try:
        os.write(writer, secret.reveal().encode())  # far less than a pipe holds
    finally:
        os.close(writer)
    return reader


def _passwd_file(password: Secret) -> Secret:
    # nmcli takes blanks away and understands backslashes: every byte as octal digits is exact
    octal = "".join(f"\\{byte:03o}" for byte in password.reveal().encode())
    return Secret(f"802-11-wireless-security.psk:{octal}\n")


def _refuse_impossible(password: Secret | None, point: AccessPoint) -> None:
    text = password.reveal() if password else ""
    key = point.security is Security.PSK and re.fullmatch(r"[0-9A-Fa-f]{64}", text)
    longest = 63 if point.security is Security.PSK else 128
    if key or (8 <= len(text.encode()) <= longest and text.isprintable()):
        return
    raise NetworkError(
        "this cannot be the network's password",
        where=point.name,
        why="a Wi-Fi password has 8 to 63 characters",
        cure="type it again; it is often printed below the router",
    )


def _failed(what: str, said: Said, where: str = "") -> NetworkError:
    why, cure = nmcli.reason(said.err or said.out)
    return NetworkError(what, where=where, why=why, cure=cure)
