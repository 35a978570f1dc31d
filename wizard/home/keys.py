"""SSH keys, the deployment's own known_hosts and ssh_config, and a shell on a machine.

Private keys are in the encrypted store and in memory, never on disk in clear.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import signal
import struct
import subprocess
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wizard.errors import HomeError
from wizard.home.files import read_bytes, write_atomic
from wizard.home.home import DeploymentHome
from wizard.home.store import SecretStore
from wizard.home.vault import age_recipient, generate_age_identity
from wizard.secrets import Secret

__all__ = [
    "KeyPair",
    "SshHost",
    "age_recipient",
    "derived_key_pair",
    "generate_age_identity",
    "generate_ssh_key",
    "key_pair",
    "open_ssh",
    "public_key",
    "read_ssh_hosts",
    "sign",
    "ssh_arguments",
    "write_ssh_files",
]

# beside what is asked for, so that a name in the answers could never add a line to these files
_SAFE_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:")


@dataclass(frozen=True)
class KeyPair:
    """An ed25519 key: `private` in OpenSSH's format, `public` as one line `ssh-ed25519 AAAA…`."""

    private: Secret
    public: str


@dataclass(frozen=True)
class SshHost:
    """A machine to connect to; `host_key` (`ssh-ed25519 AAAA…`) is the only one accepted."""

    name: str
    address: str
    port: int
    host_key: str


def sign(private: Secret, namespace: str, text: bytes) -> str:
    """Return a signature as `ssh-keygen -Y verify` reads it (OpenSSH's PROTOCOL.sshsig)."""
    key = serialization.load_ssh_private_key(private.reveal().encode(), None)
    assert isinstance(key, Ed25519PrivateKey)
    kind, public = b"ssh-ed25519", public_key(private).split()[1]
    about = b"".join(map(_string, (namespace.encode(), b"", b"sha512")))
    made = key.sign(b"SSHSIG" + about + _string(hashlib.sha512(text).digest()))
    who = struct.pack(">I", 1) + _string(base64.b64decode(public))
    whole = b"SSHSIG" + who + about + _string(_string(kind) + _string(made))
    lines = textwrap.fill(base64.b64encode(whole).decode(), 70)
    return f"-----BEGIN SSH SIGNATURE-----\n{lines}\n-----END SSH SIGNATURE-----\n"


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def generate_ssh_key() -> Secret:
    """Return a new ed25519 private key in OpenSSH's format."""
    return _openssh(Ed25519PrivateKey.generate())


def _openssh(key: Ed25519PrivateKey) -> Secret:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    return Secret(pem.decode())


def public_key(private: Secret) -> str:
    """Return the public half of an OpenSSH private key, without a comment."""
    try:
        key = serialization.load_ssh_private_key(private.reveal().encode(), password=None)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise HomeError(
            "a stored SSH key is damaged or of a kind not known here", why=str(error)
        ) from error
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode()
    )


def derived_key_pair(seed: Secret, name: str) -> KeyPair:
    """Return the key pair that everybody who knows `seed` derives for this name: machines that
    make machines for each other need not tell each other their keys."""
    own = hmac.new(seed.reveal().encode(), name.encode(), hashlib.sha256).digest()
    private = _openssh(Ed25519PrivateKey.from_private_bytes(own))
    return KeyPair(private, public_key(private))


def key_pair(secrets: SecretStore, name: str) -> KeyPair:
    """Return the key pair stored as `name`, made and stored first if there is none."""
    private = secrets.get_or_create(name, generate_ssh_key)
    return KeyPair(private, public_key(private))


def write_ssh_files(home: DeploymentHome, hosts: Sequence[SshHost]) -> None:
    """Write known_hosts and ssh_config for exactly these machines. Raises HomeError."""
    for host in hosts:
        _check(host)
    home.create()
    ordered = sorted(hosts, key=lambda host: host.name)
    known = "".join(f"{_pattern(h.address, h.port)} {h.host_key} {h.name}\n" for h in ordered)
    write_atomic(home.known_hosts, known.encode())
    write_atomic(home.ssh_config, _ssh_config(home, ordered).encode())


def read_ssh_hosts(home: DeploymentHome) -> list[SshHost]:
    """Return the machines in known_hosts as written last, none if it is not there. HomeError."""
    hosts = []
    for line in (read_bytes(home.known_hosts) or b"").decode(errors="replace").splitlines():
        try:
            pattern, kind, data, name = line.split(" ")
            address, _, port = pattern.strip("[").partition("]:")
            host = SshHost(name, address, int(port or 22), f"{kind} {data}")
            _check(host)
        except ValueError as error:
            raise HomeError(
                "damaged: not a line that was written here",
                where=str(home.known_hosts),
                why=ascii(line),
                cure="delete the file and deploy again: it is written anew",
            ) from error
        hosts.append(host)
    return hosts


def _pattern(address: str, port: int) -> str:
    return address if port == 22 else f"[{address}]:{port}"


def _check(host: SshHost) -> None:
    kind, _, data = host.host_key.partition(" ")
    try:
        blob = base64.b64decode(data, validate=True)
        good_key = kind == "ssh-ed25519" and blob[:15] == struct.pack(">I", 11) + b"ssh-ed25519"
    except ValueError:
        good_key = False
    good_names = all(
        text and not text.startswith("-") and _SAFE_NAME.issuperset(text)
        for text in (host.name, host.address)
    )
    if not (good_key and good_names and 0 < host.port < 65536):
        raise HomeError(
            "a machine's name, address, port or host key is not one that SSH can be told of",
            why=repr(host),
        )


def _ssh_config(home: DeploymentHome, hosts: Sequence[SshHost]) -> str:
    # ssh expands % in paths; Home refuses paths with what quotes cannot hold
    known_hosts = str(home.known_hosts).replace("%", "%%")
    machines = "".join(
        f"Host {host.name}\n  HostName {host.address}\n  Port {host.port}\n\n" for host in hosts
    )
    # none of the user's keys, agents or settings: the same on every computer
    return f"""\
# {home.name}'s machines, for `build-usb ssh`; written anew by each deployment.
{machines}Host *
  User root
  UserKnownHostsFile "{known_hosts}"
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  UpdateHostKeys no
  CheckHostIP no
  HostKeyAlgorithms ssh-ed25519
  IdentityFile none
  IdentitiesOnly yes
  IdentityAgent none
  AddKeysToAgent no
  PreferredAuthentications publickey
  ForwardAgent no
  ForwardX11 no
  ControlMaster no
  ControlPath none
  CanonicalizeHostname no
  ConnectTimeout 15
  ServerAliveInterval 15
"""


def ssh_arguments(home: DeploymentHome, identity: str) -> list[str]:
    """Return the start of an ssh command line that uses nothing but the deployment's files."""
    return ["ssh", "-F", str(home.ssh_config), "-i", identity]


def open_ssh(home: DeploymentHome, key: Secret, argv: Sequence[str]) -> int:
    """Run the system's ssh on this terminal and return its exit status (128+n for signal n).

    `argv` is the machine's name, then perhaps a command. The key reaches ssh through memory that
    belongs to this process: it is in no file, argument or environment. HomeError without ssh.
    """
    if not home.ssh_config.is_file():
        raise HomeError(
            "no machine of this deployment is known yet",
            where=str(home.ssh_config),
            cure="deploy first: build-usb deploy",
        )
    memory = os.memfd_create("ssh-key", os.MFD_CLOEXEC)
    try:
        os.fchmod(memory, 0o600)  # ssh refuses keys that others could read
        os.write(memory, key.reveal().encode())
        # ssh closes what it inherits, so it reads the key through its parent: us
        identity = f"/proc/{os.getpid()}/fd/{memory}"
        command = [*ssh_arguments(home, identity), "--", *argv]
        # the keyboard's signals are for ssh; a handler, unlike SIG_IGN, is not inherited by it
        before = {
            number: signal.signal(number, lambda _number, _frame: None)
            for number in (signal.SIGINT, signal.SIGQUIT)
        }
        try:
            status = subprocess.run(command, check=False).returncode
        except FileNotFoundError as error:
            raise HomeError(
                "there is no ssh on this computer", cure="apt install openssh-client"
            ) from error
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    finally:
        os.close(memory)
    return status if status >= 0 else 128 - status
