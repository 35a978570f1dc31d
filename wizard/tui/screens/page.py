"""The autoscalers' status page: where a browser finds it, and what it says as text."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from textual import on, work
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from wizard.errors import BuildUsbError
from wizard.tui import flow
from wizard.tui.desk import Desk
from wizard.tui.screens.base import Move, StepScreen, explained
from wizard.tui.widgets import Push

if TYPE_CHECKING:
    from wizard.operations.dashboard import Dashboard

EVERY = 10.0
"""Seconds between two times the page is read; an autoscaler answers from what it knows."""


class PageScreen(StepScreen):
    """Open as long as it is shown."""

    KEYS = "F1 Help  F5 Read again  Esc Dashboard  Arrows Scroll  Ctrl+Q Quit"
    HELP = (
        "What the autoscalers themselves know: who leads, how many webservers are wanted, what "
        "each machine reported last, backups, what happened. It comes through SSH: nothing is "
        "on a public address, and a browser of this computer alone can open it, as long as this "
        "screen is shown. `build-usb dashboard` does the same."
    )
    BODY_FOCUS = True
    BINDINGS = [("f5", "read", "Read again")]  # noqa: RUF012

    def __init__(self, desk: Desk, step: flow.Step) -> None:
        super().__init__(desk, step)
        self._page: Dashboard | None = None
        self._reading = False
        self._left = False

    def body(self) -> Iterator[Widget]:
        """Yield where it is and what it says."""
        yield Static("Opening it through SSH ...", id="where", classes="text", markup=False)
        yield Static("", id="status", markup=False)

    def buttons(self) -> Iterator[Push]:
        """Yield the way back."""
        yield Push("Dashboard", id="back")
        yield Push("Read again", id="read", main=True)

    def on_mount(self) -> None:
        """Open it."""
        super().on_mount()
        self.query_one("#body").focus()
        self._open()

    def on_unmount(self) -> None:
        """Close it."""
        self._left = True
        if self._page is not None:
            self._page.end()

    @work(thread=True, exit_on_error=False)
    def _open(self) -> None:
        try:
            page = self.desk.page()
        except BuildUsbError as error:
            self.app.call_from_thread(self._tell, explained(error))
        else:
            self.app.call_from_thread(self._opened, page)

    def _opened(self, page: Dashboard) -> None:
        if self._left:
            page.close()
            return
        self._page = page
        threading.Thread(target=page.serve, daemon=True).start()
        self._tell(f"For a browser of this computer, as long as this is shown: {page.url}")
        self.action_read()
        self.set_interval(EVERY, self.action_read)

    def _tell(self, text: str) -> None:
        if self.is_mounted:
            self.query_one("#where", Static).update(Content(text))

    @on(Push.Pressed, "#read")
    def _read_again(self) -> None:
        self.action_read()

    def action_read(self) -> None:
        """Read it; what is being read already is not read twice."""
        if self._page is not None and not self._reading:
            self._reading = True
            self._read(self._page)

    @work(thread=True, exit_on_error=False)
    def _read(self, page: Dashboard) -> None:
        from wizard.operations.dashboard import to_text

        try:
            text = to_text(page.facts())
        except BuildUsbError as error:
            text = explained(error)
        self.app.call_from_thread(self._show, text)

    def _show(self, text: str) -> None:
        self._reading = False
        if self.is_mounted:
            self.query_one("#status", Static).update(Content(text))

    def action_next(self) -> None:
        """There is nothing after it."""
        self.action_back()

    def action_back(self) -> None:
        """Back to the dashboard; the page is closed."""
        self.finish(Move("go", "dashboard"))
