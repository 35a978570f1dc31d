"""What a deployment that runs is told: by which recipe its webservers are made."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from wizard.answers.loader import loads
from wizard.engine import joining
from wizard.engine.context import Context
from wizard.paths import config_templates

ANSWERS = (config_templates() / "answers" / "rehearsal-production.yaml").read_text()


def recipe(answers: str = ANSWERS, product: str = "a program", code: str = "") -> str:
    settings = SimpleNamespace(settings=SimpleNamespace(digest=code)) if code else None
    found: Any = SimpleNamespace(answers=loads(answers, "a.yaml"), product=product, code=settings)
    return joining.recipe(cast(Context, found))


def test_what_webservers_are_told_is_part_of_their_recipe() -> None:
    assert recipe() == recipe()
    different = {
        recipe(),
        recipe(product="another program"),
        recipe(code="code"),
        recipe(code="other code"),
        recipe(ANSWERS + "\nmachines: {timezone: Europe/Vienna}\n"),
        recipe(ANSWERS.replace("title: My first site", "title: Another")),
    }
    assert len(different) == 6


def test_what_only_autoscalers_are_told_is_none() -> None:
    for old, new in (
        ("autoscalers: 2", "autoscalers: 3"),
        ("maximum: 5", "maximum: 4"),
        ("interval: 5", "interval: 6"),
        ("count: 2", "count: 3"),
        ("ttl: 30", "ttl: 60"),
    ):
        assert old in ANSWERS
        assert recipe(ANSWERS.replace(old, new)) == recipe()
