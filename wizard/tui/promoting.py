"""A development deployment's way to production, as the wizard's screens lead along it.

Every method is about the deployment that is looked at; those that may take longer than a screen may
wait are marked *slow*.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wizard.errors import BuildUsbError
from wizard.tui import runs
from wizard.tui.draft import Draft

if TYPE_CHECKING:
    from wizard.answers.model import Answers
    from wizard.operations.promotion import By, Promotion
    from wizard.tui.desk import Desk

EXAMINED = "check-test"
"""The step after which the test deployment can be looked at in peace."""
_NAME_LIMIT = 19  # `NAME-test` is a name as well


class Promoting:
    """One person's work with promotions; `production` is the chosen answers file."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.production: Path | None = None

    # -- how far it is ---------------------------------------------------------------------------

    def known(self) -> Promotion | None:
        """Return the promotion that has begun, if there is one. HomeError."""
        from wizard.operations.promotion import known

        return known(self._desk.open_home(), self._desk.deployment)

    def under_way(self) -> bool:
        """Say whether somebody works on it now."""
        return runs.holder(self._desk.folder().promotion) is not None

    # -- production's answers --------------------------------------------------------------------

    def fitting(self) -> list[tuple[Path, Answers]]:
        """Return saved answers that may be production's: same application, another name and site,
        nothing deployed by them (slow). Raises BuildUsbError."""
        from wizard.answers import loader

        desk = self._desk
        before = loader.load(desk.folder().answers_file)
        taken = desk.open_home().deployments()
        found = []
        for path in sorted(desk.home_path.glob("answers/*.yaml")):
            try:
                answers = loader.load(path)
            except BuildUsbError:
                continue  # it is told when the file is opened
            if (
                answers.mode == "production"
                and answers.name not in taken
                and answers.application.kind == before.application.kind
                and answers.domain.name != before.domain.name
            ):
                found.append((path, answers))
        return found

    def draft_answers(self) -> None:
        """Make the draft of production's answers: the development's, with what must differ left
        out (slow). Raises BuildUsbError."""
        desk, development = self._desk, self._desk.deployment
        desk.open_answers(desk.folder().answers_file)
        draft = desk.draft
        taken = desk.open_home().deployments()
        names = (f"{_stem(development)}{n if n > 1 else ''}" for n in range(1, 99))
        draft.set("name", next(name for name in names if name not in taken))
        draft.set("mode", "production")
        # the development site keeps its names; where content comes from is said by the promotion
        zone, site = draft.get("dns.zone"), draft.get("domain.name")
        wanted = f"www.{zone}"
        draft.set("domain.aliases", None)
        draft.set("domain.name", wanted if wanted != site else f"{draft.get('name')}.{zone}")
        if draft.get("application.source.kind") in ("baseline", "backup"):
            draft.set("application.source", None)
        draft.set("provider.reserved_address", None)
        draft.promotes = development

    def draft_leads_here(self) -> bool:
        """Say whether the draft is of production's answers for a deployment that is there."""
        promotes = self._desk.draft.promotes
        return bool(promotes) and promotes in self._desk.open_home().deployments()

    def take_draft(self, answers: Answers) -> None:
        """Let the draft be production's answers. AnswersError when it cannot be saved."""
        self.production = self._desk.save_answers(answers)
        self._desk.deployment = self._desk.draft.promotes

    # -- what is done ----------------------------------------------------------------------------

    def chosen(self) -> tuple[Answers, Answers]:
        """Return the development's and production's answers. Raises BuildUsbError."""
        from wizard.answers import loader

        assert self.production is not None
        return loader.load(self._desk.folder().answers_file), loader.load(self.production)

    def begin(self, *, test_domain: str, by: By, ends: bool) -> None:
        """Write the promotion down; nothing is made yet (slow). Raises BuildUsbError."""
        from wizard.operations import promote

        desk = self._desk
        assert desk.session is not None
        promote.begin(
            desk.session,
            desk.deployment,
            self.chosen()[1],
            test_domain=test_domain,
            by=by,
            ends=ends,
        )
        if desk.draft.promotes == desk.deployment:
            Draft.discard(desk.draft_file)
            desk.draft = Draft()

    def costs(self) -> str:
        """Return in words what will be rented (slow). Raises BuildUsbError."""
        from wizard.operations import promote

        known, session = self.known(), self._desk.session
        assert known is not None
        assert session is not None
        return promote.costs(session, known)

    def go_on(self, until: str = "") -> None:
        """Start going on, to the end or until a step is done. Raises BuildUsbError."""
        words = ("--until", until) if until else ()
        self._desk.start("promote", self._desk.deployment, "--yes", "--json", *words)

    def repeat(self) -> None:
        """Go on after a failure: as far as it was to go, or where that is not known no further than
        it can be undone. Raises BuildUsbError."""
        known = self.known()
        if self._desk.was_started("promote"):
            self._desk.start_again()
        else:
            self.go_on(EXAMINED if known and EXAMINED in known.ahead else "")

    def pass_check(self) -> None:
        """Write down that a person decided to go on in spite of a check. Raises BuildUsbError."""
        from wizard.operations.promote import pass_check

        known = self.known()
        assert known is not None
        pass_check(self._desk.open_home(), known)

    def undo(self) -> None:
        """Start taking the test deployment away. Raises BuildUsbError."""
        self._desk.start("promote", self._desk.deployment, "--undo", "--json")


def _stem(development: str) -> str:
    """Return a name for production: `shop-dev` becomes `shop`, `demo` becomes `demo-live`."""
    for ending in ("-dev", "-development", "-test"):
        if development.endswith(ending):
            return development.removesuffix(ending)
    return f"{development[: _NAME_LIMIT - 5]}-live"
