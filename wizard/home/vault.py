"""Encryption of the build home: age, in the format of Debian's `age` and `age-keygen`.

The home's X25519 identity is encrypted by the passphrase (scrypt, 1 to 2 seconds, once a run);
all else is encrypted to the identity's recipient, which takes no passphrase and no time.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from pathlib import Path

import pyrage  # type: ignore[import-untyped]

from wizard.errors import HomeError, PassphraseError
from wizard.secrets import Secret

_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between tries on a computer that seems too slow: it may be busy for a moment only."""


class Vault:
    """An unlocked identity: what decrypts the home's secrets. Lives in memory only."""

    def __init__(self, identity: Secret) -> None:
        self._identity = pyrage.x25519.Identity.from_str(identity.reveal().strip())
        self.recipient = str(self._identity.to_public())
        self._mac_key = hashlib.sha256(
            b"build-usb authentication key\n" + str(self._identity).encode()
        ).digest()

    def __repr__(self) -> str:
        return f"Vault({self.recipient})"

    def encrypt(self, data: bytes) -> bytes:
        """Return `data` as an age file that only this identity opens."""
        return encrypt_to(self.recipient, data)

    def decrypt(self, data: bytes, where: str | Path) -> bytes:
        """Return what an age file holds; `where` names it in the HomeError raised otherwise."""
        try:
            return bytes(pyrage.decrypt(data, [self._identity]))
        except pyrage.DecryptError as error:
            mismatch = "No matching keys" in str(error)
            raise HomeError(
                "encrypted for another build home" if mismatch else "damaged",
                where=str(where),
                why="age cannot decrypt it: " + str(error),
                cure="restore the file from a copy of this build home",
            ) from error

    def locked_by(self, passphrase: Secret) -> bytes:
        """Return the identity as `lock_identity` does, for another passphrase."""
        return lock_identity(Secret(str(self._identity)), passphrase)

    def authenticate(self, data: bytes) -> str:
        """Return the HMAC-SHA256 (hex) of `data` that only holders of the identity can make."""
        return hmac.new(self._mac_key, data, hashlib.sha256).hexdigest()

    def is_authentic(self, data: bytes, mac: str) -> bool:
        """Say whether `mac` is what `authenticate` returns for `data`."""
        return hmac.compare_digest(self.authenticate(data).encode(), mac.encode())


def encrypt_to(recipient: str, data: bytes) -> bytes:
    """Return `data` as an age file for `recipient` (`age1…`). HomeError if it is none."""
    try:
        return bytes(pyrage.encrypt(data, [pyrage.x25519.Recipient.from_str(recipient)]))
    except pyrage.RecipientError as error:
        raise HomeError("not an age recipient", where=recipient, why=str(error)) from error


def generate_age_identity() -> Secret:
    """Return a new age identity (`AGE-SECRET-KEY-1…`)."""
    return Secret(str(pyrage.x25519.Identity.generate()))


def age_recipient(identity: Secret) -> str:
    """Return the public half (`age1…`) of an age identity."""
    return Vault(identity).recipient


def lock_identity(identity: Secret, passphrase: Secret) -> bytes:
    """Return the identity as an age file that the passphrase opens; takes a second, on purpose."""
    return bytes(pyrage.passphrase.encrypt(identity.reveal().encode() + b"\n", passphrase.reveal()))


def unlock_identity(data: bytes, passphrase: Secret, checksum: str, where: str | Path) -> Vault:
    """Open what `lock_identity` returned; `checksum` is its `fingerprint` when it was written.

    Raises PassphraseError when the passphrase is wrong, HomeError when the file is damaged: age
    alone cannot tell the two apart, the checksum does.
    """
    try:
        return Vault(Secret(open_by_passphrase(data, passphrase).decode()))
    except (pyrage.DecryptError, pyrage.IdentityError, UnicodeDecodeError) as error:
        if is_too_slow(error) and fingerprint(data) == checksum:
            raise HomeError(
                "this computer is too slow, or too busy, to open the build home",
                where=str(where),
                why=f"{error} The passphrase was made slow to guess on a faster computer.",
                cure="end what else runs and try again; or open it on another computer",
            ) from error
        if fingerprint(data) == checksum:
            raise PassphraseError(
                "wrong passphrase",
                where=str(where),
                cure="try again, minding upper and lower case and the keyboard layout; without "
                "the passphrase nobody can open this build home",
            ) from error
        raise HomeError(
            "damaged: this is not the encrypted identity that was written here",
            where=str(where),
            why=str(error),
            cure="restore it from a copy of this build home, or take the deployment over from "
            "its bucket on a new home: build-usb adopt",
        ) from error


def open_by_passphrase(data: bytes, passphrase: Secret) -> bytes:
    """Return what an age file of a passphrase holds; pyrage.DecryptError, see `is_too_slow`.

    age measures for a moment how fast the computer is, and does not begin what seems to take much
    longer than it should; a busy one it measures wrong."""
    for pause in (*_PAUSES, None):
        try:
            return bytes(pyrage.passphrase.decrypt(data, passphrase.reveal()))
        except pyrage.DecryptError as error:
            if pause is None or not is_too_slow(error):
                raise
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def is_too_slow(error: Exception) -> bool:
    """Say whether a passphrase was not tried at all, as this computer seems too slow for it."""
    return "Excessive work" in str(error)


def fingerprint(data: bytes) -> str:
    """Return the SHA-256 of `data` in hex."""
    return hashlib.sha256(data).hexdigest()
