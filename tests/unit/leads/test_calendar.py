"""Hours on the wall clock become windows in UTC, also on days on which clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.core.instants import instant
from adbot_queue.core.zones import zone
from adbot_queue.leads.calendar import WEEKDAYS, check_hours, local_date, next_date, window_of

ZONES = (
    "Europe/Berlin",
    "America/Sao_Paulo",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Africa/Casablanca",
    "America/St_Johns",
    "UTC",
)


@pytest.mark.parametrize(
    ("name", "day", "hours", "window"),
    [
        # Clocks go forward at 02:00 to 03:00.
        ("Europe/Berlin", "2026-03-29", "09:00-18:00", "2026-03-29T07:00Z/2026-03-29T16:00Z"),
        ("Europe/Berlin", "2026-03-29", "01:30-02:30", "2026-03-29T00:30Z/2026-03-29T01:00Z"),
        ("Europe/Berlin", "2026-03-29", "02:30-09:00", "2026-03-29T01:00Z/2026-03-29T07:00Z"),
        ("Europe/Berlin", "2026-03-29", "02:15-02:45", None),
        ("Europe/Berlin", "2026-03-29", "00:00-24:00", "2026-03-28T23:00Z/2026-03-29T22:00Z"),
        ("Europe/Berlin", "2026-03-28", "22:00-02:30", "2026-03-28T21:00Z/2026-03-29T01:00Z"),
        # Clocks go back at 03:00 to 02:00.
        ("Europe/Berlin", "2026-10-25", "09:00-18:00", "2026-10-25T08:00Z/2026-10-25T17:00Z"),
        ("Europe/Berlin", "2026-10-25", "02:15-02:45", "2026-10-25T00:15Z/2026-10-25T00:45Z"),
        ("Europe/Berlin", "2026-10-25", "00:00-24:00", "2026-10-24T22:00Z/2026-10-25T23:00Z"),
        # Midnight did not exist.
        ("America/Sao_Paulo", "2018-11-04", "00:00-00:30", None),
        ("America/Sao_Paulo", "2018-11-04", "00:00-24:00", "2018-11-04T03:00Z/2018-11-05T02:00Z"),
        ("America/Sao_Paulo", "2018-11-03", "22:00-01:00", "2018-11-04T01:00Z/2018-11-04T03:00Z"),
        ("America/Sao_Paulo", "2026-11-04", "09:00-18:00", "2026-11-04T12:00Z/2026-11-04T21:00Z"),
        ("Asia/Kathmandu", "2026-05-05", "09:00-18:00", "2026-05-05T03:15Z/2026-05-05T12:15Z"),
        ("Asia/Kathmandu", "2026-05-05", "22:00-02:00", "2026-05-05T16:15Z/2026-05-05T20:15Z"),
        # The day did not exist.
        ("Pacific/Apia", "2011-12-30", "09:00-18:00", None),
    ],
)
def test_hours_become_a_window(name: str, day: str, hours: str, window: str | None) -> None:
    weekday = WEEKDAYS[date.fromisoformat(day).weekday()]
    found = window_of({weekday: hours}, name, day)
    assert found == (None if window is None else tuple(map(instant, window.split("/"))))
    assert window_of({}, name, day) is None


times = st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.integers(0, 59))
days = st.dates(date(2005, 1, 1), date(2037, 12, 31))


@given(st.sampled_from(ZONES), days, times, times)
def test_a_window_lies_within_its_hours_on_the_wall_clock(name: str, day: date, start: str, end: str) -> None:
    if start == end:
        return
    found = window_of({WEEKDAYS[day.weekday()]: f"{start}-{end}"}, name, day.isoformat())
    if found is None:
        return
    first, last = (datetime.fromtimestamp(moment / 1000, UTC).astimezone(zone(name)) for moment in found)
    wanted = datetime.combine(day, datetime.strptime(start, "%H:%M").time())  # noqa: DTZ007
    wanted_end = datetime.combine(day + timedelta(days=end < start), datetime.strptime(end, "%H:%M").time())  # noqa: DTZ007
    assert wanted <= first.replace(tzinfo=None) <= wanted + timedelta(days=1)
    assert last.replace(tzinfo=None) <= wanted_end + timedelta(days=1)
    assert 0 < found.end - found.start <= 49 * 3_600_000
    exists = wanted.replace(tzinfo=zone(name)).astimezone(UTC).astimezone(zone(name)).replace(tzinfo=None) == wanted
    assert not exists or first.replace(tzinfo=None) == wanted


@given(st.sampled_from(ZONES), days, st.integers(0, 86_399), st.sets(st.sampled_from(WEEKDAYS)), st.integers(-1, 5))
def test_the_next_date_is_the_first_after_today_with_hours_that_the_pause_leaves_open(
    name: str, day: date, second: int, working: set[str], paused_days: int
) -> None:
    now = round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() + second) * 1000
    week = dict.fromkeys(working, "10:00-16:00")
    pause = now + paused_days * 86_400_000 if paused_days >= 0 else None
    today = date.fromisoformat(local_date(now, name))
    later = [(today + timedelta(days=ahead)).isoformat() for ahead in range(1, 8)]
    windows = [(text, window) for text in later if (window := window_of(week, name, text))]
    assert next_date(week, name, now, pause) == next((one for one in windows if one[1].end > (pause or 0)), None)


@pytest.mark.parametrize(
    "text", ["9:00-18:00", "09:00", "25:00-26:00", "09:00-24:30", "09:00-09:00", "09:60-10:00", ""]
)
def test_other_hours_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be hours like 09:00-18:00|must not begin and end"):
        check_hours(text)
