"""Dates and windows of a user, in the user's zone. Pure.

A window is written as two times of the wall clock. When clocks change, a time that comes twice is its first one, and a
time that does not exist is the moment of the change: a window that lies in the gap is empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from adbot_queue.core.instants import day_start
from adbot_queue.core.zones import zone

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_DAYS_AHEAD = 7

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]|24):([0-5]\d)", re.ASCII)
_MINUTE = timedelta(minutes=1)


class Window(NamedTuple):
    """From and to, in ms; `end` is excluded."""

    start: int
    end: int


def check_hours(text: str) -> str:
    """Return hours like `09:00-18:00` or `22:00-02:00`, which end on the next day.

    Raises:
        ValueError: not such a text, or an empty window.
    """
    found = _HOURS.fullmatch(text)
    if not found or (found[3] == "24" and found[4] != "00"):
        raise ValueError("must be hours like 09:00-18:00")
    if (found[1], found[2]) == (found[3], found[4]):
        raise ValueError("must not begin and end at the same time")
    return text


def check_date(text: str) -> str:
    """Return a date like 2026-12-31.

    Raises:
        ValueError: not a date, or it does not exist.
    """
    day_start(text)
    return text


def local_date(now: int, name: str) -> str:
    """Return the date in a zone."""
    return datetime.fromtimestamp(now / 1000, zone(name)).date().isoformat()


def window_of(week: Mapping[str, str | None], name: str, day: str) -> Window | None:
    """Return the window that begins on a date; None on a day without one.

    Args:
        week: hours by weekday (`mon` to `sun`).
        name: of the zone.
        day: the date.
    """
    on = date.fromisoformat(day)
    hours = week.get(WEEKDAYS[on.weekday()])
    if not hours:
        return None
    start, end = (timedelta(hours=int(text[:2]), minutes=int(text[3:])) for text in hours.split("-"))
    midnight = datetime(on.year, on.month, on.day)  # noqa: DTZ001  wall-clock time; the zone follows
    window = Window(_instant(midnight + start, name), _instant(midnight + end + timedelta(days=end <= start), name))
    return window if window.end > window.start else None


def next_date(
    week: Mapping[str, str | None], name: str, now: int, pause_until: int | None
) -> tuple[str, Window] | None:
    """Return the next date after today with a window that the pause leaves open; None if the week has none."""
    today = date.fromisoformat(local_date(now, name))
    for ahead in range(1, MAX_DAYS_AHEAD + 1):
        day = (today + timedelta(days=ahead)).isoformat()
        window = window_of(week, name, day)
        if window and window.end > (pause_until or 0):
            return day, window
    return None


def _instant(wall: datetime, name: str) -> int:
    """Return when a wall clock shows a time, for the first time; the end of the gap if it never does."""
    where = zone(name)
    while (moment := wall.replace(tzinfo=where).astimezone(UTC)).astimezone(where).replace(tzinfo=None) != wall:
        wall += _MINUTE
    return round(moment.timestamp() * 1000)
