"""Put a release in place: a folder for each, and one symbolic link that says which is live.

JSON on stdin: digest, commit, folder (of the archive that holds it all, or empty), writable, host,
health_path; mounted (whether /srv/site/shared is a mount that other machines have as well) and
folders (that are to be in it); own (folders of the release that PHP writes to, of no other release
and no other machine); links and files that the release gets, by path; apart (folders of
it that stand in /srv/site/apart instead); composer (whether it installs what its composer.lock
names); prepare (a command that makes the database fit it, run in its folder) and input, what that
reads; beside (prepare runs beside the release that is live,
whose visitors do not wait for it). A release that is not well is switched back. Standard library
only.
"""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

SITE = Path("/srv/site")
MAINTENANCE = Path("/run/build-usb/maintenance")
CONTENT = Path("/var/lib/build-usb/content.json")
COMPOSER = (
    *("--no-dev", "--no-scripts", "--no-plugins", "--optimize-autoloader"),
    *("--no-interaction", "--no-progress", "--no-ansi"),
)
COMPOSER_SECONDS = 240
KEPT = 3  # releases: the live one and those to go back to


def unpack(order: dict[str, Any], release: Path) -> None:
    """Make the release's folder, whole or not at all."""
    new = release.with_name(f".new-{release.name}")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    with tarfile.open(SITE / "archives" / f"{order['digest']}.tar") as archive:
        # no link that leads out, no device, no owner of its own
        archive.extractall(new, filter="data")
    if order["folder"]:
        top = new / order["folder"]
        new = top.replace(new.with_name(f".top-{release.name}"))
        shutil.rmtree(top.parent)
    if order.get("composer"):
        compose(new, order["commit"])
    for path in order["writable"]:
        share(new / path, SITE / "shared" / path, order.get("mounted", False))
    for path in order.get("own", ()):
        there = SITE / "scratch" / release.name / path
        if there.exists():
            shutil.rmtree(there)
        share(new / path, there, mounted=False)
    for path, target in order.get("links", {}).items():
        (new / path).unlink(missing_ok=True)
        (new / path).symlink_to(target)
    for path, text in order.get("files", {}).items():
        (new / path).unlink(missing_ok=True)
        (new / path).write_text(text)
    for path in order.get("apart", ()):
        there = SITE / "apart" / release.name / path
        shutil.rmtree(there, ignore_errors=True)
        there.parent.mkdir(parents=True, exist_ok=True)
        (new / path).rename(there)
    shutil.rmtree(release, ignore_errors=True)
    new.rename(release)


def compose(release: Path, commit: str) -> None:
    """Have composer install what composer.lock names, as a user who may write nothing else; nothing
    of what it brings is run. PHP cannot write to what is there then."""
    user = pwd.getpwnam("nobody")
    give(release, user.pw_uid, user.pw_gid)
    with tempfile.TemporaryDirectory(prefix="composer-") as home:
        os.chown(home, user.pw_uid, user.pw_gid)
        done = subprocess.run(
            ["timeout", "--kill-after=5", str(COMPOSER_SECONDS), "composer", "install", *COMPOSER],
            cwd=release,
            env={
                "PATH": "/usr/bin:/bin",
                "LANG": "C.UTF-8",
                "HOME": home,
                "COMPOSER_HOME": home,
                "COMPOSER_CACHE_DIR": "/dev/null",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            check=False,
        )
    if done.returncode:
        late = f" within {COMPOSER_SECONDS} s" if done.returncode == 124 else ""
        said = (done.stdout + done.stderr).strip()[-1500:]
        sys.exit(f"composer cannot install what {commit[:12]} needs{late}: {said}")
    give(release, 0, 0)


def give(folder: Path, user: int, group: int) -> None:
    """Let somebody own a folder and all that is in it."""
    for path in (folder, *folder.rglob("*")):
        os.lchown(path, user, group)


def share(inside: Path, shared: Path, mounted: bool) -> None:
    """Let a folder of the release be one that all releases share; PHP may write to it."""
    if mounted:
        fill(inside, shared)
    elif not shared.exists():
        part = shared.with_name(f".new-{shared.name}")
        shutil.rmtree(part, ignore_errors=True)
        if inside.is_dir():
            shutil.copytree(inside, part, symlinks=True)
        else:
            part.mkdir(parents=True)
        user = pwd.getpwnam("www-data")
        give(part, user.pw_uid, user.pw_gid)
        part.rename(shared)
    if inside.is_dir() and not inside.is_symlink():
        shutil.rmtree(inside)
    inside.parent.mkdir(parents=True, exist_ok=True)
    inside.unlink(missing_ok=True)
    inside.symlink_to(shared)


def fill(inside: Path, shared: Path) -> None:
    """Put what a release brings into a folder that other machines have mounted as well, once. They
    may do the same now: only what is missing is written, each file whole under a name of our own
    first."""
    whole = shared.with_name(f".whole-{shared.name}")
    if whole.exists():
        return
    if shared.is_dir() and begun():
        # with what a restore point had: what people deleted does not come back
        whole.touch()
        return
    shared.mkdir(parents=True, exist_ok=True)
    for path in sorted(inside.rglob("*")) if inside.is_dir() else ():
        there = shared / path.relative_to(inside)
        if path.is_dir() and not path.is_symlink():
            there.mkdir(exist_ok=True)
        elif not os.path.lexists(there):
            part = there.with_name(f".new-{os.uname().nodename}")
            part.unlink(missing_ok=True)
            shutil.copyfile(path, part, follow_symlinks=False)
            part.rename(there)
    whole.touch()


def begun() -> bool:
    """Say whether this deployment began with a restore point, put here before its code."""
    try:
        return bool(json.loads(CONTENT.read_bytes())["loaded"])
    except (OSError, ValueError, KeyError):
        return False


def mark(commit: str) -> None:
    """Say beside what is written which code it is of: backups hold it."""
    revision = SITE / "shared" / ".revision"
    if not revision.exists() or revision.read_text() != f"{commit}\n":
        revision.write_text(f"{commit}\n")


def prepare(order: dict[str, Any], release: Path, before: Path | None) -> None:
    """Let the release make the database fit it; visitors of another one wait for that, unless it is
    done beside it."""
    if before not in (None, release) and not order.get("beside"):
        MAINTENANCE.parent.mkdir(parents=True, exist_ok=True)
        MAINTENANCE.touch()
    done = subprocess.run(
        order["prepare"],
        cwd=release,
        input=order["input"],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-1500:]
        sys.exit(f"the database cannot be made to fit {order['commit']}: {said}")


def switch(release: Path) -> None:
    """Let the link lead to a release: from one moment to the next."""
    new = SITE / ".current-new"
    new.unlink(missing_ok=True)
    new.symlink_to(release)
    new.replace(SITE / "current")


def status(order: dict[str, Any]) -> str:
    """Return the HTTP status of the health path, asked of this machine."""
    host = order["host"]
    asked = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "30"]
    asked += ["--resolve", f"{host}:443:127.0.0.1", f"https://{host}{order['health_path']}"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def forget(live: Path) -> None:
    """Delete the releases that are older than those kept, and archives that are unpacked."""
    releases = [path for path in (SITE / "releases").iterdir() if path.name[0] != "."]
    old = sorted(releases, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]
    for path in old:
        if path != live:
            shutil.rmtree(path)
            for place in ("apart", "scratch"):
                shutil.rmtree(SITE / place / path.name, ignore_errors=True)
    for archive in (SITE / "archives").iterdir():
        if archive.stem[:16] != live.name:
            archive.unlink()


def main() -> None:
    """Unpack, switch, ask; switch back if the answer is not 200."""
    order = json.load(sys.stdin)
    release = SITE / "releases" / order["digest"][:16]
    if order.get("mounted") and not os.path.ismount(SITE / "shared"):
        sys.exit(f"{SITE}/shared is not mounted: journalctl -u build-usb-uploads says why")
    for path in order.get("folders", ()):
        (SITE / "shared" / path).mkdir(parents=True, exist_ok=True)
    if not release.is_dir():
        try:
            unpack(order, release)
        except tarfile.TarError as error:
            sys.exit(f"the archive of {order['commit'][:12]} is refused: {error}")
    os.utime(release)
    current = SITE / "current"
    before = current.readlink() if current.is_symlink() else None
    if order.get("prepare"):
        prepare(order, release, before)
    switch(release)
    # also where whoever closed the site was killed
    MAINTENANCE.unlink(missing_ok=True)
    answer = status(order)
    if answer != "200":
        if before is not None and before != release and before.is_dir():
            switch(before)
            what = f"the one before ({before.name}) is live again"
        else:
            what = "there is none before it to go back to"
        sys.exit(f"{order['health_path']} of {order['commit'][:12]} answers {answer}: {what}")
    mark(order["commit"])
    forget(release)


main()
