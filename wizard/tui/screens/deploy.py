"""How far a run is, read from its events; the run itself is a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import RichLog, Static

from wizard.tui import flow, runs
from wizard.tui.desk import Desk
from wizard.tui.screens.base import Ask, Move
from wizard.tui.screens.running import RunningScreen
from wizard.tui.widgets import Push, bar, clock, reveal

EVERY = 0.2
"""Seconds between two looks at the events file."""
LONGER = 1.25
"""How much longer than usual a run may take before the screen says so."""
SHORT = 4
"""Lines of a reason that do not push what to do out of sight; longer ones come last."""


class DeployScreen(RunningScreen):
    """A bar a machine, the log, and what can be done."""

    KEYS = "F1 Help  F2 Go on  F4 Log  Esc Leave  Arrows Move, scroll  Ctrl+Q Quit"
    HELP = (
        "The deployment is made by a process of its own: closing the wizard does not stop it, and "
        "opening it again shows where it is.\nStop lets what is under way end safely; trying "
        "again continues, and changes nothing that is already right. F4 shows the whole log; F4 "
        "or Escape leads back."
    )
    BODY_FOCUS = True
    BINDINGS = [("f4", "log", "Log")]  # noqa: RUF012

    def __init__(self, desk: Desk, step: flow.Step) -> None:
        super().__init__(desk, step)
        self.progress = runs.Progress()
        since = desk.since if desk.run else 0
        self._follower = runs.Follower(desk.watched / "events.jsonl", since)
        self._written = 0
        self.ended: str | None = None
        self._log_open = False

    def body(self) -> Iterator[Widget]:
        """Yield bars and failure."""
        yield Static("", id="status", markup=False)
        yield Static("", id="rows", markup=False)
        yield Static("", id="failure", markup=False)
        yield Static("", id="reason", markup=False)

    def buttons(self) -> Iterator[Push]:
        """Yield what can be done."""
        yield Push("Leave it running", id="back")
        yield Push("Stop", id="stop")
        yield Push("Destroy", id="destroy")
        yield Push("Shell", id="shell")
        yield Push("Log", id="log-toggle")
        yield Push("Dashboard", id="dashboard")
        yield Push("Try again", id="again", main=True)
        yield Push("Go on", id="next", main=True)

    def on_mount(self) -> None:
        """Look now and again."""
        super().on_mount()
        log = RichLog(id="log", max_lines=runs.LINES_KEPT, markup=False, wrap=False)
        self.mount(log, after=self.query_one("#body"))
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
        before, self.ended = self.ended, self.judge(alive=alive)
        self._draw()
        if self.ended != before:
            self._arrange()

    def _alive(self) -> bool:
        run = self.desk.run
        if run is not None and run.exit_code is None:
            return True
        return runs.holder(self.desk.watched) is not None

    def judge(self, *, alive: bool) -> str:
        """Say how it ended: `done`, `failed`, `none` when there is no run; empty while it runs."""
        desk, progress = self.desk, self.progress
        code = desk.run.exit_code if desk.run else None
        if alive:
            return ""
        if progress.state == "done" and code in (None, 0):
            return "done"
        if progress.state == "running" or code:
            if progress.failure is None:
                said = desk.run.said() if desk.run and code else ""
                if said:
                    progress.fail(said.removeprefix("build-usb: "))
                else:
                    progress.vanish()
            return "failed"
        return progress.state if progress.state == "failed" else "none"

    # -- what is shown ---------------------------------------------------------------------------

    def _draw(self) -> None:
        progress = self.progress
        self.query_one("#status", Static).update(Content(self.headline()))
        narrow = self.size.width < 64
        width = 8 if narrow else 20
        room = max(self.size.width - width - 25, 8)
        self.query_one("#rows", Static).update(
            Content(
                "\n".join(
                    f"{row.name:<11.11} {bar(row.fraction, width)} {row.fraction:>4.0%}  "
                    f"{row.doing[:room]}"
                    for row in progress.rows.rows
                )
            )
        )
        self._write_log()

    def headline(self) -> str:
        """Return what is done and how far it is."""
        what = self.progress.what or f"{self.desk.doing} {self.desk.deployment}"
        return f"{what}: {self._state()}"

    def _state(self) -> str:
        progress = self.progress
        if self.ended == "none":
            return "nothing is under way"
        passed = clock(progress.elapsed)
        if self.ended:
            return f"{'DONE' if self.ended == 'done' else 'FAILED'} after {passed}"
        if progress.state != "running":
            return "starting ..."
        if progress.met_failure:
            return f"a step FAILED; others that are under way end safely   {passed}"
        text = f"running   {passed}"
        usual = progress.expected
        if usual:
            text += f" of about {clock(usual)}"
        if usual and progress.elapsed > usual * LONGER:
            text += ", longer than usual"
        return text

    def _arrange(self) -> None:
        """Show what belongs to the present state, and put the focus where one goes on."""
        ended, failed = self.ended, self.ended == "failed"
        self.say("")
        self._explain(shown=failed)
        self._place_log()
        back = self.query_one("#back", Push)
        back.relabel("Leave for later" if failed else "Leave it running")
        for name, wanted in self.offered(ended or "").items():
            reveal(self.query_one(f"#{name}"), shown=wanted)
        if ended == "done":
            self.query_one("#next").focus()
        elif ended:
            self.query_one("#again").focus()

    def offered(self, ended: str) -> dict[str, bool]:
        """Return which buttons are of use when it ended so; empty: it runs."""
        return {
            "back": ended != "done",
            "stop": ended == "",
            "destroy": ended == "failed" and not self.progress.what.startswith("destroy"),
            "shell": ended == "failed",
            "log-toggle": True,
            "dashboard": ended == "none",
            "again": ended in ("failed", "none"),
            "next": ended == "done",
        }

    def _explain(self, *, shown: bool) -> None:
        """Show what, where, why and cure of the failure."""
        failure = self.progress.failure
        head, reason = self.query_one("#failure", Static), self.query_one("#reason", Static)
        reveal(head, shown=shown)
        reveal(reason, shown=shown)
        if not shown or failure is None:
            return
        head.update(Content(failure.what))
        met = f"{failure.step} on {failure.machine}" if failure.machine else failure.step
        parts = [
            ("In step", met),
            ("Where", failure.where if failure.where != failure.machine else ""),
            ("Why", failure.why),
            ("What to do", failure.cure),
        ]
        if failure.why.count("\n") > SHORT:
            parts[2:] = reversed(parts[2:])
        lines = []
        for name, text in parts:
            if text:
                lines.append(f"{name + ':':<12}" + text.strip().replace("\n", "\n" + " " * 12))
        reason.update(Content("\n".join(lines)))
        if failure.machine:
            self.query_one("#shell", Push).relabel(f"Shell on {failure.machine}")

    def _place_log(self) -> None:
        """The log takes what is left beside the bars; all of it when opened; none on failure."""
        body, log = self.query_one("#body"), self.query_one("#log")
        failed = self.ended == "failed"
        reveal(body, shown=not self._log_open)
        reveal(log, shown=self._log_open or not failed)
        body.styles.height = "1fr" if failed else "auto"
        body.styles.max_height = None if failed else "70%"
        self.query_one("#log-toggle", Push).relabel("Close log" if self._log_open else "Log")

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

    def action_log(self) -> None:
        """Open the log, or close it."""
        self._log_open = not self._log_open
        self._place_log()
        if self._log_open:
            self.query_one("#log").focus()
        elif self.ended:
            self.query_one("#next" if self.ended == "done" else "#again").focus()

    @on(Push.Pressed, "#log-toggle")
    def _toggle_log(self) -> None:
        self.action_log()

    def action_next(self) -> None:
        """Go on when it is done."""
        if self.ended == "done":
            self.go_on()
        else:
            self.app.bell()

    def go_on(self) -> None:
        """Show what came of it."""
        gone = self.progress.what.startswith("destroy")
        self.finish(Move("go", "welcome") if gone else Move("go", "done"))

    def action_back(self) -> None:
        """Close the log; else leave: it goes on, or waits for later."""
        if self._log_open:
            self.action_log()
        else:
            self.finish(Move("go", "welcome"))

    @on(Push.Pressed, "#dashboard")
    def _dashboard(self) -> None:
        self.leave_for_dashboard()

    def leave_for_dashboard(self) -> None:
        """Show the deployment itself."""
        self.finish(Move("go", "dashboard"))

    @on(Push.Pressed, "#stop")
    def _stop(self) -> None:
        text = (
            "Stop? What is under way ends safely, nothing new begins. What was made stays, and "
            "trying again continues."
        )
        self.app.push_screen(Ask(text, [("no", "Go on"), ("yes", "Stop")]), self._stopped)

    def _stopped(self, answer: str | None) -> None:
        holder = runs.holder(self.desk.watched)
        if answer == "yes" and holder:
            with suppress(ProcessLookupError):
                runs.stop(holder.pid)
            self.say("Stopping: waiting for what is under way to end safely ...")

    def _unlocked(self) -> bool:
        """Say whether the passphrase is known; if not, it is asked for, and this screen returns."""
        if self.desk.session is None:
            self.finish(Move("unlock"))
        return self.desk.session is not None

    @on(Push.Pressed, "#again")
    def _again(self) -> None:
        if self._unlocked():
            self.start(self.repeat)

    def repeat(self) -> None:
        """Do once more what the run did."""
        self.desk.repeat(self.progress.what)

    @on(Push.Pressed, "#destroy")
    def _destroy(self) -> None:
        if self._unlocked():
            self.ask_destroy()

    @on(Push.Pressed, "#shell")
    def _shell(self) -> None:
        if self._unlocked():
            failure = self.progress.failure
            self.open_shell(failure.machine if failure else "")
