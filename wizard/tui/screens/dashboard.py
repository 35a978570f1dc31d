"""What runs: machines, DNS and site asked now; shells, another run, and taking it away."""

from __future__ import annotations

from collections.abc import Iterator

from textual import on, work
from textual.app import SuspendNotSupported
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static

from wizard.errors import BuildUsbError
from wizard.tui.screens.base import Ask, Dialog, Move, StepScreen, Tell, TypeName, explained
from wizard.tui.widgets import Menu, Push


class DashboardScreen(StepScreen):
    """One deployment as it is now."""

    KEYS = "F1 Help  F5 Ask again  Esc Welcome  Arrows Move  Ctrl+Q Quit"
    HELP = (
        "Nothing here is remembered: the provider, the machines, the DNS servers and the site "
        "were asked when the screen opened, and are asked again by F5.\n"
        "Shell opens a shell on a machine with the deployment's own keys."
    )
    BODY_FOCUS = True
    BINDINGS = [("f5", "refresh", "Ask again")]  # noqa: RUF012

    def body(self) -> Iterator[Widget]:
        """Yield the status."""
        yield Static(Content(self.desk.deployment), classes="heading")
        yield Static("", id="status", markup=False)

    def buttons(self) -> Iterator[Push]:
        """Yield what can be done."""
        yield Push("Welcome", id="back")
        yield Push("Destroy", id="destroy")
        yield Push("Deploy again", id="again")
        yield Push("Shell", id="shell")
        yield Push("Ask again", id="refresh", main=True)

    def on_mount(self) -> None:
        """Ask."""
        super().on_mount()
        self.query_one("#refresh").focus()
        self.action_refresh()

    def action_refresh(self) -> None:
        """Ask machines, DNS and site."""
        self.say("Asking the machines, the DNS servers and the site ...")
        self._ask()

    @on(Push.Pressed, "#refresh")
    def _refresh(self) -> None:
        self.action_refresh()

    @work(thread=True, exclusive=True, exit_on_error=False)
    def _ask(self) -> None:
        from wizard.operations.status import to_text

        try:
            text = to_text(self.desk.status())
        except BuildUsbError as error:
            text = explained(error)
        self.app.call_from_thread(self._answered, text)

    def _answered(self, text: str) -> None:
        if self.is_mounted:
            self.query_one("#status", Static).update(Content(text))
            self.say("")

    def action_next(self) -> None:
        """Nothing follows."""

    def action_back(self) -> None:
        """Go to the beginning."""
        self.finish(Move("go", "welcome"))

    @on(Push.Pressed, "#destroy")
    def _destroy(self) -> None:
        name = self.desk.deployment
        text = (
            f"This deletes the machines, the bucket and the DNS records of {name}: the website "
            f"and its database are gone for good.\n\nType {name} to go on:"
        )
        self.app.push_screen(TypeName(text, name, "Destroy"), self._destroyed)

    def _destroyed(self, answer: str | None) -> None:
        if answer == "ok":
            self._start(destroy=True)

    @on(Push.Pressed, "#again")
    def _again(self) -> None:
        text = (
            f"Deploy {self.desk.deployment} again with the answers it was deployed with? What is "
            "already right stays as it is."
        )
        self.app.push_screen(Ask(text, [("no", "Cancel"), ("ok", "Deploy")]), self._agreed)

    def _agreed(self, answer: str | None) -> None:
        if answer == "ok":
            self._start(destroy=False)

    def _start(self, *, destroy: bool) -> None:
        try:
            if destroy:
                self.desk.destroy()
            else:
                self.desk.deploy_again()
        except BuildUsbError as error:
            self.app.push_screen(Tell(explained(error)))
        else:
            self.finish(Move("go", "deploy"))

    @on(Push.Pressed, "#shell")
    def _shell(self) -> None:
        from wizard.operations.session import read_state

        try:
            names = sorted(read_state(self.desk.folder()).machines)
        except BuildUsbError as error:
            self.app.push_screen(Tell(explained(error)))
            return
        self.app.push_screen(Pick("A shell on which machine?", names), self._enter)

    def _enter(self, machine: str | None) -> None:
        if not machine:
            return
        try:
            with self.app.suspend():
                self.desk.shell(machine)
        except SuspendNotSupported:
            self.say(f"This terminal cannot; use: build-usb ssh {machine}")


class Pick(Dialog):
    """One of several names."""

    def __init__(self, text: str, names: list[str]) -> None:
        super().__init__(text, [("cancel", "Cancel")])
        self._names = names

    def middle(self) -> Iterator[Widget]:
        """Yield the names."""
        yield Menu([(name, name) for name in self._names])

    def pressed(self, event: Push.Pressed) -> None:
        """Leave without a name."""
        self.finish("")

    @on(OptionList.OptionSelected)
    def _picked(self, event: OptionList.OptionSelected) -> None:
        self.finish(event.option.id or "")
