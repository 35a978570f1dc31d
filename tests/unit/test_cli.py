"""The command line without any machine: help, start-up cost, errors and their exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wizard import __version__, cli
from wizard.errors import ExitCode
from wizard.paths import config_templates

REHEARSAL = config_templates() / "answers" / "rehearsal.yaml"
HEAVY = (
    *("textual", "gevent", "pyinfra", "boto3", "botocore", "paramiko", "pydantic", "rich"),
    *("cloudflare", "digitalocean", "requests"),
)


def build_usb(
    *words: str | Path, stdin: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wizard", *map(str, words)],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environ},
        capture_output=True,
        text=True,
        check=False,
        input=stdin,
        start_new_session=True,  # no terminal: nothing may wait for a person
    )


def test_starting_loads_nothing_heavy() -> None:
    code = "import sys, wizard.cli; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "wizard.cli" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_version() -> None:
    assert build_usb("--version").stdout == f"build-usb {__version__}\n"


def test_every_command_explains_itself() -> None:
    overview = build_usb("--help").stdout
    for command in ("validate", "plan", "deploy", "status", "ssh", "destroy", "schema", "adopt"):
        assert f"\n    {command} " in overview
        shown = build_usb(command, "--help")
        assert shown.returncode == 0
        assert len(shown.stdout) > 300


def test_validate_accepts_the_rehearsal(tmp_path: Path) -> None:
    done = build_usb("validate", REHEARSAL)
    assert done.returncode == ExitCode.OK
    assert done.stdout == ""


def test_validate_shows_all_errors_with_their_lines(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        REHEARSAL.read_text()
        .replace("mode: development", "mode: developement")
        .replace("region: here", "regoin: here")
    )
    done = build_usb("validate", bad)
    assert done.returncode == ExitCode.INVALID_ANSWERS
    assert "bad.yaml:5" in done.stderr
    assert "developement" in done.stderr
    assert "regoin" in done.stderr
    assert "region" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_does_not_work_yet_is_refused_by_name(tmp_path: Path) -> None:
    later = tmp_path / "later.yaml"
    later.write_text(REHEARSAL.read_text() + "machines: {os: debian-12}\n")
    done = build_usb("validate", later)
    assert done.returncode == ExitCode.NOT_SUPPORTED
    assert "debian-12" in done.stderr
    assert "debian-13" in done.stderr


def test_schema_is_json_on_standard_output() -> None:
    assert json.loads(build_usb("schema").stdout)["type"] == "object"


def test_plan_needs_no_passphrase_and_makes_no_deployment(tmp_path: Path) -> None:
    done = build_usb("plan", "--home", tmp_path / "home", REHEARSAL, "--json")
    assert done.returncode == ExitCode.OK
    assert json.loads(done.stdout)["machines"][0]["name"] == "web1"
    assert list((tmp_path / "home" / "deployments").iterdir()) == []


def test_a_missing_passphrase_is_explained(tmp_path: Path) -> None:
    done = build_usb("deploy", "--home", tmp_path / "home", REHEARSAL)
    assert done.returncode == ExitCode.PASSPHRASE
    assert "--passphrase-file" in done.stderr


def test_what_all_commands_take_may_stand_before_them_and_a_wrong_passphrase_is_explained(
    tmp_path: Path,
) -> None:
    home, right, wrong = (tmp_path / name for name in ("home", "right", "wrong"))
    for path, words in ((right, "correct horse battery staple"), (wrong, "another horse, alas")):
        path.write_text(words)
        path.chmod(0o600)
    made = build_usb(
        "--home", home, "--passphrase-file", right, "secret", "set", "token", stdin="a token"
    )
    assert made.returncode == ExitCode.OK, made.stderr
    done = build_usb(
        "--passphrase-file", right, "secret", "set", "token", "--passphrase-file", wrong,
        "--home", home,
    )  # fmt: skip
    assert done.returncode == ExitCode.PASSPHRASE
    assert "passphrase" in done.stderr


def test_an_unknown_deployment_is_explained(tmp_path: Path) -> None:
    done = build_usb("status", "--home", tmp_path / "home", "other")
    assert done.returncode == ExitCode.USAGE
    assert "other" in done.stderr


def test_a_closed_pipe_is_no_traceback() -> None:
    done = subprocess.run(
        f"{sys.executable} -m wizard schema | head -c 10",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


def test_main_returns_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", "/nonexistent/answers.yaml"]) == ExitCode.INVALID_ANSWERS
    assert "/nonexistent/answers.yaml" in capsys.readouterr().err


def test_doctor_is_check() -> None:
    said = [build_usb(word, REHEARSAL, "--json") for word in ("check", "doctor")]
    assert [done.returncode for done in said] == [0, 0]
    assert said[0].stdout == said[1].stdout
