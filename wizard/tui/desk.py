"""What both front ends, screens and line prompts, work on: the build home, the draft, the plan.

Every method that may take longer than a screen may wait is marked *slow*: call it in a thread.
"""

from __future__ import annotations

import copy
import os
import subprocess
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wizard.home.files import make_folder
from wizard.home.home import DeploymentHome, Home
from wizard.paths import config_templates, on_stick
from wizard.secrets import Secret
from wizard.stick import orders
from wizard.tui import flow, runs
from wizard.tui.credentials import Trial
from wizard.tui.draft import Draft

if TYPE_CHECKING:
    from wizard.answers.model import Answers
    from wizard.answers.problems import Problem
    from wizard.events import Progress
    from wizard.home.store import SecretStore
    from wizard.operations.checks import Checked
    from wizard.operations.session import Session
    from wizard.operations.status import Status
    from wizard.plan.difference import Difference
    from wizard.plan.model import Plan
    from wizard.providers.base import ProviderFacts
    from wizard.tui.fields import Field
    from wizard.tui.online import Online
    from wizard.tui.onstick import OnStick

DRAFT = "draft.yaml"


@dataclass(frozen=True)
class Known:
    """A deployment of the home and what works on it now."""

    name: str
    holder: runs.Holder | None


class Desk:
    """One person's work with one build home; nothing is made before `open_home`."""

    def __init__(self, home: Path) -> None:
        self.home_path = home
        self.draft = Draft()
        self.home: Home | None = None
        self.session: Session | None = None
        self.run: runs.Run | None = None
        self.deployment = ""
        self.doing = "deploy"
        self._words: tuple[str | Path, ...] = ()  # what was started last, and for which one
        self._started = ""
        self.since = 0  # where in its events the run that was started here begins
        self._passphrase = Secret("")
        self.trial = Trial()
        # what is done in it may talk to the person on the terminal
        self.terminal: Callable[[], AbstractContextManager[None]] = nullcontext
        self.remark = ""  # what is to be said on the next screen

    @cached_property
    def online(self) -> Online:
        """Return what is known of this computer's network."""
        from wizard.tui.online import Online

        return Online()

    @cached_property
    def stick(self) -> OnStick:
        """Return what is known of the stick this runs from."""
        from wizard.tui.onstick import OnStick

        return OnStick(self)

    def first_step(self) -> flow.Step:
        """Return where to begin: on a stick, with what is not remembered of it."""
        if not orders.STICK.is_dir():
            return flow.STEPS[0]
        from wizard.stick import client

        if not client.present():
            return flow.STEPS[0]
        return flow.VOLUME if self.stick.remembered else flow.STICK

    # -- home and draft --------------------------------------------------------------------------

    @property
    def draft_file(self) -> Path:
        """Return where unfinished answers are kept."""
        return self.home_path / DRAFT

    def has_home(self) -> bool:
        """Say whether there is a build home already."""
        return (self.home_path / "home.json").is_file()

    def open_home(self) -> Home:
        """Open the home, made if it is missing. Raises HomeError."""
        if self.home is None:
            self.home = Home.open(self.home_path)
        return self.home

    def is_new(self) -> bool:
        """Say whether a passphrase has still to be chosen."""
        return not self.has_home() or not self.open_home().has_identity()

    def unlock(self, passphrase: Secret) -> None:
        """Open the home's key, or make it by this passphrase (slow). Raises HomeError."""
        from wizard.home.passphrase import refuse_weak
        from wizard.operations.session import Session

        if self.is_new():
            refuse_weak(passphrase)
            home = self.open_home()
            self.session = Session(home, home.create_identity(passphrase))
        else:
            home = self.open_home()
            self.session = Session(home, home.unlock(passphrase))
        self._passphrase = passphrase

    def keep(self, step: str) -> None:
        """Save the draft; there is nothing to save it in before the home is made."""
        self.draft.step = step
        if self.has_home():
            self.draft.save(self.draft_file)

    def resume(self) -> bool:
        """Take up the unfinished answers, if there are any. Raises HomeError when damaged."""
        found = Draft.load(self.draft_file)
        if found is not None:
            self.draft = found
        return found is not None

    # -- answers ---------------------------------------------------------------------------------

    def saved(self) -> list[Path]:
        """Return the answers files that can be opened: of this home, then ready-made ones."""
        own = sorted(self.home_path.glob("answers/*.yaml"))
        ran = sorted(self.home_path.glob("deployments/*/answers.yaml"))
        known = {path.stem for path in own}
        ran = [path for path in ran if path.parent.name not in known]
        return [*own, *ran, *sorted((config_templates() / "answers").glob("*.yaml"))]

    def open_answers(self, path: Path) -> None:
        """Make the draft of an answers file (slow). Raises AnswersError with all problems."""
        from wizard.answers import loader

        answers = loader.load(path)
        values = answers.model_dump(mode="json", exclude_defaults=True)
        values.pop("version", None)
        self.draft = Draft({"name": answers.name, "mode": answers.mode, **values})

    def fields(self, step: flow.Step) -> list[Field]:
        """Return a step's questions, those that do not apply now too."""
        from wizard.tui.fields import field

        facts = self.facts()
        return [field(ask, facts) for ask in step.asks]

    def suggest(self, step: flow.Step, fields: list[Field]) -> None:
        """Begin with suggestions where nothing is decided, or not possible any more."""
        for field in fields:
            if not field.ask.when(self.draft):
                continue
            value = self.draft.get(field.key)
            values = [option.value for option in field.options]
            if field.ask.facts and value is not None and values and value not in values:
                self.draft.set(field.key, None)
                value = None
            if value is not None or field.key in self.draft.texts:
                continue
            suggestion = field.ask.suggestion(self.draft)
            if suggestion is None and field.required and field.ask.facts and values:
                suggestion = values[0]
            self.draft.set(field.key, suggestion)

    def take(self, field: Field, text: str) -> list[str]:
        """Keep what was typed and return what is wrong with it; empty if nothing is."""
        from wizard.tui.fields import to_value

        return self.put(field, to_value(field, text), text)

    def put(self, field: Field, value: Any, text: str = "") -> list[str]:
        """Keep a value and return what is wrong with it; wrong ones stay in memory only."""
        from wizard.tui.fields import problems

        found = problems(field, value)
        if found and text.strip():
            self.draft.texts[field.key] = text
            self.draft.set(field.key, None)
        else:
            self.draft.texts.pop(field.key, None)
            self.draft.set(field.key, None if field.is_default(value) else value)
        return found

    def examine(self) -> tuple[Answers | None, list[Problem]]:
        """Return the draft as answers, and all that is wrong with it."""
        from wizard.answers.loader import examine

        return examine(flow.answers(self.draft))

    def unfit(self, step: flow.Step) -> dict[str, str]:
        """Return what does not fit together, by key, as far as this step asks for it."""
        _, problems = self.examine()
        result: dict[str, str] = {}
        for ask in step.asked(self.draft):
            path = tuple(ask.key.split("."))
            for problem in problems:
                if problem.path[: len(path)] == path:
                    result[ask.key] = f"found {problem.found}; allowed: {problem.allowed}"
        return result

    def unsupported(self, answers: Answers) -> list[str]:
        """Return what is right but not possible in this version, a line each."""
        from wizard.answers.support import unsupported

        return [
            f"{p.key}: asked for {p.found}; works in this version: {p.allowed}"
            for p in unsupported(answers, stick=on_stick())
        ]

    def save_answers(self, answers: Answers, path: Path | None = None) -> Path:
        """Write the answers to `path` (default: into the home) and return it. AnswersError."""
        from wizard.answers import loader

        if path is None:
            folder = self.open_home().path / "answers"
            make_folder(folder)
            path = folder / f"{answers.name}.yaml"
        loader.save(answers, path)
        return path

    # -- provider and plan -----------------------------------------------------------------------

    def learn(self) -> str:
        """Ask the provider for regions and sizes (slow); return why it does not tell, or ""."""
        return self.trial.learn(self.draft, self.open_home(), self._credentials)

    def facts(self) -> ProviderFacts | None:
        """Return what is known of the provider in the chosen region."""
        return self.trial.facts(self.draft)

    @property
    def _credentials(self) -> SecretStore | None:
        return self.session.credentials if self.session else None

    def check(self, step: flow.Step, progress: Progress, stop: threading.Event) -> Checked:
        """Try out a step's answers at the provider (slow). InterruptedRunError once `stop` is set,
        TransientError when it takes too long."""
        from wizard.operations.checks import limited

        # what is typed meanwhile is another question
        draft = copy.deepcopy(self.draft)
        limit = limited(progress, stop)
        return self.trial.check(step, draft, self.open_home(), self._credentials, limit)

    def keep_secret(self, field: Field, text: str) -> str:
        """Keep a secret that was typed for a question in the build home, and return where it comes
        from now; what is no secret is returned as it is. Raises HomeError."""
        from wizard.tui import credentials

        if not text.strip() or credentials.is_source(text) or self.session is None:
            return text
        name = credentials.keep(
            field.key, text, self.draft, self.session.home, self.session.credentials
        )
        self.trial = Trial()
        return f"home:{name}"

    def plan(self, answers: Answers) -> Plan:
        """Return the plan (slow). Raises BuildUsbError when the provider lacks what is asked."""
        from wizard.operations.session import make_plan

        return make_plan(self.open_home(), answers, self._credentials)

    def compare(self, answers: Answers, plan: Plan) -> Difference | None:
        """Return what the plan changes, None for a new deployment (slow). Raises BuildUsbError."""
        from wizard.operations.session import compare

        return compare(self.open_home(), answers, plan, self._credentials)

    # -- deployments -----------------------------------------------------------------------------

    def known(self) -> list[Known]:
        """Return the deployments of the home, those under way first."""
        if not self.has_home():
            return []
        home = self.open_home()
        found = [Known(n, runs.holder(home.deployment(n).folder)) for n in home.deployments()]
        return sorted(found, key=lambda known: (known.holder is None, known.name))

    def folder(self) -> DeploymentHome:
        """Return the deployment that is looked at."""
        return self.open_home().deployment(self.deployment)

    def deploy(self) -> None:
        """Start the engine for the draft's answers. Raises BuildUsbError."""
        answers, _ = self.examine()
        assert answers is not None
        path = self.save_answers(answers)
        self.deployment = answers.name
        self._start("deploy", path, "--json", "--yes")

    def deploy_again(self) -> None:
        """Start the engine for what was deployed last."""
        self._start("deploy", self.folder().answers_file, "--json", "--yes")

    def repeat(self, what: str) -> None:
        """Do once more what a run did (`deploy demo`): as it was begun here last, if it was."""
        verb = what.partition(" ")[0] or "deploy"
        # a run that could not even begin has not left its answers with the deployment
        if self._words[:1] == (verb,) and self._started == self.deployment:
            self._start(*self._words)
        elif verb == "destroy":
            self.destroy()
        elif verb == "backup":
            self.back_up()
        else:
            self.deploy_again()

    def back_up(self) -> None:
        """Start making a restore point."""
        self._start("backup", self.deployment, "--json")

    def put_back(self, point: str) -> None:
        """Start putting a restore point back in place of what runs."""
        self._start("restore", point, "--deployment", self.deployment, "--yes", "--json")

    def points(self) -> list[str]:
        """Return the names of the whole restore points, newest first (slow). Raises
        BuildUsbError."""
        from wizard.operations.run import points

        assert self.session is not None
        known = points(self.session, self.folder())
        return [str(point["name"]) for point in reversed(known) if point["whole"]]

    def scaling(self) -> dict[str, str]:
        """Return what may be asked of the autoscalers, and in words. UsageError without any."""
        from wizard.operations import scaling

        return scaling.offered(self.folder())

    def scale(self, what: str) -> None:
        """Ask the autoscalers for one of `scaling` (slow). Raises BuildUsbError."""
        from wizard.operations import scaling

        assert self.session is not None
        scaling.ask(self.session, self.folder(), what)

    def destroy(self) -> None:
        """Start taking the deployment away."""
        self._start("destroy", self.deployment, "--json", "--yes")

    def _admit(self, answers: Path) -> None:
        """Start a rehearsal's lab here if sudo asks for a password: a run has no terminal, and what
        sudo remembers belongs to this one. Raises BuildUsbError."""
        from wizard.answers import loader
        from wizard.engine import open as engine_open
        from wizard.events import silent
        from wizard.providers.local import asks_for_password

        home = self.open_home()
        if os.geteuid() == 0 or not asks_for_password(engine_open.lab_folder(home.path)):
            return
        if loader.load(answers).provider.name != "local":
            return
        provider = engine_open.provider("local", home)
        with self.terminal():
            provider.check()
            provider.prepare(silent)

    def _start(self, *words: str | Path) -> None:
        self.doing = str(words[0])
        deploys = self.doing == "deploy"
        self._admit(Path(words[1]) if deploys else self.folder().answers_file)
        self._words, self._started = words, self.deployment
        events = self.folder().events_file
        self.since = events.stat().st_size if events.exists() else 0
        if self.run is not None:
            self.run.let_go()
        self.run = runs.start(words, self.home_path, self._passphrase)

    def status(self) -> Status:
        """Ask machines, DNS and site how they are (slow). Raises BuildUsbError."""
        from wizard.operations.status import status

        assert self.session is not None
        return status(self.session, self.folder())

    def secret(self, name: str) -> Secret | None:
        """Return a secret of the deployment. Raises HomeError."""
        assert self.session is not None
        return self.session.secrets(self.folder()).get(name)

    def shell(self, machine: str) -> int:
        """Open a shell on a machine, on this terminal; return its exit code."""
        words = ("ssh", "--deployment", self.deployment, machine)
        with runs.memory_file(self._passphrase) as memory:
            return subprocess.run(
                runs.command(words, self.home_path, memory.fileno()),
                pass_fds=(memory.fileno(),),
                env=runs.clean_environment(),
                check=False,
            ).returncode
