"""How far a run is, read from its events; the run itself is a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import RichLog, Static

from wizard.errors import BuildUsbError
from wizard.tui import flow, runs
from wizard.tui.desk import Desk
from wizard.tui.screens.base import Ask, Move, StepScreen, Tell, explained
from wizard.tui.widgets import Push, bar, clock, reveal

EVERY = 0.2
"""Seconds between two looks at the events file."""


class DeployScreen(StepScreen):
    """A bar a machine, the log, and what can be done."""

    KEYS = "F1 Help  F2 Go on  Esc Leave it running  Arrows Scroll  Ctrl+Q Quit"
    HELP = (
        "The deployment is made by a process of its own: closing the wizard does not stop it, and "
        "opening it again shows where it is.\nStop lets what is under way end safely; trying "
        "again continues, and changes nothing that is already right."
    )

    def __init__(self, desk: Desk, step: flow.Step) -> None:
        super().__init__(desk, step)
        self.progress = runs.Progress()
        since = desk.since if desk.run else 0
        self._follower = runs.Follower(desk.folder().events_file, since)
        self._written = 0
        self._ended = ""

    def body(self) -> Iterator[Widget]:
        """Yield bars, failure and log."""
        yield Static("", id="status", markup=False)
        yield Static("", id="rows", markup=False)
        yield Static("", id="failure", markup=False)

    def buttons(self) -> Iterator[Push]:
        """Yield what can be done."""
        yield Push("Leave it running", id="back")
        yield Push("Stop", id="stop")
        yield Push("Try again", id="again")
        yield Push("Dashboard", id="dashboard")
        yield Push("Go on", id="next", main=True)

    def on_mount(self) -> None:
        """Look now and again."""
        super().on_mount()
        body = self.query_one("#body")
        body.styles.height = "auto"
        body.styles.max_height = "70%"
        log = RichLog(id="log", max_lines=runs.LINES_KEPT, markup=False, wrap=False)
        self.mount(log, after=body)
        log.focus()
        self._look()
        self.set_interval(EVERY, self._look)

    def on_unmount(self) -> None:
        """Let go of the file."""
        self._follower.close()

    def _look(self) -> None:
        # first whether it lives, then what it said: its last words come before its end
        alive = self._alive()
        for event in self._follower.read():
            self.progress.apply(event)
        self._judge(alive=alive)
        self._draw()

    def _alive(self) -> bool:
        run = self.desk.run
        if run is not None and run.exit_code is None:
            return True
        return runs.holder(self.desk.folder().folder) is not None

    def _judge(self, *, alive: bool) -> None:
        """Say how it ended: `done`, `failed`, `none` when there is no run; empty while it runs."""
        desk, progress = self.desk, self.progress
        code = desk.run.exit_code if desk.run else None
        if alive:
            self._ended = ""
        elif progress.state == "done" and (code in (None, 0)):
            self._ended = "done"
        elif progress.state == "running" or code:
            self._ended = "failed"
            if not (progress.state == "failed" and progress.error):
                said = desk.run.said() if desk.run and code else ""
                progress.error = said or "It ended without saying why; trying again continues."
        elif progress.state == "failed":
            self._ended = "failed"
        else:
            self._ended = "none"

    def _draw(self) -> None:
        progress = self.progress
        words = {
            "": "running" if progress.state == "running" else "starting ...",
            "done": "DONE",
            "failed": "FAILED",
            "none": "nothing is under way",
        }
        what = progress.what or f"{self.desk.doing} {self.desk.deployment}"
        text = f"{what}: {words[self._ended]}"
        if progress.started:
            text += f"   {clock(progress.elapsed)}"
            if progress.expected and not self._ended:
                text += f" of about {clock(progress.expected)}"
        self.query_one("#status", Static).update(Content(text))
        width = max(self.size.width - 46, 10)
        self.query_one("#rows", Static).update(
            Content(
                "\n".join(
                    f"{row.name:<11.11} {bar(row.fraction)} {row.fraction:>4.0%}  "
                    f"{row.doing[:width]}"
                    for row in progress.rows.rows
                )
            )
        )
        failure = self.query_one("#failure", Static)
        if self._ended == "failed":
            failure.update(Content(progress.error))
        reveal(failure, shown=self._ended == "failed")
        self._write_log()
        running = not self._ended
        reveal(self.query_one("#stop"), shown=running)
        reveal(self.query_one("#back"), shown=running)
        reveal(self.query_one("#again"), shown=self._ended in ("failed", "none"))
        reveal(self.query_one("#dashboard"), shown=self._ended in ("failed", "none"))
        following = self.query_one("#next")
        if self._ended == "done" and not following.display:
            reveal(following, shown=True)
            following.focus()
        reveal(following, shown=self._ended == "done")

    def _write_log(self) -> None:
        found = self.query(RichLog)
        if not found:
            return
        lines = list(self.progress.lines)
        new = min(self.progress.counted - self._written, len(lines))
        self._written = self.progress.counted
        for line in lines[len(lines) - new :]:
            found.first().write(line)

    # -- what can be done ------------------------------------------------------------------------

    def action_next(self) -> None:
        """Go on when it is done."""
        if self._ended == "done":
            gone = self.progress.what.startswith("destroy")
            self.finish(Move("go", "welcome") if gone else Move("go", "done"))
        else:
            self.app.bell()

    def action_back(self) -> None:
        """Leave it running."""
        self.finish(Move("go", "welcome"))

    @on(Push.Pressed, "#dashboard")
    def _dashboard(self) -> None:
        self.finish(Move("go", "dashboard"))

    @on(Push.Pressed, "#stop")
    def _stop(self) -> None:
        text = (
            "Stop? What is under way ends safely, nothing new begins. What was made stays, and "
            "trying again continues."
        )
        self.app.push_screen(Ask(text, [("no", "Go on"), ("yes", "Stop")]), self._stopped)

    def _stopped(self, answer: str | None) -> None:
        holder = runs.holder(self.desk.folder().folder)
        if answer == "yes" and holder:
            with suppress(ProcessLookupError):
                runs.stop(holder.pid)

    @on(Push.Pressed, "#again")
    def _again(self) -> None:
        if self.desk.session is None:
            # the passphrase is needed: the dashboard asks for it and offers the same
            self.finish(Move("go", "dashboard"))
            return
        try:
            if self.progress.what.startswith("destroy"):
                self.desk.destroy()
            else:
                self.desk.deploy_again()
        except (BuildUsbError, OSError) as error:
            text = explained(error) if isinstance(error, BuildUsbError) else str(error)
            self.app.push_screen(Tell(text))
            return
        self.query_one("#log").focus()
