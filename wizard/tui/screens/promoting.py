"""A run of a promotion: which step of how many, and how far what it does now is."""

from __future__ import annotations

from typing import ClassVar

from wizard.errors import BuildUsbError
from wizard.operations.promotion import STEPS, Promotion
from wizard.tui import flow
from wizard.tui.desk import Desk
from wizard.tui.screens.base import Move
from wizard.tui.screens.deploy import DeployScreen
from wizard.tui.widgets import Push


class PromotingScreen(DeployScreen):
    """What `deploy.py` shows, for runs one after the other on several deployments."""

    HELP = (
        "The promotion is made by a process of its own: closing the wizard does not stop it, and "
        "opening it again shows where it is.\nStop lets what is under way end safely; it goes on "
        "where it was. What a check found is shown here; Promotion leads to what can be done then: "
        "undo, or go on in spite of it."
    )
    DONE: ClassVar[dict[str, str]] = {
        "undo": "Undone: {development} is as it was, nothing of the promotion is left",
        "promote": "{production} is in production; the test deployment is gone",
    }

    def __init__(self, desk: Desk, step: flow.Step) -> None:
        super().__init__(desk, step)
        # a promotion that is done is forgotten
        self._before = self._known()
        self._now = self._before

    def _known(self) -> Promotion | None:
        try:
            return self.desk.promoting.known()
        except BuildUsbError:
            return None

    @property
    def of(self) -> str:
        """Return the deployment that the present run is of: `deploy shop-test`."""
        return self.progress.what.rpartition(" ")[2] or self.desk.deployment

    def judge(self, *, alive: bool) -> str:
        """Say how it ended: only the end of the whole is one."""
        self._now = self._known()
        self._before = self._now or self._before
        ended = super().judge(alive=alive)
        whole = self.progress.result.startswith(("promote ", "undo "))
        if ended == "done" and not whole:
            self.progress.vanish()
            return "failed"
        return ended

    def headline(self) -> str:
        """Return the step, and what is done now."""
        now, ended = self._now, self.ended
        if ended == "done":
            return f"DONE. {self._what_came()}"
        if now is None or not now.ahead:
            return super().headline()
        step = now.begun or now.ahead[0]
        number = now.steps.index(step) + 1
        return f"Step {number} of {len(now.steps)}: {STEPS[step]}\n{super().headline()}"

    def _what_came(self) -> str:
        if self._now is not None:
            return f"Next comes: {STEPS[self._now.ahead[0]]}"
        if self._before is None:
            return "Go on shows what came of it"
        verb = self.progress.result.partition(" ")[0]
        return self.DONE[verb].format(**vars(self._before))

    def offered(self, ended: str) -> dict[str, bool]:
        """Return which buttons are of use: what is destroyed here is destroyed by undoing."""
        self.query_one("#dashboard", Push).relabel("Promotion")
        return super().offered(ended) | {
            "destroy": False,
            "shell": ended == "failed"
            and bool(self.progress.failure and self.progress.failure.machine),
            "dashboard": ended in ("failed", "none") and self._now is not None,
        }

    def repeat(self) -> None:
        """Go on with it."""
        self.desk.promoting.repeat()

    def leave_for_dashboard(self) -> None:
        """Show the promotion."""
        self.finish(Move("go", "promotion"))

    def go_on(self) -> None:
        """Show what came of it: the promotion, production, or the development deployment."""
        if self._now is not None:
            self.finish(Move("go", "promotion"))
            return
        names = self.desk.open_home().deployments()
        before = self._before
        if self.progress.result.startswith("promote ") and before and before.production in names:
            self.desk.look_at(before.production)
            self.finish(Move("go", "done"))
        else:
            self.desk.look_at(self.desk.deployment)
            self.finish(Move("go", "dashboard" if self.desk.deployment in names else "welcome"))
