"""Any step that is only questions, drawn from the fields of the answers model."""

from __future__ import annotations

from collections.abc import Iterator

from textual import on
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static

from wizard.errors import BuildUsbError
from wizard.tui import flow
from wizard.tui.desk import Desk
from wizard.tui.fields import Field, Kind, not_yet, to_text
from wizard.tui.screens.base import StepScreen
from wizard.tui.source_input import SourceInput
from wizard.tui.widgets import Choice, reveal


class Row(Vertical):
    """One question: label and field, the error below."""

    def __init__(self, field: Field, desk: Desk) -> None:
        super().__init__(classes="row")
        self.field = field
        self._desk = desk
        value = desk.draft.get(field.key, field.default)
        self.widget: Input | Choice
        if field.kind is Kind.CHOICE:
            self.widget = Choice(
                [
                    (o.value, f"{o.label}  - not yet" if o.not_yet else o.label)
                    for o in field.options
                ],
                value,
            )
        else:
            text = desk.draft.texts.get(field.key, to_text(field, value))
            secret = field.kind is Kind.SOURCE
            self.widget = (
                SourceInput(text, compact=True)
                if secret
                else Input(text, placeholder=field.begins_with, compact=True)
            )
        self._label = Static(Content(field.label), classes="label")
        self._error = Static("", classes="error", markup=False)
        self._later = Static("", classes="later", markup=False)

    def compose(self) -> Iterator[Widget]:
        """Compose."""
        with Horizontal(classes="field"):
            yield self._label
            yield self.widget
        yield self._error
        yield self._later

    def on_mount(self) -> None:
        """Say at once what does not work yet."""
        self._say_later()

    def take(self) -> list[str]:
        """Keep what the widget holds in the draft; return what is wrong with it."""
        if isinstance(self.widget, Choice):
            found = self._desk.put(self.field, self.widget.value)
        else:
            found = self._desk.take(self.field, self.widget.value)
        self._say_later()
        return found

    def settle(self) -> list[str]:
        """Keep a secret that was typed in the build home, and name it instead; then `take`."""
        if isinstance(self.widget, SourceInput):
            try:
                self.widget.value = self._desk.keep_secret(self.field, self.widget.value)
            except BuildUsbError as error:
                return [str(error)]
        return self.take()

    def _say_later(self) -> None:
        reason = not_yet(self.field.key, self._desk.draft.get(self.field.key))
        self._later.update(Content(f"Not yet; {reason}" if reason else ""))
        reveal(self._later, shown=bool(reason))

    def fail(self, text: str) -> None:
        """Show what is wrong; empty: nothing is."""
        self._error.update(Content(f"! {text}" if text else ""))
        reveal(self._error, shown=bool(text))

    @property
    def failed(self) -> bool:
        """Say whether an error is shown."""
        return bool(self._error.display)


class FormScreen(StepScreen):
    """A step's questions below each other."""

    KEYS = "F1 Help  F2 Next  Esc Back  Enter/Space Choose  Tab/Arrows Move  Ctrl+Q Quit"

    def __init__(self, desk: Desk, step: flow.Step) -> None:
        super().__init__(desk, step)
        fields = desk.fields(step)
        desk.suggest(step, fields)
        self.rows = {field.key: Row(field, desk) for field in fields}

    def body(self) -> Iterator[Widget]:
        """Yield the questions, those that do not apply now hidden."""
        yield from self.rows.values()

    def on_mount(self) -> None:
        """Show what applies."""
        super().on_mount()
        self._show_what_applies()

    def help_text(self) -> str:
        """Return meaning, what is allowed and the key of the focused question."""
        row = next((row for row in self.rows.values() if row.widget is self.focused), None)
        if row is None:
            return "F2 goes on to the next step, Escape back to the one before."
        field = row.field
        lines = [field.meaning, f"Allowed: {field.allowed}", f"In the answers file: {field.key}"]
        if field.begins_with and field.kind is not Kind.CHOICE:
            lines.insert(
                2,
                f"It {field.begins_with}."
                if field.default in (None, ())
                else f"If left {field.begins_with}.",
            )
        lines += [f"Not yet: {o.label} ({o.not_yet})" for o in field.options if o.not_yet][:3]
        return "\n".join(line for line in lines if line)

    def _show_what_applies(self) -> None:
        draft = self.desk.draft
        for row in self.rows.values():
            reveal(row, shown=row.field.ask.when(draft))

    @property
    def shown(self) -> list[Row]:
        """Return the questions that apply."""
        return [row for row in self.rows.values() if row.display]

    @on(Choice.Chosen)
    def _chosen(self, event: Choice.Chosen) -> None:
        row = event.choice.ancestors_with_self[2]
        assert isinstance(row, Row)
        row.fail("")
        row.take()
        self._show_what_applies()
        self.answered()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        row = next((row for row in self.rows.values() if row.widget is event.input), None)
        if row is None or not row.display:
            return
        problems = row.take()
        if row.failed:
            row.fail("; ".join(problems))
        self._show_what_applies()
        self.answered()

    def answered(self) -> None:
        """Take an answer into account; for subclasses."""

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        self._go_on_from(event.input)

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        # the answer may have changed what comes next
        self.call_after_refresh(self._go_on_from, event.option_list)

    def _go_on_from(self, widget: Widget) -> None:
        row = next((row for row in self.shown if row.widget is widget), None)
        if row is None:
            return
        problems = row.settle()
        row.fail("; ".join(problems))
        if problems:
            return
        if row is self.shown[-1]:
            self.query_one("#next").focus()
        else:
            self.focus_next()

    def action_next(self) -> None:
        """Check every question by itself, then all together; go on when nothing is wrong."""
        first: Row | None = None
        for row in self.shown:
            problems = row.settle()
            row.fail("; ".join(problems))
            if problems:
                first = first or row
        if first is None:
            for key, text in self.desk.unfit(self.step).items():
                self.rows[key].fail(text)
                first = first or self.rows[key]
        if first is None:
            super().action_next()
        else:
            first.widget.focus()
            first.scroll_visible(animate=False)
