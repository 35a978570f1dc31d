"""What both front ends, screens and line prompts, work on: the answers, their plan, and what runs.

Every method that may take longer than a screen may wait is marked *slow*: call it in a thread.
"""

from __future__ import annotations

import copy
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wizard.home.files import make_folder
from wizard.paths import config_templates, on_stick
from wizard.stick import orders
from wizard.tui import flow
from wizard.tui.credentials import Trial
from wizard.tui.deployments import Deployments
from wizard.tui.draft import Draft

if TYPE_CHECKING:
    from wizard.answers.model import Answers
    from wizard.answers.problems import Problem
    from wizard.events import Progress
    from wizard.home.store import SecretStore
    from wizard.operations.checks import Checked
    from wizard.plan.difference import Difference
    from wizard.plan.model import Plan
    from wizard.providers.base import ProviderFacts
    from wizard.tui.fields import Field
    from wizard.tui.online import Online
    from wizard.tui.onstick import OnStick
    from wizard.tui.promoting import Promoting

DRAFT = "draft.yaml"


class Desk(Deployments):
    """One person's work with one build home: its deployments, and the answers being made."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.draft = Draft()
        self.trial = Trial()
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

    @cached_property
    def promoting(self) -> Promoting:
        """Return what is done on the way from development to production."""
        from wizard.tui.promoting import Promoting

        return Promoting(self)

    def first_step(self) -> flow.Step:
        """Return where to begin: on a stick, with what is not remembered of it."""
        if not orders.STICK.is_dir():
            return flow.STEPS[0]
        from wizard.stick import client

        if not client.present():
            return flow.STEPS[0]
        return flow.VOLUME if self.stick.remembered else flow.STICK

    # -- the draft -------------------------------------------------------------------------------

    @property
    def draft_file(self) -> Path:
        """Return where unfinished answers are kept."""
        return self.home_path / DRAFT

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
        examples = (config_templates() / "answers").glob("*.yaml")
        return [*own, *ran, *sorted(examples, key=lambda path: path.stem)]

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

    def deploy(self) -> None:
        """Start the engine for the draft's answers. Raises BuildUsbError."""
        answers, _ = self.examine()
        assert answers is not None
        path = self.save_answers(answers)
        self.deployment = answers.name
        self.start("deploy", path, "--json", "--yes")
