"""The site is there: where, as whom, and what next."""

from __future__ import annotations

from collections.abc import Iterator

from textual import on
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from wizard.engine.state import State
from wizard.errors import BuildUsbError
from wizard.operations.session import read_state
from wizard.tui import flow
from wizard.tui.desk import Desk
from wizard.tui.qr import drawn
from wizard.tui.screens.base import Move, StepScreen, explained
from wizard.tui.widgets import Push, reveal

HIDDEN = "Password  (hidden; F3 shows it)"
FACTS = 42
"""Columns that what is told beside the code needs."""


class DoneScreen(StepScreen):
    """Address, administrator, password on request."""

    KEYS = "F1 Help  F2 Dashboard  F3 Show password  Esc Welcome  Ctrl+Q Quit"
    HELP = (
        "The password of the administrator was made for this site. It is kept encrypted in the "
        "build home; `build-usb secret admin_password` shows it again."
    )
    BINDINGS = [("f3", "password", "Password")]  # noqa: RUF012

    def __init__(self, desk: Desk, step: flow.Step) -> None:
        super().__init__(desk, step)
        self._state: State | None = None

    def body(self) -> Iterator[Widget]:
        """Yield what to know, and the address as a code to scan beside it."""
        try:
            self._state = read_state(self.desk.folder())
        except BuildUsbError as error:
            yield Static(Content(explained(error)), classes="text")
            return
        with Horizontal(id="told"):
            with Vertical(id="facts"):
                yield from self._facts(self._state)
            yield Static("", id="code", markup=False)

    def _facts(self, state: State) -> Iterator[Widget]:
        yield Static(Content(f"{self.desk.deployment} is deployed."), classes="heading")
        yield Static(
            Content(
                f"Site      {state.url}\n"
                f"Names     {', '.join(state.hosts)}\n"
                + (f"Log in    {state.login_url}\n" if state.login_url else "")
                + f"User      {state.admin_user}"
            )
        )
        yield Static(Content(HIDDEN), id="secret", classes="text")
        yield Static(Content("What next"), classes="heading")
        yield Static(
            Content(
                "The dashboard shows how it is, opens\nshells, and takes it away again.\n"
                "Without the wizard:\n"
                f"  build-usb status {self.desk.deployment}\n"
                f"  build-usb destroy {self.desk.deployment}\n"
                f"  (--home {self.desk.home_path})"
            ),
            classes="text",
        )
        if state.provider == "local":
            text = "Only this computer can open it: a rehearsal.\nIt signs its own certificate."
            yield Static(Content(f"{text}\nA browser warns about that."), classes="text")

    def buttons(self) -> Iterator[Push]:
        """Yield what can be done."""
        yield Push("Welcome", id="back")
        yield Push("Show password", id="show")
        yield Push("Dashboard", id="next", main=True)

    def on_mount(self) -> None:
        """Begin at the main button."""
        super().on_mount()
        self.query_one("#next").focus()
        self._draw_code()

    def on_resize(self) -> None:
        """Draw the code when there is room for all of it: half of one is of no use."""
        self._draw_code()

    def _draw_code(self) -> None:
        found = self.query("#code")
        if self._state is None or not self._state.url or not found:
            return
        console = getattr(self.app, "console_look", True)
        lines = drawn(self._state.url, halves=not console)
        space = self.query_one("#body").content_size
        wide, high = len(lines[0]), len(lines)
        fits = wide + FACTS <= space.width and high <= space.height
        code = found.first(Static)
        colours = "ansi_black on ansi_white" if console else "#000000 on #ffffff"
        code.update(Content.styled("\n".join(lines), colours))
        reveal(code, shown=fits)

    @on(Push.Pressed, "#show")
    def _show(self) -> None:
        self.action_password()

    def action_password(self) -> None:
        """Show the password, or hide it again."""
        line = self.query_one("#secret", Static)
        button = self.query_one("#show", Push)
        if line.has_class("shown"):
            line.remove_class("shown")
            line.update(Content(HIDDEN))
            button.relabel("Show password")
            return
        if self.desk.session is None:
            self.finish(Move("unlock"))
            return
        try:
            secret = self.desk.secret("admin_password")
        except BuildUsbError as error:
            self.say(explained(error))
            return
        line.add_class("shown")
        line.update(Content(f"Password  {secret.reveal() if secret else '(none is known)'}"))
        button.relabel("Hide password")

    def action_next(self) -> None:
        """Go to the dashboard."""
        self.finish(Move("go", "dashboard"))

    def action_back(self) -> None:
        """Go to the beginning."""
        self.finish(Move("go", "welcome"))
