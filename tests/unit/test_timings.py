"""Expected times come from earlier runs of the same home, and only ever from whole ones."""

from __future__ import annotations

from pathlib import Path

from wizard.engine.graph import Step, StepResult
from wizard.engine.state import MachineState, State
from wizard.home.home import Home
from wizard.operations import timings
from wizard.rules import Role


def step(name: str, machine: str = "", expected: float = 10) -> Step:
    return Step(name, name, lambda _report: "", machine=machine, expected=expected)


def test_a_second_run_expects_what_the_first_one_took(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    steps = [step("network"), step("create:web1", "web1")]
    assert timings.expected(home, "local first", steps) == steps
    results = [StepResult(steps[0], "", 2.0), StepResult(steps[1], "", 30.0)]
    timings.record(home, "local first", results)
    # a machine that was not there before is like the others of its role
    asked = [step("network"), step("create:web2", "web2"), step("dns")]
    assert [s.expected for s in timings.expected(home, "local first", asked)] == [2.0, 30.0, 10]
    assert timings.expected(home, "local again", asked) == asked
    timings.record(home, "local first", [StepResult(steps[0], "", 4.0)])
    assert timings.expected(home, "local first", asked)[0].expected == 3.0


def test_a_run_that_continues_another_teaches_nothing(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    machine = MachineState("1", "web1", Role.WEBSERVER, "10.0.0.1", "10.0.0.1", "10.0.0.1")
    state = State("demo", "bucket")
    assert timings.of_run("local", state) == "local first"
    begun = state.with_machine(machine)
    assert timings.of_run("local", begun) == ""
    timings.record(home, "", [StepResult(step("network"), "", 2.0)])
    assert not (home.path / "timings.json").exists()


def test_damaged_figures_are_as_if_there_were_none(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    steps = [step("network")]
    for text in ("{", "[]", '{"local first": 3}', '{"local first": {"network": "x"}}'):
        (home.path / "timings.json").write_text(text)
        assert timings.expected(home, "local first", steps) == steps
