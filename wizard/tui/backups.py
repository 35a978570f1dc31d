"""Backups of the build home on another stick or in a bucket: what the wizard's screens do.

A bucket is named by its own name, and by answers that say whose it is and where its keys come from.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wizard.secrets import Secret
from wizard.stick import backup

if TYPE_CHECKING:
    from wizard.storage.base import Bucket
    from wizard.tui.desk import Desk


class Backups:
    """One person's backups. Every method is slow and raises BuildUsbError."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def to_stick(self, device: str) -> str:
        """Make a backup on a partition of another stick; return what it is called there."""
        data = self._pack()
        with self._mounted(device, "rw") as folder:
            return backup.to_folder(data, folder, backup.name()).name

    def to_bucket(self, answers: Path, bucket: str) -> str:
        """Make a backup in a bucket; return what it is called there."""
        data = self._pack()
        return backup.to_bucket(data, self._bucket(answers, bucket), backup.name())

    def from_stick(self, device: str, passphrase: Secret) -> list[str]:
        """Restore the newest backup of another stick; return the deployments it holds."""
        with self._mounted(device, "ro") as folder:
            data = backup.from_path(folder)
        return self._restore(data, passphrase)

    def from_bucket(self, answers: Path, bucket: str, passphrase: Secret) -> list[str]:
        """Restore the newest backup of a bucket; return the deployments it holds."""
        return self._restore(backup.from_bucket(self._bucket(answers, bucket)), passphrase)

    def _pack(self) -> bytes:
        session = self._desk.session
        assert session is not None
        return backup.pack(session.home, session.vault)

    def _restore(self, data: bytes, passphrase: Secret) -> list[str]:
        desk = self._desk
        home = backup.restore(data, passphrase, desk.home_path)
        desk.home, desk.session = None, None  # what was open is gone
        desk.unlock(passphrase)
        return home.deployments()

    def _bucket(self, path: Path, bucket: str) -> Bucket:
        from wizard.answers import loader

        session = self._desk.session
        known = session.credentials if session else None
        return backup.bucket_of(loader.load(path), bucket, self._desk.open_home(), known)

    @contextmanager
    def _mounted(self, device: str, mode: str) -> Iterator[Path]:
        stick = self._desk.stick.stick
        try:
            yield stick.mount_other(device, mode)
        finally:
            stick.unmount_other()
