"""What runs: machines, DNS and site asked now and again, and what can be done with it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from textual import on, work
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static

from wizard.errors import BuildUsbError
from wizard.tui.screens.base import Ask, Move, Tell, TypeName, explained
from wizard.tui.screens.running import Pick, RunningScreen
from wizard.tui.widgets import Menu, Push

EVERY = 30.0
"""Seconds between two times everything is asked; each is one SSH connection a machine."""

ENTRIES = (
    ("shell", "Open a shell on a machine"),
    ("again", "Deploy again with the same answers"),
    ("change", "Change the answers, review what that changes, deploy"),
    ("scale", "Scale: more or fewer webservers"),
    ("backup", "Back up and restore"),
    ("destroy", "Destroy"),
)
"""What can be done: id and words."""

NEW_POINT = "new"


class DashboardScreen(RunningScreen):
    """One deployment as it is now."""

    KEYS = "F1 Help  F5 Ask again  Enter Choose  Esc Welcome  Arrows Move  Ctrl+Q Quit"
    HELP = (
        "Nothing here is remembered: the provider, the machines, the DNS servers and the site "
        f"are asked when the screen opens, every {EVERY:.0f} seconds, and by F5. Load is the "
        "number of programs that wanted a processor in the last minute; memory and disk are the "
        "shares in use.\nA shell uses the deployment's own keys."
    )
    BINDINGS = [("f5", "refresh", "Ask again")]  # noqa: RUF012

    def body(self) -> Iterator[Widget]:
        """Yield the status and what can be done."""
        yield Static(Content(f"{self.desk.deployment}: asking ..."), id="status", markup=False)
        yield Static("", id="asked", markup=False)
        yield Menu(list(ENTRIES), id="menu")

    def buttons(self) -> Iterator[Push]:
        """Yield the ways out."""
        yield Push("Welcome", id="back")
        yield Push("Ask again", id="refresh", main=True)

    def on_mount(self) -> None:
        """Ask, now and again."""
        super().on_mount()
        self._asking = False
        self.query_one("#menu").focus()
        self.action_refresh()
        self.set_interval(EVERY, self.action_refresh)

    def action_refresh(self) -> None:
        """Ask machines, DNS and site; what is being asked already is not asked twice."""
        if not self._asking:
            self._asking = True
            self.query_one("#asked", Static).update(
                Content("Asking the machines, the DNS servers and the site ...\n")
            )
            self._ask()

    @on(Push.Pressed, "#refresh")
    def _refresh(self) -> None:
        self.action_refresh()

    @work(thread=True, exit_on_error=False)
    def _ask(self) -> None:
        from wizard.operations.status import to_text

        try:
            text = to_text(self.desk.status()).rstrip()
        except BuildUsbError as error:
            text = explained(error)
        except Exception as error:
            # a fault in asking must not end what only looks
            text = f"It could not be asked: {type(error).__name__}: {error}"
        self.app.call_from_thread(self._answered, text)

    def _answered(self, text: str) -> None:
        self._asking = False
        if self.is_mounted:
            self.query_one("#status", Static).update(Content(text))
            at = time.strftime("%H:%M:%S")
            asked = self.query_one("#asked", Static)
            asked.update(Content(f"  asked at {at}; again every {EVERY:.0f} s\n"))

    def action_next(self) -> None:
        """Do what is under the cursor."""
        self.query_one("#menu", Menu).action_select()

    def action_back(self) -> None:
        """Go to the beginning."""
        self.finish(Move("go", "welcome"))

    @on(OptionList.OptionSelected, "#menu")
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        chosen = event.option.id
        if chosen == "shell":
            self.open_shell()
        elif chosen == "again":
            self._deploy_again()
        elif chosen == "change":
            self._change()
        elif chosen == "scale":
            self._offer_numbers()
        elif chosen == "backup":
            self.say("Asking for the restore points ...")
            self._list_points()
        elif chosen == "destroy":
            self.ask_destroy()

    @work
    async def _offer_numbers(self) -> None:
        try:
            words = self.desk.scaling()
        except BuildUsbError as error:
            self.app.push_screen(Tell(explained(error)))
            return
        chosen = await self.app.push_screen_wait(
            Pick(f"Ask the autoscalers of {self.desk.deployment} for:", list(words), words)
        )
        if chosen:
            self.say(f"Asking the autoscalers: {words[chosen]} ...")
            self._scale(chosen, words[chosen])

    @work(thread=True, exit_on_error=False)
    def _scale(self, what: str, words: str) -> None:
        try:
            self.desk.scale(what)
        except BuildUsbError as error:
            self.app.call_from_thread(self.app.push_screen, Tell(explained(error)))
        else:
            self.app.call_from_thread(self.say, f"Asked for: {words}. The status shows how far.")

    @work(thread=True, exit_on_error=False)
    def _list_points(self) -> None:
        try:
            names = self.desk.points()
        except BuildUsbError as error:
            self.app.call_from_thread(self.app.push_screen, Tell(explained(error)))
        else:
            self.app.call_from_thread(self._offer_points, names)

    @work
    async def _offer_points(self, names: list[str]) -> None:
        self.say("")
        words = {NEW_POINT: "Make one now"} | {name: f"Put back {name}" for name in names}
        chosen = await self.app.push_screen_wait(
            Pick(f"Restore points of {self.desk.deployment}, newest first:", list(words), words)
        )
        if chosen == NEW_POINT:
            self.start(self.desk.back_up)
        elif chosen:
            name = self.desk.deployment
            text = (
                f"This puts {chosen} in place of the database and files of {name}. What runs now "
                f"is kept as a restore point first. The site is closed for some seconds.\n\n"
                f"Type {name} to go on:"
            )
            if await self.app.push_screen_wait(TypeName(text, name, "Put back")) == "ok":
                self.start(lambda: self.desk.put_back(chosen))

    def _deploy_again(self) -> None:
        text = (
            f"Deploy {self.desk.deployment} again with the answers it was deployed with? What is "
            "already right stays as it is."
        )
        self.app.push_screen(Ask(text, [("no", "Cancel"), ("ok", "Deploy")]), self._agreed)

    def _agreed(self, answer: str | None) -> None:
        if answer == "ok":
            self.start(self.desk.deploy_again)

    @work
    async def _change(self) -> None:
        """Begin with the deployed answers; the review then shows what would change."""
        if self.desk.draft_file.is_file():
            text = "There are unfinished answers. Changing these ones instead forgets them."
            answers = [("cancel", "Cancel"), ("ok", "Change these")]
            if await self.app.push_screen_wait(Ask(text, answers)) != "ok":
                return
        try:
            self.desk.open_answers(self.desk.folder().answers_file)
        except BuildUsbError as error:
            self.app.push_screen(Tell(explained(error)))
        else:
            self.finish(Move("go", "mode"))
