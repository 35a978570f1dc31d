"""The wizard as line prompts, for screen readers and very poor terminals: the same flow, the same
questions, the same checks.

Enter takes what stands in brackets, `-` empties, `<` goes back a question, `?` explains, `t` types
a secret unseen.
"""

from __future__ import annotations

import getpass
import threading
import time
from collections.abc import Callable
from pathlib import Path

from wizard.console import PlainLines
from wizard.errors import BuildUsbError, InterruptedRunError, PassphraseError, UsageError
from wizard.events import EventKind
from wizard.secrets import Secret
from wizard.stick import orders
from wizard.tui import flow, runs
from wizard.tui.desk import Desk
from wizard.tui.draft import Draft
from wizard.tui.fields import Field, Kind, to_text
from wizard.tui.plain_network import see_to
from wizard.tui.plain_stick import begin as begin_on_stick

Ask = Callable[[str], str]
Say = Callable[[str], None]
BACK, EMPTY, HELP, TYPE = "<", "-", "?", "t"
POLL_FIRST, POLL_LONGEST = 0.1, 1.0
"""Seconds between two looks at a run's events."""


class _Back(Exception):
    """The person wants to go back."""


class Prompts:
    """One conversation; `ask` reads a line, `ask_secret` one that is not shown."""

    def __init__(
        self, home: Path, say: Say, ask: Ask = input, ask_secret: Ask = getpass.getpass
    ) -> None:
        self._desk = Desk(home)
        self._say = say
        self._ask = ask
        self._ask_secret = ask_secret

    def run(self) -> None:
        """Hold the conversation. Raises BuildUsbError."""
        desk = self._desk
        self._say("Build USB: a website from your answers. Build home: " + str(desk.home_path))
        self._say("Nothing is made before you have seen the plan and its price and said yes.")
        if desk.first_step() is not flow.STEPS[0]:
            begin_on_stick(desk.stick, self._say, self._ask, self._ask_secret)
        step = flow.step(self._begin())
        while step.asks:
            see_to(desk.online, desk.draft, self._say, self._ask, self._ask_secret)
            self._say(f"\n{step.title}. {step.intro}")
            try:
                self._step(step)
                step = flow.after(step.id, desk.draft)
            except _Back:
                earlier = flow.before(step.id, desk.draft)
                step = earlier if earlier.asks else step
            desk.keep(step.id)
        self._review()

    # -- beginning -------------------------------------------------------------------------------

    def _begin(self) -> str:
        desk = self._desk
        begin = "mode"
        self._say("At a question: ? explains, < goes back, - empties, Enter takes [this].")
        unfinished = desk.draft_file.is_file()
        if unfinished and self._yes("Continue with the unfinished answers?", default=True):
            desk.resume()
            begin = desk.draft.step if desk.draft.step != "review" else "notifications"
        else:
            self._open()
        self._unlock()
        return begin or "mode"

    def _open(self) -> None:
        offered = orders.offered()
        files = [*([offered] if offered else []), *self._desk.saved()]
        self._say("Answers to begin with:\n  0  none, new answers")
        for number, path in enumerate(files, start=1):
            self._say(f"  {number}  {path}")
        while True:
            reply = self._ask("Number, or the path of a file [0]: ").strip() or "0"
            if reply == "0":
                self._desk.draft = Draft()
                return
            known = reply.isdecimal() and int(reply) <= len(files)
            try:
                path = files[int(reply) - 1] if known else Path(reply).expanduser()
                self._desk.open_answers(path)
            except BuildUsbError as error:
                self._say(str(error))
            else:
                return

    def _unlock(self) -> None:
        desk = self._desk
        while desk.session is None:
            try:
                if desk.is_new():
                    self._say("The build home is made now; choose its passphrase.")
                    first = Secret(self._ask_secret("Passphrase (12 or more characters): "))
                    if first != Secret(self._ask_secret("The same again: ")):
                        self._say("The two passphrases differ.")
                        continue
                else:
                    first = Secret(self._ask_secret("Passphrase of the build home: "))
                desk.unlock(first)
            except PassphraseError as error:
                self._say(str(error))

    # -- questions -------------------------------------------------------------------------------

    def _step(self, step: flow.Step) -> None:
        """Ask until nothing of the step is wrong; _Back from its first question."""
        if any(ask.facts for ask in step.asks):
            note = self._desk.learn()
            if note:
                self._say(note)
        fields = self._desk.fields(step)
        position = 0
        while True:
            self._desk.suggest(step, fields)
            asked = [field for field in fields if field.ask.when(self._desk.draft)]
            if position < len(asked):
                try:
                    self._question(asked[position])
                    position += 1
                except _Back:
                    if position == 0:
                        raise
                    position -= 1
                continue
            unfit = self._desk.unfit(step)
            for key, text in unfit.items():
                self._say(f"! {key}: {text}")
            if not unfit:
                unfit = self._try_out(step)
                if not unfit or self._yes("Go on all the same?", default=True):
                    return
            position = next((n for n, field in enumerate(asked) if field.key in unfit), 0)

    def _try_out(self, step: flow.Step) -> dict[str, str]:
        """Check a step's answers at the provider; return what is wrong by key. Ctrl-C stops it."""
        question = self._desk.trial.question(step, self._desk.draft)
        if not question or self._desk.trial.is_good(question):
            return {}
        self._say("Checking; Ctrl-C stops it.")
        try:
            found = self._desk.check(step, lambda _what, _done, _total: None, threading.Event())
        except KeyboardInterrupt:
            self._say("The check was stopped.")
            return {}
        except BuildUsbError as error:
            self._say(str(error))
            return {}
        for finding in found.findings:
            mark = {"good": "+", "warning": "! warning:", "bad": "!"}[finding.level]
            self._say(f"{mark} {finding.key}: {finding}")
        return {f.key: f.what for f in found.findings if f.level != "good"}

    def _question(self, field: Field) -> None:
        desk = self._desk
        present = to_text(field, desk.draft.get(field.key, field.default))
        if field.kind is Kind.CHOICE:
            for number, option in enumerate(field.options, start=1):
                later = f"  (not yet: {option.not_yet})" if option.not_yet else ""
                self._say(f"  {number}  {option.label}{later}")
        secret = field.kind is Kind.SOURCE
        hint = f" ({TYPE}: type it unseen; or file:/path, environment:NAME)" if secret else ""
        while True:
            reply = self._ask(f"{field.label}{hint} [{present}]: ").strip()
            if reply == BACK:
                raise _Back
            if reply == HELP:
                self._say(f"{field.meaning}\nAllowed: {field.allowed}. {field.begins_with}")
                continue
            if secret and reply == TYPE:
                typed = self._ask_secret(f"{field.label} (not shown): ")
                reply = desk.keep_secret(field, typed)
            text = "" if reply == EMPTY else reply or present
            if field.kind is Kind.CHOICE and reply.isdecimal() and reply != "0":
                chosen = field.options[int(reply) - 1 : int(reply)]
                problems = desk.put(field, chosen[0].value) if chosen else ["there is no such"]
            else:
                problems = desk.take(field, text)
            if not problems:
                return
            self._say("! " + "; ".join(problems))

    # -- the end ---------------------------------------------------------------------------------

    def _review(self) -> None:
        from wizard.plan.render import to_text as plan_text

        desk = self._desk
        answers, problems = desk.examine()
        if answers is None or problems:
            raise UsageError(
                "the answers are not complete",
                why="\n".join(map(str, problems)),
                cure="start again; it continues where you are",
            )
        later = desk.unsupported(answers)
        if later:
            self._say("The answers are right, but this version cannot do all of it yet:")
            self._say("\n".join(f"- {line}" for line in later))
            path = desk.save_answers(answers)
            self._say(f"They are saved: {path}")
            return
        plan = desk.plan(answers)
        self._say("\n" + plan_text(plan))
        self._say(f"Answers saved: {desk.save_answers(answers)}")
        price = f"{plan.monthly_price:.2f} {plan.currency}"
        if not self._yes(f"Deploy it for {price} a month?", default=False):
            self._say("Nothing was made; start again to continue.")
            return
        desk.deploy()
        Draft.discard(desk.draft_file)
        self._follow()

    def _follow(self) -> None:
        """Show the run's events as lines until it ends; Ctrl-C leaves it running."""
        from wizard.operations.session import read_state

        desk = self._desk
        assert desk.run is not None
        follower = runs.Follower(desk.folder().events_file, desk.since)
        progress = runs.Progress()
        lines = PlainLines(())
        delay = POLL_FIRST
        try:
            while True:
                ended = desk.run.exit_code is not None
                events = follower.read()
                for event in events:
                    progress.apply(event)
                    if event.kind is EventKind.RUN_STARTED:
                        lines = PlainLines(progress.steps)
                    lines(event)
                if ended:
                    break
                delay = POLL_FIRST if events else min(delay * 2, POLL_LONGEST)
                time.sleep(delay)
        except KeyboardInterrupt:
            desk.run.let_go()
            raise InterruptedRunError(
                "the deployment goes on without the wizard",
                cure=f"see how it is: build-usb status {desk.deployment}",
            ) from None
        finally:
            follower.close()
        if desk.run.exit_code:
            raise InterruptedRunError(
                "the deployment was not made to the end",
                why=progress.error or desk.run.said(),
                cure="start again and open the same answers: it continues",
            )
        state = read_state(desk.folder())
        self._say(f"The site: {state.url}\nAdministrator: {state.admin_user}")
        if self._yes("Show the password?", default=False):
            secret = desk.secret("admin_password")
            self._say(secret.reveal() if secret else "none is known")

    def _yes(self, question: str, *, default: bool) -> bool:
        reply = self._ask(f"{question} [{'Y/n' if default else 'y/N'}] ").strip().lower()
        return default if not reply else reply in ("y", "yes")
