"""A build home in one file: kept on another stick or in a bucket, restored by its passphrase alone.

A tar archive of
    manifest.json   {"format": "build-usb-backup", "version": 1, "made", "checksum" of identity.age}
    identity.age    the home's key, opened by the passphrase
    payload.age     a tar.gz of the home, encrypted to that key
    mac             HMAC-SHA256 of manifest and payload, by a key that only the key's holder has

Whoever finds it can neither read nor forge it without the passphrase. Formats of later versions
are refused by name; a home of an earlier layout is for `Home` to bring up to date.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from wizard.answers.model import Answers
from wizard.engine import open as engine_open
from wizard.errors import HomeError
from wizard.events import silent
from wizard.home.files import explained, read_bytes, write_atomic
from wizard.home.home import Home
from wizard.home.store import SecretStore
from wizard.home.vault import Vault, fingerprint, unlock_identity
from wizard.secrets import Secret
from wizard.storage.base import Bucket
from wizard.storage.s3 import S3Bucket

ENDING = ".build-usb-backup"
PREFIX = "backups/"
_FORMAT, _VERSION = "build-usb-backup", 1
_LARGEST = 512 * 2**20  # bytes; a real one has some hundred thousands
_STAGING = ".restoring.tmp"
# made anew where it is restored
_LEFT_OUT = frozenset({"lock", "secrets.lock"})
# what makes a home worth keeping; the key of one that holds none of it opens nothing
_KEPT = ("deployments/*/*", "secrets.age", "answers/*", "draft.yaml")
_LAST = ("", "recipient.txt", "home.json")  # in this order; the last one makes a home of it all


def name(now: datetime | None = None) -> str:
    """Return what a backup made now is called."""
    return f"{now or datetime.now(UTC):%Y%m%dT%H%M%SZ}{ENDING}"


# -- made ----------------------------------------------------------------------------------------


def pack(home: Home, vault: Vault) -> bytes:
    """Return the home as one encrypted file. LockedError while a deployment is worked on."""
    identity = home.locked_identity()
    manifest = {
        "format": _FORMAT,
        "version": _VERSION,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "checksum": fingerprint(identity),
        "recipient": vault.recipient,
    }
    with ExitStack() as stack:
        for known in home.deployments():
            stack.enter_context(home.deployment(known).lock("back up the build home"))
        payload = vault.encrypt(_archive(home.path))
    head = json.dumps(manifest, indent=1).encode()
    members = {
        "manifest.json": head,
        "identity.age": identity,
        "payload.age": payload,
        "mac": vault.authenticate(head + payload).encode(),
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for member, data in members.items():
            info = tarfile.TarInfo(member)
            info.size, info.mode = len(data), 0o600
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def to_folder(data: bytes, folder: Path, called: str) -> Path:
    """Write a backup into a folder, whole or not at all, and return it. Raises HomeError."""
    path = folder / called
    write_atomic(path, data)
    return path


def to_bucket(data: bytes, bucket: Bucket, called: str) -> str:
    """Put a backup into a bucket and return its key. Raises ProviderError."""
    key = f"{PREFIX}{called}"
    if bucket.put(key, data, if_absent=True) is None:
        raise HomeError("a backup of this second is there already", where=f"{bucket.name}/{key}")
    return key


def from_bucket(bucket: Bucket) -> bytes:
    """Return the newest backup of a bucket. Raises HomeError if there is none, ProviderError."""
    keys = [key for key in bucket.keys(PREFIX) if key.endswith(ENDING)]
    stored = bucket.get(keys[-1]) if keys else None
    if stored is None:
        raise HomeError("there is no backup in the bucket", where=bucket.name)
    return stored.data


def from_path(path: Path) -> bytes:
    """Return the backup at `path`, the newest one if it is a folder. Raises HomeError."""
    if path.is_dir():
        found = sorted(path.glob(f"*{ENDING}"))
        if not found:
            raise HomeError("there is no backup in the folder", where=str(path))
        path = found[-1]
    data = read_bytes(path)
    if data is None:
        raise HomeError("there is no such backup", where=str(path))
    return data


def bucket_of(answers: Answers, called: str, home: Home, opened: SecretStore | None) -> Bucket:
    """Return a bucket in the object storage of `answers`; `opened` are the home's credentials,
    None: it is locked, and the answers must name other sources. Raises BuildUsbError."""
    account = engine_open.account(answers, opened)
    provider = engine_open.provider(answers.provider.name, home, account)
    provider.prepare(silent)
    return S3Bucket(
        called, engine_open.storage(answers, provider.services(answers.dns.zone), opened)
    )


def _archive(home: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path in sorted(home.rglob("*")):
            inner = path.relative_to(home)
            if (
                path.name in _LEFT_OUT
                or path.match("recovery*.age")
                or any(part.startswith(".") for part in inner.parts)
            ):
                continue
            if path.is_file() and not path.is_symlink():
                archive.add(path, str(inner), recursive=False)
    return out.getvalue()


# -- restored ------------------------------------------------------------------------------------


def restore(data: bytes, passphrase: Secret, path: Path) -> Home:
    """Make the backup the build home at `path`, in which nothing may have been kept yet; return it.

    Killed at any moment, restoring again starts over or goes on. Raises PassphraseError for a
    wrong passphrase, HomeError when the backup is damaged or the home is in use.
    """
    members = _members(data)
    manifest, identity, payload = (
        members[member] for member in ("manifest.json", "identity.age", "payload.age")
    )
    checksum = _checked(manifest)
    vault = unlock_identity(identity, passphrase, checksum, "the backup")
    if not vault.is_authentic(manifest + payload, members["mac"].decode(errors="replace")):
        raise _refused("it was not made by a holder of the passphrase")
    files = _files(vault.decrypt(payload, "the backup"))
    _refuse_used(path)
    staging = path / _STAGING
    with explained(path, "restore the build home in"):
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        for inner, content in files.items():
            target = staging / inner
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(0o600)
        os.sync()
        (path / "home.json").unlink(missing_ok=True)
        for recovery in path.glob("recovery*.age"):  # opens what was here before
            recovery.unlink()
        for entry in sorted(staging.iterdir(), key=_turn):
            if (path / entry.name).is_dir():
                shutil.rmtree(path / entry.name)
            entry.replace(path / entry.name)
        staging.rmdir()
    return Home.open(path)


def _turn(entry: Path) -> int:
    return _LAST.index(entry.name) if entry.name in _LAST else 0


def _refuse_used(path: Path) -> None:
    """Raise HomeError if something would be lost by restoring into `path`."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    begun = (path / _STAGING).exists() and not (path / "home.json").exists()
    if begun:
        return
    Home.open(path)  # refuses a folder that is none
    kept = [found for pattern in _KEPT for found in path.glob(pattern)]
    if kept:
        raise HomeError(
            "there is a build home already",
            where=str(path),
            why=f"it holds {', '.join(sorted(str(one.relative_to(path)) for one in kept)[:5])}",
            cure="name an empty folder with --home, or move the home away",
        )


def _members(data: bytes) -> dict[str, bytes]:
    wanted = {"manifest.json", "identity.age", "payload.age", "mac"}
    if len(data) > _LARGEST:
        raise _refused("it is far larger than any that was made")
    with _validating(), tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        found = {info.name: _content(archive, info) for info in archive if info.isfile()}
        if set(found) != wanted:
            raise ValueError("parts are missing")
        return found


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(info)
    assert file is not None
    with file:
        return file.read()


def _checked(manifest: bytes) -> str:
    with _validating():
        values = json.loads(manifest)
        if values["format"] != _FORMAT:
            raise ValueError("it is something else")
        if values["version"] != _VERSION:
            raise _refused(f"its format is {values['version']}, this version knows {_VERSION}")
        return str(values["checksum"])


def _files(data: bytes) -> dict[PurePosixPath, bytes]:
    with _validating(), tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        found = {}
        for info in archive:
            inner = PurePosixPath(info.name)
            if not info.isfile() or inner.is_absolute() or ".." in inner.parts:
                raise ValueError(f"{info.name} has no place in a build home")
            found[inner] = _content(archive, info)
        return found


@contextmanager
def _validating() -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, tarfile.TarError, EOFError, OSError) as error:
        raise _refused(f"it is damaged: {error!r}") from error


def _refused(why: str) -> HomeError:
    return HomeError("the backup cannot be used", why=why, cure="use another, or an older one")
