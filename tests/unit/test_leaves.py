"""Secrets, errors, events, paths: what everything else stands on."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import pytest

from wizard import errors, paths
from wizard.errors import BuildUsbError, ExitCode
from wizard.events import Event, EventKind
from wizard.secrets import Secret, generate, plain, redact

ROOT = Path(__file__).resolve().parents[2]


def test_a_secret_does_not_print() -> None:
    secret = Secret("hunter2hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {secret:>20} {[secret]} { ({'a': secret}) }"
    assert secret.reveal() == "hunter2hunter2"


def test_a_secret_does_not_leave_by_pickle_or_json() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret("x"))
    with pytest.raises(TypeError):
        json.dumps({"password": Secret("x")})


def test_plain_reveals_for_the_one_pipe_that_may_carry_it() -> None:
    assert plain({"a": [Secret("x")], "b": 1}) == {"a": ["x"], "b": 1}


def test_redact_takes_longer_secrets_first_and_lines_of_keys() -> None:
    key = Secret("-----BEGIN-----\n" + "A" * 40 + "\n-----END-----")
    assert redact("password longpassword", [Secret("longpassword"), Secret("password")]) == (
        "*** ***"
    )
    assert redact("line: " + "A" * 40, [key]) == "line: ***"


def test_generated_secrets_differ() -> None:
    assert len({generate().reveal() for _ in range(50)}) == 50
    assert len(generate(40).reveal()) == 40


def test_an_error_says_what_where_why_and_what_to_do() -> None:
    error = BuildUsbError("it broke", where="web1", why="line 1\nline 2", cure="run it again")
    assert str(error) == (
        "web1: it broke\n  why:\n    line 1\n    line 2\n  what to do: run it again"
    )


def test_every_error_has_a_place_in_the_tree_drawn() -> None:
    drawn = set(re.findall(r"\w+Error", errors.__doc__ or ""))
    defined = {name for name in vars(errors) if name.endswith("Error")}
    assert drawn == defined


def test_exit_codes_are_the_documented_ones() -> None:
    table = (ROOT / "docs" / "exit-codes.md").read_text()
    documented = {
        name: int(code) for code, name in re.findall(r"^\| (\d+) \| (\w+) \|", table, re.M)
    }
    assert documented == {code.name: code.value for code in ExitCode}


def test_an_event_is_one_line_of_json_without_empty_fields() -> None:
    line = Event(EventKind.PROGRESS, "nginx\nphp", step="configure:web1", done=1, total=4).to_json()
    assert "\n" not in line
    values = json.loads(line)
    assert values.pop("at").endswith("+00:00")
    assert values == {
        "kind": "progress",
        "message": "nginx\nphp",
        "step": "configure:web1",
        "done": 1,
        "total": 4,
    }


def test_templates_and_hooks_are_found() -> None:
    assert (paths.config_templates() / "answers" / "rehearsal.yaml").is_file()
    assert paths.hooks().is_dir()
