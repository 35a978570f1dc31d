"""The build home: chooses its passphrase, or unlocks it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from textual import on, work
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from wizard.errors import BuildUsbError
from wizard.secrets import Secret
from wizard.tui import flow
from wizard.tui.desk import Desk
from wizard.tui.screens.base import Move, StepScreen
from wizard.tui.widgets import reveal

NEW = """\
The build home does not exist yet; it is made now, in
{path}

Keys and secrets in it are encrypted by a passphrase. Choose one of at
least 12 characters: four or five unrelated words are strong and easy to
type. Without it nobody can open the build home, you neither.
"""
KNOWN = """\
The build home is
{path}

Its keys and secrets are encrypted; the passphrase opens them.
"""


class HomeScreen(StepScreen):
    """Creates or unlocks the home; skipped when it is open already."""

    KEYS = "F1 Help  Enter Go on  Esc Back  Ctrl+Q Quit"
    HELP = (
        "The passphrase is never written anywhere. What you type is not shown.\n"
        "Another build home can be named when the wizard is started: build-usb --home FOLDER"
    )
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self, desk: Desk, step: flow.Step) -> None:
        super().__init__(desk, step)
        self._new = desk.is_new()
        self._busy = False

    def body(self) -> Iterator[Widget]:
        """Yield text and inputs."""
        text = NEW if self._new else KNOWN
        yield Static(Content(text.format(path=self.desk.home_path)), classes="text")
        with Horizontal(classes="field"):
            yield Static(Content("Passphrase"), classes="label")
            yield Input(password=True, id="first", compact=True)
        if self._new:
            with Horizontal(classes="field"):
                yield Static(Content("The same again"), classes="label")
                yield Input(password=True, id="second", compact=True)
        yield Static("", id="wrong", classes="error", markup=False)

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        if event.input.id == "first" and self._new:
            self.query_one("#second").focus()
        else:
            self.action_next()

    def _fail(self, text: str) -> None:
        wrong = self.query_one("#wrong", Static)
        wrong.update(Content(f"! {text}" if text else ""))
        reveal(wrong, shown=bool(text))
        if text:
            self.query_one("#first").focus()

    def action_next(self) -> None:
        """Open the home, or make it."""
        if self._busy:
            return
        first = self.query_one("#first", Input).value
        if not first:
            self._fail("Type the passphrase of the build home.")
            return
        if self._new and first != self.query_one("#second", Input).value:
            self._fail("The two passphrases differ; type both again.")
            return
        self._busy = True
        self._fail("")
        self.say("Opening the build home: this takes a second or two, on purpose ...")
        self._open(Secret(first))

    @work(thread=True, exit_on_error=False)
    def _open(self, passphrase: Secret) -> None:
        try:
            self.desk.unlock(passphrase)
        except BuildUsbError as error:
            text = f"{error.what}. {error.cure}" if error.cure else error.what
            self.app.call_from_thread(self._failed, text)
        else:
            self.app.call_from_thread(self.finish, Move("next"))

    def _failed(self, text: str) -> None:
        self._busy = False
        self.say("")
        self._fail(text)

    def action_back(self) -> None:
        """Back to the welcome."""
        self.finish(Move("go", "welcome"))
