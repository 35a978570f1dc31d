"""The few widgets that screens are made of: a list to choose from, a button, a bar.

State is shown by word and symbol, never by colour alone, with glyphs that every font has. The
terminal's cursor follows the focus, so that speech and braille can.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.geometry import Offset
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

BAR_WIDTH = 20


def bar(fraction: float, width: int = BAR_WIDTH) -> str:
    """Return a progress bar of `width` characters."""
    full = min(width, max(0, int(fraction * width)))
    return "█" * full + "░" * (width - full)


def clock(seconds: float) -> str:
    """Return a length of time as minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Menu(OptionList):
    """A list of things to do; Enter does one. The cursor shows where one is."""

    def __init__(self, options: Sequence[tuple[str, str]], **more: Any) -> None:
        super().__init__(*[Option(text, id=key) for key, text in options], markup=False, **more)

    def watch_highlighted(self, highlighted: int | None) -> None:
        """Take the terminal's cursor along."""
        super().watch_highlighted(highlighted)
        self.place_cursor()

    def on_focus(self) -> None:
        """Begin with the first entry."""
        if self.highlighted is None and self.option_count:
            self.highlighted = 0
        self.place_cursor()

    def place_cursor(self) -> None:
        """Put the terminal's cursor where the person is."""
        if self.is_attached and self.screen.focused is self and self.highlighted is not None:
            row = min(self.highlighted - self.scroll_offset.y, max(self.size.height - 1, 0))
            self.app.cursor_position = self.content_region.offset + Offset(0, max(row, 0))

    def action_cursor_down(self) -> None:
        """Go down; from the last entry on to what follows."""
        if self.highlighted is None or self.highlighted < self.option_count - 1:
            super().action_cursor_down()
        else:
            self.screen.focus_next()

    def action_cursor_up(self) -> None:
        """Go up; from the first entry back to what is before."""
        if self.highlighted:
            super().action_cursor_up()
        else:
            self.screen.focus_previous()


class Choice(Menu):
    """One of several values: arrows move, Space chooses, Enter chooses and goes on."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("space", "choose", show=False)]

    class Chosen(Message):
        """Another value was chosen."""

        def __init__(self, choice: Choice) -> None:
            super().__init__()
            self.choice = choice

        @property
        def control(self) -> Choice:
            """Return the list, for `@on`."""
            return self.choice

    def __init__(self, options: Sequence[tuple[Any, str]], value: Any = None, **more: Any) -> None:
        self.values = [option for option, _ in options]
        self._labels = [label for _, label in options]
        self._value = value
        super().__init__([(str(n), self._prompt(n)) for n in range(len(self.values))], **more)

    @property
    def value(self) -> Any:
        """Return what is chosen."""
        return self._value

    def _prompt(self, index: int) -> str:
        chosen = self.values[index] == self._value
        return f"({'*' if chosen else ' '}) {self._labels[index]}"

    def on_focus(self) -> None:
        """Begin where the choice is."""
        if self._value in self.values:
            self.highlighted = self.values.index(self._value)
        super().on_focus()

    def choose(self, value: Any) -> None:
        """Choose a value."""
        if value != self._value:
            self._value = value
            for index in range(len(self.values)):
                self.replace_option_prompt_at_index(index, self._prompt(index))
            self.post_message(self.Chosen(self))

    def action_choose(self) -> None:
        """Choose what is under the cursor, and stay."""
        if self.highlighted is not None:
            self.choose(self.values[self.highlighted])

    def action_select(self) -> None:
        """Choose what is under the cursor, and go on."""
        self.action_choose()
        super().action_select()


class Push(Static, can_focus=True):
    """A button of one line: `[ Next ]`; Enter, Space or a click presses it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "press", show=False),
        Binding("left,up", "app.focus_previous", show=False),
        Binding("right,down", "app.focus_next", show=False),
    ]

    class Pressed(Message):
        """The button was pressed."""

        def __init__(self, push: Push) -> None:
            super().__init__()
            self.push = push

        @property
        def control(self) -> Push:
            """Return the button, for `@on`."""
            return self.push

    def __init__(self, label: str, *, id: str, main: bool = False) -> None:
        super().__init__(Content(f"[ {label} ]"), id=id, classes="main" if main else "")

    def relabel(self, label: str) -> None:
        """Show another word."""
        self.update(Content(f"[ {label} ]"))

    def on_focus(self) -> None:
        """Take the terminal's cursor along."""
        self.place_cursor()

    def place_cursor(self) -> None:
        """Put the terminal's cursor where the person is."""
        if self.is_attached and self.screen.focused is self:
            self.app.cursor_position = self.region.offset + Offset(2, 0)

    def on_click(self, event: events.Click) -> None:
        """Press by mouse."""
        event.stop()
        self.action_press()

    def action_press(self) -> None:
        """Say that it was pressed."""
        self.post_message(self.Pressed(self))


class Line(Vertical):
    """A label, an input or a list, and the error below."""

    def __init__(self, label: str, entry: Input | Choice) -> None:
        super().__init__(classes="row")
        self.entry = entry
        self._label = label
        self._error = Static("", classes="error", markup=False)

    def compose(self) -> Iterator[Widget]:
        """Compose."""
        with Horizontal(classes="field"):
            yield Static(Content(self._label), classes="label")
            yield self.entry
        yield self._error

    def fail(self, text: str) -> None:
        """Show what is wrong; empty: nothing is."""
        self._error.update(Content(f"! {text}" if text else ""))
        reveal(self._error, shown=bool(text))


def reveal(widget: Widget, *, shown: bool) -> None:
    """Show or hide a widget; a hidden one takes no room and no focus."""
    if widget.display != shown:
        widget.display = shown
