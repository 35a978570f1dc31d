"""What nmcli says, read as values. Pure: nothing is run here.

All of it was printed by `nmcli --colors no -t -e yes`: values parted by colons; a colon or a
backslash within a value has a backslash before it. Words are those of the C locale.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

GENERAL = ("STATE", "CONNECTIVITY", "WIFI-HW", "WIFI")
DEVICES = ("DEVICE", "TYPE", "STATE", "CONNECTION")
SCAN = ("IN-USE", "SSID-HEX", "SIGNAL", "SECURITY", "FREQ", "DEVICE")
"""The fields each list is asked for, in order."""

PROFILE = "build-usb-wifi-"
"""Profiles made here are called this and the network's name in hex: any name there is, safely."""

_SHOWN = 32  # the standard's longest name, in bytes


class Security(StrEnum):
    """How a Wi-Fi network is protected; the value is nmcli's `key-mgmt`, empty without a key."""

    OPEN = ""
    OWE = "owe"
    PSK = "wpa-psk"
    SAE = "sae"
    WEP = "wep"
    ENTERPRISE = "wpa-eap"

    @property
    def words(self) -> str:
        """Return it as people call it."""
        return _WORDS[self]

    @property
    def needs_password(self) -> bool:
        """Say whether a password has to be typed."""
        return self in (Security.PSK, Security.SAE)

    @property
    def refusal(self) -> str:
        """Return why such a network cannot be joined here, empty if it can."""
        if self is Security.ENTERPRISE:
            return (
                "networks that ask for a user's name (802.1X, 'enterprise') are not supported yet"
            )
        if self is Security.WEP:
            return "WEP protects nothing and is not supported any more"
        return ""


_WORDS = {
    Security.OPEN: "open, not encrypted",
    Security.OWE: "open, encrypted",
    Security.PSK: "WPA",
    Security.SAE: "WPA3",
    Security.WEP: "WEP",
    Security.ENTERPRISE: "enterprise",
}


@dataclass(frozen=True)
class AccessPoint:
    """A Wi-Fi network: all stations of one name, with the best signal of them (0 to 100)."""

    ssid: bytes
    signal: int = 0
    security: Security = Security.OPEN
    bands: tuple[str, ...] = ()
    device: str = ""
    in_use: bool = False
    known: bool = False

    @property
    def name(self) -> str:
        """Return the name as it can be shown safely."""
        return shown(self.ssid)

    @property
    def refusal(self) -> str:
        """Return why it cannot be joined, empty if it can."""
        try:
            text = self.ssid.decode()
        except UnicodeDecodeError:
            return "its name is not text (UTF-8)"
        if any(unicodedata.category(letter) == "Cc" for letter in text):
            return "its name holds control characters"
        return self.security.refusal


@dataclass(frozen=True)
class Device:
    """A network device: `kind` is `ethernet`, `wifi` or another of nmcli's words; `state` likewise
    (`connected`, `connecting (…)`, `disconnected`, `unavailable`, `unmanaged`)."""

    name: str
    kind: str
    state: str
    connection: str = ""

    @property
    def connected(self) -> bool:
        """Say whether it has a connection."""
        return self.state.startswith("connected")

    @property
    def words(self) -> str:
        """Return how it is, for people."""
        if self.kind == "ethernet" and self.state == "unavailable":
            return "no cable, or nothing at its other end"
        if self.state == "unmanaged":
            return "not looked after by NetworkManager"
        return self.state.replace(" (externally)", "")


@dataclass(frozen=True)
class General:
    """NetworkManager as a whole; `connectivity` is `full`, `limited`, `portal`, `none`, `unknown`.

    `wifi` is `on`, `off` (switched off in software), `blocked` (by a switch) or `missing`.
    """

    state: str
    connectivity: str
    wifi: str

    @property
    def connected(self) -> bool:
        """Say whether there is a connection that has a way out."""
        return self.state == "connected"


def split(line: str) -> list[str]:
    """Return the values of one terse line."""
    values, present, escaped = [], "", False
    for letter in line:
        if escaped or letter not in "\\:":
            present, escaped = present + letter, False
        elif letter == "\\":
            escaped = True
        else:
            values.append(present)
            present = ""
    return [*values, present]


def rows(text: str, fields: tuple[str, ...]) -> list[dict[str, str]]:
    """Return a terse table as a dictionary a line; lines of another shape are left out."""
    found = [split(line) for line in text.splitlines() if line]
    return [dict(zip(fields, row, strict=True)) for row in found if len(row) == len(fields)]


def general(text: str) -> General | None:
    """Return what `general` with `GENERAL` printed, None if it is something else."""
    found = rows(text, GENERAL)
    if not found:
        return None
    row = found[0]
    wifi = "on" if row["WIFI"] == "enabled" else "off"
    wifi = {"disabled": "blocked", "missing": "missing"}.get(row["WIFI-HW"], wifi)
    return General(row["STATE"], row["CONNECTIVITY"], wifi)


def devices(text: str) -> list[Device]:
    """Return what `device` with `DEVICES` printed; only what a person can plug in or join."""
    found = [
        Device(row["DEVICE"], row["TYPE"], row["STATE"], row["CONNECTION"])
        for row in rows(text, DEVICES)
    ]
    return [device for device in found if device.kind in ("ethernet", "wifi", "gsm", "bt")]


def profiles(text: str) -> set[bytes]:
    """Return the Wi-Fi networks that have a profile of ours, from `-f NAME connection show`."""
    found = set()
    for line in text.splitlines():
        name = split(line)[0]
        if name.startswith(PROFILE):
            try:
                found.add(bytes.fromhex(name.removeprefix(PROFILE)))
            except ValueError:
                continue  # somebody else's, who likes our names
    return found


def profile(ssid: bytes) -> str:
    """Return what the profile of a network is called."""
    return PROFILE + ssid.hex()


def security(words: str) -> Security:
    """Return the protection that nmcli's SECURITY means; of several the best that is possible."""
    kinds = set(words.split())
    if "802.1X" in kinds:
        return Security.ENTERPRISE
    if kinds & {"WPA", "WPA1", "WPA2"}:
        return Security.PSK  # with WPA3 beside it NetworkManager takes that by itself
    if "WPA3" in kinds:
        return Security.SAE
    if "WEP" in kinds:
        return Security.WEP
    return Security.OWE if "OWE" in kinds else Security.OPEN


def access_points(text: str, known: Iterable[bytes] = ()) -> list[AccessPoint]:
    """Return what `device wifi list` with `SCAN` printed: merged by name, best signal first.

    Stations that hide their name are left out: they are joined by typing it.
    """
    merged: dict[tuple[bytes, Security], AccessPoint] = {}
    for row in rows(text, SCAN):
        try:
            ssid = bytes.fromhex(row["SSID-HEX"])
        except ValueError:
            continue
        if not ssid.strip(b"\0"):
            continue
        found = AccessPoint(
            ssid,
            min(_number(row["SIGNAL"]), 100),
            security(row["SECURITY"]),
            (_band(row["FREQ"]),),
            row["DEVICE"],
            row["IN-USE"] == "*",
            ssid in known,
        )
        # the same name with another protection is another network, perhaps a trap
        key = (ssid, found.security)
        other = merged.setdefault(key, found)
        best = max(other, found, key=lambda point: point.signal)
        merged[key] = replace(
            best,
            bands=tuple(sorted({*other.bands, *found.bands} - {""})),
            in_use=other.in_use or found.in_use,
        )
    return sorted(merged.values(), key=lambda point: (not point.in_use, -point.signal, point.ssid))


def shown(ssid: bytes) -> str:
    """Return a network's name without what could command or confuse a terminal or a reader.

    Control, formatting (also right-to-left) and unassigned characters, and separators that are no
    plain blank, become `?`.
    """
    text = ssid.decode(errors="replace")[:_SHOWN]
    harmless = "".join(
        letter if letter.isprintable() and letter != "\ufffd" else "?" for letter in text
    )
    # a name of nothing but blanks would be an empty line
    return harmless if harmless.strip() else f"'{harmless}'"


def _number(text: str) -> int:
    found = re.match(r"\d{1,6}", text)
    return int(found[0]) if found else 0


def _band(frequency: str) -> str:
    """Return the band of nmcli's `5180 MHz` in GHz."""
    mhz = _number(frequency)
    return "" if not mhz else "2.4" if mhz < 3000 else "5" if mhz < 5925 else "6"


# -- why something failed ------------------------------------------------------------------------

_SUPPLICANT = "802.1x supplicant"
REASONS: tuple[tuple[str, str, str], ...] = (
    ("no suitable device", "no Wi-Fi device can join it", "plug one in, or use a cable"),
    ("secrets were required", "wrong password", "type it again, minding upper and lower case"),
    ("passwords or encryption keys", "wrong password", "type it again"),
    ("802-11-wireless-security.psk", "this cannot be its password", "it has 8 to 63 characters"),
    (
        f"{_SUPPLICANT} took too long",
        "wrong password, or too far away",
        "type it again, or go nearer",
    ),
    (_SUPPLICANT, "the network refused, as with a wrong password", "type the password again"),
    (
        "wi-fi network could not be found",
        "there is no such network here",
        "mind upper and lower case in its name, or go nearer",
    ),
    (
        "ip configuration could not be reserved",
        "joined, but the network gave no address",
        "restart the router or access point, or use another network",
    ),
    ("dhcp client", "joined, but the network gave no address", "use another network"),
    ("ip configuration is no longer", "the network took its address back", "join it again"),
    (
        "firmware",
        "the firmware of this Wi-Fi device is missing",
        "use a cable, a phone's USB tethering, or the image built with --flavour full",
    ),
    ("timed out", "the network did not answer in time", "go nearer, or try again"),
    ("timeout", "the network did not answer in time", "go nearer, or try again"),
    ("carrier", "the cable was pulled out", "plug it in"),
    ("interrupted", "the connection was lost", "try again"),
    ("disappeared", "the device was taken away", "plug it in and look again"),
    (
        "not authorized",
        "this user may not change the network",
        "join the network with the computer's own settings",
    ),
    ("insufficient privileges", "this user may not change the network", "use the computer's own"),
)
"""What nmcli says (lower case, a part of it), what that means, and what to do."""


def reason(said: str) -> tuple[str, str]:
    """Return what nmcli's error means and what to do; what is not known is given as it is."""
    text = said.lower()
    for part, meaning, cure in REASONS:
        if part in text:
            return meaning, cure
    lines = [line for line in said.strip().splitlines() if not line.startswith("Hint:")]
    why = lines[-1].removeprefix("Error: ") if lines else "NetworkManager does not say why"
    return why, "try again, or use another network"


# -- the kernel's log ----------------------------------------------------------------------------

_MISSING = re.compile(
    r"(?P<driver>[\w-]+) \S+: (?:Direct firmware load for|firmware: failed to load) "
    r"(?P<file>\S+)"
)
_WIRELESS = re.compile(
    r"^(?:iwlwifi|iwl\w+|ath\d*k?\w*|rtw?\w+|rtl\w+|brcm\w+|b43\w*|mt7\w+|mwifiex\w*|mwl\w+|"
    r"rt2\w+|zd1211\w*|libertas\w*|wl\w+|carl9170)$"
)


def missing_firmware(log: str) -> list[str]:
    """Return `driver: file` for firmware that Wi-Fi drivers did not find, once a driver.

    Drivers try several versions of a file: this means something only where no device came up.
    """
    found: dict[str, str] = {}
    for match in _MISSING.finditer(log):
        if _WIRELESS.match(match["driver"]):
            found.setdefault(match["driver"], match["file"])
    return [f"{driver}: {file}" for driver, file in found.items()]
