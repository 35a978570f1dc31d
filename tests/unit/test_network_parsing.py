"""What nmcli and the kernel say, read; and what is asked of nmcli, by a recorded computer."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.recorded_network import OFFLINE, SCANNED, Recorded, scan_line
from wizard.errors import NetworkError
from wizard.secrets import Secret
from wizard.stick import nmcli, reach
from wizard.stick.network import Network, Said, run
from wizard.stick.nmcli import AccessPoint, Security

PASSWORD = Secret(r"pass\word: 145 ")
HOME = b"Home".hex()


def test_terse_lines_are_split_where_colons_are_not_escaped() -> None:
    assert nmcli.split(r"a:b\:c\\:d:") == ["a", "b:c\\", "d", ""]
    assert nmcli.split("") == [""]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_any_values_survive_nmclis_escaping(values: list[str]) -> None:
    line = ":".join(value.replace("\\", "\\\\").replace(":", "\\:") for value in values)
    assert nmcli.split(line) == values


def test_networks_are_merged_by_name_and_sorted_by_signal() -> None:
    points = nmcli.access_points(SCANNED, {b"Home"})
    assert [point.name for point in points[:6]] == ["Home", "Cafe", "New", "Both", "Office", "Old"]
    home = points[0]
    assert home == AccessPoint(
        b"Home", 82, Security.PSK, ("2.4", "5"), "wlan0", in_use=True, known=True
    )
    kinds = {point.name: point.security for point in points}
    assert kinds["Cafe"] is Security.OPEN
    assert kinds["New"] is Security.SAE
    assert kinds["Both"] is Security.PSK
    assert kinds["Airport"] is Security.OWE
    assert {p.name: p.refusal for p in points if p.security in (Security.WEP, Security.ENTERPRISE)}[
        "Office"
    ].startswith("networks that ask for a user's name")


def test_one_name_with_two_protections_is_two_networks() -> None:
    text = f"{scan_line(b'Home', 40, 'WPA2')}\n{scan_line(b'Home', 90, '')}"
    assert [point.security for point in nmcli.access_points(text)] == [Security.OPEN, Security.PSK]


def test_hostile_names_are_shown_harmlessly_and_refused() -> None:
    hostile = [point for point in nmcli.access_points(SCANNED) if point.signal <= 30]
    assert [point.name for point in hostile] == ["?[2Jevil??:\\", "rtl?gnp", "???"]
    assert "control characters" in hostile[0].refusal
    assert hostile[1].refusal == ""  # shown harmlessly it can be joined
    assert "not text" in hostile[2].refusal


@given(st.binary(max_size=64))
@example("\N{NO-BREAK SPACE}".encode())
def test_no_name_can_command_a_terminal(ssid: bytes) -> None:
    name = nmcli.shown(ssid)
    assert name.isprintable()
    assert name.strip()
    assert nmcli.profiles(nmcli.profile(ssid)) == {ssid}


@pytest.mark.parametrize(
    ("line", "wifi"),
    [
        ("connected:full:enabled:enabled", "on"),
        ("disconnected:none:enabled:disabled", "off"),
        ("disconnected:none:disabled:disabled", "blocked"),
        ("connected:unknown:missing:enabled", "missing"),
    ],
)
def test_switches_of_wifi(line: str, wifi: str) -> None:
    found = nmcli.general(line)
    assert found is not None
    assert found.wifi == wifi


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("Connection activation failed: Secrets were required, but not provided", "wrong password"),
        ("Passwords or encryption keys are required to access the wireless network", "wrong passw"),
        ("activation failed: The Wi-Fi network could not be found", "no such network"),
        (
            "activation failed: IP configuration could not be reserved (no available address, "
            "timeout, etc.)",
            "no address",
        ),
        ("activation failed: 802.1X supplicant took too long to authenticate", "wrong password"),
        ("activation failed: Necessary firmware for the device may be missing", "firmware"),
        ("Error: Timeout expired (60 seconds)", "in time"),
        ("Error: something nobody has met\nHint: journalctl", "something nobody has met"),
        ("", "does not say why"),
    ],
)
def test_reasons_are_put_into_words(said: str, meaning: str) -> None:
    assert meaning in nmcli.reason(said)[0]


def test_reasons_are_those_of_the_real_nmcli() -> None:
    """The words are in the program itself where it is installed."""
    program = Path("/usr/bin/nmcli")
    if not program.exists():
        pytest.skip("no nmcli on this computer")
    words = program.read_bytes().lower()
    for part in ("secrets were required", "ip configuration could not be reserved", "ssid-hex"):
        assert part.encode() in words


def test_missing_firmware_is_named_once_a_driver() -> None:
    log = """\
iwlwifi 0000:00:14.3: Direct firmware load for iwlwifi-ty-a0-gf-a0-89.ucode failed with error -2
iwlwifi 0000:00:14.3: Direct firmware load for iwlwifi-ty-a0-gf-a0-88.ucode failed with error -2
[    7.1] rtw89_8852ce 0000:02:00.0: firmware: failed to load rtw89/rtw8852c_fw.bin (-2)
i915 0000:00:02.0: Direct firmware load for i915/adlp_dmc.bin failed with error -2
"""
    assert nmcli.missing_firmware(log) == [
        "iwlwifi: iwlwifi-ty-a0-gf-a0-89.ucode",
        "rtw89_8852ce: rtw89/rtw8852c_fw.bin",
    ]


# -- a recorded computer -------------------------------------------------------------------------


def test_a_password_goes_by_a_file_only_nmcli_reads_and_byte_for_byte() -> None:
    computer = Recorded(*OFFLINE)
    network = Network(computer)
    point = AccessPoint(b"Home", 80, Security.PSK, device="wlan0")
    network.join(point, PASSWORD)
    assert computer.profiles == [f"build-usb-wifi-{HOME}"]
    assert not any(PASSWORD.reveal() in word for argv in computer.argv for word in argv)
    setting, _, octal = computer.secrets[0].strip().partition(":")
    assert setting == "802-11-wireless-security.psk"
    digits = octal.split("\\")[1:]
    assert bytes(int(three, 8) for three in digits).decode() == PASSWORD.reveal()
    added = next(argv for argv in computer.argv if "add" in argv)
    assert added[added.index("wifi-sec.key-mgmt") + 1] == "wpa-psk"
    # known from now on: no password is asked for again
    assert network.scan()[0].known
    network.forget(point)
    assert computer.profiles == []


def test_a_profile_that_failed_is_not_kept() -> None:
    refused = Said(
        4, "", "Error: Connection activation failed: Secrets were required, but not provided"
    )
    computer = Recorded(*OFFLINE, joins=refused)
    with pytest.raises(NetworkError) as caught:
        Network(computer).join(AccessPoint(b"Home", 80, Security.PSK), PASSWORD)
    assert caught.value.why == "wrong password"
    assert computer.profiles == []
    assert PASSWORD.reveal() not in str(caught.value)


def test_success_is_believed_only_when_the_connection_is_there() -> None:
    """Older versions of nmcli ended with 0 whatever happened."""
    computer = Recorded(*OFFLINE)
    computer.joins = Said(0, "", "Error: Timeout expired (60 seconds)")
    up = computer.__call__

    def never_up(argv: Sequence[str], seconds: float, secret: Secret | None = None) -> Said:
        said = up(argv, seconds, secret)
        computer.active = ""
        return said

    with pytest.raises(NetworkError, match="not joined"):
        Network(never_up).join(AccessPoint(b"Cafe"), None)
    assert computer.profiles == []


@pytest.mark.parametrize("password", [None, "", "short", "x" * 64, "with\nnewline"])
def test_impossible_passwords_are_refused_before_anything_is_asked(password: str | None) -> None:
    computer = Recorded(*OFFLINE)
    secret = None if password is None else Secret(password)
    with pytest.raises(NetworkError, match="cannot be the network's password"):
        # 64 hexadecimal digits are a key; 64 other characters nothing
        Network(computer).join(AccessPoint(b"Home", 80, Security.PSK), secret)
    assert not any("add" in argv for argv in computer.argv)


def test_enterprise_is_refused_by_name() -> None:
    with pytest.raises(NetworkError) as caught:
        Network(Recorded(*OFFLINE)).join(AccessPoint(b"Office", 80, Security.ENTERPRISE), PASSWORD)
    assert "802.1X" in caught.value.why


@pytest.mark.parametrize(
    ("general", "devices", "trouble"),
    [
        ("connected:full:missing:enabled", "eth0:ethernet:connected:Wired connection 1", ""),
        ("connected:unknown:missing:enabled", "eth0:ethernet:connected:Wired connection 1", ""),
        ("connected (local only):portal:enabled:enabled", "wlan0:wifi:connected:x", "web page"),
        ("connected (site only):limited:missing:enabled", "eth0:ethernet:connected:x", "internet"),
        (*OFFLINE, "no connection"),
    ],
)
def test_how_the_network_is(general: str, devices: str, trouble: str) -> None:
    outlook = Network(Recorded(general, devices)).look()
    assert outlook.managed
    assert outlook.well == (trouble == "")
    assert trouble in outlook.trouble


# -- without NetworkManager: `ip` as it is in a namespace of the test's own ------------------------


def ip(**tables: object) -> Network:
    answers = {"link": [], "address": [], "route": [], "-6": [], **tables}

    def programs(argv: Sequence[str], seconds: float, secret: Secret | None = None) -> Said:
        if argv[0] != "ip":
            raise FileNotFoundError(argv[0])
        return Said(0, json.dumps(answers[argv[2]]), "")

    return Network(programs, Path("/etc/hostname"))


UP = [{"ifname": "lo", "flags": ["UP"]}, {"ifname": "eth0", "flags": ["UP", "LOWER_UP"]}]
ADDRESS = [{"ifname": "eth0", "addr_info": [{"scope": "global"}]}]


@pytest.mark.parametrize(
    ("tables", "trouble"),
    [
        ({}, "no network device is up"),
        ({"link": UP}, "has an address"),
        ({"link": UP, "address": ADDRESS}, "no default route"),
        ({"link": UP, "address": ADDRESS, "route": [{"dst": "default"}]}, "no DNS server"),
        ({"link": UP, "address": ADDRESS, "-6": [{"dst": "default"}]}, "no DNS server"),
    ],
)
def test_what_is_missing_without_networkmanager(tables: dict[str, object], trouble: str) -> None:
    assert trouble in ip(**tables).look().trouble


def test_the_real_ip_is_understood() -> None:
    try:
        said = run(("ip", "-json", "link"), 5)
    except FileNotFoundError:
        pytest.skip("no ip on this computer")
    assert any(link["ifname"] == "lo" for link in json.loads(said.out))


def test_a_program_reads_a_secret_from_no_argument() -> None:
    said = run(("sh", "-c", 'cat "$0"; cat /proc/$$/cmdline', "{secret}"), 5, Secret("hunter22"))
    assert said.out.startswith("hunter22")
    assert said.out.count("hunter22") == 1
    assert run(("sleep", "9"), 0.1).code == 3


# -- hosts ---------------------------------------------------------------------------------------


def certificate(folder: Path, *, begins: int, ends: int) -> Path:
    """A certificate for localhost, valid from and to so many days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + timedelta(days=begins))
        .not_valid_after(now + timedelta(days=ends))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@contextmanager
def serving(reply: bytes, pem: Path | None = None) -> Iterator[int]:
    """A server on loopback that says one thing; over TLS with a certificate."""
    context = None
    if pem:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                if context:
                    connection = context.wrap_socket(connection, server_side=True)
                connection.recv(4096)
                connection.sendall(reply)
            except OSError:
                pass
            finally:
                connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def failure(port: int, plain: int, monkeypatch: pytest.MonkeyPatch, trusted: Path) -> NetworkError:
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with pytest.raises(NetworkError) as caught:
        reach.check(("localhost", port), plain_port=plain, seconds=3)
    return caught.value


def test_a_trusted_host_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = certificate(tmp_path, begins=-1, ends=1)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    with serving(b"", pem) as port:
        reach.check(("localhost", port), plain_port=1, seconds=3)


def test_a_wrong_clock_is_told_from_everything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    date = b"HTTP/1.0 301 x\r\nDate: Tue, 01 Jan 2030 12:00:00 GMT\r\n\r\n"
    for begins, ends in ((10, 20), (-20, -10)):
        pem = certificate(tmp_path, begins=begins, ends=ends)
        with serving(b"", pem) as port, serving(date) as plain:
            error = failure(port, plain, monkeypatch, pem)
        assert "clock seems to be wrong" in error.what
        assert "2030-01-01" in error.why


def test_a_login_page_is_told_from_a_filter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = certificate(tmp_path, begins=-1, ends=1)
    other = tmp_path / "other"
    other.mkdir()
    trusted = certificate(other, begins=-1, ends=1)
    page = b"HTTP/1.0 302 x\r\nLocation: http://login.hotel.example/\r\n\r\n"
    with serving(b"", pem) as port, serving(page) as plain:
        assert "captive portal" in failure(port, plain, monkeypatch, trusted).what
    with serving(b"", pem) as port:
        assert "somebody else answers" in failure(port, 1, monkeypatch, trusted).what


def test_no_name_service_and_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = certificate(tmp_path, begins=-1, ends=1)
    assert "does not answer" in failure(1, 1, monkeypatch, pem).what

    def no_server(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_server)
    assert "cannot be looked up" in failure(1, 1, monkeypatch, pem).what


def test_hosts_are_those_of_the_adapters() -> None:
    code = (
        "from urllib.parse import urlsplit\n"
        "from wizard.providers import digitalocean_api\nfrom wizard.dns import cloudflare_api\n"
        "for module in (digitalocean_api, cloudflare_api): print(urlsplit(module.URL).hostname)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [reach.HOSTS["digitalocean"], reach.HOSTS["cloudflare"]]


def test_what_is_not_https_is_not_looked_for() -> None:
    environ = {"BUILD_USB_DIGITALOCEAN_URL": "http://127.0.0.1:99/"}
    assert reach.places(["local", "rfc2136", "digitalocean"], environ) == []
    environ = {"BUILD_USB_DIGITALOCEAN_URL": "https://gateway.example:8443/v2"}
    assert reach.places(["digitalocean"], environ) == [("gateway.example", 8443)]
    assert reach.places(["digitalocean", "digitalocean"], {}) == [("api.digitalocean.com", 443)]
