"""Applications are found by their kind and tell what every application tells."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.machine_jobs import machine_job
from wizard.answers import RELEASED
from wizard.answers.support import IN_PRODUCTION, WORKING
from wizard.applications import application
from wizard.applications.base import Application
from wizard.machines.desired import Facts
from wizard.machines.job import ApplicationSettings, CodeSettings, Phase


@pytest.mark.parametrize("kind", WORKING["application.kind"])
def test_every_application_that_works_tells_everything(kind: str) -> None:
    found = application(kind)
    lacking = [name for name in Application.__annotations__ if not hasattr(found, name)]
    assert lacking == []
    assert callable(found.nginx)
    assert callable(found.parts)


@pytest.mark.parametrize("kind", [k for k in RELEASED if k in IN_PRODUCTION])
def test_of_several_webservers_one_installs_a_release_and_knows_the_password(kind: str) -> None:
    code = CodeSettings("ab" * 32, "11.3.1", "", (), "", "", settings=False)
    settings = ApplicationSettings(kind, "A site", "jo", "jo@example.org", "en_US")

    def steps(**told: Any) -> dict[str, str]:
        job = machine_job(phase=Phase.APPLICATION, application=settings, code=code, **told)
        (part,) = application(kind).parts(job, Facts(php="8.4"))
        return {step.name: step.secret_input.reveal() for step in part.steps}

    password = machine_job().secrets["admin_password"].reveal()
    first = steps(mode="production", prepares=True)
    assert list(first) == ["install", "release"]
    assert password in first["install"]
    # what all have is the same wherever it is told, so that nobody does it again
    other = steps(mode="production", prepares=False, leader=False)
    assert other == {"release": first["release"]}
    assert password not in other["release"]
    assert list(steps()) == ["release"]
