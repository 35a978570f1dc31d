"""How far a site is on its way from development to production, and what can be done about it."""

from __future__ import annotations

from collections.abc import Iterator

from textual import on, work
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static

from wizard.errors import BuildUsbError
from wizard.operations.promotion import Promotion, outline, title
from wizard.tui import flow
from wizard.tui.desk import Desk
from wizard.tui.promoting import EXAMINED
from wizard.tui.screens.base import Ask, Move, Tell, TypeName, explained
from wizard.tui.screens.running import RunningScreen
from wizard.tui.widgets import Menu, Push

CAN_BE_UNDONE = "Nothing that visitors see has changed: all of it can be undone."
TOO_LATE = "Names {point} at {production}: it cannot be undone as a whole any more."


def entries(promotion: Promotion, *, under_way: bool, tested: bool) -> list[tuple[str, str]]:
    """Return what can be done, id and words; `tested`: the test deployment is there. Pure."""
    if under_way:
        return [("follow", "See how far it is: it is under way")]
    found = []
    ahead, checks = promotion.ahead, promotion.stands_at_check
    if EXAMINED in ahead:
        text = "Go on until the test deployment is examined, and stop there"
        found.append(("test", "Examine the test deployment again" if checks else text))
    if promotion.can_be_undone:
        found.append(("on", "Go on to the end: into production"))
    else:
        found.append(("on", "Examine production again, go on" if checks else "Go on to the end"))
    if checks:
        found.append(("past", "Go on in spite of what the check found"))
    if tested:
        found.append(("look", f"Look at '{promotion.test}': its address, its password"))
    if promotion.can_be_undone:
        begun = promotion.done or promotion.begun
        text = f"Undo: take '{promotion.test}' away, leave '{promotion.development}' as it was"
        found.append(("undo", text if begun else "Forget it: nothing was made yet"))
    return found


class PromotionScreen(RunningScreen):
    """The steps, what came of them, what comes next, and whether there is a way back."""

    KEYS = "F1 Help  Enter Choose  Arrows Move  Esc Dashboard  Ctrl+Q Quit"
    HELP = (
        "Each step is written down when it is done; stopped or killed at any moment, it goes on "
        "where it was. Until 'production' has begun nothing that visitors see has changed.\n"
        "A check asks every page and file as a visitor would and logs in; what it finds is shown. "
        "Then change the development site and begin anew (undo), or go on in spite of it, which is "
        "written down."
    )

    def __init__(self, desk: Desk, step: flow.Step) -> None:
        super().__init__(desk, step)
        self.promotion = desk.promoting.known()
        self._costs = ""

    def body(self) -> Iterator[Widget]:
        """Yield the steps and what can be done."""
        promotion, desk = self.promotion, self.desk
        if promotion is None:
            yield Static(Content(f"'{desk.deployment}' is on no way to production."))
            yield Menu([("dashboard", "To its dashboard")], id="menu")
            return
        yield Static(Content(title(promotion)), classes="text")
        yield Static(Content("\n".join(outline(promotion))), id="steps", classes="text")
        point = "may point" if "production" in promotion.ahead else "point"
        late = TOO_LATE.format(point=point, production=promotion.production)
        state = CAN_BE_UNDONE if promotion.can_be_undone else late
        yield Static(Content(state), id="state", classes="text")
        there = promotion.test in desk.open_home().deployments()
        tested = there and "test" in dict(promotion.done)
        offered = entries(promotion, under_way=desk.promoting.under_way(), tested=tested)
        yield Menu(offered, id="menu")

    def buttons(self) -> Iterator[Push]:
        """Yield the way out."""
        yield Push("Dashboard", id="back")

    def on_mount(self) -> None:
        """Begin in the list; ask what it costs."""
        super().on_mount()
        self.query_one("#menu").focus()
        if self.promotion is not None and self.promotion.can_be_undone:
            self._price()

    @work(thread=True, exit_on_error=False)
    def _price(self) -> None:
        try:
            text = self.desk.promoting.costs()
        except BuildUsbError as error:
            text = f"What it costs is not known: {error.what}"
        self.app.call_from_thread(self._priced, text)

    def _priced(self, text: str) -> None:
        self._costs = text
        if self.is_mounted:
            self.query_one("#state", Static).update(Content(f"{CAN_BE_UNDONE}\n{text}"))

    def action_next(self) -> None:
        """Do what is under the cursor."""
        self.query_one("#menu", Menu).action_select()

    def action_back(self) -> None:
        """Back to the dashboard, or where there is none any more to the beginning."""
        there = self.desk.deployment in self.desk.open_home().deployments()
        self.finish(Move("go", "dashboard" if there else "welcome"))

    @on(OptionList.OptionSelected, "#menu")
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        chosen = event.option.id
        if chosen == "test":
            self.start(lambda: self.desk.promoting.go_on(EXAMINED))
        elif chosen == "on":
            self._to_the_end()
        elif chosen == "past":
            self._past_the_check()
        elif chosen == "look":
            assert self.promotion is not None
            self.desk.look_at(self.promotion.test)
            self.finish(Move("go", "done"))
        elif chosen == "undo":
            self._undo()
        elif chosen == "follow":
            self.desk.look_at(self.desk.deployment, "promote")
            self.finish(Move("go", "promoting"))
        else:
            self.action_back()

    @work
    async def _to_the_end(self) -> None:
        promotion = self.promotion
        assert promotion is not None
        if promotion.can_be_undone:
            text = (
                f"Go on to the end, into production? When '{promotion.production}' is made, names "
                "are changed: from then on it cannot be undone as a whole. A check that finds "
                f"something stops before that.\n\n{self._costs}"
            )
            answers = [("no", "Not yet"), ("ok", "Into production")]
            if await self.app.push_screen_wait(Ask(text, answers)) != "ok":
                return
        self.start(self.desk.promoting.go_on)

    @work
    async def _past_the_check(self) -> None:
        promotion = self.promotion
        assert promotion is not None
        name = promotion.production
        whose = promotion.test if promotion.begun == EXAMINED else name
        text = (
            f"The check of '{whose}' was not passed. Going on is your decision, and is written "
            f"down as that. It goes on to the end, into production.\n\nType {name} to go on:"
        )
        if await self.app.push_screen_wait(TypeName(text, name, "Go on")) != "ok":
            return
        try:
            self.desk.promoting.pass_check()
        except BuildUsbError as error:
            self.app.push_screen(Tell(explained(error)))
        else:
            self.start(self.desk.promoting.go_on)

    @work
    async def _undo(self) -> None:
        promotion = self.promotion
        assert promotion is not None
        if promotion.done or promotion.begun:
            text = (
                f"Take '{promotion.test}' away and forget the promotion? '{promotion.development}' "
                "stays as it is."
            )
            answers = [("no", "Cancel"), ("ok", "Undo")]
            if await self.app.push_screen_wait(Ask(text, answers)) != "ok":
                return
        self.start(self.desk.promoting.undo)
