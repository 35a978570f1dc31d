"""What of an application's files all webservers have in common, as it is packed on one of them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from wizard.applications.wordpress import WordPress
from wizard.machines.places import MARKER
from wizard.machines.remote import source


def packed(folder: Path) -> bytes:
    order = json.dumps({"folder": str(folder), "passing": WordPress.passing})
    command = [sys.executable, "-I", "-c", source("files"), "pack", order]
    return subprocess.run(command, capture_output=True, check=True).stdout


def site(folder: Path) -> Path:
    package = folder / "package"
    content = folder / "wp-content"
    for path, text in {
        package / "akismet/akismet.php": "of the package",
        content / "plugins/own/own.php": "<?php",
        content / "plugins/own/lib/a.js": "1",
        content / "plugins/own/debug.log": "went wrong",
        content / "languages/de_DE.mo": "ja",
        content / "object-cache.php": "<?php",
        content / "mu-plugins/build-usb.php": "each deployment's",
        content / "mu-plugins/mine.php": "<?php",
        content / "uploads/2026/film.mp4": "film",
        content / "cache/page.html": "page",
        content / MARKER: "digest",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (1_700_000_000.7, 1_700_000_000.7))
    (content / "plugins/akismet").symlink_to(package / "akismet")
    (content / "plugins/own/again.js").symlink_to(content / "plugins/own/lib/a.js")
    return content


def test_what_people_put_there_is_packed_and_nothing_of_a_webservers_own(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(site(tmp_path)))) as archive:
        found = {member.name: member for member in archive}
    assert sorted(found) == [
        "languages/de_DE.mo",
        "mu-plugins/mine.php",
        "object-cache.php",
        "plugins/own/again.js",
        "plugins/own/lib/a.js",
        "plugins/own/own.php",
    ]
    assert found["plugins/own/again.js"].linkname == "lib/a.js"
    # browsers are told by the time of a file whether theirs is old
    assert found["plugins/own/own.php"].mtime == 1_700_000_000


def test_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    assert packed(site(tmp_path / "one")) == packed(site(tmp_path / "other"))
