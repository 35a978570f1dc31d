"""One file of a restore point: found, shown, printed, put back."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from wizard.agent.backup import DUMP, Backup
from wizard.agent.errors import AgentError
from wizard.agent.points import DATABASE, newest_part
from wizard.agent.restic import LONGEST, Reading

_SHOWN = 500  # entries of a folder
_CHUNK = 1 << 20
_TOLD = ("point", "part", "time", "bytes", "files", "hosts", "code")


def show(backup: Backup, point: str, path: str) -> dict[str, Any]:
    """Return what this machine's part of a point is, and what a folder of it holds: `entries` with
    name, type, size (bytes), time; `left_off` counts those that were too many. An empty path: the
    folders that are kept."""
    part = newest_part(backup.repository, backup.part, point)
    if backup.part == DATABASE:
        roots = [f"/{DUMP}"]
        entries = [_entry(_node(backup, part, root) or {}) for root in roots]
    elif path:
        at = _find(backup, part, path)["path"]
        entries = [_entry(node) for node in _list(backup, part, at) if node["path"] != at]
        entries = entries or [_entry(node) for node in _list(backup, part, at)]
    else:
        nodes = [_node(backup, part, folder) for folder in backup.folders]
        entries = [{**_entry(node), "name": node["path"]} for node in nodes if node]
    shown = {key: part[key] for key in _TOLD}
    return {**shown, "entries": entries[:_SHOWN], "left_off": max(0, len(entries) - _SHOWN)}


def put_back(backup: Backup, point: str, path: str) -> dict[str, Any]:
    """Put one file back in place, as a whole, with its owner and mode."""
    part = newest_part(backup.repository, backup.part, point)
    node = _file(backup, part, path)
    folder = next(f for f in backup.folders if node["path"].startswith(f"{f}/"))
    with _parent(backup, part, folder, node["path"]) as parent:
        _write(backup, part, node, parent)
    return {"path": node["path"], "bytes": node["size"]}


def print_file(backup: Backup, point: str, path: str) -> int:
    """Write one file to standard output; return the exit code. AgentError before anything was."""
    part = newest_part(backup.repository, backup.part, point)
    inside = f"/{DUMP}" if backup.part == DATABASE else _file(backup, part, path)["path"]
    command = backup.repository.command("dump", "--no-lock", str(part["id"]), inside)
    sys.stdout.flush()
    return subprocess.run(
        command, env=backup.repository.environment, timeout=LONGEST, check=False
    ).returncode


def _file(backup: Backup, part: dict[str, Any], path: str) -> dict[str, Any]:
    node = _find(backup, part, path)
    if node["type"] != "file":
        raise AgentError(f"{node['path']} is a {node['type']} in {part['point']}, not a file")
    return node


def _find(backup: Backup, part: dict[str, Any], path: str) -> dict[str, Any]:
    """Return what a path is in a part: an absolute one, or one below a folder that is kept."""
    if ".." in PurePosixPath(path).parts or "\0" in path:
        raise AgentError(f"{path!r} is not the path of a file in a restore point")
    tried = [path] if path.startswith("/") else [f"{folder}/{path}" for folder in backup.folders]
    tried = [str(PurePosixPath(each)) for each in tried]
    inside = [t for t in tried if any(f"{t}/".startswith(f"{f}/") for f in backup.folders)]
    if not inside:
        raise AgentError(f"{path} is in none of the folders kept: {', '.join(backup.folders)}")
    found = [node for each in inside if (node := _node(backup, part, each))]
    if len(found) == 1:
        return found[0]
    if found:
        both = " and ".join(str(node["path"]) for node in found)
        raise AgentError(f"{path} may be {both} in {part['point']}: name it from / on")
    raise AgentError(f"{' or '.join(inside)} is not in {part['point']}")


def _node(backup: Backup, part: dict[str, Any], path: str) -> dict[str, Any] | None:
    return next((node for node in _list(backup, part, path) if node["path"] == path), None)


def _list(backup: Backup, part: dict[str, Any], path: str) -> list[dict[str, Any]]:
    """Return what restic knows of a path and of what is in it, if it is a folder."""
    printed = backup.repository.run("ls", "--json", "--no-lock", str(part["id"]), path)
    found = [json.loads(line) for line in printed.splitlines() if line.strip()]
    return [node for node in found if node.get("struct_type") == "node"]


def _entry(node: dict[str, Any]) -> dict[str, Any]:
    kept = {"name": "name", "type": "type", "size": "size", "time": "mtime"}
    return {ours: node.get(theirs) for ours, theirs in kept.items()}


@contextlib.contextmanager
def _parent(backup: Backup, part: dict[str, Any], folder: str, path: str) -> Iterator[int]:
    """Yield the open folder that a file belongs in, made as it was if it is gone. Links are not
    followed: the application may have made one that leads anywhere."""
    at = folder
    flags = os.O_RDONLY | os.O_DIRECTORY
    with contextlib.ExitStack() as opened:
        here = os.open(folder, flags)
        opened.callback(os.close, here)
        for name in PurePosixPath(path).relative_to(folder).parent.parts:
            at = f"{at}/{name}"
            try:
                inner = os.open(name, flags | os.O_NOFOLLOW, dir_fd=here)
            except FileNotFoundError:
                node = _node(backup, part, at) or {}
                os.mkdir(name, mode=0o700, dir_fd=here)
                inner = os.open(name, flags | os.O_NOFOLLOW, dir_fd=here)
                _same(inner, node)
            except OSError as error:
                raise AgentError(f"{at} is not a folder now: {error.strerror}") from error
            opened.callback(os.close, inner)
            here = inner
        yield here


def _write(backup: Backup, part: dict[str, Any], node: dict[str, Any], parent: int) -> None:
    """Write a file beside its place, then let it take that in one go."""
    new = f".{node['name'][:200]}.restored"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new, dir_fd=parent)  # of a run that was killed
    try:
        with os.fdopen(os.open(new, flags, 0o600, dir_fd=parent), "wb") as file:
            with Reading(backup.repository, str(part["id"]), node["path"]) as source:
                assert source.stdout
                while chunk := source.stdout.read(_CHUNK):
                    file.write(chunk)
            file.flush()
            if source.returncode or os.fstat(file.fileno()).st_size != node["size"]:
                raise AgentError(f"{node['path']} cannot be read to its end")
            _same(file.fileno(), node)
            os.fsync(file.fileno())
        os.rename(new, node["name"], src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new, dir_fd=parent)
        raise


def _same(descriptor: int, node: dict[str, Any]) -> None:
    """Give what was made the owner, mode and time of what was kept."""
    os.fchown(descriptor, int(node.get("uid", 0)), int(node.get("gid", 0)))
    os.fchmod(descriptor, int(node.get("mode", 0o700)) & 0o7777)
    if node.get("mtime"):
        when = datetime.fromisoformat(str(node["mtime"])).timestamp()
        os.utime(descriptor, (when, when))
