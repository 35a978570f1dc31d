"""What runs: machines, DNS and site asked now and again, and what can be done with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

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

_MORE = {
    False: "Promote copies the site into production, through a test deployment that is examined.",
    True: "Webservers change their plugins together: carry brings those of another deployment.",
}
NEW_POINT, NEW_ANSWERS = "new", "new"


def entries(mode: str, *, promoted: bool = False) -> list[tuple[str, str]]:
    """Return what can be done with a deployment of that mode, `promoted` if it is on its way to
    production: id and words. Pure."""
    development = mode != "production"
    promote = "Promote: from development to production"
    found = [
        ("shell", "Open a shell on a machine", True),
        ("again", "Deploy again with the same answers", True),
        ("change", "Change the answers, review what that changes, deploy", True),
        ("promote", "Promotion: how far it is, go on, undo" if promoted else promote, development),
        ("scale", "Webservers: more, fewer, upgrade, reboot", not development),
        ("carry", "Carry plugins and themes here from another deployment", not development),
        ("page", "The autoscalers' status page", not development),
        ("backup", "Back up and restore", True),
        ("destroy", "Destroy", True),
    ]
    return [(key, words) for key, words, fits in found if fits]


class DashboardScreen(RunningScreen):
    """One deployment as it is now."""

    KEYS = "F1 Help  F5 Ask again  Enter Choose  Esc Welcome  Arrows Move  Ctrl+Q Quit"
    HELP = (
        "Nothing here is remembered: the provider, the machines, the DNS servers and the site "
        f"are asked when the screen opens, every {EVERY:.0f} seconds, and by F5. Load is the "
        "number of programs that wanted a processor in the last minute; memory and disk are the "
        "shares in use.\nA shell uses the deployment's own keys."
    )
    BODY_FOCUS = True
    BINDINGS = [("f5", "refresh", "Ask again")]  # noqa: RUF012

    def help_text(self) -> str:
        """Return the help, and what only a deployment of this mode has."""
        return f"{self.HELP}\n{_MORE[self.desk.mode() == 'production']}"

    def body(self) -> Iterator[Widget]:
        """Yield the status."""
        yield Static(Content(f"{self.desk.deployment}: asking ..."), id="status", markup=False)

    def below(self) -> Iterator[Widget]:
        """Yield what can be done."""
        promoted = self.desk.deployment in self.desk.open_home().promotions()
        yield Menu(entries(self.desk.mode(), promoted=promoted), id="menu")

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
            self.query_one("#way", Static).update(Content("Asking ..."))
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
            way = self.query_one("#way", Static)
            way.update(Content(f"asked at {at}, again every {EVERY:.0f} s"))

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
        elif chosen == "promote":
            self._promote()
        elif chosen == "scale":
            self._offer_numbers()
        elif chosen == "carry":
            self._carry()
        elif chosen == "page":
            self.finish(Move("go", "page"))
        elif chosen == "backup":
            self.say("Asking for the restore points ...")
            self._list_points()
        elif chosen == "destroy":
            self.ask_destroy()

    @work
    async def _promote(self) -> None:
        """Show how far it is; or ask for production's answers, and begin."""
        promoting = self.desk.promoting
        try:
            if promoting.known() is not None:
                self.finish(Move("go", "promotion"))
                return
            fitting = await asyncio.to_thread(promoting.fitting)
        except BuildUsbError as error:
            self.app.push_screen(Tell(explained(error)))
            return
        name = self.desk.deployment
        words = {NEW_ANSWERS: f"Make them now, beginning with those of '{name}'"} | {
            str(path): f"saved: {answers.name}, at {answers.domain.name}"
            for path, answers in fitting
        }
        text = "Production has answers of its own: another name, another site. Which?"
        chosen = await self.app.push_screen_wait(Pick(text, list(words), words))
        if chosen == NEW_ANSWERS:
            await self._make_answers()
        elif chosen:
            promoting.production = Path(chosen)
            self.finish(Move("go", "promote"))

    @work
    async def _carry(self) -> None:
        name = self.desk.deployment
        try:
            sources = await asyncio.to_thread(self.desk.sources)
        except BuildUsbError as error:
            self.app.push_screen(Tell(explained(error)))
            return
        if not sources:
            text = f"No other deployment in this build home has the application of '{name}'."
            self.app.push_screen(Tell(text))
            return
        text = f"All webservers of '{name}' get the plugins, themes and translations of:"
        source = await self.app.push_screen_wait(Pick(text, sources))
        if not source:
            return
        text = (
            f"Bring the plugins, themes and translations of '{source}' to all webservers of "
            f"'{name}', one after the other? Those that '{source}' does not have are gone there "
            "then. If the site does not answer with them, all have those of before again."
        )
        answers = [("no", "Cancel"), ("ok", "Carry")]
        if await self.app.push_screen_wait(Ask(text, answers)) == "ok":
            self.start(lambda: self.desk.carry(source))

    async def _make_answers(self) -> None:
        if not await self._may_forget_draft("Making production's answers now forgets them."):
            return
        try:
            await asyncio.to_thread(self.desk.promoting.draft_answers)
        except BuildUsbError as error:
            self.app.push_screen(Tell(explained(error)))
            return
        self.desk.remark = (
            f"Production's answers: those of '{self.desk.draft.promotes}', in production mode "
            "under another name. F2 leads through all questions to the review."
        )
        self.finish(Move("go", "mode"))

    async def _may_forget_draft(self, text: str) -> bool:
        """Say whether unfinished answers, if there are any, may be forgotten."""
        if not self.desk.draft_file.is_file():
            return True
        answers = [("cancel", "Cancel"), ("ok", "Forget them")]
        ask = Ask(f"There are unfinished answers. {text}", answers)
        return await self.app.push_screen_wait(ask) == "ok"

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
        if not await self._may_forget_draft("Changing these ones instead forgets them."):
            return
        try:
            self.desk.open_answers(self.desk.folder().answers_file)
        except BuildUsbError as error:
            self.app.push_screen(Tell(explained(error)))
        else:
            self.finish(Move("go", "mode"))
