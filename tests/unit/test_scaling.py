"""What people may ask of the autoscalers, as the dashboard offers it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from wizard.answers.loader import loads
from wizard.autoscaler.fleet import Phase, Roll, Snapshot, Work
from wizard.autoscaler.schedule import Wish
from wizard.operations import scaling
from wizard.paths import config_templates

ANSWERS = (config_templates() / "answers" / "rehearsal-production.yaml").read_text()


def test_each_thing_that_is_offered_is_asked_for_as_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(scaling, "read_answers", lambda _: loads(ANSWERS, "a.yaml"))
    monkeypatch.setattr(scaling, "_wish", lambda *_, **changes: asked.append(changes))
    nobody = cast(Any, None)
    words = scaling.offered(nobody)
    for what in words:
        scaling.ask(nobody, nobody, what)
    assert dict(zip(words, asked, strict=True)) == {
        "pause": {"paused": True},
        "resume": {"paused": False},
        "upgrade": {"work": "upgrade"},
        "reboot": {"work": "reboot"},
        "certificate": {"work": "certificate"},
        **{str(n): {"webservers": n} for n in range(1, 6)},
    }


def test_work_that_stopped_is_said_with_its_reason() -> None:
    status = scaling.FleetStatus(
        wanted=2,
        leader="scaler1",
        webservers=(("web1", str(Phase.SERVING), True),),
        wish=Wish(),
        events=(),
        roll=Roll(1, Work.REBOOT, ("web1", "web2"), stopped="web1 does not answer after it"),
        snapshot=Snapshot("snapshot-1", "a recipe"),
    )
    text = "\n".join(status.lines())
    assert "reboot: STOPPED, 2 left: web1 does not answer after it" in text
    assert "built from the snapshot snapshot-1" in text
    assert status.to_plain()["roll"]["left"] == ("web1", "web2")
