"""Files that are whole or absent, whatever kills the program or the power."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wizard.errors import HomeError

_STALE_AFTER = 60.0  # seconds; no write of ours takes longer, so an older one was killed


@contextmanager
def explained(path: Path, doing: str) -> Iterator[None]:
    """Turn an OSError met while `doing` something with `path` into a HomeError with a cure."""
    try:
        yield
    except OSError as error:
        raise _explain(path, doing, error) from error


def _explain(path: Path, doing: str, error: OSError) -> HomeError:
    reason = error.strerror or str(error)
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return HomeError(
                f"cannot {doing}: no space left",
                where=str(path),
                why=f"{reason}; {_free_space(path)}. What was there before is unchanged.",
                cure="free some space (or raise the quota), then run the same command again",
            )
        case errno.EROFS:
            cure = "remount the file system writable, or name another home with --home"
        case errno.EACCES | errno.EPERM:
            cure = "run as the user the home belongs to, or name another home with --home"
        case errno.ENOTDIR | errno.EEXIST | errno.EISDIR | errno.ELOOP:
            cure = "move what is in the way, or name another home with --home"
        case _:
            cure = "check the disk (dmesg tells of failing ones), or name another home with --home"
    return HomeError(f"cannot {doing}", where=str(path), why=reason, cure=cure)


def _free_space(path: Path) -> str:
    existing = next(p for p in (path, *path.parents) if p.is_dir())
    free = shutil.disk_usage(existing).free
    return f"{free / 2**20:.1f} MiB free where {existing} is"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Make `path` hold exactly `data`, on disk when this returns; killed before, it is as it was.

    Raises HomeError (disk full, read-only, not ours).
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    with explained(path, "write"):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, mode)
        try:
            try:
                os.fchmod(descriptor, mode)  # exactly, whatever the umask
                _write_all(descriptor, data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent)


def append_line(path: Path, line: str, *, sync: bool = True) -> None:
    """Append `line` and a newline in one write; with `sync` it is on disk when this returns.

    For one writer at a time. A write cut short (disk full) is taken back. Raises HomeError.
    """
    data = line.encode() + b"\n"
    with explained(path, "append to"):
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            before = os.fstat(descriptor).st_size
            try:
                _write_all(descriptor, data)
                if sync:
                    os.fsync(descriptor)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)
        if sync and before == 0:
            _sync_folder(path.parent)


def read_bytes(path: Path) -> bytes | None:
    """Return the file's bytes, None if there is none. Raises HomeError."""
    with explained(path, "read"):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


def read_json(path: Path) -> Any:
    """Return the file's JSON value, None if there is no file. Raises HomeError when damaged."""
    data = read_bytes(path)
    if data is None:
        return None
    try:
        return json.loads(data)
    except ValueError as error:
        raise HomeError(
            "damaged: this is not JSON",
            where=str(path),
            why=str(error),
            cure="restore the file, or move it away: what it says is found again in the cloud",
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, atomically. Raises HomeError."""
    write_atomic(path, json.dumps(value, indent=2, sort_keys=True).encode() + b"\n")


def make_folder(path: Path) -> None:
    """Make a folder of ours (0700) in an existing one; one that is there already is no error."""
    with explained(path, "make the folder"):
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            if not path.is_dir() or path.is_symlink():
                raise
            return
        _sync_folder(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that killed runs left in `folder`."""
    with explained(folder, "tidy"):
        for leftover in folder.glob(".*.tmp"):
            with suppress(FileNotFoundError):
                if time.time() - leftover.lstat().st_mtime > _STALE_AFTER:
                    leftover.unlink()
