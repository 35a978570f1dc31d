"""The base tree that all machines of a rehearsal stand on, made once by mmdebstrap.

`python -m wizard.lab.basetree DIR` builds it (root) and writes one line of JSON per progress
report, the last one with `error` if it fails. Packages come from the mirrors that this computer
itself uses.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from wizard.errors import BuildUsbError, ProviderError
from wizard.events import Progress
from wizard.lab import namespaces
from wizard.paths import config_templates

RELEASE = "trixie"
# machines get these running from their roles, not from being in the tree
_IDLE_UNITS = (
    "nginx.service",
    "mariadb.service",
    "postgresql.service",
    "php8.4-fpm.service",
    "knot.service",
    "fail2ban.service",
    "unattended-upgrades.service",
    "phpsessionclean.timer",
    "certbot.timer",
)
# consoles and devices that a container has not; a blank one costs boot time
_MASKED_UNITS = (
    "console-getty.service",
    "getty@tty1.service",
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-pstore.service",
    "fstrim.timer",
)
# apt and dpkg report each package three times: fetched, unpacked, set up
_STEPS_PER_PACKAGE = 3
# counted in a built tree; a larger number announced by apt takes its place
_USUAL_PACKAGES = 377
_NEEDED_SPACE = 2_500_000_000
_SPACE_WORDS = ("No space left on device", "not have enough free space")
_NETWORK_WORDS = (
    "Temporary failure resolving",
    "Could not resolve",
    "Could not connect",
    "Failed to fetch",
    "Network is unreachable",
)


def _template(name: str) -> str:
    return (config_templates() / "lab" / name).read_text()


def packages() -> list[str]:
    """Return the Debian packages of the base tree."""
    lines = (line.partition("#")[0].strip() for line in _template("packages.txt").splitlines())
    return [line for line in lines if line]


def fingerprint() -> str:
    """Return what names a base tree: the same contents have the same fingerprint."""
    parts = [RELEASE, *sorted(packages()), _template("cloud.cfg"), *_IDLE_UNITS, *_MASKED_UNITS]
    return f"{RELEASE}-{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:12]}"


def location(lab_dir: Path) -> Path:
    """Return where the lab's base tree is or will be; BUILD_USB_BASE_TREE names a folder of
    trees that several labs share."""
    shared = os.environ.get("BUILD_USB_BASE_TREE")
    return (Path(shared) if shared else lab_dir / "base") / fingerprint()


def sources() -> list[str]:
    """Return apt source lines for the tree's release, on the mirrors this computer uses."""
    release = dict(
        line.partition("=")[::2] for line in Path("/etc/os-release").read_text().splitlines()
    )
    codename = release.get("VERSION_CODENAME", "").strip('"')
    listed = subprocess.run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)",
            "Created-By: Packages",
        ],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    found = set()
    for line in listed.splitlines():
        words = line.split()
        suites = {codename: "", f"{codename}-updates": "-updates", f"{codename}-security": ""}
        if len(words) == 4 and words[3] == "Debian" and words[1] in suites and words[2] == "main":
            found.add(f"deb {words[0]} {words[1].replace(codename, RELEASE)} main")
    if not any(line.endswith(f" {RELEASE} main") for line in found):
        raise ProviderError(
            "this computer's apt sources name no Debian mirror",
            where="/etc/apt/sources.list, /etc/apt/sources.list.d",
            why="machines of a rehearsal are made of Debian packages",
            cure="on Debian, run: apt-get update; other systems cannot run a rehearsal",
            code="no-mirror",
        )
    return sorted(found)


def build(target: Path, progress: Progress) -> None:
    """Build the base tree at `target` (root); what a killed build left is removed first.

    ProviderError when there is no network, no space, or a package cannot be had.
    """
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f"{target.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("base tree: waiting for another build to end", 0, 100)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            _build(target, progress)


def _build(target: Path, progress: Progress) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < _NEEDED_SPACE:
        raise _no_space(target, f"{free // 1_000_000} MB are free")
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o755)
    command = [
        # its own processes and mounts: all of them end with it
        *("unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"),
        # under a plain name: apt stumbles over spaces and commas in paths
        *("sh", "-c", 'mount --bind -- "$0" /mnt && exec "$@"', str(partial)),
        "mmdebstrap",
        "--verbose",
        "--mode=root",
        "--variant=apt",
        "--format=directory",
        '--aptopt=Acquire::Languages "none"',
        '--aptopt=APT::Install-Recommends "false"',
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        f"--include={','.join(packages())}",
        *_proxy(),
        RELEASE,
        "/mnt",
        *sources(),
    ]
    last: deque[str] = deque(maxlen=25)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        preexec_fn=namespaces.die_with_parent,
    ) as process:
        assert process.stdout
        try:
            _follow(process.stdout, last, progress)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        raise _explain(target, "\n".join(last))
    prepare_tree(partial)
    partial.rename(target)
    progress("base tree is ready", 100, 100)


def prepare_tree(root: Path) -> None:
    """Turn a fresh Debian tree into one that machines boot from quickly."""
    configuration = root / "etc/cloud/cloud.cfg.d/90_rehearsal.cfg"
    configuration.write_text(_template("cloud.cfg"))
    for verb, units in (("disable", _IDLE_UNITS), ("mask", _MASKED_UNITS)):
        subprocess.run(
            ["systemctl", f"--root={root}", "--quiet", verb, *units],
            check=True,
            capture_output=True,
        )
    for pattern in ("etc/ssh/ssh_host_*", "var/lib/apt/lists/*_*"):
        for path in root.glob(pattern):
            path.unlink()


def _follow(lines: Iterable[str], last: deque[str], progress: Progress) -> None:
    """Report what apt and dpkg say as percent."""
    total, done = _USUAL_PACKAGES * _STEPS_PER_PACKAGE, 0
    seen: set[str] = set()
    stage = "asking the mirrors"
    progress(stage, 0, 100)
    for line in lines:
        last.append(line.rstrip())
        # apt runs several times, first for the essential packages only
        if match := re.search(r"(\d+) newly installed", line):
            total = max(total, int(match[1]) * _STEPS_PER_PACKAGE)
        if match := re.match(r"(Get:\d+|Unpacking|Setting up) +(\S+)", line):
            key = line.split(" (")[0] if match[1][0] != "G" else " ".join(line.split()[-4:-2])
            if key in seen:
                continue
            seen.add(key)
            verb = {"G": "fetching", "U": "unpacking", "S": "setting up"}[match[1][0]]
            stage = f"base tree: {verb} packages"
            done = min(done + 1, total)
            progress(stage, round(99 * done / total, 1), 100)


def _proxy() -> list[str]:
    """Return options for the proxy that this computer's apt uses, if it does."""
    options = []
    for name in ("Acquire::http::Proxy", "Acquire::https::Proxy"):
        value = subprocess.run(
            ["apt-config", "shell", "X", name], capture_output=True, text=True, check=False
        ).stdout
        if match := re.fullmatch(r"X='(.+)'\s*", value):
            options.append(f'--aptopt={name} "{match[1]}"')
    return options


def _no_space(target: Path, why: str) -> ProviderError:
    return ProviderError(
        "the disk has no room for the base tree",
        where=str(target.parent),
        why=why,
        cure=f"free {_NEEDED_SPACE // 1_000_000} MB there, or choose another --home",
        code="disk-full",
    )


def _explain(target: Path, output: str) -> ProviderError:
    """Return the error that mmdebstrap's last lines mean."""
    if any(words in output for words in _SPACE_WORDS):
        return _no_space(target, output)
    if any(words in output for words in _NETWORK_WORDS):
        return ProviderError(
            "the Debian mirrors cannot be reached",
            where="the mirrors of /etc/apt",
            why=output,
            cure="check with apt-get update that this computer has a network, then run again",
            code="no-network",
        )
    return ProviderError(
        "the base tree cannot be built",
        where=str(target),
        why=output,
        cure="run the command again; if it persists, the lines above say what to repair",
        code="base-tree",
    )


def _report(write: Callable[[str], object]) -> Progress:
    def progress(what: str, done: float, total: float) -> None:
        write(json.dumps({"what": what, "done": done, "total": total}) + "\n")

    return progress


def main() -> int:
    """Build the tree that the only argument names."""

    def write(line: str) -> None:
        sys.stdout.write(line)
        sys.stdout.flush()

    try:
        build(Path(sys.argv[1]), _report(write))
    except BuildUsbError as error:
        keys = ("what", "where", "why", "cure", "code")
        body = {key: getattr(error, key, "") for key in keys}
        write(json.dumps({"error": body}) + "\n")
        return 1
    except BrokenPipeError:
        # who asked for the tree is gone, and with it everyone who could be told
        os._exit(1)
    except (OSError, subprocess.CalledProcessError) as error:
        write(json.dumps({"error": {"what": "the base tree cannot be built", "why": str(error)}}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
