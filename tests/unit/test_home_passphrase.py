"""Where the passphrase comes from, and what is refused."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wizard.errors import PassphraseError
from wizard.home.passphrase import VARIABLE, obtain

STRONG = "seven brown owls reading"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.write_text(STRONG + "\n")
    path.chmod(0o600)
    return path


def test_file_goes_before_environment_and_both_leave_it(file: Path) -> None:
    environ = {VARIABLE: "other"}
    assert obtain(file, environ).reveal() == STRONG
    assert environ == {}
    environ = {VARIABLE: STRONG, "PATH": "/bin"}
    assert obtain(None, environ).reveal() == STRONG
    assert environ == {"PATH": "/bin"}


def test_the_process_environment_is_cleaned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, STRONG)
    assert obtain().reveal() == STRONG
    assert VARIABLE not in os.environ


def test_files_others_can_read_are_refused(file: Path, tmp_path: Path) -> None:
    for mode in (0o640, 0o604):
        file.chmod(mode)
        with pytest.raises(PassphraseError, match="other users") as error:
            obtain(file, {})
        assert error.value.cure == f"chmod 600 {file}"
        assert STRONG not in str(error.value)
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(PassphraseError):
            obtain(path, {})


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"\xff\n", b"x" * 5000])
def test_files_without_one_line_are_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(PassphraseError):
        obtain(file, {})


@pytest.mark.parametrize("weak", ["short", "aaaaaaaaaaaaaaaa", "12121212121212", "elevenchars"])
def test_weak_ones_may_be_used_but_not_chosen(weak: str) -> None:
    assert obtain(None, {VARIABLE: weak}).reveal() == weak
    with pytest.raises(PassphraseError, match="too weak") as error:
        obtain(None, {VARIABLE: weak}, new=True)
    assert weak not in str(error.value)
    assert error.value.why


def test_an_empty_variable_is_an_error() -> None:
    with pytest.raises(PassphraseError, match="empty"):
        obtain(None, {VARIABLE: ""})


def test_choosing_asks_twice() -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return STRONG

    assert obtain(None, {}, ask=ask).reveal() == STRONG
    assert len(asked) == 1
    assert obtain(None, {}, new=True, ask=ask).reveal() == STRONG
    assert len(asked) == 3
    replies = iter([STRONG, STRONG + "!"])
    with pytest.raises(PassphraseError, match="differ"):
        obtain(None, {}, new=True, ask=lambda _prompt: next(replies))


PROGRAM = "from wizard.home.passphrase import obtain; print(len(obtain(environ={}).reveal()))"


def test_without_a_terminal_says_what_to_do() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=STRONG,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )
    assert "no terminal" in ran.stderr
    assert "--passphrase-file" in ran.stderr
    assert not ran.stdout


def test_on_a_terminal_it_is_asked_for_without_echo() -> None:
    master, slave = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _TAKE_TERMINAL + PROGRAM, os.ttyname(slave)],
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    shown = b""
    while b"Passphrase" not in shown:
        shown += os.read(master, 1024)
    os.write(master, STRONG.encode() + b"\n")
    output, _ = process.communicate(timeout=30)
    os.close(slave)
    with contextlib.suppress(OSError):
        shown += os.read(master, 1024)
    os.close(master)
    assert output == f"{len(STRONG)}\n"
    assert STRONG.encode() not in shown


# a process without one that opens a terminal gets it as its controlling terminal
_TAKE_TERMINAL = "import os, sys; os.open(sys.argv[1], os.O_RDWR)\n"
