"""Secrets that the user keeps in the build home, and answers name as `{home: name}`."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulators.digitalocean import TOKEN, DigitalOceanEmulator
from wizard.answers.loader import loads
from wizard.errors import ExitCode, HomeError, PassphraseError, UsageError
from wizard.events import silent
from wizard.home.home import Home
from wizard.operations import adopt, keep
from wizard.operations.session import Session
from wizard.secrets import Secret

PASSPHRASE = "correct horse battery staple"
ANSWERS = """
version: 1
name: demo
mode: development
provider: {name: digitalocean, region: fra1, credentials: {home: do-token}}
application:
  {kind: wordpress, title: A site, admin: {user: jo, email: jo@example.org}, source: {kind: fresh}}
domain: {name: www.example.org}
dns: {provider: digitalocean, zone: example.org}
object_storage: {credentials: {home: spaces}}
ssh: {build_machine: 203.0.113.7}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    Home.open(path).create_identity(Secret(PASSPHRASE))
    return path


def session(path: Path) -> Session:
    opened = Home.open(path)
    return Session(opened, opened.unlock(Secret(PASSPHRASE)))


def build_usb(
    home: Path, *words: object, stdin: str = "", passphrase: str = PASSPHRASE, **more: str
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **more}
    if passphrase:
        environment["BUILD_USB_PASSPHRASE"] = passphrase
    return subprocess.run(
        [sys.executable, "-m", "wizard", *map(str, words), "--home", str(home)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=60,
    )


# -- the command ---------------------------------------------------------------------------------


def test_set_list_show_remove(home: Path) -> None:
    done = build_usb(home, "secret", "set", "do-token", stdin=f"{TOKEN}\n")
    assert done.returncode == ExitCode.OK
    assert "{home: do-token}" in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert build_usb(home, "secret").stdout == "do-token  build home\n"
    assert build_usb(home, "secret", "do-token").stdout == f"{TOKEN}\n"
    assert build_usb(home, "secret", "remove", "do-token").returncode == ExitCode.OK
    done = build_usb(home, "secret", "remove", "do-token")
    assert done.returncode == ExitCode.HOME
    assert "no secret called do-token" in done.stderr


def test_a_new_home_is_made_by_the_first_secret(tmp_path: Path) -> None:
    done = build_usb(tmp_path / "new", "secret", "set", "do-token", stdin=TOKEN)
    assert done.returncode == ExitCode.OK
    assert session(tmp_path / "new").credentials.get("do-token") == Secret(TOKEN)
    for path in (tmp_path / "new").rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o077 == 0
            assert TOKEN.encode() not in path.read_bytes()


def test_what_is_typed_on_a_terminal_is_not_echoed(home: Path) -> None:
    file = home.parent / "passphrase"
    file.write_text(PASSPHRASE)
    file.chmod(0o600)
    words = ["secret", "set", "do-token", "--home", str(home), "--passphrase-file", str(file)]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "wizard", *words])
    shown = b""
    while b"not shown" not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, f"{TOKEN}\n".encode())
    try:
        while data := os.read(terminal, 1000):
            shown += data
    except OSError:
        pass  # how the end of a terminal looks
    assert os.waitpid(pid, 0)[1] == 0
    os.close(terminal)
    assert TOKEN.encode() not in shown
    assert session(home).credentials.get("do-token") == Secret(TOKEN)


@pytest.mark.parametrize(
    "words",
    [("set",), ("remove",), ("set", "a", "b"), ("a", "b"), ("set", "Upper"), ("set", "set")],
)
def test_words_that_make_no_sense(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        keep.words_of(words)
    assert caught.value.cure


def test_values_and_names_that_are_refused(home: Path) -> None:
    opened = session(home)
    for value in ("", " \n", "x" * 70_000):
        with pytest.raises(UsageError):
            keep.put(opened, "do-token", value)
    deployment = opened.home.deployment("demo")
    deployment.create()
    deployment.answers_file.write_text(ANSWERS)
    opened.secrets(deployment).set("admin_password", Secret("made"))
    with pytest.raises(UsageError, match="Build USB made"):
        keep.put(opened, "admin_password", "mine")
    opened.credentials.set("do-token", Secret("token"))
    assert keep.listed(opened, None) == [("do-token", "build home"), ("admin_password", "demo")]
    assert keep.show(opened, "admin_password", None) == Secret("made")
    assert keep.show(opened, "do-token", None) == Secret("token")
    with pytest.raises(HomeError, match="no secret called other"):
        keep.show(opened, "other", None)


# -- answers that name them ----------------------------------------------------------------------


@pytest.fixture
def ocean(monkeypatch: pytest.MonkeyPatch) -> Iterator[DigitalOceanEmulator]:
    with DigitalOceanEmulator() as emulator:
        monkeypatch.setenv("BUILD_USB_DIGITALOCEAN_URL", emulator.url)
        yield emulator


def test_plan_and_check_use_them(home: Path, tmp_path: Path, ocean: DigitalOceanEmulator) -> None:
    answers = tmp_path / "answers.yaml"
    answers.write_text(ANSWERS)
    done = build_usb(home, "plan", answers)
    assert done.returncode == ExitCode.USAGE
    assert "build-usb secret set do-token" in done.stderr
    opened = session(home)
    opened.credentials.set("do-token", Secret(TOKEN))
    opened.credentials.set("spaces", Secret("ACCESS:SECRET"))
    done = build_usb(home, "plan", answers)
    assert done.returncode == ExitCode.OK
    assert "USD" in done.stdout
    done = build_usb(home, "check", answers, "--json")
    assert done.returncode == ExitCode.PROVIDER
    levels = {f["key"]: f["level"] for f in json.loads(done.stdout)["findings"]}
    assert levels == {"provider.credentials": "good", "dns.zone": "bad"}
    assert TOKEN not in done.stdout + done.stderr


def test_plan_asks_for_the_passphrase_only_if_it_needs_a_secret(
    home: Path, tmp_path: Path, ocean: DigitalOceanEmulator
) -> None:
    answers = tmp_path / "answers.yaml"
    answers.write_text(ANSWERS.replace("{home: do-token}", "{environment: TOKEN}"))
    assert build_usb(home, "plan", answers, passphrase="", TOKEN=TOKEN).returncode == ExitCode.OK
    answers.write_text(ANSWERS)
    assert build_usb(home, "plan", answers, passphrase="").returncode == ExitCode.PASSPHRASE


# -- taking over ---------------------------------------------------------------------------------


def test_adopting_on_a_new_home_says_what_to_set(tmp_path: Path) -> None:
    answers = loads(ANSWERS, "a.yaml")
    with pytest.raises(UsageError) as caught:
        adopt.adopt(Home.open(tmp_path / "new"), answers, None, silent)
    assert "build-usb secret set do-token\nbuild-usb secret set spaces" in caught.value.cure
    assert caught.value.where == "provider.credentials, object_storage.credentials"


def test_adopting_with_another_passphrase_than_the_homes(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text("another horse battery staple")
    file.chmod(0o600)
    with pytest.raises(PassphraseError, match="lost build home does not open this one"):
        adopt.adopt(Home.open(home), loads(ANSWERS, "a.yaml"), file, silent)
