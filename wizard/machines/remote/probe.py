"""Report how a machine is: JSON query in argv[1], JSON answer on stdout."""

import grp
import hashlib
import json
import os
import pwd
import stat
import subprocess
import sys
from functools import cache
from pathlib import Path

STATE = Path("/var/lib/build-usb")


@cache
def user(uid: int) -> str:
    """Return a user's name, or its number when it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@cache
def group(gid: int) -> str:
    """Return a group's name, or its number when it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def state(path: str) -> list[object]:
    """Return kind, digest or target, mode, owner and group of what is at `path`."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return ["absent", "", 0, "", ""]
    owner, group_ = user(found.st_uid), group(found.st_gid)
    if stat.S_ISLNK(found.st_mode):
        return ["link", str(Path(path).readlink()), 0, owner, group_]
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISDIR(found.st_mode):
        return ["folder", "", mode, owner, group_]
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return ["file", digest, mode, owner, group_]


def output(*argv: str) -> str:
    """Return a program's output, whatever its status; empty if it is not installed."""
    try:
        return subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, text=True
        ).stdout
    except FileNotFoundError:
        return ""


def services(names: list[str]) -> dict[str, list[str]]:
    """Return active state and unit file state of each unit."""
    if not names:
        return {}
    text = output("systemctl", "show", "--property=ActiveState,UnitFileState", *names)
    blocks = [dict(line.split("=", 1) for line in b.splitlines()) for b in text.split("\n\n") if b]
    found = zip(names, blocks, strict=False)
    return {n: [b.get("ActiveState", ""), b.get("UnitFileState", "")] for n, b in found}


def packages(names: list[str]) -> list[str]:
    """Return which of the packages are not installed; `a|b` is satisfied by either."""
    if not names:
        return []
    asked = [single for name in names for single in name.split("|")]
    text = output("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *asked)
    installed = {line.split()[0] for line in text.splitlines() if line.endswith(" installed")}
    return [name for name in names if not installed & set(name.split("|"))]


def observe(command: str) -> str:
    """Return a digest of what a shell command prints."""
    return hashlib.sha256(output("sh", "-c", command).encode()).hexdigest()


def main() -> None:
    """Answer the query."""
    query = json.loads(sys.argv[1])
    steps = {}
    for name, command in query.get("steps", {}).items():
        marker = STATE / "applied" / name
        steps[name] = [marker.read_text() if marker.exists() else "", observe(command)]
    pending = STATE / "pending"
    php = sorted(
        Path("/etc/php").glob("*/fpm"), key=lambda p: [*map(int, p.parent.name.split("."))]
    )
    answer = {
        "missing": packages(query.get("packages", [])),
        "container": bool(output("systemd-detect-virt", "--container").strip() not in ("", "none")),
        "php": php[-1].parent.name if php else "",
        "items": {path: state(path) for path in query.get("paths", [])},
        "pending": sorted(p.name for p in pending.iterdir()) if pending.is_dir() else [],
        "services": services(query.get("services", [])),
        "steps": steps,
    }
    print(json.dumps(answer))  # noqa: T201


main()
