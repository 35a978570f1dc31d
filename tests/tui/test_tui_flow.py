"""The flow, the draft and the fields, without any screen."""

from __future__ import annotations

from pathlib import Path
from typing import get_origin

import pytest
from pydantic import BaseModel

from tests.tui.driving import EXAMPLES, example
from wizard.answers import keys, loader
from wizard.answers.model import Answers
from wizard.answers.sections import CredentialSource
from wizard.errors import HomeError
from wizard.operations.session import Session
from wizard.paths import config_templates
from wizard.tui import fields, flow
from wizard.tui.desk import Desk
from wizard.tui.draft import Draft
from wizard.tui.fields import Kind
from wizard.tui.picture import picture


def leaves(section: type[BaseModel], prefix: str = "") -> set[str]:
    """Return every key of the model that holds a value."""
    found: set[str] = set()
    for name, field in section.model_fields.items():
        inner = keys.models(field.annotation)
        is_list = any(get_origin(kind) is tuple for kind in keys.members(field.annotation))
        if inner and not is_list and CredentialSource not in inner:
            for model in inner:
                found |= leaves(model, f"{prefix}{name}.")
        else:
            found.add(f"{prefix}{name}")
    return found


def test_everything_the_model_knows_is_asked() -> None:
    assert {ask.key for _, ask in flow.questions()} == leaves(Answers) - {"version"}


def test_no_question_is_asked_twice() -> None:
    asked = [ask.key for _, ask in flow.questions()]
    assert len(asked) == len(set(asked))


def test_steps_that_do_not_apply_are_skipped_both_ways() -> None:
    development = Draft({"mode": "development"})
    production = Draft({"mode": "production"})
    assert flow.after("webserver", development).id == "access"
    assert flow.before("access", development).id == "webserver"
    assert flow.after("webserver", production).id == "scaling"
    assert flow.before("access", production).id == "scaling"


def test_the_ends_lead_to_themselves() -> None:
    assert flow.before("welcome", Draft()).id == "welcome"
    assert flow.after("done", Draft()).id == "done"


def test_what_does_not_apply_is_kept_but_left_out() -> None:
    draft = Draft({"provider": {"name": "local", "credentials": {"home": "token"}}})
    assert "credentials" not in flow.answers(draft)["provider"]
    draft.set("provider.name", "aws")
    assert flow.answers(draft)["provider"]["credentials"] == {"home": "token"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_file_opened_and_not_changed_is_the_same(name: str, session: Session) -> None:
    desk = Desk(session.home.path)
    desk.open_answers(config_templates() / "answers" / f"{name}.yaml")
    answers, problems = desk.examine()
    assert problems == []
    assert answers is not None
    assert loader.dumps(answers) == loader.dumps(example(name))


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_value_survives_being_written_as_text(name: str, session: Session) -> None:
    desk = Desk(session.home.path)
    desk.open_answers(config_templates() / "answers" / f"{name}.yaml")
    for _, ask in flow.questions():
        field = fields.field(ask)
        value = desk.draft.get(ask.key)
        if value is not None:
            assert fields.to_value(field, fields.to_text(field, value)) == value, ask.key
            assert fields.problems(field, value) == [], ask.key


def test_problems_lead_to_the_step_that_asks() -> None:
    draft = Draft({"mode": "development"})
    for path, wanted in (
        (("database", "port"), "database"),
        (("provider",), "provider"),
        (("domain", "aliases", 0), "domain"),
    ):
        found = flow.home_of(path, draft)
        assert found is not None
        assert found.id == wanted


# -- every field refuses what the file refuses ---------------------------------------------------

BAD = {Kind.NUMBER: "abc", Kind.CHOICE: "no such", Kind.RECORDS: "? ; ?", Kind.SOURCE: "hunter2"}


@pytest.mark.parametrize("key", [ask.key for _, ask in flow.questions()])
def test_bad_input_is_refused_with_a_reason(key: str, session: Session) -> None:
    desk = Desk(session.home.path)
    field = next(fields.field(ask) for _, ask in flow.questions() if ask.key == key)
    text = BAD.get(field.kind, "\x07" * 300)
    found = desk.take(field, text)
    assert found
    assert "allowed" in found[0]
    assert not desk.draft.has(key)
    assert desk.draft.texts[key] == text


def test_required_and_empty_is_refused_and_optional_is_not(session: Session) -> None:
    desk = Desk(session.home.path)
    for _, ask in flow.questions():
        field = fields.field(ask)
        assert bool(desk.take(field, "")) == field.required, ask.key


def test_a_secret_typed_in_a_wrong_place_is_neither_shown_nor_saved(session: Session) -> None:
    desk = Desk(session.home.path)
    field = next(fields.field(a) for _, a in flow.questions() if a.key == "provider.credentials")
    for text in ("dop_v1_hunter2", "token:dop_v1_hunter2"):
        found = desk.take(field, text)
        assert found
        assert "hunter2" not in " ".join(found)
        desk.keep("provider")
        assert "hunter2" not in desk.draft_file.read_text()


def test_what_this_version_cannot_do_is_marked_with_the_reason() -> None:
    provider = next(fields.field(a) for _, a in flow.questions() if a.key == "provider.name")
    marked = {option.value: option.not_yet for option in provider.options}
    assert marked["local"] == ""
    assert "local" in marked["hetzner"]
    assert fields.not_yet("object_storage.endpoint", "https://objects.example.net")
    assert not fields.not_yet("gateway.enabled", True)
    assert not fields.not_yet("backups.periods", ["daily"])
    assert not fields.not_yet("backups.periods", None)
    assert not fields.not_yet("scaling.minimum", 2)


# -- the draft -----------------------------------------------------------------------------------


def test_a_draft_is_kept_whole_and_private(tmp_path: Path) -> None:
    draft = Draft({"name": "demo", "domain": {"aliases": ["a.b"]}}, step="domain")
    path = tmp_path / "draft.yaml"
    draft.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Draft.load(path) == draft
    Draft.discard(path)
    Draft.discard(path)
    assert Draft.load(path) is None


@pytest.mark.parametrize("text", ["answers: [", "- a", "step: domain\nanswers: 3\n", "\0"])
def test_a_damaged_draft_is_explained(text: str, tmp_path: Path) -> None:
    path = tmp_path / "draft.yaml"
    path.write_text(text)
    with pytest.raises(HomeError, match="damaged"):
        Draft.load(path)


def test_setting_nothing_takes_empty_sections_away() -> None:
    draft = Draft()
    draft.set("machines.sizes.webserver", "small")
    assert draft.values == {"machines": {"sizes": {"webserver": "small"}}}
    draft.set("machines.sizes.webserver", None)
    assert draft.values == {}
    assert draft.get("a.b.c", 1) == 1


def test_a_value_that_is_the_default_is_not_written_down(session: Session) -> None:
    desk = Desk(session.home.path)
    port = next(fields.field(a) for _, a in flow.questions() if a.key == "ssh.port")
    desk.take(port, "2222")
    assert desk.draft.get("ssh.port") == 2222
    desk.take(port, "1035")
    assert not desk.draft.has("ssh.port")


def test_sections_are_compared_on_the_step_that_asks(session: Session) -> None:
    desk = Desk(session.home.path)
    desk.draft = Draft(
        {
            "provider": {"name": "local"},
            "dns": {"provider": "rfc2136", "zone": "example.org"},
            "domain": {"name": "www.example.net"},
        }
    )
    assert "outside the zone" in desk.unfit(flow.step("domain"))["domain.name"]
    desk.draft.set("domain.name", "www.example.org")
    assert desk.unfit(flow.step("domain")) == {}


def test_the_picture_grows_with_the_choices() -> None:
    small = picture(production=False)
    large = picture(production=True, webservers=5, autoscalers=2, managed_database=True)
    assert "web1" in small
    assert "db1" in small
    assert "scal" not in small
    for word in ("web5", "2 scalers", "managed db"):
        assert word in large
    assert max(map(len, large.splitlines())) <= 72
