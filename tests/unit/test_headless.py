"""The run without a keyboard, up to where it would make something; the lab tests the rest."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyrage
import pytest

from wizard.answers import loader
from wizard.errors import ExitCode, HomeError, InterruptedRunError, PassphraseError, UsageError
from wizard.events import Event, EventKind
from wizard.home import vault
from wizard.home.home import Home
from wizard.paths import config_templates
from wizard.secrets import Secret
from wizard.stick import given, headless, orders, sealed
from wizard.stick.client import Stick
from wizard.stick.headless import Headless, Status
from wizard.stick.network import Network, Said
from wizard.stick.orders import After, Orders
from wizard.stick.report import Report
from wizard.tui import flow
from wizard.tui.draft import Draft
from wizard.tui.fields import field

PASSPHRASE = "correct horse battery staple"
TOKEN = "dop_v1_0123456789abcdef"
ANSWERS = config_templates() / "answers"


class Offline:
    """A computer without NetworkManager and without any link."""

    def __call__(self, argv: Sequence[str], seconds: float, secret: Secret | None = None) -> Said:
        if argv[0] == "nmcli":
            raise FileNotFoundError("nmcli")
        return Said(0, "[]", "")


@pytest.fixture
def stick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The partition ANSWERS, as a folder; nothing of the tester's is seen."""
    for name in ("BUILD_USB_PASSPHRASE", "CREDENTIALS_DIRECTORY", "BUILD_USB_HOME"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "answers"
    folder.mkdir()
    return folder


def passphrase_stick(tmp_path: Path) -> Path:
    keys = tmp_path / "keys"
    keys.mkdir(exist_ok=True)
    file = keys / "passphrase"
    file.write_text(PASSPHRASE + "\n")
    file.chmod(0o600)
    return keys


def lock(path: Path, text: str, passphrase: str = PASSPHRASE) -> None:
    path.write_bytes(pyrage.passphrase.encrypt(text.encode(), passphrase))


def main(stick: Path, command_line: str = "buildusb.answers=1") -> tuple[int, str]:
    """Run as the stick's unit does; return the exit code and the status lines."""
    tmp = stick.parent
    (tmp / "cmdline").write_text(f"quiet {command_line}\n")
    serial = tmp / "serial"
    serial.write_text("")
    code = headless.main(
        [
            *("--answers-folder", str(stick), "--keys-folder", str(tmp / "keys")),
            *("--command-line", str(tmp / "cmdline"), "--home", str(tmp / "home")),
            *("--status", str(serial)),
        ]
    )
    return code, serial.read_text()


def result(stick: Path) -> tuple[dict[str, Any], str]:
    """Return the newest report's result and text."""
    folder = sorted((stick / "report").iterdir())[-1]
    assert sorted(path.name for path in folder.iterdir()) == [
        "events.jsonl",
        "report.md",
        "result.json",
    ]
    return json.loads((folder / "result.json").read_text()), (folder / "report.md").read_text()


# -- consent -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("", Orders()),
        ("buildusb.answers=1", Orders("answers.yaml")),
        ("buildusb.answers=shop.yaml buildusb.after=reboot", Orders("shop.yaml", After.REBOOT)),
        ("buildusb.answers=1 buildusb.answers=0", Orders()),
        (
            "console=tty0 console=ttyS1,115200 buildusb.wait=0 buildusb.after=poweroff",
            Orders("", After.POWEROFF, 0, (Path("/dev/ttyS1"),)),
        ),
    ],
)
def test_the_kernels_command_line(line: str, wanted: Orders) -> None:
    assert orders.parse(line) == wanted


def test_all_mistakes_of_the_command_line_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        orders.parse("buildusb.answers=../../etc/x buildusb.after=explode buildusb.wait=-1")
    assert len(caught.value.why.splitlines()) == 3


def test_without_consent_nothing_is_done(stick: Path) -> None:
    (stick / "answers.yaml").write_text((ANSWERS / "rehearsal.yaml").read_text())
    code, status = main(stick, "")
    assert code == ExitCode.USAGE
    assert status == "BUILDUSB: headless failed code=2\n"
    assert sorted(path.name for path in stick.iterdir()) == ["answers.yaml"]
    assert not (stick.parent / "home").exists()
    # what the wizard offers instead
    assert orders.offered({"BUILD_USB_ANSWERS": str(stick)}) == stick / "answers.yaml"
    assert orders.offered({"BUILD_USB_ANSWERS": str(stick.parent)}) is None


# -- wrong answers -------------------------------------------------------------------------------


def test_every_mistake_is_reported_and_nothing_is_made(stick: Path) -> None:
    (stick / "answers.yaml").write_text(
        (ANSWERS / "rehearsal.yaml")
        .read_text()
        .replace("mode: development", "mode: developement")
        .replace("region: here", f"regoin: here\n  credentials: {TOKEN}")
    )
    code, status = main(stick)
    assert code == ExitCode.INVALID_ANSWERS
    assert status.splitlines() == [
        "BUILDUSB: headless started",
        "BUILDUSB: headless failed code=3",
        "BUILDUSB: headless after wizard",
    ]
    found, text = result(stick)
    assert found["state"] == "failed"
    assert found["exit_code"] == 3
    assert found["error"] == "INVALID_ANSWERS"
    assert any(
        problem.startswith("answers.yaml:5: mode:") for problem in found["problem"]["problems"]
    )
    for word in ("developement", "regoin", "answers.yaml:5", "Nothing was made."):
        assert word in text
    assert TOKEN not in json.dumps(found) + text
    assert not (stick.parent / "home").exists()


def test_no_answers_and_what_cannot_be_done_yet(stick: Path) -> None:
    assert main(stick)[0] == ExitCode.INVALID_ANSWERS
    assert "answers.yaml" in result(stick)[1]
    production = (ANSWERS / "cloud-production.yaml").read_text()
    (stick / "answers.yaml").write_text(production.replace("kind: wordpress", "kind: drupal"))
    assert main(stick)[0] in (ExitCode.NOT_SUPPORTED, ExitCode.INVALID_ANSWERS)
    assert len(list((stick / "report").iterdir())) == 2  # the earlier report is kept
    assert not (stick.parent / "home").exists()


def test_a_rehearsal_is_refused_by_name_on_a_stick(
    stick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILD_USB_STICK", "1")
    (stick / "answers.yaml").write_text((ANSWERS / "rehearsal.yaml").read_text())
    assert main(stick)[0] == ExitCode.NOT_SUPPORTED
    told = result(stick)[0]["problem"]["why"]
    assert told.startswith("provider.name: asked for 'local'; works in this version: aws, ")
    assert "rehearsals run on an installed Debian, not on the stick" in told
    # and where a person chooses
    (ask,) = (ask for step in flow.STEPS for ask in step.asks if ask.key == "provider.name")
    reasons = {option.value: option.not_yet for option in field(ask).options}
    assert reasons["local"].startswith("works on the stick: aws, ")
    assert reasons["digitalocean"] == ""
    assert ask.suggestion(Draft()) is None


def test_a_stick_that_cannot_be_written_does_not_end_a_run(
    stick: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (stick / "report").write_text("in the way")
    code, status = main(stick)
    assert code == ExitCode.INVALID_ANSWERS
    assert "BUILDUSB: headless report none" in status
    assert "no report can be written" in capsys.readouterr().err


# -- passphrase and secrets ----------------------------------------------------------------------


def cloud(stick: Path) -> None:
    """Answers for a cloud whose token is in the build home."""
    values = loader.load(ANSWERS / "rehearsal.yaml").model_dump(mode="json", exclude_defaults=True)
    named = {"home": "cloud-token"}
    values["provider"] = {"name": "digitalocean", "region": "fra1", "credentials": named}
    values["dns"] = {"provider": "digitalocean", "zone": "rehearsal.test"}
    values["object_storage"] = {"region": "fra1", "credentials": {"home": "bucket-key"}}
    values["ssh"] = {"build_machine": "192.0.2.7"}
    (stick / "answers.yaml").write_text(json.dumps({"version": 1, **values}))


def test_every_missing_secret_is_named_before_a_home_is_made(stick: Path) -> None:
    cloud(stick)
    passphrase_stick(stick.parent)
    lock(stick / "secrets.age", "other: 'unused value'\n")
    code, _ = main(stick)
    found, text = result(stick)
    assert code == ExitCode.USAGE, text
    why = found["problem"]["why"]
    assert "provider.credentials: no secret called cloud-token" in why
    assert "object_storage.credentials: no secret called bucket-key" in why
    assert not Home.open(stick.parent / "home").has_identity()


def test_no_network_is_reported_and_does_not_hang(
    stick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud(stick)
    # the name of the host is not looked up in a test
    monkeypatch.setenv("BUILD_USB_DIGITALOCEAN_URL", "http://127.0.0.1:1/")
    keys = passphrase_stick(tmp_path)
    lock(stick / "secrets.age", f"cloud-token: '{TOKEN}'\nbucket-key: 'AKEY:{TOKEN}x'\nmore: 'm'\n")
    serial = tmp_path / "serial"
    serial.write_text("")
    run = Headless(
        Orders("answers.yaml", wait=0),
        stick,
        keys,
        tmp_path / "home",
        Status((serial,)),
        network=Network(Offline()),
    )
    assert run.run() is ExitCode.NETWORK
    found, text = result(stick)
    assert found["problem"]["what"] == "no network within 0 minutes"
    assert "no network device is up" in found["problem"]["why"]
    # what the answers name is in the home now, encrypted; the rest is not
    home = Home.open(tmp_path / "home")
    store = home.vault(home.unlock(Secret(PASSPHRASE)))
    assert store.names() == ["bucket-key", "cloud-token"]
    everything = text + json.dumps(found) + serial.read_text()
    assert TOKEN not in everything
    assert PASSPHRASE not in everything


def test_waiting_for_the_network_can_be_stopped(
    stick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud(stick)
    run = Headless(
        Orders("answers.yaml", wait=5),
        stick,
        tmp_path,
        tmp_path / "h",
        Status(),
        Network(Offline()),
    )
    threading.Timer(0.2, run.stop.set).start()
    monkeypatch.setenv("BUILD_USB_DIGITALOCEAN_URL", "http://127.0.0.1:1/")
    with pytest.raises(InterruptedRunError):
        run._await_network(loader.load(stick / "answers.yaml"))


def test_where_the_passphrase_comes_from(tmp_path: Path) -> None:
    keys = passphrase_stick(tmp_path)
    folder = tmp_path / "credentials"
    folder.mkdir()
    credential = folder / sealed.NAME
    credential.write_text("another passphrase, of systemd\n")
    credential.chmod(0o440)  # as systemd shows its access list
    environ = {"CREDENTIALS_DIRECTORY": str(folder), "BUILD_USB_PASSPHRASE": "from the environment"}
    first = given.passphrase(keys, dict(environ), new=False)
    assert first == Secret("another passphrase, of systemd")
    credential.unlink()
    by_tpm = Secret("a passphrase that a TPM sealed")
    assert given.passphrase(keys, dict(environ), new=False, unseal=lambda: by_tpm) == by_tpm
    assert given.passphrase(keys, dict(environ), new=False) == Secret(PASSPHRASE)
    left = dict(environ)
    assert given.passphrase(tmp_path / "none", left, new=False) == Secret("from the environment")
    assert "BUILD_USB_PASSPHRASE" not in left
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return PASSPHRASE

    assert given.passphrase(tmp_path / "none", {}, new=True, ask=ask) == Secret(PASSPHRASE)
    assert len(asked) == 2


@pytest.mark.skipif(shutil.which("systemd-creds") is None, reason="needs systemd-creds")
def test_a_sealed_passphrase_of_another_computer_is_told(tmp_path: Path) -> None:
    (tmp_path / sealed.FILE).write_text("bm90IHNlYWxlZCBoZXJl\n")
    with pytest.raises(PassphraseError, match="cannot be opened on this computer") as told:
        sealed.unseal(tmp_path)
    assert told.value.why
    assert "docs/headless.md" in told.value.cure


def test_secrets_of_both_sticks_are_taken_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault, "_PAUSES", ())  # no computer is as fast as what is tried below
    answers, keys = tmp_path / "answers", tmp_path / "keys"
    answers.mkdir()
    keys.mkdir()
    lock(answers / "secrets.age", "one: 'a'\nboth: 'same'\n")
    (keys / "secrets.yaml").write_text("two: 'b'\nboth: 'same'\n")
    found = given.secrets(answers, keys, Secret(PASSPHRASE))
    assert found == {"one": Secret("a"), "two": Secret("b"), "both": Secret("same")}
    (keys / "secrets.yaml").write_text("both: 'different'\n")
    with pytest.raises(UsageError, match="given twice"):
        given.secrets(answers, keys, Secret(PASSPHRASE))
    with pytest.raises(PassphraseError):
        given.secrets(answers, keys, Secret("not the passphrase"))
    whole = (answers / "secrets.age").read_bytes()
    (answers / "secrets.age").write_bytes(re.sub(rb"(-> scrypt \S+) \d+", rb"\1 40", whole))
    with pytest.raises(PassphraseError, match="too slow to open the file of secrets"):
        given.secrets(answers, keys, Secret(PASSPHRASE))
    (answers / "secrets.age").write_bytes(b"age-encryption.org/v1\ndamaged")
    with pytest.raises(PassphraseError):
        given.secrets(answers, keys, Secret(PASSPHRASE))


@pytest.mark.parametrize(
    "text",
    [
        f"- {TOKEN}",
        f"a: [{TOKEN}]",
        f"a: {{b: {TOKEN}}}",
        f"a: '{TOKEN}\nb: c",
        f"{TOKEN}!: x",
        "number: 12345678901",
        "empty: ''",
        "\udcff".encode(errors="surrogateescape"),
        "",
    ],
)
def test_what_is_wrong_with_a_file_of_secrets_is_said_without_them(
    tmp_path: Path, text: str | bytes
) -> None:
    file = tmp_path / "secrets.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(HomeError) as caught:
        given.secrets(tmp_path / "none", tmp_path, Secret(PASSPHRASE))
    if not str(text).startswith(TOKEN):  # a name is no secret
        assert TOKEN not in str(caught.value)
    assert "12345678901" not in str(caught.value)
    assert caught.value.cure


# -- report --------------------------------------------------------------------------------------


def test_a_report_is_there_from_the_beginning_and_whole(tmp_path: Path) -> None:
    now = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    first = Report.open(tmp_path, now)
    second = Report.open(tmp_path, now)  # the clock was set back
    assert [path.name for path in sorted((tmp_path / "report").iterdir())] == [
        "2026-03-01T12-30-00Z",
        "2026-03-01T12-30-00Z-2",
    ]
    assert first.folder is not None
    assert json.loads((first.folder / "result.json").read_text())["state"] == "started"
    second.known.append(Secret(TOKEN))
    second.deployment = "demo"
    second.take(Event(EventKind.STEP_DONE, step="network", seconds=1.25))
    second.take(Event(EventKind.PROGRESS, step="network", done=1, total=2))
    second.take(Event(EventKind.LOG, f"oops {TOKEN}"))
    second.done(f"https://demo.example/?{TOKEN}", "editor")
    assert second.folder is not None
    written = "".join(path.read_text() for path in second.folder.iterdir())
    assert TOKEN not in written
    found = json.loads((second.folder / "result.json").read_text())
    assert found["steps"] == {"network": 1.25}
    assert len((second.folder / "events.jsonl").read_text().splitlines()) == 2
    assert not list(second.folder.glob("*.tmp"))


def test_a_fault_of_the_program_is_reported_too(
    stick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_path: Path) -> None:
        raise ZeroDivisionError(TOKEN)

    monkeypatch.setattr(headless.loader, "load", broken)
    code, _ = main(stick)
    assert code == ExitCode.FAILURE
    found, text = result(stick)
    assert found["problem"]["what"] == "a fault of the program: ZeroDivisionError"
    assert found["problem"]["where"].startswith("test_headless.py:")
    assert TOKEN not in text


@pytest.mark.parametrize(("after", "wanted"), [("poweroff", "poweroff"), ("reboot", "reboot")])
def test_what_is_done_afterwards(
    stick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str, wanted: str
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    told = tmp_path / "told"
    systemctl = programs / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" > {told}\n')
    systemctl.chmod(systemctl.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    code, status = main(stick, f"buildusb.answers=1 buildusb.after={after}")
    assert code == ExitCode.INVALID_ANSWERS
    assert status.endswith(f"BUILDUSB: headless after {wanted}\n")
    assert told.read_text() == f"{wanted}\n"


def test_a_status_line_that_is_not_there_ends_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "nobody-listens")
    Status((tmp_path / "missing" / "ttyS0", tmp_path / "nobody-listens")).say("started")


def test_the_module_can_be_started() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wizard.stick.headless", "--help"], capture_output=True, check=True
    )
    assert b"--answers-folder" in done.stdout


# -- on a stick: what its helper is asked ---------------------------------------------------------

HELPER = """
import json, sys
given = sys.stdin.read()
folder, words = sys.argv[1], sys.argv[2:]
with open(folder + "/asked", "a") as asked:
    asked.write(" ".join(words) + "\\n")
volume = {"phase": "PHASE", "size": 1, "free": 1, "room": 1, "protected": False}
answers = {
    "status": {"origin": "stick", "stick": {}, "volume": volume},
    "answers-mount": {"folder": folder + "/answers"},
}
if words[0] == "open" and json.loads(given)["passphrase"] != "correct horse battery staple":
    error = {"kind": "PassphraseError", "what": "wrong", "where": "", "why": "", "cure": ""}
    print(json.dumps({"error": error}))
else:
    print(json.dumps({"result": answers.get(words[0], {})}))
"""


def on_stick(tmp_path: Path, phase: str) -> tuple[Headless, list[str]]:
    """Run the cloud's answers on a computer without network; return the helper's commands."""
    helper = tmp_path / "helper.py"
    helper.write_text(HELPER.replace("PHASE", phase))
    run = Headless(
        Orders("answers.yaml", wait=0),
        Path("/nowhere"),  # the helper says where ANSWERS is
        passphrase_stick(tmp_path),
        tmp_path / "home",
        Status((tmp_path / "serial",)),
        network=Network(Offline()),
        stick=Stick((sys.executable, str(helper), str(tmp_path))),
    )
    assert run.run() is ExitCode.NETWORK
    return run, (tmp_path / "asked").read_text().splitlines()


def test_on_a_stick_the_volume_is_opened_before_the_home(
    stick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILD_USB_DIGITALOCEAN_URL", "http://127.0.0.1:1/")
    cloud(stick)
    lock(stick / "secrets.age", f"cloud-token: '{TOKEN}'\nbucket-key: 'AKEY:{TOKEN}x'\n")
    run, asked = on_stick(tmp_path, "locked")
    leaving = ["answers-mount ro", "other-unmount"]
    assert asked == ["answers-mount rw", "status", "open", *leaving]
    assert "no encrypted volume" not in result(stick)[1]
    # again: the home is there now, and is opened
    assert run.run() is ExitCode.NETWORK
    # another passphrase opens nothing, and nothing is made
    file = tmp_path / "keys" / "passphrase"
    file.write_text("another passphrase than that")
    (stick / "secrets.age").unlink()
    assert run.run() is ExitCode.PASSPHRASE


def test_on_a_stick_without_a_volume_the_report_says_what_is_lost(
    stick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILD_USB_DIGITALOCEAN_URL", "http://127.0.0.1:1/")
    cloud(stick)
    lock(stick / "secrets.age", f"cloud-token: '{TOKEN}'\nbucket-key: 'AKEY:{TOKEN}x'\n")
    _, asked = on_stick(tmp_path, "absent")
    assert "open" not in asked
    assert "in memory only" in result(stick)[1]
