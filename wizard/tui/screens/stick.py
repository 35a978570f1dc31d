"""The stick at its start: keyboard, time zone and language; then its encrypted volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.suggester import SuggestFromList
from textual.widget import Widget
from textual.widgets import Input, Static

from wizard.errors import BuildUsbError
from wizard.home.strength import strength
from wizard.secrets import Secret
from wizard.stick import settings
from wizard.stick.settings import Settings
from wizard.tui import flow
from wizard.tui.desk import Desk
from wizard.tui.onstick import KEEP, LOST
from wizard.tui.screens.base import Ask, Move, StepScreen, explained, show_key
from wizard.tui.widgets import Line, Push, reveal

LABELS = {"keyboard": "Keyboard layout", "timezone": "Time zone", "language": "Language"}


class StickScreen(StepScreen):
    """Keyboard, time zone and language; applied at once, remembered on the stick."""

    KEYS = "F1 Help  F2 Next  Right Complete  Tab/Arrows Move  Ctrl+Q Quit"
    HELP = (
        "Type the beginning, Right completes it. Keyboards: de, fr, gb, 'ch fr', 'us dvorak' ... "
        "Time zones: Europe/Paris, America/New_York ... Languages: those of this image; they "
        "change dates and sorting, the wizard itself speaks English.\n"
        "Kept on the stick in the clear (settings.json on ANSWERS): they are needed before a "
        "passphrase can be typed."
    )

    def __init__(self, desk: Desk, step: flow.Step) -> None:
        super().__init__(desk, step)
        begin = asdict(desk.stick.remembered or Settings())
        choices = {
            "keyboard": list(settings.keyboards()),
            "timezone": sorted(settings.timezones()),
            "language": list(settings.languages()),
        }
        self.rows = {
            name: Line(
                label,
                Input(
                    begin[name],
                    id=name,
                    compact=True,
                    suggester=SuggestFromList(choices[name], case_sensitive=False),
                ),
            )
            for name, label in LABELS.items()
        }
        self._busy = False

    def body(self) -> Iterator[Widget]:
        """Yield the three questions and a place to try the keyboard."""
        yield from self.rows.values()
        yield Line("Try the keyboard here", Input(id="try", compact=True))

    def buttons(self) -> Iterator[Push]:
        """Yield what can be done."""
        yield Push("Use them", id="use")
        yield Push("Next", id="next", main=True)

    def _chosen(self) -> Settings | None:
        chosen = Settings(**{name: row.entry.value.strip() for name, row in self.rows.items()})
        found = settings.problems(chosen)
        for name, row in self.rows.items():
            row.fail(found.get(name, ""))
        if found:
            self.rows[next(iter(found))].entry.focus()
        return None if found else chosen

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        self.focus_next()

    @on(Push.Pressed, "#use")
    def _use_them(self) -> None:
        self._apply(leave=False)

    def action_next(self) -> None:
        """Use the settings and go on."""
        self._apply(leave=True)

    def action_back(self) -> None:
        """There is nothing before."""

    def _apply(self, *, leave: bool) -> None:
        chosen = self._chosen()
        if chosen is None or self._busy:
            return
        self._busy = True
        self.say("One moment ...")
        self._work(chosen, leave)

    @work(thread=True, exit_on_error=False)
    def _work(self, chosen: Settings, leave: bool) -> None:
        try:
            note = self.desk.stick.use(chosen)
        except BuildUsbError as error:
            note, leave = explained(error), False
        self.app.call_from_thread(self._applied, note, leave)

    def _applied(self, note: str, leave: bool) -> None:
        self._busy = False
        self.say(note or "These are used now; try the keyboard.")
        if leave:
            self.desk.remark = note
            self.finish(Move("go", "volume"))
        else:
            self.query_one("#try").focus()


class VolumeScreen(StepScreen):
    """Makes or opens the encrypted volume, or goes on in memory after a plain warning."""

    KEYS = "F1 Help  Enter Go on  Esc Settings  Tab Move  Ctrl+Q Quit"
    HELP = (
        "The passphrase opens the volume and the build home in it. Checking it takes a few "
        "seconds and 512 MiB of memory, on purpose: guessing many is expensive.\n"
        "A forgotten passphrase is replaced with the recovery key, shown when the volume is made."
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("f2", "next", show=False)]

    def __init__(self, desk: Desk, step: flow.Step) -> None:
        super().__init__(desk, step)
        self._stick = desk.stick
        try:
            status = self._stick.look()
            self._text = self._stick.describe()
            self._new, self._locked = status.can_make, status.can_open
        except BuildUsbError as error:
            self._text = explained(error)
            self._new = self._locked = False
        self._recovering = False
        self._busy = False

    def body(self) -> Iterator[Widget]:
        """Yield text and inputs."""
        yield Static(Content(self._text), classes="text")
        if self._new or self._locked:
            yield Line("Recovery key", Input(id="recovery", compact=True))
            yield Line("Passphrase", Input(password=True, id="first", compact=True))
            yield Static("", id="strength", markup=False)
            yield Line("The same again", Input(password=True, id="second", compact=True))
        yield Static("", id="wrong", classes="error", markup=False)

    def buttons(self) -> Iterator[Push]:
        """Yield what can be done."""
        yield Push("Settings", id="back")
        if self._new or self._locked:
            yield Push("Memory only", id="without")
        if self._locked:
            yield Push("Forgotten", id="forgotten")
        main = "Make it" if self._new else "Open" if self._locked else "Go on"
        yield Push(main, id="next", main=True)

    def on_mount(self) -> None:
        """Show what is asked for."""
        super().on_mount()
        self._show_fields()
        begin = "#first" if self._new or self._locked else "#next"
        self.query_one(begin).focus()

    def _show_fields(self) -> None:
        if not (self._new or self._locked):
            return
        for name, shown in (
            ("recovery", self._recovering),
            ("second", self._new or self._recovering),
        ):
            row = self.query_one(f"#{name}").ancestors_with_self[2]
            assert isinstance(row, Line)
            reveal(row, shown=shown)

    @on(Input.Changed, "#first")
    def _typed(self, event: Input.Changed) -> None:
        if self._new or self._recovering:
            said = strength(Secret(event.value))
            self.query_one("#strength", Static).update(Content(f"Strength: {said}" if said else ""))

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        last = "second" if self._new or self._recovering else "first"
        if event.input.id == last:
            self.action_next()
        else:
            self.focus_next()

    @on(Push.Pressed, "#forgotten")
    def _forgotten(self) -> None:
        self._recovering = not self._recovering
        self._show_fields()
        self.say("Type the recovery key, and choose a new passphrase." if self._recovering else "")
        self.query_one("#recovery" if self._recovering else "#first").focus()

    @on(Push.Pressed, "#without")
    def _without(self) -> None:
        self.app.push_screen(
            Ask(LOST, [("cancel", "Back"), ("ok", "Go on in memory only")]), self._agreed
        )

    def _agreed(self, answer: str | None) -> None:
        if answer == "ok":
            self.finish(Move("next"))

    def action_back(self) -> None:
        """Back to keyboard, time zone and language."""
        self.finish(Move("go", "stick"))

    def action_next(self) -> None:
        """Make or open the volume; go on where there is none to open."""
        if self._busy:
            return
        if not (self._new or self._locked):
            self.finish(Move("next"))
            return
        first, second = (self.query_one(f"#{name}", Input).value for name in ("first", "second"))
        if not first:
            self._fail("Type the passphrase.")
        elif (self._new or self._recovering) and first != second:
            self._fail("The two passphrases differ; type both again.")
        else:
            recovery = self.query_one("#recovery", Input).value
            self._busy = True
            self._fail("")
            self.say(
                "Making the volume: half a minute, longer on a slow stick. Do not pull it out ..."
                if self._new
                else "Opening the volume: this takes a few seconds, on purpose ..."
            )
            self._work(Secret(first), Secret(recovery))

    @work(thread=True, exit_on_error=False)
    def _work(self, passphrase: Secret, recovery: Secret) -> None:
        done: Callable[[], object] = self._opened
        try:
            if self._new:
                key = self._stick.create(passphrase)
                done = lambda: self._show_key(key)  # noqa: E731 - shorter than a name for it
            elif self._recovering:
                self._stick.recover(recovery, passphrase)
            else:
                self._stick.open(passphrase)
        except BuildUsbError as error:
            text = f"{error.what}. {error.cure}" if error.cure else error.what
            done = lambda: self._failed(text)  # noqa: E731
        self.app.call_from_thread(done)

    def _opened(self) -> None:
        self.finish(Move("next"))

    def _failed(self, text: str) -> None:
        self._busy = False
        self.say("")
        self._fail(text)

    def _fail(self, text: str) -> None:
        wrong = self.query_one("#wrong", Static)
        wrong.update(Content(f"! {text}" if text else ""))
        reveal(wrong, shown=bool(text))
        if text:
            self.query_one("#first").focus()

    @work
    async def _show_key(self, key: Secret) -> None:
        """Show the recovery key, then go on."""
        await show_key(self.app, KEEP.format(key=key.reveal()), key)
        self.finish(Move("next"))
