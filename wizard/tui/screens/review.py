"""The plan before anything is made: machines, firewall, DNS, price; or what stands in its way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on, work
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static

from wizard.errors import BuildUsbError
from wizard.tui import flow
from wizard.tui.desk import Desk
from wizard.tui.draft import Draft
from wizard.tui.screens.base import Ask, Dialog, Move, StepScreen, Tell, explained
from wizard.tui.widgets import Menu, Push, reveal

if TYPE_CHECKING:
    from wizard.plan.difference import Difference
    from wizard.plan.model import Plan


class ReviewScreen(StepScreen):
    """Shows the plan, and what it changes, as `build-usb plan` does."""

    KEYS = "F1 Help  F2 Deploy  F3 Save answers  Esc Back  Arrows Scroll  Ctrl+Q Quit"
    HELP = (
        "This is all that will be made; nothing is made before you choose Deploy.\n"
        "Saving writes the answers as a file that `build-usb deploy FILE` replays."
    )
    BODY_FOCUS = True
    BINDINGS = [("f3", "save", "Save")]  # noqa: RUF012

    def __init__(self, desk: Desk, step: flow.Step) -> None:
        super().__init__(desk, step)
        self.answers, self._problems = desk.examine()
        if self._problems:
            self.answers = None
        self._promotes = self.answers is not None and desk.promoting.draft_leads_here()
        if self._promotes:
            self.KEYS = self.KEYS.replace("Deploy", "Promote")
        self._ready = False
        self._price = ""

    def help_text(self) -> str:
        """Return the help, with the word that the button has."""
        return self.HELP.replace("Deploy", self._word)

    @property
    def _word(self) -> str:
        return "Promote" if self._promotes else "Deploy"

    def body(self) -> Iterator[Widget]:
        """Yield the plan, or what is wrong with the answers."""
        if self.answers is None:
            yield Static(Content("The answers are not complete yet:"), classes="heading")
            entries = []
            for number, problem in enumerate(self._problems):
                place = flow.home_of(problem.path, self.desk.draft)
                where = f"{place.title}: " if place else ""
                entries.append((str(number), f"{where}{problem}"))
            yield Menu(entries, id="problems")
            return
        later = self.desk.unsupported(self.answers)
        if later:
            text = "The answers are right, but this version cannot do all of it yet:"
            yield Static(Content(text), classes="heading")
            yield Static(Content("\n".join(f"- {line}" for line in later)), classes="text")
        yield Static(Content("Making the plan ..."), id="plan", markup=False)

    def buttons(self) -> Iterator[Push]:
        """Yield what can be done."""
        yield Push("Back", id="back")
        yield Push("Save answers", id="save")
        yield Push(self._word, id="next", main=True)

    def on_mount(self) -> None:
        """Make the plan."""
        super().on_mount()
        if self.answers is None:
            self.query_one("#problems").focus()
            self.query_one("#next").disabled = True
            self.query_one("#save").disabled = True
            self.say("Enter leads to the question.")
        else:
            self.query_one("#body").focus()
            self.query_one("#next").disabled = True
            self._plan()

    @work(thread=True, exit_on_error=False)
    def _plan(self) -> None:
        assert self.answers is not None
        try:
            plan = self.desk.plan(self.answers)
            found = self.desk.compare(self.answers, plan)
        except BuildUsbError as error:
            self.app.call_from_thread(self._unplanned, explained(error))
        else:
            self.app.call_from_thread(self._planned, plan, found)

    def _planned(self, plan: Plan, found: Difference | None) -> None:
        from wizard.plan import difference, render

        assert self.answers is not None
        # what it changes comes first: that is what a person who knows the plan looks for
        text = "" if found is None else f"{difference.to_text(found)}\n"
        self.query_one("#plan", Static).update(Content(text + render.to_text(plan)))
        self._price = f"{plan.monthly_price:.2f} {plan.currency}"
        self._ready = not self.desk.unsupported(self.answers)
        self.query_one("#next").disabled = not self._ready
        if self._promotes and self._ready:
            self.say(f"F2 goes on with the promotion of '{self.desk.draft.promotes}' to this.")
        elif not self._ready:
            self.say("It cannot be deployed by this version; the answers can be saved.")
        elif found is not None and found.kept:
            self.say(
                f"'{self.answers.name}' exists. Not everything that differs can be changed by "
                "deploying: see the lines that begin with !"
            )
        elif found is not None:
            self.say(f"'{self.answers.name}' exists: what is right stays as it is.")

    def _unplanned(self, text: str) -> None:
        self.query_one("#plan", Static).update(Content(f"There is no plan:\n{text}"))
        self.say("It cannot be deployed like this; the answers can be saved.")

    @on(OptionList.OptionSelected, "#problems")
    def _lead(self, event: OptionList.OptionSelected) -> None:
        place = flow.home_of(self._problems[int(event.option.id or 0)].path, self.desk.draft)
        if place:
            self.finish(Move("go", place.id))

    def action_next(self) -> None:
        """Ask once more, with the price, then deploy."""
        if not self._ready:
            self.app.bell()
            return
        assert self.answers is not None
        if self._promotes:
            self._promote()
            return
        text = f"Deploy '{self.answers.name}' now? It costs {self._price} a month."
        self.app.push_screen(Ask(text, [("no", "Not yet"), ("yes", "Deploy")]), self._agreed)

    def _promote(self) -> None:
        assert self.answers is not None
        try:
            self.desk.promoting.take_draft(self.answers)
        except BuildUsbError as error:
            self.app.push_screen(Tell(explained(error)))
        else:
            self.finish(Move("go", "promote"))

    def _agreed(self, answer: str | None) -> None:
        if answer != "yes":
            return
        try:
            self.desk.deploy()
            Draft.discard(self.desk.draft_file)
        except (BuildUsbError, OSError) as error:
            text = explained(error) if isinstance(error, BuildUsbError) else str(error)
            self.app.push_screen(Tell(text))
        else:
            self.finish(Move("next"))

    @on(Push.Pressed, "#save")
    def _save(self) -> None:
        self.action_save()

    def action_save(self) -> None:
        """Ask where to, then write the answers."""
        if self.answers is None:
            self.app.bell()
            return
        suggestion = Path.cwd() / f"{self.answers.name}.yaml"
        self.app.push_screen(SaveFile(str(suggestion)), self._saved)

    def _saved(self, path: str | None) -> None:
        if not path or self.answers is None:
            return
        try:
            written = self.desk.save_answers(self.answers, Path(path).expanduser().absolute())
        except BuildUsbError as error:
            self.app.push_screen(Tell(explained(error)))
        else:
            reveal(self.query_one("#note"), shown=True)
            self.say(f"Saved: {written}")


class SaveFile(Dialog):
    """Where the answers are written."""

    def __init__(self, suggestion: str) -> None:
        super().__init__("Save the answers as:", [("cancel", "Cancel"), ("ok", "Save")])
        self._suggestion = suggestion

    def middle(self) -> Iterator[Widget]:
        """Yield the path."""
        yield Input(self._suggestion, id="path", compact=True)

    @on(Input.Submitted)
    def _typed(self, event: Input.Submitted) -> None:
        self.finish(event.value.strip())

    def pressed(self, event: Push.Pressed) -> None:
        """End with the path."""
        self.finish(self.query_one("#path", Input).value.strip() if event.push.id == "ok" else "")
