"""A computer with Wi-Fi as nmcli's terse answers, written after nmcli's documented format."""

from __future__ import annotations

from collections.abc import Sequence

from wizard.secrets import Secret
from wizard.stick.network import Said


def scan_line(
    ssid: bytes, signal: int, security: str, freq: str = "2437 MHz", use: str = " "
) -> str:
    return f"{use}:{ssid.hex().upper()}:{signal}:{security}:{freq}:wlan0"


SCANNED = "\n".join(
    [
        scan_line(b"Home", 40, "WPA2"),
        scan_line(b"Home", 82, "WPA2", "5180 MHz", "*"),
        scan_line(b"Cafe", 90, ""),
        scan_line(b"", 70, "WPA2"),
        scan_line(b"\0\0\0", 70, "WPA2"),
        scan_line(b"New", 60, "WPA3", "5975 MHz"),
        scan_line(b"Both", 55, "WPA2 WPA3"),
        scan_line(b"Office", 50, "WPA2 802.1X"),
        scan_line(b"Old", 45, "WEP"),
        scan_line(b"Airport", 44, "OWE"),
        scan_line(b"\x1b[2Jevil\x07\n:\\", 30, "WPA2"),
        scan_line("rtl\u202egnp".encode(), 29, "WPA2"),
        scan_line(b"\xff\xfe\x80", 28, "WPA2"),
        "not a line of this table",
        " :xyz:1:WPA2:2437 MHz:wlan0",
    ]
)


class Recorded:
    """A computer with one Wi-Fi device, as nmcli's terse answers; keeps what it was asked."""

    def __init__(self, general: str, devices: str, *, joins: Said | None = None) -> None:
        self.general, self.devices = general, devices
        self.joins = joins or Said(0, "", "")
        self.profiles: list[str] = []
        self.active = ""
        self.argv: list[list[str]] = []
        self.secrets: list[str] = []

    def __call__(self, argv: Sequence[str], seconds: float, secret: Secret | None = None) -> Said:
        words = list(argv)
        self.argv.append(words)
        if words[0] != "nmcli":
            raise FileNotFoundError(words[0])
        assert words[1:6] == ["--colors", "no", "-t", "-e", "yes"]
        words = words[6:]
        if secret:
            self.secrets.append(secret.reveal())
        if words[-1] == "general":
            return Said(0, self.general, "")
        if words[-1] == "device":
            return Said(0, self.devices, "")
        if "wifi" in words and "list" in words:
            return Said(0, SCANNED, "")
        if words[:2] == ["connection", "add"]:
            self.profiles.append(words[words.index("con-name") + 1])
        elif words[:2] == ["connection", "delete"]:
            self.profiles = [name for name in self.profiles if name != words[-1]]
        elif "up" in words:
            if self.joins.code == 0:
                self.active = words[words.index("id") + 1]
            return self.joins
        elif "--active" in words:
            return Said(0, self.active, "")
        elif "show" in words:
            return Said(0, "\n".join(["Wired connection 1", *self.profiles]), "")
        return Said(0, "", "")


OFFLINE = (
    "disconnected:none:enabled:enabled",
    "wlan0:wifi:disconnected:\neth0:ethernet:unavailable:",
)
