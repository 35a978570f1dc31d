"""How many webservers are wanted: the schedule of the answers, and a wish made since. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class Entry:
    """From `at` (`HH:MM`) on these days on, this many webservers."""

    at: str
    days: tuple[str, ...]
    webservers: int


@dataclass(frozen=True)
class Wish:
    """What a person asked for: a number of webservers (None: what the schedule says), or a pause.

    `version` counts the wishes of a deployment; `by` and `at` (UTC) tell who and when. `work` is
    what was asked to be done to one webserver after the other (see fleet.Work; empty: nothing yet),
    `works` how often work was asked for, `work_by` by whom last; `recipe` what webservers are to be
    made by then.
    """

    version: int = 0
    webservers: int | None = None
    paused: bool = False
    by: str = ""
    at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    work: str = ""
    works: int = 0
    work_by: str = ""
    recipe: str = ""


def last_change(
    schedule: tuple[Entry, ...], zone: str, now: datetime
) -> tuple[datetime, int] | None:
    """Return when the schedule last changed the number, and to what; None without a schedule.

    A time that the clock skips in spring counts from the moment after the gap; one that it passes
    twice in autumn counts once, the first time.
    """
    changes = [change for change in _changes(schedule, ZoneInfo(zone), now) if change[0] <= now]
    return max(changes, default=None)


def wanted(count: int, schedule: tuple[Entry, ...], zone: str, wish: Wish, now: datetime) -> int:
    """Return how many webservers are wanted: the wish until the schedule's next change, else what
    the schedule says, else `count`."""
    scheduled = last_change(schedule, zone, now)
    if wish.webservers is not None and (scheduled is None or wish.at >= scheduled[0]):
        return wish.webservers
    return scheduled[1] if scheduled else count


def _changes(
    schedule: tuple[Entry, ...], zone: ZoneInfo, now: datetime
) -> Iterator[tuple[datetime, int]]:
    today = now.astimezone(zone).date()
    for entry in schedule:
        hour, minute = map(int, entry.at.split(":"))
        # a week and a day back: an entry may be for one day of the week only
        for back in range(-1, 9):
            day = today - timedelta(days=back)
            if DAYS[day.weekday()] in entry.days:
                local = datetime.combine(day, time(hour, minute), zone)
                yield local.astimezone(UTC), entry.webservers
