"""The site is there: where, as whom, and what next."""

from __future__ import annotations

from collections.abc import Iterator

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from wizard.errors import BuildUsbError
from wizard.operations.session import read_state
from wizard.tui.screens.base import Move, StepScreen, explained
from wizard.tui.widgets import Push


class DoneScreen(StepScreen):
    """Address, administrator, password on request."""

    KEYS = "F1 Help  F2 Dashboard  F3 Show password  Esc Welcome  Ctrl+Q Quit"
    HELP = (
        "The password of the administrator was made for this site. It is kept encrypted in the "
        "build home; `build-usb secret admin_password` shows it again."
    )
    BINDINGS = [("f3", "password", "Password")]  # noqa: RUF012

    def body(self) -> Iterator[Widget]:
        """Yield what to know."""
        try:
            state = read_state(self.desk.folder())
        except BuildUsbError as error:
            yield Static(Content(explained(error)), classes="text")
            return
        yield Static(Content(f"{self.desk.deployment} is deployed."), classes="heading")
        yield Static(
            Content(
                f"The site:       {state.url}\n"
                f"Names:          {', '.join(state.hosts)}\n"
                f"Administrator:  {state.admin_user}, at {state.url}wp-login.php"
            ),
            classes="text",
        )
        yield Static(Content("Password:       (hidden; F3 shows it)"), id="secret")
        yield Static("")
        yield Static(Content("What next"), classes="heading")
        option = f" --home {self.desk.home_path}"
        yield Static(
            Content(
                "The dashboard shows how it is, opens shells, and takes it away again.\n"
                "The same without the wizard:\n"
                f"  build-usb status {self.desk.deployment}{option}\n"
                f"  build-usb ssh web1{option}\n"
                f"  build-usb destroy {self.desk.deployment}{option}"
            ),
            classes="text",
        )
        if state.provider == "local":
            text = "The rehearsal signs certificates itself: a browser warns about it."
            yield Static(Content(text), classes="text")

    def buttons(self) -> Iterator[Push]:
        """Yield what can be done."""
        yield Push("Welcome", id="back")
        yield Push("Show password", id="show")
        yield Push("Dashboard", id="next", main=True)

    def on_mount(self) -> None:
        """Begin at the main button."""
        super().on_mount()
        self.query_one("#next").focus()

    @on(Push.Pressed, "#show")
    def _show(self) -> None:
        self.action_password()

    def action_password(self) -> None:
        """Show the password, or hide it again."""
        line = self.query_one("#secret", Static)
        button = self.query_one("#show", Push)
        if line.has_class("shown"):
            line.remove_class("shown")
            line.update(Content("Password:       (hidden; F3 shows it)"))
            button.relabel("Show password")
            return
        if self.desk.session is None:
            self.say("Open the dashboard first: it asks for the passphrase.")
            return
        try:
            secret = self.desk.secret("admin_password")
        except BuildUsbError as error:
            self.say(explained(error))
            return
        line.add_class("shown")
        line.update(Content(f"Password:       {secret.reveal() if secret else '(none is known)'}"))
        button.relabel("Hide password")

    def action_next(self) -> None:
        """Go to the dashboard."""
        self.finish(Move("go", "dashboard"))

    def action_back(self) -> None:
        """Go to the beginning."""
        self.finish(Move("go", "welcome"))
