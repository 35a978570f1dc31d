"""The way from development to production by keyboard: asked for, led along, gone back."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from textual.pilot import Pilot

from tests.tui.driving import (
    at,
    driven,
    example,
    onward,
    press,
    screen_text,
    step,
    type_in,
    until,
    wizard,
)
from wizard.answers import loader
from wizard.answers.model import Answers
from wizard.engine import graph
from wizard.engine import state as states
from wizard.engine.graph import Step
from wizard.engine.state import State
from wizard.errors import AnswersError, LockedError, MachineError
from wizard.events import Event, EventKind, EventSink
from wizard.home.lock import locked
from wizard.operations import promote
from wizard.operations import promotion as promotions
from wizard.operations.promotion import STEPS, Promotion, keep, known, outline
from wizard.operations.session import Session
from wizard.operations.status import Status
from wizard.secrets import Secret
from wizard.tui.app import WizardApp
from wizard.tui.desk import Desk
from wizard.tui.runs import Follower
from wizard.tui.screens.base import Move
from wizard.tui.screens.promotion import entries

Words = tuple[str | Path, ...]
STATUS = Status("demo", "https://127.77.0.11/", "HTTP 200 in 4 ms", "", ())


def production(session: Session, name: str = "shop") -> Path:
    """Save answers of production that fit to the rehearsal's."""
    values = yaml.safe_load(loader.dumps(example("rehearsal-production")))
    values["name"], values["domain"]["name"] = name, f"{name}.rehearsal.test"
    folder = session.home.path / "answers"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture
def development(session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A home with a development deployment, and answers that may be its production's."""
    deployment = session.home.deployment("demo")
    deployment.create()
    loader.save(example("rehearsal"), deployment.answers_file)
    production(session)
    monkeypatch.setattr("wizard.operations.status.status", lambda *_: STATUS)
    return session


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Words]:
    """What would be started: as if it was under way, without a process."""
    found: list[Words] = []

    def start(desk: Desk, *words: str | Path) -> None:
        found.append(words)
        desk.doing = str(words[0])

    monkeypatch.setattr(Desk, "start", start)
    return found


def begun(session: Session, *done: str, begun: str = "", ends: bool = False) -> Promotion:
    """Write down a promotion that is so far."""
    made = promote.begin(session, "demo", loader.load(production(session)), ends=ends)
    came = {"copy": "/home/baselines/demo 0123456789abcdef", "test": "https://127.77.0.14/"}
    return keep(
        session.home,
        replace(made, begun=begun, done=tuple((s, came.get(s, "is well")) for s in done)),
    )


def told(events: Path) -> list[Event]:
    with closing(Follower(events)) as follower:
        return follower.read()


async def go(pilot: Pilot[None], app: WizardApp, name: str, of: str = "demo") -> None:
    app.desk.look_at(of)
    app.screen.finish(Move("go", name))  # type: ignore[attr-defined]
    await at(pilot, name)
    await until(pilot, lambda: app.focused is not None)


async def choose(pilot: Pilot[None], app: WizardApp, words: str) -> None:
    """Choose the entry of the screen's menu that begins so, by keyboard."""
    menu = app.screen.query_one("#menu")
    menu.focus()
    texts = [str(option.prompt) for option in menu.options]  # type: ignore[attr-defined]
    wanted = next(number for number, text in enumerate(texts) if text.startswith(words))
    await press(pilot, "home", *["down"] * wanted, "enter")


# -- asked for -----------------------------------------------------------------------------------


def test_saved_answers_are_promoted_to(development: Session, started: list[Words]) -> None:
    production(development, "other")

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await go(pilot, app, "dashboard")
        await choose(pilot, app, "Promote")
        await at(pilot, "Pick")
        text = screen_text(app)
        assert "beginning with those of 'demo'" in text
        assert "saved: other, at other.rehearsal.test" in text
        await press(pilot, "end", "enter")
        await at(pilot, "promote")
        assert "becomes 'shop' at shop.rehearsal.test" in screen_text(app)
        await until(pilot, lambda: app.focused is not None)
        await press(pilot, "f2")
        await at(pilot, "promotion")
        await until(pilot, lambda: "Price per month: shop 0.00 EUR" in screen_text(app))
        text = screen_text(app)
        assert "next  copy" in text
        assert "all of it can be undone" in text
        assert "end-development" not in text
        await choose(pilot, app, "Go on until the test deployment is examined")
        await at(pilot, "promoting")

    driven(wizard(development), drive)
    words = ("promote", "demo", "--yes", "--json", "--until", "check-test")
    assert started == [words]
    record = known(development.home, "demo")
    assert record is not None
    assert (record.by, record.test_domain) == ("baseline", "test.shop.rehearsal.test")


def test_taking_development_away_is_agreed_to_by_its_name(development: Session) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await go(pilot, app, "dashboard")
        await choose(pilot, app, "Promote")
        await at(pilot, "Pick")
        await press(pilot, "end", "enter")
        await at(pilot, "promote")
        await until(pilot, lambda: app.focused is not None)
        domain = app.screen.query_one("#domain")
        domain.focus()
        await type_in(pilot, domain, "www.rehearsal.test")  # type: ignore[arg-type]
        app.screen.query_one("#ends").focus()
        await press(pilot, "end", "space", "f2")
        await at(pilot, "TypeName")
        await press(pilot, *"demo", "enter")
        # a domain that is in use is refused, and nothing is written down
        await at(pilot, "Tell")
        assert "www.rehearsal.test is in use" in screen_text(app)
        assert known(development.home, "demo") is None
        await press(pilot, "escape")
        await at(pilot, "promote")
        domain.focus()
        await type_in(pilot, domain, "look.rehearsal.test")  # type: ignore[arg-type]
        await press(pilot, "f2")
        await at(pilot, "TypeName")
        await press(pilot, *"demo", "enter")
        await at(pilot, "promotion")
        assert "end-development" in screen_text(app)

    driven(wizard(development), drive)
    record = known(development.home, "demo")
    assert record is not None
    assert (record.ends, record.test_domain) == (True, "look.rehearsal.test")


def test_productions_answers_are_made_of_the_developments(development: Session) -> None:
    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await go(pilot, app, "dashboard")
        await choose(pilot, app, "Promote")
        await at(pilot, "Pick")
        await press(pilot, "enter")
        await at(pilot, "mode")
        await until(pilot, lambda: "Production's answers" in screen_text(app))
        draft = app.desk.draft
        assert (draft.get("name"), draft.get("mode")) == ("demo-live", "production")
        assert draft.get("application.kind") == "wordpress"
        # the development site keeps its name
        assert draft.get("domain.name") == "demo-live.rehearsal.test"
        while step(app) != "review":
            await onward(pilot)
        await until(pilot, lambda: not app.screen.query_one("#next").disabled)
        text = screen_text(app)
        assert "[ Promote ]" in text
        assert "F2 Promote" in text
        # closed and opened again, it is still known what the answers are for
        app.desk.resume()
        assert app.desk.draft.promotes == "demo"
        await press(pilot, "f2")
        await at(pilot, "promote")
        await until(pilot, lambda: app.focused is not None)
        await press(pilot, "escape")
        await at(pilot, "review")
        await until(pilot, lambda: not app.screen.query_one("#next").disabled)
        await press(pilot, "f2")
        await at(pilot, "promote")
        await until(pilot, lambda: app.focused is not None)
        await press(pilot, "f2")
        await at(pilot, "promotion")
        assert not app.desk.draft_file.exists()

    driven(wizard(development), drive)
    record = known(development.home, "demo")
    assert record is not None
    assert record.production == "demo-live"
    assert loader.load(development.home.path / "answers" / "demo-live.yaml").webserver.count == 2


def test_the_development_sites_own_name_is_refused_before_anything_is_made(
    development: Session,
) -> None:
    values = yaml.safe_load(production(development).read_text())
    values["domain"] = {"name": "other.rehearsal.test", "aliases": ["www.rehearsal.test"]}
    answers = loader.loads(yaml.safe_dump(values), "answers")
    with pytest.raises(AnswersError, match="cannot be promoted so") as error:
        promote.begin(development, "demo", answers)
    assert any("www.rehearsal.test leads to demo" in text for text in error.value.problems)


@pytest.mark.parametrize("kind", ["joomla", "drupal", "moodle"])
def test_what_comes_as_a_release_is_promoted_by_a_backup_that_fits(
    development: Session, kind: str
) -> None:
    def answers(name: str, number: str) -> Answers:
        values = yaml.safe_load(loader.dumps(example("rehearsal")))
        release = {"file": "/release.tar.gz", "sha256": number * 64}
        values["name"], values["domain"]["name"] = name, f"{name}.rehearsal.test"
        values["application"]["kind"] = kind
        values["application"]["source"] = {"kind": "fresh", "release": release}
        values["backups"] = {"periods": ["daily"]}
        return loader.loads(yaml.safe_dump(values), "answers")

    loader.save(answers("demo", "1"), development.home.deployment("demo").answers_file)
    said = f"demo runs the release {'1' * 16}, and its copy does not fit {'2' * 16}"
    with pytest.raises(AnswersError) as error:
        promote.begin(development, "demo", answers("shop", "2"), by="backup")
    assert [said in text for text in error.value.problems] == [True]
    made = promote.begin(development, "demo", answers("shop", "1"), by="backup")
    for copy in (promotions.test_answers(made), promotions.production_answers(made)):
        source = copy.application.source
        assert (source.kind, source.deployment) == ("backup", "demo")
        assert source.release.sha256 == "1" * 64


def test_own_code_is_promoted_with_its_repository(development: Session) -> None:
    code = {"url": "https://git.test/site.git", "revision": "main"}

    def answers(name: str) -> Answers:
        values = yaml.safe_load(loader.dumps(example("rehearsal")))
        values["name"], values["domain"]["name"] = name, f"{name}.rehearsal.test"
        values["application"]["kind"] = "php"
        values["application"]["source"] = {"kind": "repository", **code}
        values["backups"] = {"periods": ["daily"]}
        return loader.loads(yaml.safe_dump(values), "answers")

    loader.save(answers("demo"), development.home.deployment("demo").answers_file)
    made = promote.begin(development, "demo", answers("shop"), by="backup")
    source = promotions.production_answers(made).application.source
    assert (source.kind, source.code.url, source.code.revision) == ("backup", *code.values())


def test_wordpress_is_promoted_by_a_backup_though_answers_name_no_source(
    development: Session,
) -> None:
    values = yaml.safe_load(loader.dumps(example("rehearsal")))
    values["backups"] = {"periods": ["daily"]}
    answers = loader.loads(yaml.safe_dump(values), "answers")
    loader.save(answers, development.home.deployment("demo").answers_file)
    values["name"], values["domain"]["name"] = "shop", "shop.rehearsal.test"
    assert "source" not in values["application"]
    wanted = loader.loads(yaml.safe_dump(values), "answers")
    made = promote.begin(development, "demo", wanted, by="backup")
    assert "source" not in yaml.safe_load(made.answers)["application"]
    source = promotions.production_answers(made).application.source
    assert (source.kind, source.deployment) == ("backup", "demo")


# -- led along -----------------------------------------------------------------------------------


def test_what_is_offered_follows_how_far_it_is(development: Session) -> None:
    def offered(*done: str, at: str = "", tested: bool = False) -> list[str]:
        made = begun(development, *done, begun=at)
        return [key for key, _ in entries(made, under_way=False, tested=tested)]

    assert offered() == ["test", "on", "undo"]
    assert offered("copy", "test", at="check-test", tested=True) == [
        "test",
        "on",
        "past",
        "look",
        "undo",
    ]
    assert offered("copy", "test", "check-test", tested=True) == ["on", "look", "undo"]
    assert offered("copy", "test", "check-test", at="production") == ["on"]
    assert offered("copy", "test", "check-test", "production", at="check-production") == [
        "on",
        "past",
    ]
    made = begun(development)
    assert entries(made, under_way=True, tested=False)[0][0] == "follow"


def test_the_outline_fits_a_terminal(development: Session) -> None:
    made = begun(development, *list(STEPS)[:2], ends=True)
    lines = outline(made)
    assert all(len(line) <= 76 for line in lines), lines
    assert lines[0] == "done  copy             baseline 0123456789ab"
    assert lines[2].startswith("next  check-test ")
    assert len(lines) == len(STEPS)


def test_a_check_is_passed_by_decision_only_when_the_name_is_typed(
    development: Session, started: list[Words]
) -> None:
    begun(development, "copy", "test", begun="check-test")

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await go(pilot, app, "promotion")
        await choose(pilot, app, "Go on in spite")
        await at(pilot, "TypeName")
        await press(pilot, *"demo", "enter")
        assert step(app) == "TypeName"
        await press(pilot, "escape")
        await at(pilot, "promotion")
        record = known(development.home, "demo")
        assert record is not None
        assert record.ahead[0] == "check-test"
        await choose(pilot, app, "Go on in spite")
        await at(pilot, "TypeName")
        await press(pilot, *"shop", "enter")
        await at(pilot, "promoting")

    driven(wizard(development), drive)
    record = known(development.home, "demo")
    assert record is not None
    assert dict(record.done)["check-test"].startswith("passed by decision")
    assert started == [("promote", "demo", "--yes", "--json")]


def test_going_into_production_and_undoing_are_asked_for(
    development: Session, started: list[Words]
) -> None:
    begun(development, "copy", "test", "check-test")

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        await go(pilot, app, "promotion")
        await choose(pilot, app, "Go on to the end")
        await at(pilot, "Ask")
        assert "cannot be undone" in screen_text(app)
        await press(pilot, "escape")
        await at(pilot, "promotion")
        await choose(pilot, app, "Undo")
        await at(pilot, "Ask")
        await press(pilot, "right", "enter")
        await at(pilot, "promoting")

    driven(wizard(development), drive)
    assert started == [("promote", "demo", "--undo", "--json")]


def test_after_production_has_begun_there_is_no_way_back(development: Session) -> None:
    begun(development, "copy", "test", "check-test", begun="production")

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        # the welcome leads there as well
        await until(pilot, lambda: "on its way to production" in screen_text(app))
        await press(pilot, "home", "enter")
        await at(pilot, "promotion")
        text = screen_text(app)
        assert "begun production" in text
        assert "cannot be undone as a whole any more" in text
        assert "Undo" not in text
        await press(pilot, "escape")
        await at(pilot, "dashboard")
        await until(pilot, lambda: "Promotion: how far it is" in screen_text(app))
        await choose(pilot, app, "Promotion")
        await at(pilot, "promotion")

    driven(wizard(development), drive)


# -- a run of it ---------------------------------------------------------------------------------


def test_a_run_of_it_shows_the_step_and_a_check_that_found_something(
    development: Session,
) -> None:
    begun(development, "copy", "test", begun="check-test")
    folder = development.home.deployment("demo").promotion
    why = "web1: /nowhere/ answers 404\nweb1: /gone.png answers 404"
    parts = {
        "what": "shop-test is not as it should be: 2 problems",
        "why": why,
        "cure": "look at it",
    }

    def tell(*events: Event) -> None:
        (folder / "events.jsonl").write_text("".join(f"{e.to_json()}\n" for e in events))

    one = {"id": "examine", "title": "examine shop-test"}
    examining = (
        Event(EventKind.RUN_STARTED, "promote demo"),
        Event(EventKind.RUN_STARTED, "deploy shop-test"),
        Event(EventKind.RUN_DONE, "https://127.77.0.14/"),
        Event(EventKind.RUN_STARTED, "examine shop-test", data={"steps": [one]}),
        Event(EventKind.STEP_STARTED, step="examine"),
    )

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        with locked(folder / "lock", "promote demo"):
            tell(*examining)
            await go(pilot, app, "welcome")
            await until(pilot, lambda: "See how far 'promote demo' is" in screen_text(app))
            await press(pilot, "home", "enter")
            await at(pilot, "promoting")
            await until(pilot, lambda: "Step 3 of 6: examine the test" in screen_text(app))
            assert "examine shop-test: running" in screen_text(app)
            assert "[ Stop ]" in screen_text(app)
            await press(pilot, "ctrl+q")
            await at(pilot, "Ask")
            assert "still being worked on" in screen_text(app)
            await press(pilot, "escape")
            await at(pilot, "promoting")
        # its end is that of the process, whatever the runs within said
        await until(pilot, lambda: "without saying why" in screen_text(app))
        tell(*examining, Event(EventKind.RUN_FAILED, parts["what"], data=parts))
        await press(pilot, "escape")
        await go(pilot, app, "promotion")
        app.desk.look_at("demo", "promote")
        app.screen.finish(Move("go", "promoting"))  # type: ignore[attr-defined]
        await at(pilot, "promoting")
        await until(pilot, lambda: "/gone.png answers 404" in screen_text(app))
        text = screen_text(app)
        assert "[ Promotion ]" in text
        assert "[ Destroy ]" not in text
        assert "[ Shell" not in text
        app.screen.query_one("#dashboard").focus()
        await press(pilot, "enter")
        await at(pilot, "promotion")
        assert "in spite of what the check found" in screen_text(app)

    driven(wizard(development), drive)


@pytest.mark.parametrize(("ended", "where"), [("promote", "done"), ("undo", "dashboard")])
def test_the_end_leads_to_what_came_of_it(development: Session, ended: str, where: str) -> None:
    begun(development, *list(STEPS)[:5])
    folder = development.home.deployment("demo").promotion
    shop = development.home.deployment("shop")
    shop.create()
    loader.save(loader.load(production(development)), shop.answers_file)
    states.save(shop.state_file, State("shop", "b", url="https://127.77.0.20/", hosts=("a",)))

    async def drive(pilot: Pilot[None], app: WizardApp) -> None:
        app.desk.look_at("demo", "promote")
        with locked(folder / "lock", "promote demo"):
            app.screen.finish(Move("go", "promoting"))  # type: ignore[attr-defined]
            await at(pilot, "promoting")
            await until(pilot, lambda: "Step 6 of 6" in screen_text(app))
            record = known(development.home, "demo")
            assert record is not None
            promotions.forget(development.home, record)
            (folder / "events.jsonl").write_text(
                f"{Event(EventKind.RUN_STARTED, f'{ended} demo').to_json()}\n"
                f"{Event(EventKind.RUN_DONE, f'{ended} demo').to_json()}\n"
            )
        words = "shop is in production" if ended == "promote" else "Undone: demo is as it was"
        await until(pilot, lambda: words in screen_text(app))
        await press(pilot, "f2")
        await at(pilot, where)
        assert app.desk.deployment == ("shop" if ended == "promote" else "demo")

    driven(wizard(development), drive)


def test_what_is_at_work_on_it_keeps_others_off_and_tells(development: Session) -> None:
    """The real operation's frame, around a run of its own: what the wizard follows."""
    home = development.home
    begun(development)
    development.credentials.set("token", Secret("a secret that slipped"))
    events = home.deployment("demo").promotion / "events.jsonl"

    @contextmanager
    def show(_steps: Sequence[Step]) -> Iterator[EventSink]:
        yield lambda _event: None

    def run_one(shown: promote.Show) -> None:
        steps = [Step("one", "one", lambda _: "done")]
        with shown(steps) as sink:
            graph.run(steps, sink, threading.Event())

    with promote.at_work(development, "demo", show) as shown:
        with pytest.raises(LockedError), promote.at_work(development, "demo", show):
            pass
        run_one(shown)
    kinds = [event.kind for event in told(events)]
    assert kinds == ["run-started", "step-started", "step-done", "run-done"]
    with suppress(MachineError), promote.at_work(development, "demo", show, "undo"):
        raise MachineError("it said: a secret that slipped", cure="mend it")
    last = told(events)[-1]
    assert (last.kind, last.message, last.data["cure"]) == (
        EventKind.RUN_FAILED,
        "it said: ***\n  what to do: mend it",
        "mend it",
    )
