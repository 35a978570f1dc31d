"""The first screen: what this is, what it touches, and where to begin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static

from wizard.errors import BuildUsbError
from wizard.stick import orders
from wizard.tui.draft import Draft
from wizard.tui.screens.base import Ask, Dialog, Move, StepScreen, Tell, explained
from wizard.tui.widgets import Menu, Push

TEXT = """\
Build USB makes a website from your answers: machines, firewall, DNS,
certificate, database and application; and takes all of it away again.

Nothing is made before you have seen the plan with its price and agreed.
All it knows is kept in one folder, the build home, secrets encrypted;
nothing else of this computer is read or changed."""


class WelcomeScreen(StepScreen):
    """New answers, saved answers, deployments."""

    KEYS = "F1 Help  Enter Choose  Arrows Move  Ctrl+Q Quit"
    HELP = (
        "Answers are all that you decide, in one file without secrets: it can be saved, changed, "
        "given away and replayed.\nA deployment is what was made of answers: its machines and all "
        "that belongs to them."
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "app.quit", show=False)]

    def body(self) -> Iterator[Widget]:
        """Yield the text and what can be done."""
        yield Static(Content(TEXT), classes="text")
        yield Static(Content(f"Build home: {self.desk.home_path}"), classes="text")
        entries: list[tuple[str, str]] = []
        if self.desk.draft_file.is_file():
            entries.append(("continue", "Continue with the unfinished answers"))
        try:
            known = self.desk.known()
        except BuildUsbError as error:
            known = []
            yield Static(Content(explained(error)), classes="text")
        for deployment in known:
            if deployment.holder:
                text = f"See how far '{deployment.holder.purpose}' is (it is under way)"
            elif deployment.promoted:
                text = f"Look at '{deployment.name}', on its way to production"
            else:
                text = f"Look at the deployment '{deployment.name}'"
            entries.append((f"d-{deployment.name}", text))
        # what is on the stick is offered, never acted upon without being asked
        self._offered = orders.offered()
        if self._offered:
            entries.append(("stick", "Open the answers found on this stick"))
        entries += [("new", "New deployment"), ("open", "Open saved answers")]
        if orders.STICK.is_dir():
            entries.append(("network", "Network and Wi-Fi"))
            entries.append(("copies", "Copies of this stick, backups"))
        yield Menu(entries, id="menu")

    def buttons(self) -> Iterator[Push]:
        """Yield the way out."""
        yield Push("Quit", id="quit")

    def on_mount(self) -> None:
        """Begin in the list."""
        super().on_mount()
        self.query_one("#menu").focus()

    @on(Push.Pressed, "#quit")
    async def _quit(self) -> None:
        await self.app.run_action("app.quit")

    def action_next(self) -> None:
        """Do what is under the cursor."""
        self.query_one("#menu", Menu).action_select()

    @on(OptionList.OptionSelected, "#menu")
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        chosen = event.option.id or ""
        if chosen == "new":
            self._new()
        elif chosen == "open":
            self.app.push_screen(OpenFile(self.desk.saved()), self._opened)
        elif chosen == "continue":
            self._continue()
        elif chosen in ("network", "copies"):
            self.finish(Move("go", chosen))
        elif chosen == "stick":
            self._load(str(self._offered))
        else:
            self._look_at(chosen.removeprefix("d-"))

    def _look_at(self, name: str) -> None:
        known = next(known for known in self.desk.known() if known.name == name)
        doing = known.holder.purpose.partition(" ")[0] if known.holder else ""
        self.desk.look_at(name, doing)
        if known.holder:
            place = "promoting" if doing == "promote" else "deploy"
        else:
            place = "promotion" if known.promoted else "dashboard"
        self.finish(Move("go", place))

    @work
    async def _new(self) -> None:
        if self.desk.draft_file.is_file():
            answer = await self.app.push_screen_wait(
                Ask(
                    "There are unfinished answers. Beginning anew forgets them.",
                    [("cancel", "Cancel"), ("ok", "Begin anew")],
                )
            )
            if answer != "ok":
                return
        self.desk.draft = Draft()
        self.finish(Move("next"))

    def _continue(self) -> None:
        try:
            self.desk.resume()
        except BuildUsbError as error:
            self.app.push_screen(Tell(explained(error)))
            return
        self.finish(Move("go", self.desk.draft.step or "mode"))

    def _opened(self, path: str | None) -> None:
        if path:
            self._load(path)

    @work
    async def _load(self, path: str) -> None:
        worker = self.run_worker(
            lambda: self.desk.open_answers(Path(path).expanduser()),
            thread=True,
            exit_on_error=False,
        )
        try:
            await worker.wait()
        except Exception:
            if not isinstance(worker.error, BuildUsbError):
                raise
            await self.app.push_screen_wait(Tell(explained(worker.error)))
            return
        self.finish(Move("go", "mode"))


class OpenFile(Dialog):
    """Which answers file: one of those known, or any by its path."""

    def __init__(self, paths: list[Path]) -> None:
        super().__init__("Which answers?", [("cancel", "Cancel")])
        self._paths = paths

    def middle(self) -> Iterator[Widget]:
        """Yield the known files and an input."""
        yield Menu([(str(n), _name(path)) for n, path in enumerate(self._paths)], id="files")
        yield Static(Content("or the path of another file:"))
        yield Input(id="path", compact=True)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.finish(str(self._paths[int(event.option.id or 0)]))

    @on(Input.Submitted)
    def _typed(self, event: Input.Submitted) -> None:
        self.finish(event.value.strip())

    def pressed(self, event: Push.Pressed) -> None:
        """Leave without a file."""
        self.finish("")


def _name(path: Path) -> str:
    if path.name == "answers.yaml":
        return f"deployed: {path.parent.name}"
    return f"{'saved' if path.parent.parent.name != 'config-templates' else 'example'}: {path.stem}"
