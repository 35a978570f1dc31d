"""age files of a passphrase that are quick to open. The build home makes each try cost a second of
a processor, on purpose; tests open homes a thousand times. Format: age-encryption.org/v1, C2SP."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wizard.secrets import Secret

_LABEL = b"age-encryption.org/v1/scrypt"
_LOG_WORK = 6
_CHUNK = 64 * 1024


def lock_identity(identity: Secret, passphrase: Secret) -> bytes:
    """Return what `wizard.home.vault.lock_identity` does, at a thousandth of the work to guess."""
    key, salt, nonce = os.urandom(16), os.urandom(16), os.urandom(16)
    wrapping = hashlib.scrypt(
        passphrase.reveal().encode(), salt=_LABEL + salt, n=1 << _LOG_WORK, r=8, p=1, dklen=32
    )
    wrapped = ChaCha20Poly1305(wrapping).encrypt(bytes(12), key, None)
    header = b"age-encryption.org/v1\n-> scrypt %s %d\n%s\n---" % (
        _unpadded(salt),
        _LOG_WORK,
        _unpadded(wrapped),
    )
    mac = hmac.new(_derived(key, b"", b"header"), header, hashlib.sha256).digest()
    text = identity.reveal().encode() + b"\n"
    assert len(text) < _CHUNK
    # one chunk, which is the last: eleven bytes of counter, one that says so
    payload = ChaCha20Poly1305(_derived(key, nonce, b"payload")).encrypt(
        bytes(11) + b"\1", text, None
    )
    return header + b" " + _unpadded(mac) + b"\n" + nonce + payload


def _derived(key: bytes, salt: bytes, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt, purpose).derive(key)


def _unpadded(data: bytes) -> bytes:
    return base64.b64encode(data).rstrip(b"=")
