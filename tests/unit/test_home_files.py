"""Files are whole or absent: whatever kills the program, fills the disk or forbids writing."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wizard.errors import HomeError
from wizard.home import files
from wizard.home.files import (
    append_line,
    explained,
    make_folder,
    read_json,
    remove_leftovers,
    write_atomic,
    write_json,
)

WRITER = """
import sys
from pathlib import Path
from wizard.home.files import write_atomic
path = Path(sys.argv[1])
print("ready", flush=True)
number = 0
while True:
    number += 1
    write_atomic(path, (b"%08d" % number) * 20000)
"""

FULL = """
import resource, signal, sys
from pathlib import Path
from wizard.errors import HomeError
from wizard.home.files import append_line, write_atomic
from wizard.home.journal import Journal
folder = Path(sys.argv[1])
journal = Journal.open(folder / "journal")
journal.record("intent", "before")
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for write in (
    lambda: write_atomic(folder / "file", b"x" * 8192),
    lambda: append_line(folder / "lines", "y" * 8192),
    lambda: journal.record("intent", "z" * 8192),
):
    try:
        write()
    except HomeError as error:
        assert "no space" in error.what and "free" in error.why and error.cure, error
    else:
        raise SystemExit("written past the limit")
journal.record("done", "after")
"""


def test_replaces_whole_files_with_the_mode_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    before = os.umask(0o277)
    try:
        write_atomic(path, b"one")
        assert path.stat().st_mode & 0o777 == 0o600
        write_atomic(path, b"two", mode=0o644)
    finally:
        os.umask(before)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_killed_at_any_moment_leaves_no_half_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    rest = random.Random(1)
    for _ in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(rest.uniform(0.0, 0.05))
            writer.send_signal(signal.SIGKILL)
        if path.exists():
            data = path.read_bytes()
            assert len(data) == 8 * 20000
            assert data == data[:8] * 20000
    assert path.exists()


def test_leftovers_of_killed_runs_are_removed(tmp_path: Path) -> None:
    old, young, other = (tmp_path / name for name in (".a.1.tmp", ".b.2.tmp", "c.tmp"))
    for path in (old, young, other):
        path.touch()
    os.utime(old, (0, 0))
    os.utime(other, (0, 0))
    remove_leftovers(tmp_path)
    assert {*tmp_path.iterdir()} == {young, other}


def test_a_full_disk_is_explained_and_loses_nothing(tmp_path: Path) -> None:
    for name in ("file", "lines"):
        (tmp_path / name).write_bytes(b"before\n")
    ran = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "file").read_bytes() == b"before\n"
    assert (tmp_path / "lines").read_bytes() == b"before\n"
    steps = [json.loads(line)["step"] for line in (tmp_path / "journal").read_text().splitlines()]
    assert steps == ["before", "after"]
    assert {path.name for path in tmp_path.iterdir()} == {"file", "lines", "journal"}


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tiny file system")
def test_a_really_full_file_system(tmp_path: Path) -> None:
    script = (
        f'mount -t tmpfs -o size=64k none {tmp_path} && exec {sys.executable} -c "$1" {tmp_path}'
    )
    program = """
import sys
from pathlib import Path
from wizard.errors import HomeError
from wizard.home.files import write_atomic
folder = Path(sys.argv[1])
write_atomic(folder / "file", b"before")
try:
    write_atomic(folder / "file", b"x" * 200000)
except HomeError as error:
    assert "no space" in error.what and "MiB free" in error.why, error
else:
    raise SystemExit("written to a full disk")
assert (folder / "file").read_bytes() == b"before"
assert [p.name for p in folder.iterdir()] == ["file"]
"""
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "no space"),
        (errno.EDQUOT, "no space"),
        (errno.EROFS, "writable"),
        (errno.EACCES, "user"),
        (errno.EIO, "disk"),
    ],
)
def test_every_failure_has_a_cure(tmp_path: Path, number: int, said: str) -> None:
    with pytest.raises(HomeError) as error, explained(tmp_path / "file", "write"):
        raise OSError(number, os.strerror(number))
    assert said in error.value.what + error.value.cure
    assert error.value.cure


def test_links_are_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("untouched")
    link = tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(HomeError):
        append_line(link, "more")
    write_atomic(link, b"new")
    assert target.read_text() == "untouched"
    assert not link.is_symlink()
    (tmp_path / "folder").symlink_to(tmp_path)
    with pytest.raises(HomeError):
        make_folder(tmp_path / "folder")


def test_a_failed_write_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(HomeError, match="cannot write"):
        write_atomic(tmp_path / "file", b"data")
    with pytest.raises(HomeError, match="append"):
        append_line(tmp_path / "lines", "line")
    assert (tmp_path / "lines").read_bytes() == b""
    assert [path.name for path in tmp_path.iterdir()] == ["lines"]


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    assert read_json(path) is None
    write_json(path, {"b": [1], "a": None})
    assert read_json(path) == {"a": None, "b": [1]}
    path.write_text('{"a"')
    with pytest.raises(HomeError, match="damaged"):
        read_json(path)
