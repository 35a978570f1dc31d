"""Applications are found by their kind and tell what every application tells."""

from __future__ import annotations

import pytest

from wizard.answers.support import WORKING
from wizard.applications import application
from wizard.applications.base import Application


@pytest.mark.parametrize("kind", WORKING["application.kind"])
def test_every_application_that_works_tells_everything(kind: str) -> None:
    found = application(kind)
    lacking = [name for name in Application.__annotations__ if not hasattr(found, name)]
    assert lacking == []
    assert callable(found.nginx)
    assert callable(found.parts)
