"""What a promotion is asked before it begins: what is carried over, by which test domain."""

from __future__ import annotations

from collections.abc import Iterator

from textual import on, work
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static

from wizard.applications import application
from wizard.errors import BuildUsbError
from wizard.operations.promotion import By, test_domain_of
from wizard.tui import flow
from wizard.tui.desk import Desk
from wizard.tui.screens.base import Move, StepScreen, Tell, TypeName, explained
from wizard.tui.widgets import Choice, Line, Push

HELP = {
    "by": "A baseline is a cleaned copy: themes, plugins, pages and settings, and no accounts, "
    "sessions or orders. A backup is all of it, accounts and orders too; the development "
    "deployment must make backups.",
    "domain": "The test deployment answers to this name until production is examined. It must be "
    "in the zone, and not be in use.",
    "ends": "The development deployment can stay, to change plugins and themes in peace later "
    "(carry), or be taken away as the last step, when production is examined.",
}


class PromoteScreen(StepScreen):
    """Three questions; nothing is made by answering them."""

    KEYS = "F1 Help  F2 Next  Esc Back  Space Choose  Tab/Arrows Move  Ctrl+Q Quit"

    def __init__(self, desk: Desk, step: flow.Step) -> None:
        super().__init__(desk, step)
        self._busy = False
        before, after = desk.promoting.chosen()
        name = desk.deployment
        cleaned = application(before.application.kind).cleaning is not None
        self._text = (
            f"'{name}' at {before.domain.name} becomes '{after.name}' at {after.domain.name}, in "
            f"{after.mode} mode. Nothing is made before you have seen the steps."
        )
        ways: list[tuple[By, str]] = [
            ("baseline", "a baseline: no accounts, no orders"),
            (
                "backup",
                "a backup: all, accounts and orders too"
                if before.backups.periods
                else f"a backup: all; but '{name}' makes none",
            ),
        ]
        self.by = Choice(
            [way for way in ways if cleaned or way[0] == "backup"],
            "baseline" if cleaned else "backup",
            id="by",
        )
        self.domain = Input(test_domain_of(after), id="domain", compact=True)
        self.ends = Choice(
            [(False, f"'{name}' stays"), (True, f"'{name}' is taken away")], False, id="ends"
        )

    def body(self) -> Iterator[Widget]:
        """Yield the questions."""
        yield Static(Content(self._text), classes="text")
        yield Line("What is carried over", self.by)
        yield Line("Test domain", self.domain)
        yield Line("At the end", self.ends)

    def on_mount(self) -> None:
        """Begin at the first question."""
        super().on_mount()
        self.by.focus()

    def help_text(self) -> str:
        """Return the help of the question."""
        return HELP.get(self.focused.id or "" if self.focused else "", "F2 goes on.")

    @on(OptionList.OptionSelected)
    @on(Input.Submitted)
    def _entered(self) -> None:
        self.focus_next()

    def action_back(self) -> None:
        """Back to the dashboard; to the answers, if they were made just now."""
        here = self.desk.draft.promotes == self.desk.deployment
        self.finish(Move("go", "review" if here else "dashboard"))

    def action_next(self) -> None:
        """Write the promotion down, and show its steps."""
        if not self._busy:
            self._busy = True
            self._go_on()

    @work
    async def _go_on(self) -> None:
        try:
            if await self._agreed():
                await self._begin()
        finally:
            self._busy = False

    async def _agreed(self) -> bool:
        """Say whether what cannot be undone is meant."""
        if not self.ends.value:
            return True
        name = self.desk.deployment
        text = (
            f"As the last step, when production is examined, '{name}' is taken away: its machines, "
            f"its database and its files are gone for good.\n\nType {name} to go on:"
        )
        return await self.app.push_screen_wait(TypeName(text, name, "Agree")) == "ok"

    async def _begin(self) -> None:
        domain, by, ends = self.domain.value.strip(), self.by.value, bool(self.ends.value)
        self.say("Looking whether it can be done ...")
        worker = self.run_worker(
            lambda: self.desk.promoting.begin(test_domain=domain, by=by, ends=ends),
            thread=True,
            exit_on_error=False,
        )
        try:
            await worker.wait()
        except Exception:
            self.say("")
            if not isinstance(worker.error, BuildUsbError):
                raise
            await self.app.push_screen_wait(Tell(explained(worker.error)))
        else:
            self.finish(Move("go", "promotion"))

    def buttons(self) -> Iterator[Push]:
        """Yield the ways on and back."""
        yield Push("Back", id="back")
        yield Push("Next", id="next", main=True)
