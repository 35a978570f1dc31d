"""Who leads: takeovers, lost answers, clocks that differ, a leader that sleeps."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wizard.autoscaler.lease import KEY, Lease
from wizard.autoscaler.signed import sealed
from wizard.errors import TransientError
from wizard.secrets import Secret

SEED = Secret("a seed of forty letters")


@dataclass(frozen=True)
class Kept:
    data: bytes
    etag: str


class Shelf:
    """A bucket in memory with conditional writes as S3 has them, and faults."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}
        self.version = 0
        self.down = False
        self.lose_answers = False

    def get(self, key: str) -> Kept | None:
        self._fail_if(self.down)
        return self.kept.get(key)

    def put(
        self, key: str, data: bytes, *, if_etag: str | None = None, if_absent: bool = False
    ) -> str | None:
        self._fail_if(self.down)
        known = self.kept.get(key)
        if (if_absent and known) or (if_etag and (known is None or known.etag != if_etag)):
            return None
        self.version += 1
        self.kept[key] = Kept(data, f'"{self.version}"')
        self._fail_if(self.lose_answers)
        return self.kept[key].etag

    def _fail_if(self, failing: bool) -> None:
        if failing:
            raise TransientError("the store does not answer")


class Clock:
    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_the_first_leads_and_renews(shelf: Shelf) -> None:
    clock = Clock()
    one = Lease(shelf, "scaler1", SEED, clock=clock)
    assert not one.is_held()
    assert one.try_hold()
    for _ in range(20):
        clock.now += 15
        assert one.is_held()
        assert one.try_hold()
    assert (one.holder, one.number) == ("scaler1", 1)


def test_another_waits_for_a_whole_term_of_its_own_clock(shelf: Shelf) -> None:
    mine, theirs = Clock(), Clock(5_000_000.0)
    one, two = (
        Lease(shelf, "scaler1", SEED, clock=mine),
        Lease(shelf, "scaler2", SEED, clock=theirs),
    )
    assert one.try_hold()
    assert not two.try_hold()
    theirs.now += 29
    assert not two.try_hold()
    assert two.holder == "scaler1"
    theirs.now += 1
    assert two.try_hold()
    assert two.number == 2
    mine.now += 20
    assert not one.is_held(), "it stopped by itself, ten seconds before anybody could take over"
    assert not one.try_hold()
    assert (one.holder, one.number) == ("scaler2", 2)


def test_a_lease_given_up_is_taken_at_once(shelf: Shelf) -> None:
    one, two = (
        Lease(shelf, "scaler1", SEED, clock=Clock()),
        Lease(shelf, "scaler2", SEED, clock=Clock()),
    )
    assert one.try_hold()
    one.give_up()
    assert not one.is_held()
    assert two.try_hold()
    assert two.number == 2


def test_a_store_that_is_away_costs_the_lease_in_time(shelf: Shelf) -> None:
    clock = Clock()
    one = Lease(shelf, "scaler1", SEED, clock=clock)
    assert one.try_hold()
    shelf.down = True
    clock.now += 19
    with pytest.raises(TransientError):
        one.try_hold()
    assert one.is_held()
    clock.now += 1
    assert not one.is_held()


def test_an_answer_that_is_lost_gives_nobody_two_leases(shelf: Shelf) -> None:
    clock = Clock()
    one = Lease(shelf, "scaler1", SEED, clock=clock)
    shelf.lose_answers = True
    with pytest.raises(TransientError):
        one.try_hold()
    assert not one.is_held()
    shelf.lose_answers = False
    clock.now += 30
    assert not one.try_hold(), "who wrote that? it waits for a term like everybody"
    clock.now += 30
    assert one.try_hold()
    assert one.number == 2


FORGED = sealed(Secret("another seed"), KEY, {"holder": "scaler9", "number": 10**9, "renewed": 1})
DAMAGED = [b"", b"{", b"[]", b"null", b'{"holder": "x"}', b"\xff" * 9, b"[" * 99_999, FORGED]


@pytest.mark.parametrize("data", [*DAMAGED, None])
def test_a_lease_that_is_damaged_forged_or_gone_gives_nobody_the_lead(
    shelf: Shelf, data: bytes | None
) -> None:
    mine, theirs = Clock(), Clock()
    one = Lease(shelf, "scaler1", SEED, clock=mine)
    two = Lease(shelf, "scaler2", SEED, clock=theirs)
    assert one.try_hold()
    assert not two.try_hold()

    def spoil() -> None:
        if data is None:
            del shelf.kept[KEY]
        else:
            shelf.put(KEY, data)

    spoil()
    theirs.now += 29
    assert not two.try_hold(), "the other one may still count on it"
    assert one.try_hold(), "it is written again"
    assert (one.holder, one.number) == ("scaler1", 2)
    assert not two.try_hold()
    # the holder dies; nonsense again and again does not put the takeover off
    for _ in range(3):
        spoil()
        assert not two.try_hold()
        theirs.now += 10
        if data is None:
            break
    theirs.now += 20
    assert two.try_hold()
    assert (two.holder, two.number) == ("scaler2", 3)
    mine.now += 30
    assert not one.try_hold()


def test_a_number_that_was_forgotten_is_made_good(shelf: Shelf) -> None:
    one = Lease(shelf, "scaler1", SEED, clock=Clock())
    assert one.try_hold()
    one.exceed(41)
    assert one.number == 1
    assert one.try_hold()
    assert one.number == 42
    # whoever has lost the lease gains nothing by it
    shelf.put(KEY, sealed(SEED, KEY, {"holder": "scaler2", "number": 43, "renewed": 2}))
    one.exceed(99)
    assert not one.try_hold()
    assert one.number == 43


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 2**32), count=st.integers(2, 5))
def test_never_two_at_a_time_and_numbers_only_grow(seed: int, count: int) -> None:
    """Autoscalers whose clocks differ and drift, that pause at any moment, a store that fails."""
    dice = random.Random(seed)
    shelf = Shelf()
    rates = [dice.uniform(0.9, 1.1) for _ in range(count)]
    clocks = [Clock(dice.uniform(0, 1e9)) for _ in range(count)]
    leases = [Lease(shelf, f"scaler{n}", SEED, clock=clocks[n]) for n in range(count)]
    asleep_until = [0.0] * count
    highest = led = 0
    for second in range(2000):
        for rate, clock in zip(rates, clocks, strict=True):
            clock.now += rate
        if dice.random() < 0.01:
            shelf.down = not shelf.down
        shelf.lose_answers = dice.random() < 0.05
        for number, lease in enumerate(leases):
            if dice.random() < 0.005:
                asleep_until[number] = second + dice.uniform(0, 120)
            if second >= asleep_until[number] and second % 5 == number % 5:
                try:
                    lease.try_hold()
                except TransientError:
                    continue
        held = [lease for lease in leases if lease.is_held()]
        assert len(held) <= 1
        if held:
            led += 1
            assert held[0].number >= highest
            highest = held[0].number
    assert led > 0
