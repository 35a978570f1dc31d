"""The secrets of a deployment, or the user's own of the home: one JSON document in `secrets.age`,
encrypted to the home's identity."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from wizard.errors import HomeError
from wizard.home.files import explained, make_folder, read_bytes, write_atomic
from wizard.home.vault import Vault
from wizard.secrets import Secret


class SecretStore:
    """Named secrets that are on disk before anyone can use them.

    Safe from several threads and processes: each change reads the file anew under a lock.
    """

    def __init__(self, path: Path, vault: Vault) -> None:
        self._path = path
        self.vault = vault
        self._lock = threading.Lock()

    def get(self, name: str) -> Secret | None:
        """Return the secret of that name, None if there is none. Raises HomeError."""
        value = self._read().get(name)
        return None if value is None else Secret(value)

    def get_or_create(self, name: str, factory: Callable[[], Secret]) -> Secret:
        """Return the secret, made by `factory` and stored first if there is none."""
        with self._exclusively():
            values = self._read()
            if name not in values:
                values[name] = factory().reveal()
                self._write(values)
            return Secret(values[name])

    def set(self, name: str, secret: Secret) -> None:
        """Store a secret, in place of what had that name."""
        self.update({name: secret})

    def update(self, secrets: Mapping[str, Secret]) -> None:
        """Store several secrets at once: all of them or none."""
        with self._exclusively():
            values = self._read()
            changed = values | {name: secret.reveal() for name, secret in secrets.items()}
            if changed != values:
                self._write(changed)

    def delete(self, name: str) -> None:
        """Forget a secret; what is gone already is no error."""
        with self._exclusively():
            values = self._read()
            if values.pop(name, None) is not None:
                self._write(values)

    def names(self) -> list[str]:
        """Return the names of all secrets, sorted."""
        return sorted(self._read())

    def all(self) -> list[Secret]:
        """Return all secrets, for redaction."""
        return [Secret(value) for value in self._read().values()]

    def items(self) -> list[tuple[str, Secret]]:
        """Return all names and secrets, sorted by name."""
        return [(name, Secret(value)) for name, value in sorted(self._read().items())]

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        with self._lock:
            make_folder(self._path.parent)
            lock = self._path.with_suffix(".lock")
            with explained(lock, "lock"):
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                descriptor = os.open(lock, flags, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # held for milliseconds: worth waiting
                yield
            finally:
                os.close(descriptor)

    def _read(self) -> dict[str, str]:
        data = read_bytes(self._path)
        if data is None:
            return {}
        try:
            values = json.loads(self.vault.decrypt(data, self._path))["secrets"]
            return {str(name): str(value) for name, value in values.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise HomeError(
                "damaged: not a document of secrets",
                where=str(self._path),
                cure="restore the file from a copy of this build home",
            ) from error

    def _write(self, values: dict[str, str]) -> None:
        write_atomic(self._path, self.vault.encrypt(secrets_document(values)))


def secrets_document(values: Mapping[str, str]) -> bytes:
    """Return the document that is encrypted as `secrets.age`."""
    return json.dumps({"version": 1, "secrets": dict(sorted(values.items()))}).encode()
