"""The files of an application that all its webservers have in common, such as plugins and themes.

`pack ORDER` writes them to standard output as an archive; `put` makes them those of an archive, by
the order (JSON) on standard input. An order has `folder` and `passing`: patterns of what is each
webserver's own below it (what matches a folder is all that is in it); links that lead out of the
folder belong to the package. For `put` also `digest`, and `host` and `health_path` to ask once the
files are changed: if the answer is no page, those of before are put back. `host` is empty where
there is no site yet. Standard library only.
"""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

ARCHIVES = Path("/srv/site/archives")
PAGE_CACHE = Path("/var/cache/nginx-pages")
MARKER = ".build-usb-files"
AWAY = ("000", "502", "503", "504")  # what nginx says while there is no PHP behind it
PATIENCE = 30.0  # seconds


def entries(folder: Path, passing: list[str], inside: str = "") -> Iterator[tuple[str, bool]]:
    """Yield the path below the folder of each file and link, and whether it is in common; of what
    is passed over a folder stands for what is in it."""
    for entry in sorted((folder / inside).iterdir()):
        path = f"{inside}/{entry.name}" if inside else entry.name
        if any(fnmatchcase(path, pattern) for pattern in [*passing, MARKER]):
            yield path, False
        elif entry.is_symlink():
            there = entry.resolve()
            yield path, there.is_relative_to(folder.resolve())
        elif entry.is_dir():
            yield from entries(folder, passing, path)
        elif entry.is_file():
            yield path, True


def pack(order: dict[str, Any]) -> None:
    """Write the archive: the same files are the same bytes."""
    folder = Path(order["folder"])
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for path, common in entries(folder, order["passing"]):
            if not common:
                continue
            there = folder / path
            entry = tarfile.TarInfo(path)
            entry.mode = 0o644
            if there.is_symlink():
                entry.type = tarfile.SYMTYPE
                entry.linkname = os.path.relpath(there.resolve(), there.parent.resolve())
                archive.addfile(entry)
                continue
            about = there.stat()
            entry.size, entry.mtime = about.st_size, int(about.st_mtime)
            with there.open("rb") as file:
                archive.addfile(entry, file)


def put(order: dict[str, Any]) -> None:
    """Unpack beside what is there, keep what is this webserver's own, change places, ask."""
    folder, digest = Path(order["folder"]), order["digest"]
    marker = folder / MARKER
    before = marker.read_text().strip() if marker.exists() else ""
    if before == digest:
        return
    new, old = (folder.with_name(f".build-usb-{name}") for name in ("new", "old"))
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    old.mkdir()
    new.mkdir()
    with tarfile.open(ARCHIVES / f"{digest}.tar") as archive:
        # no link that leads out, no device, no owner of its own
        archive.extractall(new, filter="data")
    user = pwd.getpwnam("www-data")
    for unpacked in new.rglob("*"):
        os.lchown(unpacked, user.pw_uid, user.pw_gid)
    found = dict(entries(folder, order["passing"]))
    names = {path.split("/", 1)[0] for path, common in found.items() if common or "/" in path}
    for path in (path for path, common in found.items() if not common and "/" in path):
        keep(folder / path, new / path)
    names |= {path.name for path in new.iterdir()}
    marker.unlink(missing_ok=True)
    for name in sorted(names):
        move(folder / name, old / name)
        move(new / name, folder / name)
    said(marker, digest)
    refresh()
    answer = status(order) if order["host"] else "200"
    if not answer.startswith(("2", "3")):
        what = "there are none before them to go back to"
        if before:
            marker.unlink()
            for name in sorted(names):
                move(folder / name, new / name)
                move(old / name, folder / name)
            said(marker, before)
            refresh()
            what = "those of before are live again"
        sys.exit(f"{order['health_path']} answers {answer} with the new files: {what}")
    for left in (new, old):
        shutil.rmtree(left)
    for other in ARCHIVES.iterdir():
        if other.stem != digest:
            other.unlink()


def keep(source: Path, target: Path) -> None:
    """Let what is this webserver's own, or the package's, be there afterwards."""
    if os.path.lexists(target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    about = source.parent.stat()
    os.chown(target.parent, about.st_uid, about.st_gid)
    if source.is_symlink() or source.is_file():
        shutil.copy2(source, target, follow_symlinks=False)
        about = source.lstat()
        os.lchown(target, about.st_uid, about.st_gid)
    else:
        subprocess.run(["cp", "--archive", source, target], check=True)


def move(source: Path, target: Path) -> None:
    """Move what is there, if anything is."""
    if os.path.lexists(source):
        # a folder of the image that a machine began with can only be copied: mv does that, too
        subprocess.run(["mv", "--no-target-directory", source, target], check=True)


def said(marker: Path, digest: str) -> None:
    """Say which files are live."""
    new = marker.with_name(f"{MARKER}.new")
    new.write_text(f"{digest}\n")
    new.replace(marker)


def refresh() -> None:
    """Let nothing of the files of before be used any more."""
    if PAGE_CACHE.is_dir():
        subprocess.run(["find", str(PAGE_CACHE), "-type", "f", "-delete"], check=False)
    subprocess.run(["systemctl", "restart", "php*-fpm.service"], check=False)


def status(order: dict[str, Any]) -> str:
    """Return the HTTP status of the health path, asked of this machine; PHP, which begins anew, is
    given some seconds to answer."""
    host = order["host"]
    asked = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "30"]
    asked += ["--resolve", f"{host}:443:127.0.0.1", f"https://{host}{order['health_path']}"]
    ends, pause = time.monotonic() + PATIENCE, 0.2
    while True:
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        answer = done.stdout.strip()
        if answer not in AWAY or time.monotonic() + pause > ends:
            return answer
        time.sleep(pause)
        pause = min(pause * 2, 3.0)


if sys.argv[1] == "pack":
    pack(json.loads(sys.argv[2]))
else:
    put(json.load(sys.stdin))
