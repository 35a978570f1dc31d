"""A string that does not print: tokens, keys, passwords.

Leaf module: standard library only. (Named for what it holds; the standard library's `secrets` is
imported absolutely where random values are made.)
"""

from __future__ import annotations

import os
import secrets as _random
from collections.abc import Iterable
from typing import IO, Any, NoReturn

MASK = "***"
# 62 characters without look-alikes or shell and URL meaning: 5.8 bits each
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"


class Secret:
    """Holds a value that prints as `***` everywhere; `reveal()` is the only way out.

    Not hashable, not picklable, not JSON: a secret leaves a process only where code says so.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself; every call is a place to review."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return MASK

    def __format__(self, _spec: str) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and _random.compare_digest(
            self._value.encode(), other._value.encode()
        )

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret does not leave its process by pickling")


def generate(length: int = 24) -> Secret:
    """Return a new random password of `length` letters and digits (24: about 139 bits)."""
    return Secret("".join(_random.choice(_ALPHABET) for _ in range(length)))


def memory_file(secret: Secret) -> IO[bytes]:
    """Return an open file in memory that holds the secret, readable by us alone.

    A program is given it as /dev/fd/N, with N among the descriptors it inherits.
    """
    file = os.fdopen(os.memfd_create("secret"), "w+b", buffering=0)
    os.fchmod(file.fileno(), 0o600)
    file.write(secret.reveal().encode())
    return file


def redact(text: str, known: Iterable[Secret]) -> str:
    """Return `text` with every known secret of 6 or more characters replaced by `***`."""
    # longest first, so that a secret containing another leaves no remainder behind
    for secret in sorted((s.reveal() for s in known), key=len, reverse=True):
        if len(secret) >= 6:
            text = text.replace(secret, MASK)
            for line in secret.splitlines():
                # a key's lines are secrets too: logs often show one at a time
                if len(line) >= 24:
                    text = text.replace(line, MASK)
    return text


def plain(value: Any) -> Any:
    """Return `value` (dicts, lists, secrets) with secrets revealed, to be sent to one worker."""
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
