"""How many webservers are wanted when: schedules, time zones, wishes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from wizard.autoscaler.schedule import DAYS, Entry, Wish, last_change, wanted

WORKDAYS = DAYS[:5]
SCHEDULE = (Entry("08:30", WORKDAYS, 5), Entry("17:30", DAYS, 3))
VIENNA = "Europe/Vienna"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "number"),
    [
        ("2026-11-23T07:29", 3),  # a Monday, 08:29 in Vienna: Sunday evening's number
        ("2026-11-23T07:30", 5),
        ("2026-11-23T16:29", 5),
        ("2026-11-23T16:30", 3),
        ("2026-11-28T12:00", 3),  # a Saturday: nothing is scheduled in the morning
        ("2026-07-06T06:29", 3),  # in summer the clock in Vienna is two hours ahead
        ("2026-07-06T06:30", 5),
    ],
)
def test_the_schedule_is_kept_in_the_time_zone_of_the_machines(now: str, number: int) -> None:
    assert wanted(2, SCHEDULE, VIENNA, Wish(), at(now)) == number


def test_without_a_schedule_the_answers_count() -> None:
    assert wanted(4, (), VIENNA, Wish(), at("2026-11-23T00:00")) == 4
    assert last_change((), VIENNA, at("2026-11-23T00:00")) is None


def test_one_day_a_week_counts_the_whole_week() -> None:
    weekly = (Entry("00:00", ("mon",), 7),)
    assert wanted(2, weekly, "Etc/UTC", Wish(), at("2026-11-22T23:59")) == 7
    assert last_change(weekly, "Etc/UTC", at("2026-11-22T23:59")) == (at("2026-11-16T00:00"), 7)


def test_a_wish_holds_until_the_schedule_changes_the_number() -> None:
    wish = Wish(1, 9, at=at("2026-11-23T10:00"))
    assert wanted(2, SCHEDULE, VIENNA, wish, at("2026-11-23T16:29")) == 9
    assert wanted(2, SCHEDULE, VIENNA, wish, at("2026-11-23T16:30")) == 3
    assert wanted(2, (), VIENNA, wish, at("2027-11-23T16:30")) == 9


@pytest.mark.parametrize(
    ("now", "number"),
    [
        ("2026-03-29T00:59", 1),  # 02:30 does not exist on this night in Vienna
        ("2026-03-29T01:30", 6),
        ("2026-10-25T00:29", 1),  # and twice on this one
        ("2026-10-25T00:30", 6),
        ("2026-10-25T01:30", 6),
    ],
)
def test_nights_when_the_clock_is_changed(now: str, number: int) -> None:
    schedule = (Entry("02:30", ("sun",), 6), Entry("12:00", DAYS, 1))
    assert wanted(2, schedule, VIENNA, Wish(), at(now)) == number
