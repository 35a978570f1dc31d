"""What all screens share: head, body, note, help, buttons, keys; and how they end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from textual import events, on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static

from wizard.errors import AnswersError, BuildUsbError
from wizard.secrets import Secret
from wizard.tui import flow
from wizard.tui.desk import Desk
from wizard.tui.widgets import Menu, Push, bar, reveal


@dataclass(frozen=True)
class Move:
    """How a screen ends: on, back, to another step, to where it began (`again`), or there with
    the build home opened first (`unlock`)."""

    kind: Literal["next", "back", "go", "again", "unlock"]
    to: str = ""


def explained(error: BuildUsbError) -> str:
    """Return an error as a person should read it."""
    lines = [f"{error.where}: {error.what}" if error.where else error.what]
    if isinstance(error, AnswersError):
        lines += error.problems
    elif error.why:
        lines.append(f"Why: {error.why}")
    if error.cure:
        lines.append(f"What to do: {error.cure}")
    return "\n".join(lines)


def place_cursor(screen: Screen[Any]) -> None:
    """Put the terminal's cursor where the focus is."""
    if screen.app.screen is not screen:
        return  # a run that goes on behind a dialog draws, and must not take the cursor from it
    focused = screen.focused
    if isinstance(focused, Menu | Push):
        focused.place_cursor()
    elif isinstance(focused, Input):
        screen.app.cursor_position = focused.cursor_screen_offset


class StepScreen(Screen[Move]):
    """A step of the flow."""

    KEYS = "F1 Help  F2 Next  Esc Back  Tab/Arrows Move  Ctrl+Q Quit"
    HELP = ""
    BODY_FOCUS = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "toggle_help", "Help"),
        Binding("f2", "next", "Next"),
        Binding("escape", "back", "Back"),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (64, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-low"), (18, "-high")]  # noqa: RUF012

    def __init__(self, desk: Desk, step: flow.Step) -> None:
        super().__init__()
        self.desk = desk
        self.step = step
        self._finished = False

    def finish(self, move: Move) -> None:
        """End with this move, once: a key pressed twice must not end two screens."""
        if not self._finished and self.is_current:
            self._finished = True
            self.dismiss(move)

    # -- for subclasses --------------------------------------------------------------------------

    def body(self) -> Iterator[Widget]:
        """Yield what the screen shows."""
        yield from ()

    def below(self) -> Iterator[Widget]:
        """Yield what stays in sight below, however long the body is."""
        yield from ()

    def buttons(self) -> Iterator[Push]:
        """Yield the buttons, the main one last."""
        yield Push("Back", id="back")
        yield Push("Next", id="next", main=True)

    def help_text(self) -> str:
        """Return the help for what has the focus."""
        return self.HELP

    # -- layout ----------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Compose."""
        title, way = self._head()
        with Horizontal(id="head"):
            yield Static(Content(title), id="title")
            yield Static(Content(way), id="way")
        if self.step.intro:
            yield Static(Content(self.step.intro), id="intro")
        with VerticalScroll(id="body", can_focus=self.BODY_FOCUS):
            yield from self.body()
        yield from self.below()
        yield Static("", id="note", markup=False)
        yield Static("", id="help", markup=False)
        with Horizontal(id="buttons"):
            yield from self.buttons()
        yield Static(Content(self.KEYS), id="keys")

    def _head(self) -> tuple[str, str]:
        """Return the title and how far along the way this step is."""
        title = f"Build USB - {self.step.title}"
        asking = [step.id for step in flow.applying(self.desk.draft) if step.asks]
        if self.step.id not in asking:
            return title, ""
        number = asking.index(self.step.id) + 1
        return title, f"{number} of {len(asking)}  {bar(number / len(asking), len(asking))}"

    def say(self, text: str) -> None:
        """Show a remark above the buttons; empty takes it away."""
        note = self.query_one("#note", Static)
        note.update(Content(text))
        reveal(note, shown=bool(text))

    def on_mount(self) -> None:
        """Begin without a remark."""
        # what has the focus may have been given its place only now
        self.screen_layout_refresh_signal.subscribe(self, place_cursor)
        reveal(self.query_one("#note"), shown=False)

    # -- keys ------------------------------------------------------------------------------------

    def action_toggle_help(self) -> None:
        """Show or hide the help for what has the focus."""
        panel = self.query_one("#help")
        reveal(panel, shown=not panel.display)
        self._refresh_help()

    def on_descendant_focus(self, _event: events.DescendantFocus) -> None:
        """Help follows the focus."""
        self._refresh_help()

    def _refresh_help(self) -> None:
        panel = self.query_one("#help", Static)
        if panel.display:
            panel.update(Content(self.help_text() or "No more is known about this."))

    def action_next(self) -> None:
        """Go on."""
        self.finish(Move("next"))

    def action_back(self) -> None:
        """Go back; nothing is lost."""
        self.finish(Move("back"))

    @on(Push.Pressed, "#next")
    def _next(self) -> None:
        self.action_next()

    @on(Push.Pressed, "#back")
    def _back(self) -> None:
        self.action_back()


class Dialog(ModalScreen[str]):
    """A question over the screen; ends with the id of the button, empty for Escape."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", show=False)]

    def __init__(self, text: str, buttons: list[tuple[str, str]]) -> None:
        super().__init__()
        self._text = text
        self._buttons = buttons
        self._finished = False

    def on_mount(self) -> None:
        """Take the terminal's cursor along when what has the focus gets its place."""
        self.screen_layout_refresh_signal.subscribe(self, self._take_cursor)

    def on_descendant_focus(self, _event: events.DescendantFocus) -> None:
        """Take the terminal's cursor along when another widget gets the focus."""
        self.call_after_refresh(self._take_cursor, self)

    def _take_cursor(self, _screen: Screen[Any]) -> None:
        place_cursor(self)
        if self.focused is not None:
            self.focused.refresh()  # the cursor is only moved by drawing

    def finish(self, answer: str) -> None:
        """End with this answer, once."""
        if not self._finished:
            self._finished = True
            self.dismiss(answer)

    def middle(self) -> Iterator[Widget]:
        """Yield what is between text and buttons."""
        yield from ()

    def compose(self) -> ComposeResult:
        """Compose."""
        with Vertical(classes="dialog"):
            with VerticalScroll(can_focus=False) as text:
                text.styles.height = "auto"
                text.styles.max_height = 14
                yield Static(Content(self._text), classes="text")
            yield from self.middle()
            with Horizontal(classes="buttons"):
                for key, label in self._buttons:
                    yield Push(label, id=key)

    @on(Push.Pressed)
    def _pressed(self, event: Push.Pressed) -> None:
        # what is decorated is not overridden by subclasses: they override `pressed`
        self.pressed(event)

    def pressed(self, event: Push.Pressed) -> None:
        """End with the button."""
        self.finish(event.push.id or "")

    def action_leave(self) -> None:
        """End without an answer."""
        self.finish("")


class Tell(Dialog):
    """Something to read."""

    def __init__(self, text: str) -> None:
        super().__init__(text, [("ok", "OK")])


class Ask(Dialog):
    """A question with buttons."""


class TypeName(Ask):
    """Asks for a name to be typed before what cannot be undone."""

    def __init__(self, text: str, name: str, button: str) -> None:
        super().__init__(text, [("cancel", "Cancel"), ("ok", button)])
        self._name = name

    def middle(self) -> Iterator[Widget]:
        """Yield the input and its error."""
        yield Input(id="typed", compact=True)
        yield Static("", id="mistyped", classes="error", markup=False)

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self._agree()

    def pressed(self, event: Push.Pressed) -> None:
        """End only when the name is right."""
        if event.push.id == "ok":
            self._agree()
        else:
            self.finish("")

    def _agree(self) -> None:
        if self.query_one("#typed", Input).value.strip() == self._name:
            self.finish("ok")
            return
        error = self.query_one("#mistyped", Static)
        error.update(Content(f"Type {self._name} to go on, or Escape to leave."))
        reveal(error, shown=True)


class Typed(Dialog):
    """Asks for one line; empty when left."""

    def __init__(self, text: str, *, secret: bool = False) -> None:
        super().__init__(text, [("cancel", "Cancel"), ("ok", "OK")])
        self._secret = secret

    def middle(self) -> Iterator[Widget]:
        """Yield the input."""
        with Horizontal(classes="field"):
            yield Input(id="typed", compact=True, password=self._secret)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        self.finish(event.value)

    def pressed(self, event: Push.Pressed) -> None:
        """End with what was typed, or without."""
        self.finish(self.query_one("#typed", Input).value if event.push.id == "ok" else "")


class Choose(Dialog):
    """Which of some things; ends with its number, counted from 0, empty when left."""

    def __init__(self, text: str, entries: list[str]) -> None:
        super().__init__(text, [("cancel", "Cancel")])
        self._entries = entries

    def middle(self) -> Iterator[Widget]:
        """Yield the list."""
        yield Menu([(str(number), text) for number, text in enumerate(self._entries)], id="entries")

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.finish(event.option.id or "")

    def pressed(self, event: Push.Pressed) -> None:
        """Leave without a choice."""
        self.finish("")


async def show_key(app: App[Any], text: str, key: Secret) -> None:
    """Show a recovery key until its last group is typed: it is not shown again."""
    last = key.reveal().rpartition("-")[2]
    text += "\n\nType its last five characters to go on:"
    while await app.push_screen_wait(TypeName(text, last, "It is written down")) != "ok":
        await app.push_screen_wait(
            Tell("Without it a forgotten passphrase loses everything in the volume.")
        )
