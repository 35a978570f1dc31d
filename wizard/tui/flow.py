"""The order of the wizard's steps, and which of them apply. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wizard.tui.draft import Draft
from wizard.tui.questions import STEPS as STEPS
from wizard.tui.questions import Ask as Ask
from wizard.tui.questions import Step as Step

# opened from the welcome and done screens; not a step on the way
DASHBOARD = Step(
    "dashboard", "Dashboard", "", screen="wizard.tui.screens.dashboard:DashboardScreen"
)
# from the dashboard of a development deployment: what is asked, how far it is, a run of it
PROMOTE = Step(
    "promote",
    "Promote",
    "Into production as a copy, through a test deployment that is examined.",
    screen="wizard.tui.screens.promote:PromoteScreen",
)
PROMOTION = Step(
    "promotion", "Promotion", "", screen="wizard.tui.screens.promotion:PromotionScreen"
)
PROMOTING = Step(
    "promoting", "Promotion", "", screen="wizard.tui.screens.promoting:PromotingScreen"
)
# from the dashboard of a production deployment
PAGE = Step("page", "Status page", "", screen="wizard.tui.screens.page:PageScreen")
# comes after the welcome, or after a cloud was chosen, where there is something to be done about it
NETWORK = Step("network", "Network", "", screen="wizard.tui.screens.network:NetworkScreen")

# come before the welcome on a stick
STICK = Step(
    "stick",
    "Keyboard, time zone, language",
    "How this stick talks with you. It is remembered for the next start.",
    screen="wizard.tui.screens.stick:StickScreen",
)
COPIES = Step("copies", "Copies and backups", "", screen="wizard.tui.screens.copies:CopiesScreen")
VOLUME = Step("volume", "Encrypted volume", "", screen="wizard.tui.screens.stick:VolumeScreen")

ASIDE = (DASHBOARD, PROMOTE, PROMOTION, PROMOTING, PAGE, NETWORK, STICK, VOLUME, COPIES)
"""Steps that are not on the way."""


def step(step_id: str) -> Step:
    """Return the step of that id. Raises KeyError."""
    for known in (*STEPS, *ASIDE):
        if known.id == step_id:
            return known
    raise KeyError(step_id)


def applying(draft: Draft) -> list[Step]:
    """Return the steps that apply to this draft, in order."""
    return [known for known in STEPS if known.applies(draft)]


def after(step_id: str, draft: Draft) -> Step:
    """Return the next step that applies; the last one leads to itself."""
    later = STEPS[_position(step_id) + 1 :]
    return next((known for known in later if known.applies(draft)), STEPS[-1])


def before(step_id: str, draft: Draft) -> Step:
    """Return the step before that applies; the first one leads to itself."""
    earlier = STEPS[: _position(step_id)]
    return next((known for known in reversed(earlier) if known.applies(draft)), STEPS[0])


def questions() -> Iterator[tuple[Step, Ask]]:
    """Yield every question there is, with its step."""
    for known in STEPS:
        for ask in known.asks:
            yield known, ask


def answers(draft: Draft) -> dict[str, Any]:
    """Return the draft as the answers document: what does not apply is left out."""
    left_out = [
        ask.key for known, ask in questions() if not (known.applies(draft) and ask.when(draft))
    ]
    return {"version": 1, **draft.without(left_out)}


def home_of(path: tuple[str | int, ...], draft: Draft) -> Step | None:
    """Return the step that asks for a key path, for a section of it, or for what is in it."""
    for known in applying(draft):
        for ask in known.asked(draft):
            parts = tuple(ask.key.split("."))
            if path[: len(parts)] == parts or parts[: len(path)] == path:
                return known
    return None


def _position(step_id: str) -> int:
    return next(index for index, known in enumerate(STEPS) if known.id == step_id)
