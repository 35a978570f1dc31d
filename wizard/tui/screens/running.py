"""What can be done with a deployment that exists, from the screens that show one: a shell on a
machine, taking it away, running it again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from textual import on
from textual.app import SuspendNotSupported
from textual.widget import Widget
from textual.widgets import OptionList

from wizard.errors import BuildUsbError
from wizard.operations.session import read_state
from wizard.tui.screens.base import Dialog, Move, StepScreen, Tell, TypeName, explained
from wizard.tui.widgets import Menu, Push


class RunningScreen(StepScreen):
    """Shows one deployment; both what is done to it and its end are processes of their own."""

    @property
    def of(self) -> str:
        """Return the deployment whose machines are shown."""
        return self.desk.deployment

    def open_shell(self, machine: str = "") -> None:
        """Open a shell on this machine, or on one that is picked."""
        try:
            names = sorted(read_state(self.desk.open_home().deployment(self.of)).machines)
        except BuildUsbError as error:
            self.app.push_screen(Tell(explained(error)))
            return
        if machine in names:
            names = [machine]
        if len(names) == 1:
            self._enter(names[0])
        elif names:
            self.app.push_screen(Pick("A shell on which machine?", names), self._enter)
        else:
            self.app.push_screen(Tell("No machine is made yet."))

    def _enter(self, machine: str | None) -> None:
        if not machine:
            return
        try:
            with self.app.suspend():
                sys.stdout.write(f"A shell on {machine}; 'exit' leads back to the wizard.\n")
                sys.stdout.flush()
                if code := self.desk.shell(self.of, machine):
                    # what went wrong would vanish behind the wizard
                    input(f"It ended with exit code {code}. Enter leads back to the wizard. ")
        except SuspendNotSupported:
            self.say(f"This terminal cannot; use: build-usb ssh --deployment {self.of} {machine}")
        except EOFError:
            self.say("The shell has ended.")

    def ask_destroy(self) -> None:
        """Take the deployment away when its name is typed."""
        name = self.desk.deployment
        text = (
            f"This deletes the machines, the bucket and the DNS records of {name}: the website "
            f"and its database are gone for good.\n\nType {name} to go on:"
        )
        self.app.push_screen(TypeName(text, name, "Destroy"), self._destroyed)

    def _destroyed(self, answer: str | None) -> None:
        if answer == "ok":
            self.start(self.desk.destroy)

    def start(self, engine: Callable[[], None]) -> None:
        """Start the engine and show how far it is."""
        try:
            engine()
        except (BuildUsbError, OSError) as error:
            text = explained(error) if isinstance(error, BuildUsbError) else str(error)
            self.app.push_screen(Tell(text))
        else:
            self.finish(Move("go", "promoting" if self.desk.doing == "promote" else "deploy"))


class Pick(Dialog):
    """One of several names; `words` say more than the names themselves."""

    def __init__(self, text: str, names: list[str], words: dict[str, str] | None = None) -> None:
        super().__init__(text, [("cancel", "Cancel")])
        self._names, self._words = names, words or {}

    def middle(self) -> Iterator[Widget]:
        """Yield the names."""
        yield Menu([(name, self._words.get(name, name)) for name in self._names])

    def pressed(self, event: Push.Pressed) -> None:
        """Leave without a name."""
        self.finish("")

    @on(OptionList.OptionSelected)
    def _picked(self, event: OptionList.OptionSelected) -> None:
        self.finish(event.option.id or "")
