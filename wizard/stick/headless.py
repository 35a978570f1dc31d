"""The run without a keyboard: `python -m wizard.stick.headless`, started by a boot entry.

It does what `build-usb deploy` does, with the answers on the stick; writes status lines for
machines on the serial line, and a report back to the stick; then switches off, reboots, or opens
the wizard.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from wizard.answers import loader, support
from wizard.answers.model import Answers
from wizard.console import PlainLines
from wizard.engine.graph import Step
from wizard.engine.state import State
from wizard.errors import (
    BuildUsbError,
    ExitCode,
    InterruptedRunError,
    NetworkError,
    ProviderError,
    UsageError,
)
from wizard.events import Event, EventKind, silent
from wizard.home.home import Home
from wizard.home.passphrase import Ask, refuse_weak
from wizard.operations import checks, run, session
from wizard.operations.session import Session
from wizard.paths import on_stick
from wizard.plan import render
from wizard.secrets import Secret
from wizard.stick import client, given, network, orders, reach, report, sealed
from wizard.stick.client import Stick
from wizard.stick.network import Network
from wizard.stick.orders import After, Orders
from wizard.stick.volume import Phase

PATIENCE = 15.0
"""Longest pause in seconds between two looks at the network."""


@dataclass
class Status:
    """Lines for machines, `BUILDUSB: headless …`, on the serial lines, else on standard error."""

    places: tuple[Path, ...] = ()

    def say(self, *words: str) -> None:
        """Write a line; a serial line that is not there must not end a run."""
        line = f"BUILDUSB: headless {' '.join(words)}\n"
        if not self.places:
            sys.stderr.write(line)
            sys.stderr.flush()
        for place in self.places:
            with suppress(OSError):
                # not waiting: nobody may be listening, or the line may be stopped
                flags = os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK
                descriptor = os.open(place, flags)
                try:
                    os.write(descriptor, line.encode())
                finally:
                    os.close(descriptor)


class _Watch:
    """Shows a run on the console, on the serial line and in the report."""

    def __init__(self, steps: Sequence[Step], kept: report.Report, status: Status) -> None:
        self._lines = PlainLines(steps)
        self._report = kept
        self._status = status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def __call__(self, event: Event) -> None:
        self._report.take(event)
        self._lines(event)
        if event.kind is EventKind.STEP_STARTED:
            self._status.say("step", event.step, "started")
        elif event.kind is EventKind.STEP_DONE:
            self._status.say("step", event.step, f"done seconds={event.seconds or 0:.1f}")
        elif event.kind is EventKind.STEP_FAILED:
            self._status.say("step", event.step, "failed")


@dataclass
class Headless:
    """One run: where everything is, and what it was told."""

    orders: Orders
    answers: Path
    keys: Path
    home: Path
    status: Status
    network: Network = field(default_factory=Network)
    stick: Stick | None = None
    ask: Ask | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> ExitCode:
        """Deploy and write the report; errors end in it. Returns what the process ends with."""
        self.status.say("started")
        kept = self._report()
        try:
            state = self._deploy(kept)
        except KeyboardInterrupt:
            code = self._failed(kept, InterruptedRunError("stopped at the keyboard"))
        except BuildUsbError as error:
            code = self._failed(kept, error)
        except Exception as error:
            # whoever is not there must learn of it all the same
            fault = BuildUsbError(
                f"a fault of the program: {type(error).__name__}",
                where=_place(error),
                cure="run it again; if it stays, please report it with events.jsonl",
            )
            code = self._failed(kept, fault)
        else:
            kept.done(state.url, state.admin_user)
            self.status.say("done code=0")
            code = ExitCode.OK
        self._let_go()
        return code

    def _report(self) -> report.Report:
        try:
            if self.stick:
                self.answers = self.stick.mount_answers("rw")
            return report.Report.open(self.answers)
        except BuildUsbError as error:
            self.status.say("report none")
            sys.stderr.write(f"{error}\n")
            return report.Report(None, "")

    def _failed(self, kept: report.Report, error: BuildUsbError) -> ExitCode:
        kept.failed(error)
        sys.stderr.write(f"{error}\n")
        self.status.say(f"failed code={error.exit_code:d}")
        return error.exit_code

    def _let_go(self) -> None:
        """Leave both sticks so that they may be pulled out."""
        if self.stick:
            with suppress(BuildUsbError):
                self.stick.mount_answers("ro")
            with suppress(BuildUsbError):
                self.stick.unmount_other()

    def _keys(self) -> Path:
        """Return where the second stick is, mounted if it is plugged in."""
        for label in orders.KEYS_LABELS if self.stick else ():
            if self.stick and label.exists():
                return self.stick.mount_other(str(label.resolve()), "ro")
        return self.keys

    def _sealed(self) -> Callable[[], Secret] | None:
        """Return what opens the passphrase that a TPM has sealed, if there is one."""
        there = self.stick is not None and (self.answers / sealed.FILE).is_file()
        return self.stick.unseal if self.stick and there else None

    def _unlock(self, answers: Answers, kept: report.Report) -> Session:
        """Open the encrypted volume and the home in it, made if it is new; take the secrets in."""
        phase = self.stick.status().phase if self.stick else None
        locked = phase in (Phase.LOCKED, Phase.DAMAGED)
        new = not locked and not Home.open(self.home).has_identity()
        # a file that it opens has proved what was typed: no need to ask twice
        proved = not new or (self.answers / given.AGE_FILE).is_file()
        keys = self._keys()
        self.status.say("wanted passphrase")
        passphrase = given.passphrase(
            keys, os.environ, new=not proved, unseal=self._sealed(), ask=self.ask
        )
        kept.known.append(passphrase)
        secrets = given.secrets(self.answers, keys, passphrase)
        kept.known += secrets.values()
        if self.stick and locked:
            self.stick.open(passphrase)
        home = Home.open(self.home)
        if home.has_identity():
            opened = Session(home, home.unlock(passphrase))
            given.refuse_missing(answers, {*secrets, *opened.credentials.names()}, os.environ)
        else:
            given.refuse_missing(answers, set(secrets), os.environ)
            refuse_weak(passphrase)
            opened = Session(home, home.create_identity(passphrase))
        wanted = {source.home for _, source in given.sources(answers)}
        opened.credentials.update({n: secret for n, secret in secrets.items() if n in wanted})
        kept.known += opened.credentials.all()
        if self.stick and not (locked or phase is Phase.OPEN):
            kept.remarks.append(
                "The stick has no encrypted volume: the build home was in memory only and is gone "
                "when the computer is switched off. `build-usb adopt answers.yaml` takes the "
                "deployment over from its bucket, with the same passphrase."
            )
        return opened

    def _deploy(self, kept: report.Report) -> State:
        source = self.answers / self.orders.answers
        answers = loader.load(source)
        kept.deployment = answers.name
        support.refuse_unsupported(answers, source.name, stick=on_stick())
        opened = self._unlock(answers, kept)
        self._await_network(answers)
        self._check_clouds(answers, opened)
        plan = session.make_plan(opened.home, answers, opened.credentials)
        kept.plan = render.to_text(plan)
        sys.stderr.write(kept.plan)
        deployment = opened.home.deployment(answers.name)
        try:
            context, _ = run.deploy(
                opened, answers, lambda steps: _Watch(steps, kept, self.status), self.stop
            )
        finally:
            with suppress(BuildUsbError):
                kept.known += opened.secrets(deployment).all()
        return context.state

    def _await_network(self, answers: Answers) -> None:
        """Return when what the answers need can be reached; a rehearsal needs nothing."""
        vendors = [answers.provider.name, answers.dns.provider]
        if vendors[0] == "local" and vendors[1] in ("rfc2136", "none"):
            return
        places = reach.places(vendors, os.environ)
        ends = time.monotonic() + self.orders.wait * 60
        pause = 1.0
        while True:
            error = self._unreachable(places)
            if error is None:
                return
            left = ends - time.monotonic()
            if left <= 0:
                raise NetworkError(
                    f"no network within {self.orders.wait} minutes",
                    where=error.where,
                    why=f"{error.what}: {error.why}" if error.why else error.what,
                    cure=error.cure,
                )
            self.status.say("waiting network")
            if self.stop.wait(min(pause, left)):
                raise InterruptedRunError("stopped while waiting for the network")
            pause = min(pause * 2, PATIENCE)

    def _unreachable(self, places: list[tuple[str, int]]) -> NetworkError | None:
        outlook = self.network.look()
        trouble = None if outlook.well else NetworkError(outlook.trouble, cure=outlook.cure)
        try:
            for place in places:
                reach.check(place)
        except NetworkError as error:
            return trouble or error
        # what is needed is reached, whatever the network's own check thinks
        return None if places else trouble

    def _check_clouds(self, answers: Answers, opened: Session) -> None:
        """Ask the clouds before anything is made. Raises ProviderError with all that is wrong."""
        if answers.provider.name == "local":
            return
        found = checks.check(answers, opened.home, opened.credentials, silent)
        if found.bad:
            bad = [f for f in found.findings if f.level is checks.Level.BAD]
            raise ProviderError(
                "the clouds are not ready for these answers",
                why="\n".join(f"{finding.key}: {finding}" for finding in bad),
                cure="put these right; nothing was made",
            )


def _place(error: BaseException) -> str:
    """Return file and line of a fault, without any value."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""


def _go_on(work: Headless, code: ExitCode) -> int:
    """Switch off, reboot, or become the wizard; returns where none of it can be done."""
    after = work.orders.after
    work.status.say("after", after)
    if after is After.WIZARD:
        if sys.stdin.isatty():
            wizard = [sys.executable, "-m", "wizard", "--home", str(work.home)]
            os.execv(sys.executable, wizard)  # noqa: S606
        return int(code)
    try:
        if work.stick is None:
            network.run(("systemctl", after.value), 30)
        elif after is After.POWEROFF:
            work.stick.poweroff()
        else:
            work.stick.reboot()
    except (OSError, BuildUsbError) as error:
        sys.stderr.write(f"cannot {after}: {error}\n")
    return int(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run as told by the kernel's command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m wizard.stick.headless", description=__doc__)
    parser.add_argument(
        "--answers-folder", type=Path, default=orders.folder(), help="where ANSWERS is mounted"
    )
    parser.add_argument(
        "--keys-folder", type=Path, default=orders.STICK / "keys", help="where BUILD-KEYS is"
    )
    parser.add_argument(
        "--command-line", type=Path, default=orders.COMMAND_LINE, help="a file with the kernel's"
    )
    parser.add_argument(
        "--status", type=Path, action="append", help="write status lines there (default: serial)"
    )
    parser.add_argument("--home", help="the build home (default: as build-usb)")
    arguments = parser.parse_args(argv)
    home = Home.locate(arguments.home)
    status = Status(tuple(arguments.status or ()))
    try:
        told = orders.parse(arguments.command_line.read_text())
        status = Status(tuple(arguments.status or told.serial))
        if not told.answers:
            raise UsageError(
                "nobody has agreed to a run without questions",
                where=str(arguments.command_line),
                why="answers on the stick alone are only offered by the wizard",
                cure="choose the boot entry 'headless', or add buildusb.answers=1",
            )
    except BuildUsbError as error:
        sys.stderr.write(f"{error}\n")
        status.say(f"failed code={error.exit_code:d}")
        return int(error.exit_code)
    stick = Stick() if client.present() else None
    work = Headless(
        told, arguments.answers_folder, arguments.keys_folder, home, status, stick=stick
    )
    signal.signal(signal.SIGTERM, lambda _number, _frame: work.stop.set())
    return _go_on(work, work.run())


if __name__ == "__main__":
    sys.exit(main())
