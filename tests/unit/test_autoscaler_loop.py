"""An autoscaler's rounds: what is written first, and what is not begun by who does not lead."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from wizard.agent.outbox import Batch
from wizard.autoscaler import loop
from wizard.autoscaler.fleet import Fleet, Phase, Webserver
from wizard.autoscaler.loop import Loop
from wizard.engine import fleets
from wizard.engine.context import Context
from wizard.engine.fleets import Record
from wizard.errors import TransientError
from wizard.secrets import Secret
from wizard.storage.base import StoredObject

TWO = Fleet(
    webservers=(
        Webserver("web1", Phase.SERVING, published=True),
        Webserver("web2", Phase.SERVING, published=True),
    ),
    next=3,
)


class Bucket:
    """Objects in memory with conditional writes; `cut` stands for a store out of reach."""

    name = "bucket"

    def __init__(self) -> None:
        self.objects: dict[str, StoredObject] = {}
        self.writes = 0
        self.cut = False

    def get(self, key: str) -> StoredObject | None:
        self._answer()
        return self.objects.get(key)

    def put(
        self, key: str, data: bytes, *, if_etag: str | None = None, if_absent: bool = False
    ) -> str | None:
        self._answer()
        known = self.objects.get(key)
        if (if_absent and known) or (if_etag and (known is None or known.etag != if_etag)):
            return None
        self.writes += 1
        self.objects[key] = StoredObject(data, str(self.writes))
        return str(self.writes)

    def _answer(self) -> None:
        if self.cut:
            raise TransientError("the store does not answer")


class Crew:
    """Notes what it is told to do."""

    def __init__(self, _context: Context, _leads: object) -> None:
        self.built: set[str] = set()
        self.failed: set[str] = set()
        self.worked: dict[str, str] = {}
        self.made = None
        self.kept = ""
        self.told: list[Fleet] = []
        self.stopped = False
        self.posted: list[Batch] = []
        self.ended: tuple[str, bool] | None = None

    def carry_out(self, fleet: Fleet, *_: object) -> None:
        self.told.append(fleet)

    def stop(self) -> None:
        self.stopped = True

    def post(self, batch: Batch) -> None:
        self.posted.append(batch)

    def mailed(self) -> tuple[str, bool] | None:
        found, self.ended = self.ended, None
        return found


class Observer:
    """Everybody answers."""

    def __init__(self, _context: Context) -> None:
        self.dead: set[str] = set()

    def checks(self, names: Any) -> dict[str, bool]:
        return {name: name not in self.dead for name in names}

    def busy(self, _names: Any) -> frozenset[str]:
        return frozenset()


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def context(bucket: Bucket, notifications: Any = None) -> Context:
    health = SimpleNamespace(interval=5, failures=2, timeout=4, path="/")
    scaling = SimpleNamespace(minimum=1, maximum=5, schedule=(), health=health)
    answers = SimpleNamespace(
        scaling=scaling,
        webserver=SimpleNamespace(count=2),
        machines=SimpleNamespace(timezone="Etc/UTC"),
        dns=SimpleNamespace(ttl=30, proxied=False),
        name="demo",
        notifications=notifications or SimpleNamespace(smtp=None, email=None),
    )
    secrets = SimpleNamespace(get_or_create=lambda _name, _factory: Secret("one seed for all"))
    found: Any = SimpleNamespace(bucket=bucket, secrets=secrets, answers=answers, recipe="")
    return cast(Context, found)


@pytest.fixture
def make(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(loop, "Crew", Crew)
    monkeypatch.setattr(loop, "Observer", Observer)
    monkeypatch.setattr(fleets, "adapt", lambda *_: None)
    present = {"web1": object(), "web2": object()}
    monkeypatch.setattr(fleets, "listing", lambda _context: present)

    def made(name: str, notifications: Any = None) -> Loop:
        return Loop(context(bucket, notifications), name)

    fleets.save(context(bucket), Record(TWO, keeper="web1"), None)
    return made


def record(bucket: Bucket) -> Record:
    found = fleets.load(context(bucket))
    assert found is not None
    return found[0]


def test_what_is_decided_is_written_before_it_is_done(make: Any, bucket: Bucket) -> None:
    leader = make("scaler1")
    leader._lease.try_hold()
    leader._round()
    written = record(bucket)
    assert (written.leader, written.lease, written.wanted) == ("scaler1", 1, 2)
    assert leader._crew.told == [written.fleet]
    fleets.make_wish(context(bucket), "anna", webservers=4)
    leader._round()
    assert [w.name for w in record(bucket).fleet.of(Phase.BUILDING)] == ["web3", "web4"]
    assert leader._crew.told[-1] == record(bucket).fleet


def test_who_does_not_lead_does_nothing(make: Any, bucket: Bucket) -> None:
    leader, other = make("scaler1"), make("scaler2")
    leader._lease.try_hold()
    other._lease.try_hold()
    other._round()
    assert other._crew is None
    assert record(bucket).leader == ""


def test_a_leader_cut_off_writes_and_begins_nothing(make: Any, bucket: Bucket) -> None:
    leader = make("scaler1")
    leader._lease.try_hold()
    leader._round()
    crew = leader._crew
    bucket.cut = True
    with pytest.raises(TransientError):
        leader._round()
    assert len(crew.told) == 1
    # its lease ends: what is under way is stopped
    leader._lease._held_until = float("-inf")
    leader._round()
    assert crew.stopped
    assert leader._crew is None


def test_a_leader_of_yesterday_that_wakes_up_changes_nothing(
    make: Any, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = make("scaler1"), make("scaler2")
    old._lease.try_hold()
    old._round()
    # asleep between looking and writing, while another one took over and decided
    new._lease._known = None
    new._lease.try_hold()
    new._lease._known = new._lease._known.__class__("scaler1", 1, new._lease._known.etag, -1e9)
    assert new._lease.try_hold()
    look = old._look

    def asleep(*given: Any) -> Any:
        seen = look(*given)
        new._round()
        return seen

    monkeypatch.setattr(old, "_look", asleep)
    old._round()
    assert record(bucket).leader == "scaler2"
    assert record(bucket).lease == 2
    assert len(old._crew.told) == 1
    # and it sees at its next look who leads
    monkeypatch.setattr(old, "_look", look)
    old._round()
    assert len(old._crew.told) == 1


def test_a_provider_that_does_not_answer_removes_nobody(
    make: Any, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = make("scaler1")
    leader._lease.try_hold()

    def silent(_context: Context) -> Any:
        raise TransientError("no answer")

    monkeypatch.setattr(fleets, "listing", silent)
    for _ in range(5):
        leader._round()
    assert [w.phase for w in record(bucket).fleet.webservers] == [Phase.SERVING] * 2


@pytest.mark.parametrize("busy", [True, False])
def test_nobody_is_let_go_without_having_been_asked_for_open_connections(
    make: Any, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    """The records' time is over in the very round that looks: 34 s, then 39 s of 35 s."""
    leaving = Webserver("web3", Phase.DRAINING, since=0.0)
    began = 1000.0
    fleet = Fleet((*TWO.webservers, leaving), clock=34.0, last=began, next=4)
    leader = make("scaler1")
    found = fleets.load(context(bucket))
    assert found is not None
    fleets.save(context(bucket), Record(fleet, keeper="web1"), found[1])
    present = {name: object() for name in ("web1", "web2", "web3")}
    monkeypatch.setattr(fleets, "listing", lambda _context: present)
    monkeypatch.setattr(loop.time, "time", lambda: began + 5)
    monkeypatch.setattr(
        leader._observer, "busy", lambda names: frozenset(names) if busy else frozenset()
    )
    leader._lease.try_hold()
    leader._round()
    phase = next(w.phase for w in record(bucket).fleet.webservers if w.name == "web3")
    assert phase is (Phase.DRAINING if busy else Phase.REMOVING)


# -- mail ------------------------------------------------------------------------------------------


def told_about(level: str) -> Any:
    smtp = SimpleNamespace(
        host="mail.test", port=587, security="starttls", user="jo", sender="us@example.net"
    )
    return SimpleNamespace(email="jo@example.org", smtp=smtp, level=level)


def rounds(leader: Loop, count: int, clock: list[float]) -> None:
    for _ in range(count):
        clock[0] += 10
        leader._lease.try_hold()
        leader._round()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1e9]
    monkeypatch.setattr(loop.time, "time", lambda: now[0])
    return now


def test_the_mail_of_a_lost_webserver_is_written_down_before_it_is_sent(
    make: Any, bucket: Bucket, clock: list[float]
) -> None:
    leader = make("scaler1", told_about("error"))
    rounds(leader, 1, clock)
    crew = leader._crew
    leader._observer.dead = {"web2"}
    rounds(leader, 3, clock)
    assert crew.posted == [], "what belongs together is waited for"
    rounds(leader, 1, clock)
    (batch,) = crew.posted
    assert [note.text for note in batch.notes] == [
        "web2 does not answer: taken out of DNS, being mended",
        "web2 cannot be mended: it is replaced",
    ]
    assert record(bucket).outbox.batch == batch
    # the mail server is down: the same again, later
    crew.ended = (batch.id, False)
    rounds(leader, 1, clock)
    assert len(crew.posted) == 1
    rounds(leader, 6, clock)
    assert set(crew.posted) == {batch}
    crew.ended = (batch.id, True)
    count = len(crew.posted)
    rounds(leader, 1, clock)
    assert len(crew.posted) == count
    assert record(bucket).outbox.batch is None


def test_the_next_leader_sends_the_same_mail_once_more_and_an_old_one_none(
    make: Any, bucket: Bucket, clock: list[float]
) -> None:
    old, new = make("scaler1", told_about("info")), make("scaler2", told_about("info"))
    rounds(old, 3, clock)
    (batch, *again) = old._crew.posted
    assert again in ([], [batch])
    assert [note.text for note in batch.notes] == ["scaler1 leads"]
    count, crew = len(old._crew.posted), old._crew
    old._lease.give_up()
    rounds(new, 1, clock)
    assert new._crew.posted == [batch], "nobody knows whether it was sent: it has the same id"
    new._crew.ended = (batch.id, True)
    rounds(new, 1, clock)
    clock[0] += 10
    old._lease.try_hold()
    old._round()
    assert len(crew.posted) == count


def test_nobody_is_told_what_is_not_asked_for(
    make: Any, bucket: Bucket, clock: list[float]
) -> None:
    leader = make("scaler1", told_about("mandatory"))
    rounds(leader, 1, clock)
    leader._observer.dead = {"web1", "web2"}
    rounds(leader, 5, clock)
    batch = leader._crew.posted[0]
    assert len(batch.notes) == 1
    assert "nothing answers" in batch.notes[0].text
    leader._crew.ended = (batch.id, True)
    count = len(leader._crew.posted)
    leader._observer.dead = {"web2"}
    rounds(leader, 60, clock)
    assert "web2 cannot be mended: it is replaced" in str(record(bucket).events)
    assert len(leader._crew.posted) == count
