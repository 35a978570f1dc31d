"""Make files, folders and links so: JSON on stdin {handlers, items}; each whole or not at all."""

import base64
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

STATE = Path("/var/lib/build-usb")


def put(path: Path, state: list[Any], order: dict[str, str]) -> None:
    """Make one item as `state` says."""
    kind, target, mode, owner, group = state
    if kind == "absent":
        path.unlink(missing_ok=True)
        return
    if kind == "folder":
        path.mkdir(parents=True, exist_ok=True)
        shutil.chown(path, owner, group)
        path.chmod(mode)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.build-usb-new")
    new.unlink(missing_ok=True)
    if kind == "link":
        new.symlink_to(target)
    else:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(base64.b64decode(order["content"]))
            file.flush()
            os.fsync(file.fileno())
        shutil.chown(new, owner, group)
        new.chmod(mode)
    new.replace(path)


def main() -> None:
    """Note the handlers that become due, then write."""
    orders = json.load(sys.stdin)
    pending = STATE / "pending"
    pending.mkdir(mode=0o700, parents=True, exist_ok=True)
    for handler in orders["handlers"]:
        (pending / handler).touch()
    os.sync()
    for item in orders["items"]:
        put(Path(item["path"]), item["state"], item["order"])


main()
