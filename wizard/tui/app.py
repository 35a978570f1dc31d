"""The Textual application: shows one step after the other and knows nothing of what they ask.

Only what the first screen needs is imported before it is painted; the rest follows in a thread.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.scrollbar import ScrollBar
from textual.widgets import Static

from wizard.errors import BuildUsbError
from wizard.tui import flow, runs
from wizard.tui.desk import Desk
from wizard.tui.looks import THEME, SafeScrollBar, is_console, style_sheets
from wizard.tui.screens.base import Ask, Move, StepScreen, Tell, explained

# imported while the first screen is read; what is in use already costs nothing
SOON = 0.1
"""Seconds between the first screen and the imports that later ones need."""
_SOON = ("wizard.tui.screens.form", "wizard.answers.loader", "wizard.engine.open")

# steps that need neither an open home nor a network
KEYLESS = frozenset(
    {"stick", "volume", "welcome", "network", "home", "deploy", "promoting", "copies"}
)


class WizardApp(App[None]):
    """The wizard; `home` is the build home it works with."""

    TITLE = "Build USB"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Quit", priority=True),
        Binding("ctrl+c", "quit", show=False, priority=True),
    ]

    def __init__(self, home: Path, environ: Mapping[str, str] | None = None) -> None:
        self.console_look = is_console(os.environ if environ is None else environ)
        super().__init__(css_path=list(style_sheets(console=self.console_look)))
        self.desk = Desk(home)
        self.desk.terminal = self.suspend
        self._quitting = False
        ScrollBar.renderer = SafeScrollBar
        if self.console_look:
            self.theme = "ansi-dark"
        else:
            self.register_theme(THEME)
            self.theme = THEME.name
        self._variables = self.get_css_variables()
        self.stylesheet.set_variables(self._variables)

    def compose(self) -> ComposeResult:
        """Compose what is seen between two steps when the next one takes long."""
        yield Static("One moment ...", id="wait")

    def refresh_css(self, animate: bool = True) -> None:
        """Parse the style sheets anew only where the theme changed: it is a tenth of the start."""
        variables = self.get_css_variables()
        if variables == self._variables:
            self.stylesheet.update(self, animate=animate)
        else:
            self._variables = variables
            super().refresh_css(animate)

    def on_mount(self) -> None:
        """Begin."""
        if self.console_look and self._driver is not None and not self.is_headless:
            # hidden by Textual; what reads the console aloud goes by it
            self._driver.write("\x1b[?25h")
        self.run_worker(self._walk(), group="walk", exclusive=True)

    async def _walk(self) -> None:
        """Show step after step; the person leaves by closing the application."""
        step, soon, locked = self.desk.first_step(), True, False
        while True:
            # a key is needed for what follows: ask for the passphrase first
            wanted = step
            keyless = wanted.id in KEYLESS and not locked
            if await self._cut_off(step):
                step = flow.NETWORK
            elif not keyless and self.desk.session is None:
                step = flow.step("home")
            try:
                note = await self._prepare(step)
                screen = _screen(step)(self.desk, step)
                if soon:
                    # not at once: what is painted has first to reach the terminal
                    self.set_timer(SOON, self._import_soon)
                    soon = False
                if note:
                    screen.call_after_refresh(screen.say, note)
                move = await self.push_screen_wait(screen)
                locked = move.kind == "unlock"
                step = self._follow(step, wanted, move)
                if step.asks or step.id == "review":
                    self.desk.keep(step.id)
            except BuildUsbError as error:
                await self.push_screen_wait(Tell(explained(error)))
                step = flow.STEPS[0]

    async def _cut_off(self, step: flow.Step) -> bool:
        """Say whether the network comes first: once, and once for each cloud that is chosen."""
        if step.id in KEYLESS - {"home"}:
            return False
        return await asyncio.to_thread(lambda: self.desk.online.trouble(self.desk.draft))

    async def _prepare(self, step: flow.Step) -> str:
        """Do what would make the screen wait; return what is to be said on it."""
        if not step.asks:
            return ""
        note = await asyncio.to_thread(self.desk.learn) if any(a.facts for a in step.asks) else ""
        await asyncio.to_thread(self.desk.fields, step)
        note, self.desk.remark = note or self.desk.remark, ""
        return note

    def _follow(self, step: flow.Step, wanted: flow.Step, move: Move) -> flow.Step:
        draft = self.desk.draft
        if move.kind in ("again", "unlock"):
            return step
        if move.kind == "go":
            return flow.step(move.to)
        if move.kind == "next" and wanted is not step:
            return wanted
        if step not in flow.STEPS:
            return flow.STEPS[0]
        neighbour = flow.before if move.kind == "back" else flow.after
        found = neighbour(step.id, draft)
        if found.id == "home" and self.desk.session is not None:
            found = neighbour(found.id, draft)  # it is open already
        return found

    def _import_soon(self) -> None:
        self.run_worker(_import, thread=True, group="imports", exit_on_error=False)

    async def action_quit(self) -> None:
        """Leave; asks while a deployment is under way, which goes on without the wizard."""
        if self._quitting:
            self._leave()
            return
        if self._under_way() and self.screen is not None:
            self._quitting = True
            self.push_screen(
                Ask(
                    f"{self.desk.deployment} is still being worked on.\n\n"
                    "It goes on without the wizard; opening the wizard again shows where it is.",
                    [("stay", "Stay"), ("leave", "Close the wizard")],
                ),
                self._asked,
            )
            return
        self._leave()

    def _fatal_error(self) -> None:
        """Show a fault of the program without the values of variables: they may be secrets."""
        from rich.segment import Segments
        from rich.traceback import Traceback

        self.bell()
        rendered = self.console.render(Traceback(show_locals=False, width=None))
        self._exit_renderables.append(Segments(rendered))
        self._close_messages_no_wait()

    def _asked(self, answer: str | None) -> None:
        self._quitting = False
        if answer == "leave":
            self._leave()

    def _under_way(self) -> bool:
        if not self.desk.deployment or not self.desk.has_home():
            return False
        return runs.holder(self.desk.watched) is not None

    def _leave(self) -> None:
        screen = self.screen
        if isinstance(screen, StepScreen) and screen.step.asks:
            with suppress(BuildUsbError):
                self.desk.keep(screen.step.id)
        if self.desk.run is not None:
            self.desk.run.let_go()
        if "online" in vars(self.desk):
            self.desk.online.abandon()
        self.exit()


def _screen(step: flow.Step) -> type[StepScreen]:
    module, _, name = step.screen.partition(":")
    found: type[StepScreen] = getattr(import_module(module), name)
    return found


def _import() -> None:
    try:
        for name in _SOON:
            import_module(name)
    finally:
        if not gc.isenabled():
            gc.freeze()
            gc.enable()


def run(home: Path) -> None:
    """Run the wizard on this terminal until it is closed."""
    WizardApp(home).run(mouse=not is_console(os.environ))
