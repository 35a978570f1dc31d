"""What autoscalers and the build machine write into the bucket for each other."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from wizard.autoscaler.draft import News
from wizard.autoscaler.fleet import Fleet, Phase, Roll, Snapshot, Webserver, Work
from wizard.engine import fleets, machine, station
from wizard.engine.context import Context
from wizard.engine.fleets import Record
from wizard.errors import ProviderError, TransientError, UsageError
from wizard.home import keys
from wizard.providers.base import FileSystem
from wizard.secrets import Secret
from wizard.storage.base import StoredObject


class Memory:
    """A bucket, as far as these documents need one."""

    name = "bucket"

    def __init__(self) -> None:
        self.objects: dict[str, StoredObject] = {}
        self.writes = 0

    def get(self, key: str) -> StoredObject | None:
        return self.objects.get(key)

    def put(
        self, key: str, data: bytes, *, if_etag: str | None = None, if_absent: bool = False
    ) -> str | None:
        known = self.objects.get(key)
        if if_absent and known is not None:
            return None
        if if_etag is not None and (known is None or known.etag != if_etag):
            return None
        self.writes += 1
        self.objects[key] = StoredObject(data, f'"{self.writes}"')
        return self.objects[key].etag


def make(seed: str = "a seed of forty letters", bucket: Memory | None = None) -> Context:
    scaling = SimpleNamespace(minimum=2, maximum=5, schedule=())
    answers = SimpleNamespace(
        scaling=scaling,
        webserver=SimpleNamespace(count=3),
        machines=SimpleNamespace(timezone="Etc/UTC"),
    )
    secrets = SimpleNamespace(get_or_create=lambda _name, _factory: Secret(seed))
    found: Any = SimpleNamespace(bucket=bucket or Memory(), secrets=secrets, answers=answers)
    return cast(Context, found)


FLEET = Fleet(
    webservers=(
        Webserver("web1", Phase.SERVING, 3.5, published=True),
        Webserver("web7", Phase.MENDING, 9.0, failures=4, mends=(1.0, 2.0)),
    ),
    clock=12.5,
    last=99.0,
    debt=1,
    replaced=(7.0,),
    told=frozenset({"a condition"}),
    next=8,
    recipe="a recipe",
    roll=Roll(3, Work.UPGRADE, ("web7", "web1"), now="web7"),
    snapshot=Snapshot("an id", "a recipe", 4.0, making="another", tried=5.0),
)


def test_the_fleet_comes_back_as_it_was_written() -> None:
    context = make()
    record = Record(FLEET, 4, "scaler1", "web1", 3).telling(
        (News("web7 does not answer", "error"), News("web8 is built")), "error"
    )
    record = replace(record, outbox=record.outbox.begin("demo.fleet", 1e6))
    record = record.telling((News("web9 is gone", "error"),), "info")
    assert record.outbox.batch
    assert [n.text for n in record.outbox.batch.notes] == ["web7 does not answer"]
    assert [n.text for n in record.outbox.waiting] == ["web9 is gone"]
    etag = fleets.save(context, record, None)
    assert etag is not None
    assert fleets.load(context) == (record, etag)


def test_who_writes_on_an_old_version_writes_nothing() -> None:
    context = make()
    first = fleets.save(context, Record(FLEET, 1), None)
    assert fleets.save(context, Record(FLEET, 2), first) is not None
    assert fleets.save(context, Record(FLEET, 1, "an old leader"), first) is None
    found = fleets.load(context)
    assert found is not None
    assert found[0].lease == 2


def test_a_forged_or_moved_document_is_refused() -> None:
    bucket = Memory()
    fleets.save(make(bucket=bucket), Record(FLEET), None)
    with pytest.raises(ProviderError, match="damaged or forged"):
        fleets.load(make("another seed", bucket))
    # one document in place of another
    bucket.objects[fleets.WISH_KEY] = bucket.objects[fleets.FLEET_KEY]
    with pytest.raises(ProviderError, match="damaged or forged"):
        fleets.load_wish(make(bucket=bucket))
    values = json.loads(bucket.objects[fleets.FLEET_KEY].data)
    values["values"] = values["values"].replace("web7", "web8")
    bucket.put(fleets.FLEET_KEY, json.dumps(values).encode())
    with pytest.raises(ProviderError, match="damaged or forged"):
        fleets.load(make(bucket=bucket))


def test_wishes_are_counted_and_a_pause_keeps_the_number() -> None:
    context = make()
    assert fleets.wanted_now(context, fleets.load_wish(context)) == 3
    fleets.make_wish(context, "anna@desk", webservers=5)
    wished = fleets.load_wish(context)
    assert (wished.version, wished.webservers, wished.by) == (1, 5, "anna@desk")
    assert (datetime.now(UTC) - wished.at).total_seconds() < 60
    fleets.make_wish(context, "ben@desk", paused=True)
    paused = fleets.load_wish(context)
    assert (paused.version, paused.webservers, paused.paused) == (2, 5, True)
    assert paused.at == wished.at
    assert fleets.wanted_now(context, paused) == 5


def test_work_is_counted_and_leaves_the_number_and_its_author_alone() -> None:
    context = make()
    fleets.make_wish(context, "anna@desk", webservers=5)
    fleets.make_wish(context, "ben@desk", work="reboot")
    fleets.make_wish(context, "ben@desk", work="configure", recipe="new")
    wished = fleets.load_wish(context)
    assert (wished.work, wished.works, wished.work_by, wished.recipe) == (
        "configure",
        2,
        "ben@desk",
        "new",
    )
    assert (wished.webservers, wished.by) == (5, "anna@desk")


@pytest.mark.parametrize("number", [0, 1, 6])
def test_a_number_outside_the_bounds_is_refused(number: int) -> None:
    with pytest.raises(UsageError, match="not within the bounds"):
        fleets.check_number(make(), number)


def test_a_long_history_keeps_its_end() -> None:
    record = Record()
    for number in range(200):
        record = record.telling((News(f"event {number}"),))
    assert len(record.events) == 60
    assert record.events[-1][1] == "event 199"


def test_host_keys_are_the_same_for_all_who_know_the_seed() -> None:
    one, other = make(), make()
    assert fleets.host_key(one, "web3").public == fleets.host_key(other, "web3").public
    different = {
        fleets.host_key(one, "web3").public,
        fleets.host_key(one, "web4").public,
        fleets.host_key(one, "web3", "first_host_key").public,
        fleets.host_key(make("another seed"), "web3").public,
    }
    assert len(different) == 4
    assert (
        keys.public_key(fleets.host_key(one, "web3").private) == fleets.host_key(one, "web3").public
    )


def test_autoscalers_know_the_file_system_and_announce_nothing_below_its_mount() -> None:
    made = FileSystem("fs-1", "fs-1.efs.here", 2049, (("10.0.0.0/20", "10.0.0.9"),))
    told = json.loads(json.dumps(asdict(made)))
    assert station._file_system(told) == made
    assert station._file_system(None) is None

    bucket = Memory()
    state = SimpleNamespace(machines={})
    found: Any = SimpleNamespace(bucket=bucket, state=state, inside=True, file_system=made)
    # nothing is mounted on this computer
    with pytest.raises(TransientError, match="cannot be announced"):
        machine.announce(cast(Context, found), cast(Any, None))
    found.file_system = None
    machine.announce(cast(Context, found), cast(Any, None))
    assert "peers.json" in bucket.objects
