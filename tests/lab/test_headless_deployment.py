"""Answers on a stick go in, a served site and a report come out, and nobody touches a key."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest

from tests.lab import leftovers
from tests.lab.deployments import NAME, PASSPHRASE, REHEARSAL, Browser, Rehearsal
from wizard.errors import ExitCode

pytestmark = pytest.mark.lab

TOKEN = "a-token-that-nobody-needs-0123456789"


class Stick:
    """The partition ANSWERS and a second stick with the passphrase, as folders."""

    def __init__(self, folder: Path) -> None:
        self.answers, self.keys = folder / "answers", folder / "keys"
        self.serial, self.command_line = folder / "serial", folder / "cmdline"
        self.answers.mkdir()
        self.keys.mkdir()
        (self.answers / "answers.yaml").write_bytes(REHEARSAL.read_bytes())
        (self.answers / "secrets.age").write_bytes(
            pyrage.passphrase.encrypt(f"token: '{TOKEN}'\n".encode(), PASSPHRASE)
        )
        self.give(PASSPHRASE)
        self.command_line.write_text("boot=live console=tty0 buildusb.answers=1\n")

    def give(self, passphrase: str) -> None:
        """Put a passphrase on the second stick."""
        file = self.keys / "passphrase"
        file.touch(0o600)
        file.write_text(passphrase)

    def replay(self, rehearsal: Rehearsal) -> subprocess.CompletedProcess[str]:
        """Run as the boot entry does, without terminal and keyboard."""
        self.serial.write_text("")
        environment = rehearsal.environment
        del environment["BUILD_USB_PASSPHRASE"]
        return subprocess.run(
            [
                *(sys.executable, "-m", "wizard.stick.headless"),
                *("--answers-folder", str(self.answers), "--keys-folder", str(self.keys)),
                *("--command-line", str(self.command_line), "--status", str(self.serial)),
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )

    def reports(self) -> list[Path]:
        """Return the folders of all reports, oldest first."""
        return sorted((self.answers / "report").iterdir())


@pytest.fixture
def rehearsal(tmp_path: Path) -> Iterator[Rehearsal]:
    tmp_path.chmod(0o700)
    user = tmp_path / "user"
    user.mkdir()
    made = Rehearsal(tmp_path / "home", user)
    yield made
    if (made.home / "deployments" / NAME).is_dir():
        made.run("destroy", "--yes")
    assert leftovers.of(made.home) == {}


def test_answers_on_a_stick_become_a_site(rehearsal: Rehearsal, tmp_path: Path) -> None:
    stick = Stick(tmp_path)
    done = stick.replay(rehearsal)
    assert done.returncode == ExitCode.OK, done.stderr[-6000:]

    state = rehearsal.state()
    with Browser(state) as browser:
        page = browser.get("/")
        assert page.status_code == 200
        assert "My first site" in page.text

    (report,) = stick.reports()
    result = json.loads((report / "result.json").read_text())
    assert (result["state"], result["exit_code"], result["url"]) == ("done", 0, state.url)
    assert result["steps"]["verify"] > 0
    text = (report / "report.md").read_text()
    assert "# demo: done" in text
    assert state.url in text
    assert "web1" in text  # the plan
    kinds = [
        json.loads(line)["kind"] for line in (report / "events.jsonl").read_text().splitlines()
    ]
    assert kinds[0] == "run-started"
    assert kinds[-1] == "run-done"

    lines = stick.serial.read_text().splitlines()
    assert all(line.startswith("BUILDUSB: headless ") for line in lines)
    assert lines[0] == "BUILDUSB: headless started"
    assert lines[-2:] == ["BUILDUSB: headless done code=0", "BUILDUSB: headless after wizard"]
    assert any(line.startswith("BUILDUSB: headless step verify done seconds=") for line in lines)

    said = done.stdout + done.stderr + stick.serial.read_text()
    said += "".join(file.read_text() for file in report.iterdir())
    secrets = {**{k: v.reveal() for k, v in rehearsal.secrets().items()}, "passphrase": PASSPHRASE}
    assert len(secrets) > 3
    assert [name for name, value in secrets.items() if value in said] == []
    assert TOKEN not in said
    # and what was not needed is not kept
    everything = b"".join(f.read_bytes() for f in rehearsal.home.rglob("*") if f.is_file())
    assert TOKEN.encode() not in everything

    # the wrong stick: told apart, reported, and the site is as it was
    stick.give("another passphrase than that")
    (stick.answers / "secrets.age").unlink()
    assert stick.replay(rehearsal).returncode == ExitCode.PASSPHRASE
    assert stick.serial.read_text().splitlines()[-2] == "BUILDUSB: headless failed code=7"
    assert len(stick.reports()) == 2
    assert "wrong passphrase" in (stick.reports()[-1] / "report.md").read_text()
    assert rehearsal.state() == state
