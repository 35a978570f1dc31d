"""A deployment in one document, to be kept in its bucket: what a lost stick is replaced from.

    {"format": "build-usb-state", "version": 1, "deployment": "demo",
     "identity": base64 of identity.age (opened by the passphrase alone), "checksum": its SHA-256,
     "payload": base64 of an age file encrypted to that identity,
     "mac": HMAC-SHA256 of deployment and payload, by a key that only the identity's holder has}

The payload is JSON: {"deployment", "answers": text, "state": object or null, "hosts": [SshHost's
fields], "secrets": {name: value}}. An adopted deployment's files are written from these values.
Machines can write to the bucket; without the passphrase they can neither read nor forge this.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from wizard.errors import HomeError
from wizard.home.files import read_bytes, read_json, write_atomic, write_json
from wizard.home.home import DeploymentHome, Home
from wizard.home.keys import SshHost, read_ssh_hosts, write_ssh_files
from wizard.home.store import secrets_document
from wizard.home.vault import Vault, encrypt_to, fingerprint, unlock_identity
from wizard.secrets import Secret

_FORMAT = "build-usb-state"
_VERSION = 1
_LARGEST = 16 * 2**20  # bytes; a real one has some tens of thousands


def digest(home: DeploymentHome, vault: Vault) -> str:
    """Return a value that changes when the deployment's contents do, and tells nothing of them.

    Kept as `bundle_digest` in state.json, which is left out of the contents for that reason.
    """
    return vault.authenticate(b"digest\n" + _payload(home, vault))


def pack(home: DeploymentHome, vault: Vault) -> bytes:
    """Return the deployment's answers, state, known hosts and secrets, encrypted."""
    identity = home.home.locked_identity()
    payload = vault.encrypt(_payload(home, vault))
    document = {
        "format": _FORMAT,
        "version": _VERSION,
        "deployment": home.name,
        "identity": base64.b64encode(identity).decode(),
        "checksum": fingerprint(identity),
        "payload": base64.b64encode(payload).decode(),
        "mac": vault.authenticate(_authenticated(home.name, payload)),
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def unpack(data: bytes, passphrase: Secret, home: Home) -> DeploymentHome:
    """Make the packed deployment one of `home`'s; whole or, killed before the end, not at all.

    A home without an identity gets the bundle's, so `passphrase` opens it from then on; one that
    has its own encrypts the secrets to that. Raises PassphraseError, or HomeError when the bundle
    is damaged or forged, or the home knows a deployment of that name already.
    """
    name, identity, checksum, payload, mac = _parse(data)
    deployment = home.deployment(name)
    if deployment.exists():
        raise _known(deployment)
    vault = unlock_identity(identity, passphrase, checksum, "the state kept in the bucket")
    if not vault.is_authentic(_authenticated(name, payload), mac):
        raise _refused("it was not written by a holder of the passphrase")
    contents = _contents(vault.decrypt(payload, "the state kept in the bucket"), name)
    if not home.has_identity():
        home.install_identity(identity, vault.recipient)
    with deployment.lock(f"adopt {name}"):
        if deployment.exists():
            raise _known(deployment)
        document = encrypt_to(home.recipient(), secrets_document(contents.secrets))
        write_atomic(deployment.secrets_file, document)
        if contents.state is not None:
            write_json(deployment.state_file, contents.state)
        write_ssh_files(deployment, contents.hosts)
        # last: the answers' presence is what makes a deployment known
        write_atomic(deployment.answers_file, contents.answers.encode())
    return deployment


@dataclass(frozen=True)
class _Contents:
    answers: str
    state: dict[str, Any] | None
    hosts: tuple[SshHost, ...]
    secrets: dict[str, str]


def _payload(home: DeploymentHome, vault: Vault) -> bytes:
    answers = read_bytes(home.answers_file)
    if answers is None:
        raise HomeError("there are no answers to keep", where=str(home.answers_file))
    state = read_json(home.state_file)
    if isinstance(state, dict):
        state.pop("bundle_digest", None)
    store = home.vault(vault)
    contents = {
        "deployment": home.name,
        "answers": answers.decode(),
        "state": state,
        "hosts": [asdict(host) for host in read_ssh_hosts(home)],
        "secrets": {name: secret.reveal() for name, secret in store.items()},
    }
    return json.dumps(contents, sort_keys=True).encode()


def _contents(data: bytes, name: str) -> _Contents:
    with _validating():
        values = json.loads(data)
        answers, state, secrets = values["answers"], values["state"], values["secrets"]
        hosts = tuple(SshHost(**host) for host in values["hosts"])
        if not (
            values["deployment"] == name
            and isinstance(answers, str)
            and isinstance(state, dict | None)
            and all(isinstance(text, str) for item in secrets.items() for text in item)
        ):
            raise ValueError("a value has another type than expected")
        return _Contents(answers, state, hosts, dict(secrets))


def _authenticated(name: str, payload: bytes) -> bytes:
    return f"{_FORMAT} {_VERSION} {name}\n".encode() + payload


def _parse(data: bytes) -> tuple[str, bytes, str, bytes, str]:
    if len(data) > _LARGEST:
        raise _refused("it is far larger than any that was written")
    with _validating():
        values = json.loads(data)
        if values["format"] != _FORMAT:
            raise ValueError("it is something else")
        if values["version"] != _VERSION:
            raise _refused("another version of Build USB wrote it")
        texts = [values[key] for key in ("deployment", "checksum", "mac")]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a value has another type than expected")
        identity, payload = (
            base64.b64decode(values[key], validate=True) for key in ("identity", "payload")
        )
    return texts[0], identity, texts[1], payload, texts[2]


@contextmanager
def _validating() -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _refused(f"it is damaged: {error!r}") from error


def _refused(why: str) -> HomeError:
    return HomeError(
        "the deployment's state kept in the bucket cannot be used",
        why=why,
        cure="use the build home the deployment was made with, or an older version of the object",
    )


def _known(deployment: DeploymentHome) -> HomeError:
    return HomeError(
        f"this build home knows {deployment.name} already",
        where=str(deployment.folder),
        cure="use it as it is, or take it over into another home with --home",
    )
