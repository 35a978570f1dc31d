"""Steps whose answers are tried out at the provider's API before the next one is shown.

The check runs in a thread of its own that a closed wizard does not wait for; Escape ends it, and
whatever it finds, the person may go on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.app import App

from wizard.errors import BuildUsbError, InterruptedRunError
from wizard.tui import flow
from wizard.tui.desk import Desk
from wizard.tui.screens.base import Move
from wizard.tui.screens.form import FormScreen, Row
from wizard.tui.widgets import Choice

if TYPE_CHECKING:
    from wizard.operations.checks import Checked, Finding

_ANYWAY = "F2 goes on all the same, Escape goes back."


class CheckedScreen(FormScreen):
    """Asks, tries out, and shows under each question what is wrong and what to do."""

    def __init__(self, desk: Desk, step: flow.Step) -> None:
        super().__init__(desk, step)
        self._stop: threading.Event | None = None
        self._asked = ""  # what is, or was last, tried out
        self._told = False  # the person knows how that ended

    @property
    def checking(self) -> bool:
        """Say whether a check is under way."""
        return self._stop is not None

    @property
    def told(self) -> bool:
        """Say whether the end of a check is shown: the next F2 goes on all the same."""
        return self._told

    def finish(self, move: Move) -> None:
        """End; go on only after a check, or when its end was seen."""
        if move.kind == "next" and not self._may_go_on():
            return
        self._end_check()
        super().finish(move)

    def _may_go_on(self) -> bool:
        if self.checking:
            self.app.bell()
            return False
        question = self.desk.trial.question(self.step, self.desk.draft)
        if not question or self.desk.trial.is_good(question):
            return True
        if self._told and question == self._asked:
            return True
        self._begin(question)
        return False

    def _begin(self, question: str) -> None:
        self._asked, self._told, self._stop = question, False, threading.Event()
        self._progress(self._stop, "asking", 0, 0)
        work = threading.Thread(target=self._work, args=(self.app, self._stop), daemon=True)
        work.start()

    def _work(self, app: App[object], stop: threading.Event) -> None:
        def tell(what: Callable[..., None], *told: object) -> None:
            # nobody waits for it any more, or the application is closed
            if not stop.is_set():
                app.call_from_thread(what, stop, *told)

        def show(what: str, done: float, total: float) -> None:
            tell(self._progress, what, done, total)

        try:
            checked = self.desk.check(self.step, show, stop)
        except InterruptedRunError:
            return
        except BuildUsbError as error:
            tell(self._failed, str(error))
        except Exception as fault:
            # a fault of the program ends it, as it does everywhere else
            app.call_later(_raise, fault)
        else:
            tell(self._checked, checked)

    def _progress(self, stop: threading.Event, what: str, done: float, total: float) -> None:
        if stop is self._stop:
            number = f" ({done:.0f} of {total:.0f})" if total > 1 else ""
            self.say(f"Checking: {what}{number} ... Escape stops it.")

    def _failed(self, stop: threading.Event, text: str) -> None:
        if stop is self._stop:
            self._stop, self._told = None, True
            self.say(f"{text}\n{_ANYWAY}")

    def _checked(self, stop: threading.Event, checked: Checked) -> None:
        if stop is not self._stop:
            return
        self._stop, self._told = None, True
        if checked.good:
            self.desk.remark = "\n".join(found.what for found in checked.findings)
            self.finish(Move("next"))
            return
        texts: dict[str, list[str]] = {}
        for found in checked.findings:
            if found.level != "good":
                texts.setdefault(self._row_for(found).field.key, []).append(_text(found))
        for key, lines in texts.items():
            self.rows[key].fail("\n! ".join(lines))
        first = self.rows[next(iter(texts))]
        first.widget.focus()
        # where it ends is known once the reason has its place
        self.call_after_refresh(first.scroll_visible, animate=False)
        self.say(_ANYWAY)

    def _row_for(self, found: Finding) -> Row:
        """Return the question a finding is about, or the nearest that is shown."""
        shown = {row.field.key: row for row in self.shown}
        section = "dns" if self.step.id == "domain" else "provider"
        near = (found.key, f"{section}.credentials", f"{section}.zone", f"{section}.name")
        return next((shown[key] for key in near if key in shown), self.shown[0])

    def _end_check(self) -> None:
        if self._stop is not None:
            self._stop.set()
            self._stop = None

    def action_back(self) -> None:
        """End the check that is under way, else go back."""
        if self.checking:
            self._end_check()
            self._told = True
            self.say("The check was stopped. F2 goes on without it, Escape goes back.")
        else:
            super().action_back()

    def answered(self) -> None:
        """Another answer: what was tried out is not what is asked now."""
        if self._asked and self.desk.trial.question(self.step, self.desk.draft) != self._asked:
            self._end_check()
            self._asked, self._told = "", False
            self.say("")

    def on_unmount(self) -> None:
        """Let go of a check that is under way."""
        self._end_check()


class SizesScreen(FormScreen):
    """Region and sizes: what a region offers is asked anew when another is chosen."""

    def answered(self) -> None:
        """Show the sizes of the region that was chosen."""
        super().answered()
        row = self.rows["provider.region"]
        if isinstance(row.widget, Choice) and self.desk.facts() is None:
            self.finish(Move("again"))


def _raise(fault: Exception) -> None:
    raise fault


def _text(found: Finding) -> str:
    return f"warning: {found}" if found.level == "warning" else str(found)
