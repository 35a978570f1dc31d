"""Baselines are committed and signed, and verified and taken for hostile when they come back."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.test_baselines_scan import PLANTED
from wizard.baselines import tree
from wizard.baselines.manifest import Manifest, parse
from wizard.baselines.tree import Refused
from wizard.engine import baseline_make, baseline_repository
from wizard.engine.baseline_repository import commit, fetched, push
from wizard.errors import AnswersError, UsageError
from wizard.home.keys import KeyPair, generate_ssh_key, public_key
from wizard.secrets import Secret

FOLDERS, UPLOADS = ["wp-content"], "wp-content/uploads"
TABLE = "CREATE TABLE `baseline_posts` (\n  `ID` int NOT NULL\n) ENGINE=InnoDB;\n"
FILES = {
    "database/posts.sql": TABLE + "INSERT INTO `baseline_posts` (`ID`) VALUES (1);\n",
    "files/wp-content/themes/own/style.css": "body {}\r\n",
    "files/wp-content/themes/own/functions.php": "<?php\n",
    "files/wp-content/uploads/a.txt": "a\n",
    "README.md": "A shop.\n",
}
MANIFEST = Manifest("wordpress", "6.8", "mariadb", "GPL", "", "Jo", "2026-11-25", "0.1.0")


def key_pair() -> KeyPair:
    private = generate_ssh_key()
    return KeyPair(private, public_key(private))


KEY = key_pair()


def check(folder: Path) -> None:
    tree.check(*baseline_repository.in_folder(folder), FOLDERS, UPLOADS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    for path, text in FILES.items():
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_text(text, newline="")
    baseline_make.seal(made, MANIFEST)
    return made


def git(folder: Path, *words: str) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    who = ("-c", "user.name=x", "-c", "user.email=x@x.test")
    done = subprocess.run(["git", *who, *words], cwd=folder, env=environment,
                          capture_output=True, text=True, check=True)  # fmt: skip
    return done.stdout


def take(folder: Path, *signers: str) -> dict[str, bytes]:
    with fetched(str(folder), None, None, signers or (KEY.public,)) as found:
        tree.check(found.entries, found.read, FOLDERS, UPLOADS)
        return {entry.path: found.read(entry.path) for entry in found.entries}


def test_it_comes_back_byte_for_byte_and_only_changes_are_committed(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "files/wp-content/themes/own/run.sh").write_text("x")
    (folder / "files/wp-content/themes/own/run.sh").chmod(0o755)
    first = commit(folder, KEY, (), check)
    assert commit(folder, KEY, (), check) == first
    push(folder, str(tmp_path / "remote.git"), None)
    there = take(tmp_path / "remote.git")
    for path, text in FILES.items():
        assert there[path].decode() == text
    (folder / "README.md").write_text("Another shop.\n")
    assert commit(folder, KEY, (), check) != first
    push(folder, str(tmp_path / "remote.git"), None)
    assert take(tmp_path / "remote.git")["README.md"] == b"Another shop.\n"
    assert KEY.private.reveal().splitlines()[2] not in git(folder, "config", "--list")


def test_only_who_is_named_may_have_signed_it(folder: Path) -> None:
    commit(folder, KEY, (), check)
    other = key_pair()
    with pytest.raises(UsageError, match="not signed by one of those"):
        take(folder, other.public)
    take(folder, other.public, KEY.public)
    # the same content under a commit of another one, and under one of nobody
    commit(folder, other, (), check)
    with pytest.raises(UsageError, match="not signed by one of those"):
        take(folder)
    git(folder, "commit", "-q", "--amend", "--allow-empty", "--no-gpg-sign", "-m", "forged")
    with pytest.raises(UsageError, match="not signed by one of those"):
        take(folder)


@pytest.mark.parametrize("kind", PLANTED)
def test_each_kind_of_secret_keeps_it_from_being_committed(kind: str, folder: Path) -> None:
    secret = "".join(PLANTED[kind])
    (folder / "files/wp-content/themes/own/functions.php").write_text(f"<?php\n// {secret}\n")
    with pytest.raises(AnswersError) as refused:
        commit(folder, KEY, (), check)
    assert f"files/wp-content/themes/own/functions.php:2: {kind}" in refused.value.problems
    assert secret not in str(refused.value)
    assert not (folder / ".git").exists()


def test_secrets_of_the_home_and_addresses_in_rows_are_refused_with_their_line(
    folder: Path,
) -> None:
    row = "INSERT INTO `baseline_posts` (`ID`) VALUES ('{}');\n"
    (folder / "database/posts.sql").write_text(
        TABLE + row.format("jo@person.org") + row.format("kept-in-the-home-4711")
    )
    with pytest.raises(AnswersError) as refused:
        commit(folder, KEY, [("token", Secret("kept-in-the-home-4711"))], check)
    assert refused.value.problems == [
        "database/posts.sql:4: e-mail address",
        "database/posts.sql:5: the secret token",
    ]


def test_what_was_committed_once_is_looked_at_too(folder: Path) -> None:
    git(folder, "init", "-q", "-b", "main")
    note = folder / "files/wp-content/themes/own/note.txt"
    note.write_text("x: dop_v1_" + "ab12" * 16 + "\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "by hand")
    note.unlink()
    with pytest.raises(AnswersError) as refused:
        commit(folder, KEY, (), check)
    (problem,) = refused.value.problems
    assert problem.startswith("files/wp-content/themes/own/note.txt (of ")
    assert "DigitalOcean token" in problem


def _write(path: str, text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)

    return change


def _link(path: str, target: str) -> Callable[[Path], None]:
    return lambda folder: (folder / path).symlink_to(target)


def _tampered(folder: Path) -> None:
    _write("files/wp-content/themes/own/style.css", "evil")(folder)


def _no_text(folder: Path) -> None:
    (folder / "database/posts.sql").write_bytes(b"\xff")


def _program(folder: Path) -> None:
    path = "files/wp-content/themes/own/x"
    _write(path, "x")(folder)
    (folder / path).chmod(0o755)


THEME = "files/wp-content/themes/own"
HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "tampered": (_tampered, "style.css: is not what baseline.json says"),
    "unnamed": (_write("README.md", "x"), "README.md: is not what"),
    "link": (_link(f"{THEME}/l", "/etc/passwd"), "l: a link"),
    "link to a folder": (_link("files/wp-content/x", "../../.."), "x: a link"),
    "program": (_program, "own/x: a program"),
    "php upload": (_write("files/wp-content/uploads/x.php", "<?php"), "a program among uploads"),
    "double ending": (_write("files/wp-content/uploads/x.PHP.jpg", "x"), "a program among uploads"),
    "hidden php": (_write("files/wp-content/uploads/x.gif", "GIF89a<?php x"), "PHP among uploads"),
    "php settings": (_write(f"{THEME}/.user.ini", "x"), "not a file that it may have"),
    "attributes": (_write(f"{THEME}/.gitattributes", "* x"), "not a file that it may have"),
    "library": (_write(f"{THEME}/x.so", "x"), "not a file that it may have"),
    "elsewhere": (_write("etc/passwd", "x"), "belongs to no folder of the application"),
    "other folder": (_write("files/private/x", "x"), "belongs to no folder of the application"),
    "sql": (_write("database/posts.sql", TABLE + "DROP TABLE `x`;"), "line 4: DROP is not"),
    "other table": (_write("database/x.sql", TABLE), "is about another table"),
    "two tables": (_write("database/posts.sql", TABLE * 2), "is not one table and its rows"),
    "no utf-8": (_no_text, "is no UTF-8"),
    "huge": (lambda folder: os.truncate(folder / f"{THEME}/style.css", 65 << 20), "larger than 64"),
    "no manifest": (lambda folder: (folder / "baseline.json").unlink(), "this is no baseline"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_baseline_is_refused_by_name_though_signed(what: str, folder: Path) -> None:
    change, expected = HOSTILE[what]
    commit(folder, KEY, (), check)
    change(folder)
    if what not in ("tampered", "unnamed", "no manifest"):
        # the forger's manifest agrees with what is there
        baseline_make.seal(folder, MANIFEST)
    with baseline_repository._signing(KEY) as key:
        git(folder, "add", "-A")
        git(folder, *baseline_repository._identity(MANIFEST, key), "commit", "-qS", "-m", "x")
    with pytest.raises(Refused) as refused:
        take(folder)
    assert any(expected in problem for problem in refused.value.problems), refused.value.problems


def test_paths_that_git_itself_would_not_write_are_refused() -> None:
    entry = tree.Entry
    odd = ["../x", "/etc/x", "files/wp-content/../../x", "files/wp-content/a\\b", "files//x",
           "files/wp-content/\x1b[2J", "files/wp-content/./x",
           "files/wp-content/.git/config"]  # fmt: skip
    with pytest.raises(Refused) as refused:
        tree.check([entry(path, tree.FILE, 1) for path in odd], lambda path: b"", FOLDERS, UPLOADS)
    for path in odd:
        assert any(p.startswith(ascii(path)[1:-1] + ":") for p in refused.value.problems), path
    with pytest.raises(Refused, match="another repository"):
        tree.check([entry("files/wp-content/x", "160000", 0)], lambda path: b"", FOLDERS, UPLOADS)


def test_a_manifest_tells_what_is_wrong_with_it(folder: Path) -> None:
    good = json.loads((folder / "baseline.json").read_text())
    assert parse((folder / "baseline.json").read_bytes()).files.keys() == FILES.keys()
    sums = parse((folder / "baseline.json").read_bytes()).files
    assert sums["README.md"] == hashlib.sha256(b"A shop.\n").hexdigest()
    for wrong in (b"x", b"[]", b"{}", json.dumps({**good, "format": 2}).encode(),
                  json.dumps({**good, "more": 1}).encode(),
                  json.dumps({**good, "author": 1}).encode(),
                  replace(MANIFEST, files={"a": 1}).written()):  # type: ignore[dict-item] # fmt: skip
        with pytest.raises(ValueError, match=r"\w"):
            parse(wrong)
