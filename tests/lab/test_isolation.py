"""A deployment touches nothing of this computer but its build home and the temporary folder."""

from __future__ import annotations

import ctypes
import json
import os
import select
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.deployments import REHEARSAL, Browser, Rehearsal
from wizard.events import silent

pytestmark = pytest.mark.lab

# everything becomes read-only but the home, the temporary folder, and what is no file system of
# this computer's (/proc, /sys, /dev are the kernel's)
SEALED = """
set -eu
mount --make-rprivate /
for folder in {writable}; do mount --bind "$folder" "$folder"; done
awk '{{print $5}}' /proc/self/mountinfo | sort -u | while read -r point; do
  case " {writable} " in *" $point "*) continue;; esac
  case "$point" in /proc*|/sys*|/dev*) continue;; esac
  mount -o remount,bind,ro "$point"
done
if touch /etc/proof 2>/dev/null; then echo 'not sealed' >&2; exit 99; fi
exec "$@"
"""
# inotify(7): opened, read, written, entries made or removed
IN_ANY = 0x20 | 0x1 | 0x2 | 0x100 | 0x200 | 0x40 | 0x80
EVENT = struct.Struct("iIII")


class Inotify:
    """Notes every touch of what is in some folders."""

    def __init__(self, folders: list[Path]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self.descriptor >= 0
        self.folders = {
            libc.inotify_add_watch(self.descriptor, str(folder).encode(), IN_ANY): folder
            for folder in folders
        }

    def events(self) -> Iterator[str]:
        """Return what was touched since the last time."""
        while select.select([self.descriptor], [], [], 0)[0]:
            data = os.read(self.descriptor, 65536)
            while data:
                watch, mask, _, length = EVENT.unpack_from(data)
                name = data[EVENT.size : EVENT.size + length].rstrip(b"\0").decode()
                yield f"{self.folders[watch] / name} ({mask:#x})"
                data = data[EVENT.size + length :]


def test_all_else_may_be_read_only_and_personal_settings_are_not_looked_at(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o700)
    user = tmp_path / "user"
    temporary = tmp_path / "tmp"
    temporary.mkdir(mode=0o700)
    poisoned = {
        ".ssh/config": "Host *\n  ProxyCommand false\n",
        ".ssh/known_hosts": "garbage\n",
        ".aws/config": "[default\nendpoint_url = http://127.0.0.1:1\n",
        ".aws/credentials": "[default]\naws_access_key_id = wrong\n",
        ".config/build-usb": "garbage\n",
    }
    for name, text in poisoned.items():
        path = user / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    rehearsal = Rehearsal(tmp_path / "home", user)
    rehearsal.home.mkdir(mode=0o700)
    # the cloud is there before: in a rehearsal it is on this computer and mounts file systems
    assert rehearsal.run("plan", REHEARSAL).returncode == 0
    provider = rehearsal.provider()
    provider.prepare(silent)
    watch = Inotify([user, user / ".ssh", user / ".aws", user / ".config"])
    script = SEALED.format(writable=f"{rehearsal.home} {temporary}")
    done = subprocess.run(
        [
            "unshare", "--mount", "bash", "-c", script, "sealed",
            *rehearsal.argv("deploy", REHEARSAL, "--json"),
        ],
        env={**rehearsal.environment, "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    touched = list(watch.events())
    try:
        assert done.returncode == 0, done.stderr[-4000:]
        assert json.loads(done.stdout.splitlines()[-1])["kind"] == "run-done"
        assert touched == []
        assert list(temporary.iterdir()) == []
        with Browser(rehearsal.state()) as visitor:
            assert visitor.get("/").status_code == 200
        (user / ".ssh" / "config").read_text()
        assert list(watch.events()) != []  # the watch does see what it is there to see
    finally:
        rehearsal.run("destroy", "--yes")
