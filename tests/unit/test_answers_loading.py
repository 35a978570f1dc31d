"""Every way in which a file can be wrong ends in one AnswersError that says what to do."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wizard.answers import keys, loader, migrations
from wizard.answers.document import MAX_BYTES, read
from wizard.answers.loader import dumps, load, loads, save
from wizard.answers.model import VERSION, Answers
from wizard.errors import AnswersError, ExitCode
from wizard.paths import config_templates

DATA = Path(__file__).parent.parent / "data" / "answers"
REHEARSAL = (config_templates() / "answers" / "rehearsal.yaml").read_text()


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(AnswersError) as caught:
        loads(text, "folder/a.yaml")
    error = caught.value
    assert error.exit_code is ExitCode.INVALID_ANSWERS
    assert error.where == "folder/a.yaml"
    assert error.cure
    assert error.problems
    return error.problems


def assert_answers_or_problems(text: str) -> None:
    """Anything but an AnswersError goes through to pytest."""
    try:
        answers = loads(text, "a.yaml")
    except AnswersError as error:
        found = error.problems
    else:
        found = []
        assert loads(dumps(answers), "a.yaml") == answers
    assert all(problem.startswith("a.yaml:") for problem in found)


def changed(old: str, new: str) -> str:
    assert old in REHEARSAL
    return REHEARSAL.replace(old, new)


@pytest.mark.parametrize("file", sorted(DATA.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_whole_text_of_errors(file: Path) -> None:
    with pytest.raises(AnswersError) as caught:
        load(file)
    error = caught.value
    assert error.where == str(file)
    error.where = file.name
    assert str(error) + "\n" == file.with_suffix(".txt").read_text()


def test_no_error_text_shows_a_secret() -> None:
    with pytest.raises(AnswersError) as caught:
        load(DATA / "secrets.yaml")
    assert "hunter2" in (DATA / "secrets.yaml").read_text()
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "a.yaml:1: found nothing in the file"),
        (b"\n# only a comment\n", "a.yaml:1: found nothing in the file"),
        (b"---\n...\n", "found nothing"),
        (b"- version: 1\n", "a.yaml:1: found a list; allowed: a mapping of version, name,"),
        (b"hello", "a.yaml:1: found 'hello'; allowed: a mapping of"),
        (b"version: 1\ntitle: caf\xe9\n", "a.yaml:2: found the byte 0xe9, not UTF-8"),
        ("version: 1".encode("utf-16"), "a.yaml:1: found the byte 0xff, not UTF-8"),
        (b"version: 1\nname: a\x00b\n", "a.yaml:2: found the character U+0000"),
        (b"version: 1\nname: \x1b[31m\n", "a.yaml:2: found the character U+001B"),
        (b"version: 1\nprovider:\n\tname: local\n", "a.yaml:3: found a tab at column 1"),
        (bytes(range(256)), "not UTF-8"),
        (b"\x7fELF\x02\x01\x01\x00", "a.yaml:1: found the character U+007F"),
        (b"a" * (10 * 1024 * 1024), "found more than 1 MiB"),
        (b"version: 1\n---\nversion: 1\n", "found a second document"),
        (b"version: 1\nname: [a\n", "a.yaml:3: found while parsing a flow sequence"),
        (b"version: 1\nname: 'a\n", "found while scanning a quoted scalar"),
        (b"[" * 100_000, "found more than 20 levels"),
        (b"version: 1\nname: " + b"{a: " * 30 + b"1" + b"}" * 30, "more than 20 levels"),
        (b"version: 1\na: [" + b"1," * 20_000 + b"]", "found more than 10000 values"),
        (b"version: 1\na: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "found the anchor &a"),
        (b"version: 1\nname: !!python/object/apply:os.system [id]\n", "found the tag"),
        (b"version: 1\nname: !x demo\n", "a.yaml:2: found the tag !x"),
        (b'version: 1\nname: "\\UFFFFFFFF"\n', "a.yaml:2: found"),
        (b"%YAML " + b"9" * 5000 + b".1\n---\nversion: 1\n", "a.yaml:1: found"),
        (b"version: 1\nname: a\nname: b\n", "a.yaml:3: name: found the key 'name' again (first in"),
    ],
)
def test_files_of_the_wrong_form(content: bytes, expected: str) -> None:
    found = problems(content)
    assert any(expected in problem for problem in found), found
    assert all(len(problem) < 500 for problem in found)


def test_an_alias_bomb_is_refused_in_no_time() -> None:
    lines = ["version: 1", "a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    started = time.monotonic()
    assert any("alias" in problem for problem in problems("\n".join(lines)))
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "content",
    [
        b"version: 1\n" + b"# comment\n" * 100_000,
        b"version: 1\n" + b"".join(b"k%d: 1\n" % n for n in range(9_000)),
        b"version: 1\n" + b"k" * 1_000_000 + b": 1\n",
        b"version: 1\nname: '" + b"x" * 1_000_000 + b"'\n",
        b"version: 1\nname: " + b"9" * 1_000_000 + b"\n",
        b"version: 1\ndomain: {aliases: [" + b"-," * 4_000 + b"]}\n",
        b"version: 1\ndns: {zone: " + b"a." * 400_000 + b"a}\n",
        b"version: 1\n" + b"? " * 400_000,
        b"version: 1\n" + b"- " * 400_000,
        b"version: 1\napplication: {admin: {email: " + b"a." * 400_000 + b"}}\n",
    ],
    ids=lambda content: content[11:24].decode(),
)
def test_big_files_are_refused_soon_and_briefly(content: bytes) -> None:
    assert len(content) <= MAX_BYTES
    started = time.monotonic()
    found = problems(content)
    assert time.monotonic() - started < 5
    assert len("\n".join(found)) < 50_000


def test_a_byte_order_mark_and_windows_line_ends_are_harmless() -> None:
    expected = loads(REHEARSAL, "a.yaml")
    assert loads(b"\xef\xbb\xbf" + REHEARSAL.replace("\n", "\r\n").encode(), "a.yaml") == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("version: 1", "version: 2", "version: found 2; allowed: the number 1"),
        ("version: 1", "version: 0", "version: found 0; allowed: the number 1"),
        ("version: 1", "version: '1'", "version: found '1'; allowed: the number 1"),
        ("version: 1", "version: true", "version: found true; allowed: the number 1"),
        ("version: 1", "version: [1]", "version: found a list; allowed: the number 1"),
        ("version: 1\n", "", "version: found nothing; allowed: the number 1"),
    ],
)
def test_the_version_comes_first_and_alone(old: str, new: str, expected: str) -> None:
    found = problems(changed(old, new) + "\nnonsense: true\n")
    assert len(found) == 1
    assert found[0].endswith(expected)


def test_a_newer_version_says_what_to_do() -> None:
    with pytest.raises(AnswersError, match="version 7, which this program does not know") as caught:
        loads("version: 7\n", "a.yaml")
    assert "newer build-usb" in caught.value.cure


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "provider:\n  name: local",
            "provider: local\nx:\n  name: local",
            "provider: found 'local'",
        ),
        ("mode: development", "mode: yes", "mode: found 'yes'; allowed: development, production"),
        ("mode: development", "database: {port: abc}", "allowed: a whole number from 1 to 65535"),
        ("mode: development", "database: {port: 0}", "database.port: found 0;"),
        ("mode: development", "database: {port: 5.5}", "database.port: found '5.5';"),
        ("mode: development", "database: {port: true}", "database.port: found true;"),
        ("mode: development", "database: {port: '80'}", "database.port: found '80';"),
        ("mode: development", "database: {managed: no}", "found 'no'; allowed: true or false"),
        ("mode: development", "databse: {port: 1}", "(did you mean database?)"),
        ("mode: development", "dns_provider: x", "found an unknown key 'dns_provider'"),
        ("mode: development", "locale: de_DE", "(did you mean application.locale?)"),
        ("mode: development", "1: x", "found an unknown key '1'"),
        ("mode: development", "machines: {timezone: Europe/Vena}", "did you mean Europe/Vienna?"),
        ("mode: development", "ssh: {build_machine: 10.0.0.1/8}", "(write 10.0.0.0/8)"),
        ("mode: development", "tls: {authority: http://a.example}", "it must start with https://"),
        (
            "mode: development",
            "tls: {authority: zerosll}",
            "letsencrypt-staging, zerossl, cloudflare-origin or",
        ),
        ("name: demo", "name: 12", "found 12; allowed: 2 to 24 characters"),
        ("name: demo", "name: a", "name: found 'a'"),
        ("name: demo", "name: demo-", "name: found 'demo-'"),
        ("title: My first site", "title: ' '", "remove the blanks around it"),
        ("title: My first site", "title: ''", "title: found ''"),
        ("title: My first site", 'title: "a\\nb"', "a character that cannot be printed"),
        ("title: My first site", 'title: "\\ud800"', "title: found '\\ud800'"),
        ("title: My first site", f"title: {'x' * 121}", "1 to 120 characters"),
        ("name: www.rehearsal.test", "name: WWW.Rehearsal.test.", "(write www.rehearsal.test)"),
        ("name: www.rehearsal.test", "name: https://rehearsal.test/", "(write rehearsal.test)"),
        ("name: www.rehearsal.test", "name: straße.de", "(write xn--strae-oqa.de)"),
        ("name: www.rehearsal.test", "name: localhost", "domain.name: found 'localhost'"),
        ("name: www.rehearsal.test", "name: 10.0.0.1", "the last one not a number"),
        ("name: www.rehearsal.test", "name: a_b.test", "domain.name: found 'a_b.test'"),
        ("name: www.rehearsal.test", "name: '*.rehearsal.test'", "domain.name: found '*.reh"),
        ("name: www.rehearsal.test", f"name: {'a' * 64}.test", "domain.name: found 'aaa"),
        ("name: www.rehearsal.test", f"name: {'a.' * 127}test", "longer than 253"),
        ("name: www.rehearsal.test", "name: xn--.test", "domain.name: found 'xn--.test'"),
        ("name: www.rehearsal.test", "name: xn--a.rehearsal.test", "is not valid punycode"),
        ("email: editor@rehearsal.test", "email: a@b", "email: found 'a@b'"),
        ("email: editor@rehearsal.test", "email: a b@c.test", "email: found 'a b@c.test'"),
        ("email: editor@rehearsal.test", "email: a@münchen.de", "(write xn--mnchen-3ya.de)"),
        ("zone: rehearsal.test", "zone: hearsal.test", "outside the zone 'hearsal.test'"),
        ("zone: rehearsal.test", "ttl: 60", "dns.zone: found nothing; allowed: a full domain"),
    ],
)
def test_wrong_values(old: str, new: str, expected: str) -> None:
    found = problems(changed(old, new))
    assert any(expected in problem for problem in found), found


def test_a_problem_names_file_line_key_found_and_allowed() -> None:
    text = REHEARSAL + "database:\n  port: abc\n"
    line = text.splitlines().index("  port: abc") + 1
    assert problems(text) == [
        f"a.yaml:{line}: database.port: found 'abc'; allowed: a whole number from 1 to 65535"
    ]


def test_one_mistake_hides_no_other_and_makes_up_none() -> None:
    text = changed("name: local", "name: lokal").replace("zone: reh", "zone: elsewhere.reh")
    found = problems(text + "ssh: {port: 80}\n")
    assert [problem.split(": ")[1] for problem in found] == [
        "provider.name",
        "domain.name",
        "ssh.port",
    ]


@pytest.mark.parametrize("path", ["missing.yaml", ".", "a\0b", "missing/a.yaml", "x" * 300])
def test_files_that_cannot_be_read(tmp_path: Path, path: str) -> None:
    with pytest.raises(AnswersError, match="cannot be read") as caught:
        load(tmp_path / path)
    assert caught.value.problems[0]


def test_a_file_without_permission(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(REHEARSAL)
    file.chmod(0)
    with pytest.raises(AnswersError, match="Permission denied"):
        _as_nobody(lambda: load(file))


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o500)
    answers = loads(REHEARSAL, "a.yaml")
    with pytest.raises(AnswersError, match="cannot be written"):
        _as_nobody(lambda: save(answers, folder / "a.yaml"))
    assert not list(folder.iterdir())


def _as_nobody(call: Callable[[], object]) -> None:
    # root may read and write everything: without this the tests could not fail
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        call()
    finally:
        if root:
            os.seteuid(0)


def test_an_endless_file_is_not_read_to_its_end() -> None:
    with pytest.raises(AnswersError, match="more than 1 MiB"):
        load(Path("/dev/zero"))


def test_a_pipe_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(REHEARSAL,))
    writer.start()
    assert load(pipe).name == "demo"
    writer.join()


@given(st.text())
@example("? [a]\n: b")
@example("{a: 1, ? }")
@example("*a")
@example("&a")
@example("!<")
@example("%TAG ! !\n---\n!x")
@example('"\\x')
@example("version: 1\ndns: {provider: {}, rfc2136: [], zone: ~}")
@settings(deadline=None, max_examples=200)
def test_any_text_is_answers_or_one_error(text: str) -> None:
    with pytest.raises(AnswersError):
        loads(text, "a.yaml")


@given(st.binary())
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_answers_or_one_error(content: bytes) -> None:
    with pytest.raises(AnswersError):
        loads(content, "a.yaml")


LINES = REHEARSAL.splitlines(keepends=True)
VALUES = st.sampled_from(
    ["", "~", "[]", "{}", "[1]", "{a: b}", "{kind: baseline}", "-1", "true", "abc", "'x'", "- 1"]
) | st.text(max_size=5)


@given(st.data())
@settings(deadline=None, max_examples=100)
def test_answers_with_broken_lines_are_answers_or_one_error(data: st.DataObject) -> None:
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(lines) - 1))
        key, colon, _ = lines[index].partition(":")
        value = data.draw(VALUES)
        lines[index] = data.draw(
            st.sampled_from(["", f"  {lines[index]}", lines[index] * 2, f"{key}{colon} {value}\n"])
        )
    assert_answers_or_problems("".join(lines))


SECTIONS = st.sampled_from([*Answers.model_fields, "unknown"])
# keys of several sections, in sections where they belong and where they do not
KEYS = st.sampled_from(
    sorted({"x", "token", *(key for name in Answers.model_fields for key in keys.known((name,)))})
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(SECTIONS, ANYTHING, max_size=5))
@example({"name": {"admin": {"admin": None, "token": 0}}})
@settings(deadline=None, max_examples=100)
def test_sections_of_any_shape_are_answers_or_one_error(sections: dict[str, object]) -> None:
    text = yaml.safe_dump({**read(REHEARSAL).data, **sections}, allow_unicode=True)
    assert_answers_or_problems(text)


def test_saving_replaces_the_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    answers = loads(REHEARSAL, "a.yaml")
    save(answers, file)
    renamed = answers.model_copy(update={"name": "other"})
    save(renamed, file)
    assert load(file) == renamed
    assert list(tmp_path.iterdir()) == [file]


def test_saving_leaves_defaults_out_but_not_the_mode() -> None:
    assert (
        dumps(loads(REHEARSAL, "a.yaml"))
        == "\n".join(line for line in REHEARSAL.splitlines() if line and not line.startswith("#"))
        + "\n"
    )


def test_older_versions_are_migrated_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def to_0(data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "title": str(data["title"]).title()}

    def to_1(data: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in data.items() if key != "title"}
        return {**kept, "application": {**data["application"], "title": data["title"]}}

    registry = {-1: to_0, 0: to_1}
    assert migrations.oldest(VERSION, registry) == -1
    assert migrations.oldest(VERSION, {-1: to_0}) == VERSION
    monkeypatch.setattr(loader, "MIGRATIONS", registry)
    old = changed("version: 1", "version: -1\ntitle: an old site")
    answers = loads(old.replace("  title: My first site\n", ""), "a.yaml")
    assert answers.application.title == "An Old Site"
    assert answers.version == VERSION
    assert "version: 1\n" in dumps(answers)
    with pytest.raises(AnswersError, match="does not know"):
        loads("version: -2\n", "a.yaml")


def test_answers_made_in_code_must_fit_together_too() -> None:
    data = read(REHEARSAL).data
    assert Answers.model_validate(data).name == "demo"
    with pytest.raises(ValueError, match=r"database\.engine: found 'postgresql'"):
        Answers.model_validate({**data, "database": {"engine": "postgresql"}})
