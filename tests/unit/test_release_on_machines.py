"""What a release brings into folders that several machines have mounted."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

import pytest

from wizard.machines.remote import source


@pytest.fixture
def program(tmp_path: Path) -> dict[str, Any]:
    """Return the program's functions; it is not run."""
    text = source("release")
    assert text.endswith("\nmain()\n")
    file = tmp_path / "release.py"
    file.write_text(text.removesuffix("\nmain()\n"))
    return runpy.run_path(str(file))


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    folder = tmp_path / "release/storage"
    (folder / "empty").mkdir(parents=True)
    (folder / "a.txt").write_text("of the repository")
    (folder / "b.txt").write_text("of the repository")
    (folder / "link").symlink_to("a.txt")
    return folder


def there(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_what_a_release_brings_is_put_there_once(
    program: dict[str, Any], inside: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared/storage"
    # another webserver is at work, or this one was stopped: what is there may be a visitor's by now
    shared.mkdir(parents=True)
    (shared / "a.txt").write_text("of a visitor")
    (shared / f".new-{os.uname().nodename}").write_text("half a fi")
    program["fill"](inside, shared)
    assert there(shared) == ["a.txt", "b.txt", "empty", "link"]
    assert (shared / "a.txt").read_text() == "of a visitor"
    assert (shared / "link").readlink() == Path("a.txt")
    # what is deleted stays so
    (shared / "b.txt").unlink()
    program["fill"](inside, shared)
    assert there(shared) == ["a.txt", "empty", "link"]


def test_what_was_deleted_before_a_restore_point_does_not_come_back(
    program: dict[str, Any], inside: Path, tmp_path: Path
) -> None:
    content = tmp_path / "content.json"
    program["fill"].__globals__["CONTENT"] = content
    shared = tmp_path / "shared/storage"
    shared.mkdir(parents=True)
    (shared / "a.txt").write_text("of a visitor")
    content.write_text('{"point": "one", "loaded": true}')
    program["fill"](inside, shared)
    assert there(shared) == ["a.txt"]
    # another webserver, which put nothing here, sees that this is all of it
    content.unlink()
    program["fill"](inside, shared)
    assert there(shared) == ["a.txt"]
    # a folder that the point has not is the release's
    content.write_text('{"point": "one", "loaded": true}')
    program["fill"](inside, tmp_path / "shared/new")
    assert len(there(tmp_path / "shared/new")) == 4


def test_a_folder_that_the_repository_has_not_is_made(
    program: dict[str, Any], tmp_path: Path
) -> None:
    program["share"](tmp_path / "release/new", tmp_path / "shared/new", True)
    assert (tmp_path / "release/new").readlink() == tmp_path / "shared/new"
    assert (tmp_path / "shared/new").is_dir()
