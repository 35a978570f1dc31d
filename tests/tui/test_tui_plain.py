"""The wizard as line prompts: the same flow, the same file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tui.driving import PASSPHRASE, example, value_of
from wizard.answers import loader
from wizard.operations.session import Session
from wizard.tui import flow
from wizard.tui.plain import Prompts


class Person:
    """Answers prompts in turn; what is not said is left as it is offered."""

    def __init__(self, replies: list[tuple[str, str]]) -> None:
        self.replies = replies
        self.heard: list[str] = []

    def say(self, text: str) -> None:
        self.heard.append(text)

    def ask(self, prompt: str) -> str:
        self.heard.append(prompt)
        if self.replies and prompt.startswith(self.replies[0][0]):
            return self.replies.pop(0)[1]
        return ""


def test_typing_the_rehearsal_gives_the_identical_file(session: Session) -> None:
    wanted = example("rehearsal")
    replies = []
    for step in flow.applying(flow.Draft({"mode": "development", "provider": {"name": "local"}})):
        for ask in step.asks:
            if ask.key in ("application.title", "application.admin.email"):
                replies.append((ask.label, str(value_of(wanted, ask.key))))
    person = Person(replies)
    Prompts(session.home.path, person.say, person.ask, lambda _prompt: PASSPHRASE).run()
    assert person.replies == []
    text = (session.home.path / "answers" / "demo.yaml").read_text()
    assert text == loader.dumps(wanted)
    assert any("Price per month: 0.00 EUR" in line for line in person.heard)
    assert person.heard[-1].startswith("Nothing was made")
    assert PASSPHRASE not in "\n".join(person.heard)


def test_errors_help_and_back(session: Session) -> None:
    person = Person(
        [
            ("Name of the deployment", "UPPER"),
            ("Name of the deployment", "?"),
            ("Name of the deployment", "shop"),
            ("Mode", "<"),
            ("Name of the deployment", "shop2"),
            ("Title of the site", ""),
            ("Title of the site", "A title"),
            ("Administrator's e-mail", "jo@example.org"),
        ]
    )
    Prompts(session.home.path, person.say, person.ask, lambda _prompt: PASSPHRASE).run()
    heard = "\n".join(person.heard)
    assert "! found 'UPPER'; allowed" in heard
    assert "part of every resource's name" in heard
    assert "Name of the deployment [shop]" in heard
    assert "! needed" in heard
    assert (session.home.path / "answers" / "shop2.yaml").is_file()


def test_what_this_version_cannot_do_is_saved_but_not_deployed(session: Session) -> None:
    works = Path("config-templates/answers/cloud-production.yaml").read_text()
    path = session.home.path / "another.yaml"
    path.write_text(works.replace("debian-13", "debian-12"))
    person = Person([("Number, or the path", str(path))])
    Prompts(session.home.path, person.say, person.ask, lambda _prompt: PASSPHRASE).run()
    assert "cannot do all of it yet" in "\n".join(person.heard)
    written = session.home.path / "answers" / "shop.yaml"
    assert written.read_text() == loader.dumps(loader.load(path))


def test_a_conversation_cut_off_continues(session: Session) -> None:
    def cut(_prompt: str) -> str:
        raise EOFError

    spoken: Iterator[str] = iter(["", "shop", "1", "1"])

    def ask(prompt: str) -> str:
        return next(spoken, None) or (cut(prompt) if "Region" in prompt else "")

    with pytest.raises(EOFError):
        Prompts(session.home.path, lambda _text: None, ask, lambda _prompt: PASSPHRASE).run()
    person = Person([("Title", "A title"), ("Administrator's e-mail", "jo@example.org")])
    Prompts(session.home.path, person.say, person.ask, lambda _prompt: PASSPHRASE).run()
    assert any("unfinished" in line for line in person.heard)
    assert (session.home.path / "answers" / "shop.yaml").is_file()
