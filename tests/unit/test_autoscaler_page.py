"""The autoscalers' status page: what it shows, to whom, and what machines cannot make it show."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from wizard.agent.outbox import Note, Outbox
from wizard.autoscaler import page
from wizard.autoscaler.draft import News
from wizard.autoscaler.fleet import Fleet, Phase, Roll, Snapshot, Webserver, Work
from wizard.autoscaler.schedule import Entry, Wish
from wizard.autoscaler.serve import Server
from wizard.engine.fleets import Record
from wizard.errors import TransientError

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
FLEET = Fleet(
    webservers=(
        Webserver("web1", Phase.SERVING, published=True),
        Webserver("web4", Phase.SERVING, published=True, image="demo-golden-1"),
    ),
    snapshot=Snapshot("demo-golden-1", "recipe"),
)
RECORD = Record(FLEET, 3, "scaler2", "web1", 2).telling((News("web4 is built and serves"),))


def report(age: float = 5, **changed: Any) -> bytes:
    health = {
        "load": [0.5, 0.1, 0.1],
        "memory_available": 400,
        "memory_total": 1000,
        "disk_used": 33,
        "certificate_days": 60,
        "services": {"nginx.service": "active"},
    }
    commands = {"mount": {"ok": True}, "backup-daily": {"ok": True, "at": NOW.isoformat()}}
    at = (NOW - timedelta(seconds=age)).isoformat()
    values = {"time": at, "role": "webserver", "health": health, "commands": commands}
    return json.dumps(values | changed).encode()


def shown(**changed: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "deployment": "demo",
        "host": "www.example.org",
        "asked": "scaler1",
        "record": RECORD,
        "wish": Wish(3, 4, by="anna@desk", at=NOW),
        "schedule": (Entry("08:30", ("mon", "thu"), 5),),
        "zone": "Europe/Vienna",
        "reports": {"web1": report(), "web4": report()},
        "now": NOW,
    }
    return page.facts(**given | changed)


class Text(HTMLParser):
    """Collects what a text browser would show, and every tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_all_is_shown_to_people_and_programs() -> None:
    values = shown()
    assert values["healthy"]
    assert values["problems"] == []
    assert values["machines"][0]["memory"] == 60
    assert values["backups"][0] == {
        "machine": "web1", "period": "daily", "well": True, "at": NOW.isoformat()
    }  # fmt: skip
    assert json.loads(json.dumps(values)) == values
    text = Text(page.html(values)).text
    for words in (
        "demo: well",
        "leads scaler2",
        "wanted 2 webservers",
        "4 by anna@desk",
        "08:30 mon, thu: 5",
        "the snapshot demo-golden-1",
        "web4 serving in DNS yes",
        "0.50 60% 33% 60 days 5 s ago",
        "daily 2026-11-26 12:00:00 well",
        "web4 is built and serves",
    ):
        assert words in text, words


def test_what_is_wrong_is_at_the_top() -> None:
    fleet = Fleet(
        webservers=(
            Webserver("web1", Phase.MENDING, failures=4),
            Webserver("web4", Phase.SERVING, published=True, failures=1),
        ),
        told=frozenset({"nothing answers: nobody is replaced"}),
        roll=Roll(2, Work.REBOOT, ("web4",), stopped="web1 is lost"),
    )
    box = Outbox(waiting=(Note("", "info", "x"),), failed=2)
    failed = report(commands={"backup-daily": {"ok": False}}, health={"services": {"a": "failed"}})
    values = shown(
        record=Record(fleet, outbox=box),
        wish=Wish(2, None, True, "jo", NOW),
        reports={"db1": failed, "web1": report(400), "web4": None},
    )
    assert not values["healthy"]
    assert values["problems"] == [
        "nothing answers: nobody is replaced",
        "web1 is mending",
        "web1 does not answer",
        "web4 does not answer",
        "db1: a is failed",
        "db1: backup-daily failed",
        "web1: its last report is 400 s old",
        "web4: it reports nothing",
        "reboot: STOPPED, 1 left: web1 is lost",
        "a mail could not be sent 2 times",
    ]
    text = Text(page.html(values)).text
    for words in (
        "demo: not well",
        "paused",
        "reboot: STOPPED, 1 left: web1 is lost",
        "badly",
        "what the schedule says by jo",
        "web1 mending not in DNS no, 4 times",
    ):
        assert words in text, words


@pytest.mark.parametrize(
    "hostile",
    [
        b"<script>alert(1)</script>",
        b"[" * 100_000,
        b"[]",
        b'{"time": 7}',
        report(role="<script>alert(1)</script>", commands={"backup-<b>": {"ok": 1, "at": "<i>"}}),
        report(health={"services": {"<img src=x>": "<script>"}, "load": ["a"], "disk_used": "<b>"}),
        report(health=[], commands={"backup-daily": 7, "x": {"ok": False}}),
        report(role="x" * 5000),
    ],
)
def test_a_machine_that_was_taken_over_writes_no_part_of_the_page(hostile: bytes) -> None:
    html = page.html(shown(reports={"web1": hostile}))
    found = Text(html)
    allowed = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "a", "span",
               "table", "tr", "th", "td", "div", "ul", "li", "time", "br"}  # fmt: skip
    assert {tag for tag, _ in found.tags} <= allowed
    links = [attributes["href"] for tag, attributes in found.tags if tag == "a"]
    assert links == ["https://www.example.org/", "/status.json"]
    assert len(html) < 20_000


@pytest.fixture
def served() -> Iterator[tuple[Server, httpx.Client]]:
    server = Server(shown, 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    with httpx.Client(base_url=url, trust_env=False) as client:
        yield server, client
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_it_is_served_on_the_loopback_interface_alone(
    served: tuple[Server, httpx.Client],
) -> None:
    server, client = served
    assert server.server_address[0] == "127.0.0.1"
    answer = client.get("/")
    assert answer.status_code == 200
    assert "demo: " in Text(answer.text).text
    # nothing from elsewhere, and no program at all
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src")
    assert client.get("/status.json").json() == shown()
    assert client.get("/other").status_code == 404
    assert client.post("/").status_code == 501


def test_it_is_not_read_under_the_name_of_another_site(
    served: tuple[Server, httpx.Client],
) -> None:
    _, client = served
    for host in ("evil.test", "evil.test:8077", "127.0.0.1.evil.test", ""):
        assert client.get("/status.json", headers={"Host": host}).status_code == 421
    assert client.get("/status.json", headers={"Host": "localhost:1"}).status_code == 200


def test_a_bucket_that_does_not_answer_is_said(served: tuple[Server, httpx.Client]) -> None:
    server, client = served

    def fails() -> dict[str, Any]:
        raise TransientError("the store does not answer")

    server.source = fails
    answer = client.get("/")
    assert answer.status_code == 503
    assert "the store does not answer" in answer.text
