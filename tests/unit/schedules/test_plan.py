"""When schedules tick: the parser against brute force, time zones, and what becomes of missed ticks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import islice, takewhile
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.schedules.cron import BadExpression, Cron
from adbot_queue.schedules.plan import (
    LOOKAHEAD_MS,
    MAX_CAUGHT_UP,
    MAX_COUNTED,
    MINUTE_MS,
    ON_TIME_MS,
    BadZone,
    MissedPolicy,
    Recurrence,
    decide,
    zone,
)

DAY_MS = 86_400_000


def ms(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def at(millis: int) -> str:
    return datetime.fromtimestamp(millis / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M")


def recurrence(
    expression: str, timezone: str = "UTC", start: str = "", end: str = "", anchor: str = "2026-01-01"
) -> Recurrence:
    return Recurrence.parse(expression, timezone, ms(start) if start else None, ms(end) if end else None, ms(anchor))


def first(count: int, expression: str, since: str, timezone: str = "UTC", **bounds: str) -> list[str]:
    return [at(tick) for tick in islice(recurrence(expression, timezone, **bounds).after(ms(since)), count)]


@pytest.mark.parametrize(
    ("fields", "since", "expected"),
    [
        # Amazon's own examples
        ("0 10 * * ? *", "2026-03-01T12:00", ["2026-03-02T10:00", "2026-03-03T10:00"]),
        ("15 12 * * ? *", "2026-03-01T12:00", ["2026-03-01T12:15", "2026-03-02T12:15"]),
        ("0 18 ? * MON-FRI *", "2026-03-06T17:00", ["2026-03-06T18:00", "2026-03-09T18:00"]),
        ("0 8 1 * ? *", "2026-03-01T08:00", ["2026-04-01T08:00", "2026-05-01T08:00"]),
        ("0/15 * * * ? *", "2026-03-01T00:00", ["2026-03-01T00:15", "2026-03-01T00:30"]),
        ("0/5 8-17 ? * MON-FRI *", "2026-03-06T17:50", ["2026-03-06T17:55", "2026-03-09T08:00"]),
        ("15 10 ? * 6L 2022-2027", "2026-03-01T00:00", ["2026-03-27T10:15", "2026-04-24T10:15"]),
        ("1/10 0 * * ? *", "2026-03-01T00:00", ["2026-03-01T00:01", "2026-03-01T00:11"]),
        # the last day, the last Friday, the second Tuesday, the working day closest to the third
        ("0 0 L * ? *", "2028-02-01T00:00", ["2028-02-29T00:00", "2028-03-31T00:00"]),
        ("0 0 ? * L *", "2026-11-22T00:00", ["2026-11-28T00:00", "2026-12-05T00:00"]),
        ("0 0 ? * 3#2 *", "2026-11-01T00:00", ["2026-11-10T00:00", "2026-12-08T00:00"]),
        ("0 0 ? * FRI#5 *", "2026-01-31T00:00", ["2026-05-29T00:00", "2026-07-31T00:00"]),
        ("0 0 3W * ? *", "2026-10-01T00:00", ["2026-10-02T00:00", "2026-11-03T00:00"]),
        ("0 0 1W 8 ? *", "2026-01-01T00:00", ["2026-08-03T00:00", "2027-08-02T00:00"]),  # a Saturday, a Sunday
        ("0 0 31W 5 ? 2026", "2026-01-01T00:00", ["2026-05-29T00:00"]),  # a Sunday at the month's end
        ("0 0 31W * ? 2026", "2026-01-31T00:00", ["2026-03-31T00:00", "2026-05-29T00:00"]),  # no 31st, no run
        # names, lists, steps, years, and the rare ones
        ("0 0 1 jan,Jul ? *", "2026-02-01T00:00", ["2026-07-01T00:00", "2027-01-01T00:00"]),
        ("0 6-18/6 1,15 * ? *", "2026-03-01T12:00", ["2026-03-01T18:00", "2026-03-15T06:00"]),
        ("0 0 29 2 ? *", "2096-03-01T00:00", ["2104-02-29T00:00", "2108-02-29T00:00"]),
        ("0 0 ? 2 1#5 *", "2026-01-01T00:00", ["2032-02-29T00:00", "2060-02-29T00:00"]),
        ("0 0 1 1 ? 2199", "2026-01-01T00:00", ["2199-01-01T00:00"]),
        ("0 0 1 1 ? 1999", "2026-01-01T00:00", []),
        ("0 0 30 2 ? *", "2026-01-01T00:00", []),
    ],
)
def test_a_cron_expression_ticks_as_amazon_says(fields: str, since: str, expected: list[str]) -> None:
    assert first(2, f"cron({fields})", since) == expected


@pytest.mark.parametrize(
    "fields",
    [
        "* * * * *",
        "* * * * * *",
        "* * ? * ? *",
        "0 0 1 * MON *",
        "60 * * * ? *",
        "* 24 * * ? *",
        "* * 0 * ? *",
        "* * 32 * ? *",
        "* * * 13 ? *",
        "* * * FOO ? *",
        "* * ? * 8 *",
        "* * ? * 0 *",
        "* * ? * 2/2 *",
        "* * ? * 3#6 *",
        "* * ? * 3#1,6#3 *",
        "* * ? * FRI-MON *",
        "* * * * ? 1969",
        "* * * * ? 2200",
        "*/0 * * * ? *",
        "0/60 * * * ? *",
        "5-1 * * * ? *",
        "1,,2 * * * ? *",
        "-5 * * * ? *",
        "? * * * ? *",
        "* * LW * ? *",
        "* * L-3 * ? *",
        "* * W * ? *",
        "* * 1W,15W * ? *",
        "\u0661 * * * ? *",  # an Arabic digit
        "@daily",
        "",
    ],
)
def test_what_amazon_does_not_document_is_refused(fields: str) -> None:
    with pytest.raises(BadExpression):
        recurrence(f"cron({fields})")


@pytest.mark.parametrize(
    "expression",
    [
        "rate(0 minutes)",
        "rate(-1 minutes)",
        "rate(1.5 hours)",
        "rate(5 seconds)",
        "rate(5)",
        "rate(999999999 days)",
        "at(2026-13-01T00:00:00)",
        "at(2026-02-30T00:00:00)",
        "at(2026-01-01)",
        "at(2026-01-01T00:00:00Z)",
        "at(0001-01-01T00:00:00)",
        "every day",
        "cron 0 0 * * ? *",
        "cron(0 0 * * ? *))",
        "",
    ],
)
def test_nonsense_is_refused(expression: str) -> None:
    with pytest.raises(BadExpression):
        recurrence(expression)


@pytest.mark.parametrize(
    "name",
    [
        "Mars/Phobos",
        "",
        ".",
        "/",
        "Europe",
        "a\x00b",
        "\ud800",
        "right/UTC",
        "../etc/passwd",
        "localtime",
        "Europe/" + "x" * 60,
    ],
)
def test_a_time_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(BadZone):
        zone(name)


# -- brute force: every field as a set of numbers, asked minute by minute of a month


def _span(low: int, high: int) -> st.SearchStrategy[tuple[str, set[int]]]:
    """One part of a list, and the numbers that it names."""
    number = st.integers(low, high)

    def stepped(start: int, step: int) -> tuple[str, set[int]]:
        return f"{start}/{step}", {
            value for value in range(low, high + 1) if value >= start and (value - start) % step == 0
        }

    def ranged(one: int, other: int) -> tuple[str, set[int]]:
        start, end = sorted((one, other))
        return f"{start}-{end}", {value for value in range(low, high + 1) if start <= value <= end}

    return st.one_of(
        st.just(("*", set(range(low, high + 1)))),
        number.map(lambda value: (str(value), {value})),
        st.builds(ranged, number, number),
        st.builds(stepped, number, st.integers(1, high)),
    )


def _field(low: int, high: int) -> st.SearchStrategy[tuple[str, set[int]]]:
    lists = st.lists(_span(low, high), min_size=1, max_size=3)
    return lists.map(lambda parts: (",".join(text for text, _ in parts), set().union(*(found for _, found in parts))))


def _is_day(text: str, day: date) -> bool:
    """Whether a special day-of-month or day-of-week is this day, from its definition and not by calculation."""
    month = [day.replace(day=1) + timedelta(n) for n in range(31)]
    month = [one for one in month if one.month == day.month]
    weekday = day.isoweekday() % 7 + 1
    if text.endswith("W"):
        wanted = [one for one in month if one.day == int(text[:-1])]
        working = [one for one in month if one.isoweekday() <= 5]
        # A Saturday looks back first, a Sunday ahead; at the month's ends there is only one way.
        return bool(wanted) and day == min(working, key=lambda one: abs((one - wanted[0]).days))
    if "#" in text:
        same = [one for one in month if one.isoweekday() % 7 + 1 == int(text[0])]
        return day in same[int(text[2]) - 1 : int(text[2])]
    if text == "L":
        return day == month[-1]
    return weekday == int(text[0]) and day + timedelta(7) not in month


_special = st.one_of(
    st.just("L").map(lambda text: (text, "?")),
    st.integers(1, 31).map(lambda day: (f"{day}W", "?")),
    st.builds(lambda day, which: ("?", f"{day}#{which}"), st.integers(1, 7), st.integers(1, 5)),
    st.integers(1, 7).map(lambda day: ("?", f"{day}L")),
)
_weekdays = st.one_of(
    st.sets(st.integers(1, 7), min_size=1).map(lambda days: (",".join(map(str, sorted(days))), days)),
    st.builds(
        lambda one, other: (f"{min(one, other)}-{max(one, other)}", set(range(min(one, other), max(one, other) + 1))),
        st.integers(1, 7),
        st.integers(1, 7),
    ),
)


@given(
    _field(0, 59),
    _field(0, 23),
    _field(1, 12),
    st.one_of(_field(1, 31), _weekdays.map(lambda d: (d,)), _special),
    st.dates(date(1999, 1, 1), date(2050, 1, 1)),
)
def test_a_cron_expression_names_the_minutes_that_brute_force_finds(
    minutes: tuple[str, set[int]], hours: tuple[str, set[int]], months: tuple[str, set[int]], days: Any, begin: date
) -> None:
    match days:
        case ((str(text), set(weekdays)),):
            day_fields = f"? {months[0]} {text}"

            def is_day(day: date) -> bool:
                return day.isoweekday() % 7 + 1 in weekdays
        case (str(text), set(numbers)):
            day_fields = f"{text} {months[0]} ?"

            def is_day(day: date) -> bool:
                return day.day in numbers
        case (of_month, of_week):
            day_fields = f"{of_month} {months[0]} {of_week}"

            def is_day(day: date) -> bool:
                return _is_day(of_week if of_month == "?" else of_month, day)

    cron = Cron.parse(f"{minutes[0]} {hours[0]} {day_fields} *")
    end = begin + timedelta(40)
    expected = [
        datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001  wall-clock times
        for day in (begin + timedelta(n) for n in range(40))
        if day.month in months[1] and is_day(day)
        for hour in sorted(hours[1])
        for minute in sorted(minutes[1])
    ]
    limit = len(expected) + 1
    forward = [wall for wall in islice(cron.forward(begin), limit) if wall.date() < end]
    backward = [wall for wall in islice(cron.backward(end - timedelta(1)), limit) if wall.date() >= begin]
    assert forward == expected
    assert backward == expected[::-1]


@given(
    st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Pacific/Apia", "UTC"]
    ),
    st.sampled_from(
        ["0/30 * * * ? *", "5 * * * ? *", "0/20 1-3 * * ? *", "15 2 * * ? *", "0 0 * * ? *", "45 1-3 ? * * *"]
    ),
    st.datetimes(datetime(2011, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001
)
def test_in_every_zone_a_fixed_time_ticks_once_an_interval_as_often_as_it_comes_and_neither_when_it_does_not_exist(
    timezone: str, fields: str, begin: datetime
) -> None:
    tz, since = ZoneInfo(timezone), ms(begin.isoformat())
    until = since + 3 * DAY_MS
    seen: set[datetime] = set()
    expected = []
    cron = Cron.parse(fields)
    walls = set(islice(cron.forward((begin - timedelta(3)).date()), 1000))
    # Walk the real time minute by minute and look at the clock on the wall.
    for minute in range(-(-(since - 2 * DAY_MS) // MINUTE_MS), until // MINUTE_MS + 1):
        wall = datetime.fromtimestamp(minute * 60, tz=UTC).astimezone(tz).replace(tzinfo=None)
        if wall in walls and (cron.is_interval or wall not in seen):
            seen.add(wall)
            if since < minute * MINUTE_MS <= until:
                expected.append(minute * MINUTE_MS)
    made = recurrence(f"cron({fields})", timezone)
    assert [tick for tick in islice(made.after(since), 500) if tick <= until] == expected
    assert list(made.until(until, since)) == expected[::-1]


# Zone, first and last moment (UTC) that is looked at, expression -> ticks in UTC. The comments say what clocks do.
CHANGES = [
    # Berlin, 29 March 2026: 02:00 -> 03:00 at 01:00 UTC
    ("Europe/Berlin", "2026-03-29T00:20", "2026-03-29T01:40", "0/15 * * * ? *", "00:30 00:45 01:00 01:15 01:30"),
    ("Europe/Berlin", "2026-03-28T22:30", "2026-03-29T03:30", "0 * * * ? *", "23:00 00:00 01:00 02:00 03:00"),
    ("Europe/Berlin", "2026-03-28T00:00", "2026-03-31T00:00", "30 2 * * ? *", "01:30 30T00:30"),
    ("Europe/Berlin", "2026-03-29T00:00", "2026-03-29T03:00", "0/30 2 * * ? *", ""),
    # Berlin, 25 October 2026: 03:00 -> 02:00 at 01:00 UTC
    ("Europe/Berlin", "2026-10-24T23:50", "2026-10-25T02:10", "0/15 * * * ? *",
     "00:00 00:15 00:30 00:45 01:00 01:15 01:30 01:45 02:00"),
    ("Europe/Berlin", "2026-10-24T22:30", "2026-10-25T03:30", "5 * * * ? *", "23:05 00:05 01:05 02:05 03:05"),
    ("Europe/Berlin", "2026-10-24T12:00", "2026-10-27T00:00", "30 2 * * ? *", "00:30 26T01:30"),
    ("Europe/Berlin", "2026-10-24T23:00", "2026-10-25T04:00", "0,30 2 * * ? *", "00:00 00:30"),
    ("Europe/Berlin", "2026-10-24T23:00", "2026-10-25T04:00", "0/30 2 * * ? *", "00:00 00:30 01:00 01:30"),
    ("Europe/Berlin", "2026-10-24T21:30", "2026-10-25T04:30", "0 0/2 * * ? *", "22:00 00:00 03:00"),
    # New York, 8 March 2026: 02:00 -> 03:00 at 07:00 UTC; 1 November: 02:00 -> 01:00 at 06:00 UTC
    ("America/New_York", "2026-03-08T06:20", "2026-03-08T07:50", "0/20 * * * ? *", "06:40 07:00 07:20 07:40"),
    ("America/New_York", "2026-03-07T00:00", "2026-03-10T00:00", "30 2 * * ? *", "07:30 09T06:30"),
    ("America/New_York", "2026-11-01T04:50", "2026-11-01T07:10", "0/30 * * * ? *", "05:00 05:30 06:00 06:30 07:00"),
    ("America/New_York", "2026-11-01T00:00", "2026-11-02T12:00", "30 1 * * ? *", "05:30 02T06:30"),
    # Lord Howe, 5 April 2026: 02:00 -> 01:30 at 15:00 UTC of the day before; 4 October: 02:00 -> 02:30 at 15:30 UTC
    ("Australia/Lord_Howe", "2026-04-04T14:20", "2026-04-04T15:40", "0/15 * * * ? *",
     "14:30 14:45 15:00 15:15 15:30"),
    ("Australia/Lord_Howe", "2026-04-04T13:00", "2026-04-05T17:00", "45 1 * * ? *", "14:45 05T15:15"),
    ("Australia/Lord_Howe", "2026-10-03T14:50", "2026-10-03T16:10", "0/15 * * * ? *",
     "15:00 15:15 15:30 15:45 16:00"),
    ("Australia/Lord_Howe", "2026-10-02T00:00", "2026-10-05T00:00", "15 2 * * ? *", "15:45 04T15:15"),
    # Havana, 8 March 2026: 00:00 -> 01:00 at 05:00 UTC; 2 November 2025: 01:00 -> 00:00 at 05:00 UTC
    ("America/Havana", "2026-03-07T00:00", "2026-03-10T00:00", "0 0 * * ? *", "05:00 09T04:00"),
    ("America/Havana", "2026-03-08T04:20", "2026-03-08T05:40", "0/15 * * * ? *", "04:30 04:45 05:00 05:15 05:30"),
    ("America/Havana", "2025-11-01T00:00", "2025-11-03T12:00", "0 0 * * ? *", "04:00 02T04:00 03T05:00"),
    ("America/Havana", "2025-11-02T03:50", "2025-11-02T06:10", "0/30 * * * ? *", "04:00 04:30 05:00 05:30 06:00"),
    # Cairo, 24 April 2026: 00:00 -> 01:00 at 22:00 UTC of the day before; 30 October: 00:00 -> 23:00 at 21:00 UTC
    ("Africa/Cairo", "2026-04-22T00:00", "2026-04-25T00:00", "0 0 * * ? *", "22:00 24T21:00"),
    ("Africa/Cairo", "2026-04-23T20:30", "2026-04-23T23:30", "0 * * * ? *", "21:00 22:00 23:00"),
    ("Africa/Cairo", "2026-10-28T00:00", "2026-10-31T00:00", "30 23 * * ? *", "20:30 29T20:30 30T21:30"),
    ("Africa/Cairo", "2026-10-29T19:50", "2026-10-29T22:10", "0/30 * * * ? *", "20:00 20:30 21:00 21:30 22:00"),
    # Vancouver stays at -07:00 from 2026 on: 1 November has no second 01:30
    ("America/Vancouver", "2026-10-31T00:00", "2026-11-03T00:00", "30 1 * * ? *", "08:30 01T08:30 02T08:30"),
    ("America/Vancouver", "2026-11-01T07:50", "2026-11-01T10:10", "0/30 * * * ? *", "08:00 08:30 09:00 09:30 10:00"),
    ("America/Vancouver", "2026-03-07T00:00", "2026-03-10T00:00", "30 2 * * ? *", "10:30 09T09:30"),
]  # fmt: skip


@pytest.mark.parametrize(("timezone", "since", "until", "fields", "expected"), CHANGES)
def test_when_clocks_change_intervals_run_in_real_time_and_fixed_times_at_most_once_a_day(
    timezone: str, since: str, until: str, fields: str, expected: str
) -> None:
    made = recurrence(f"cron({fields})", timezone)
    ticks = list(takewhile(lambda tick: tick <= ms(until), made.after(ms(since))))
    shown = [at(tick)[8:] for tick in ticks]
    assert len(shown) == len(expected.split())
    assert all(one.endswith(other) for one, other in zip(shown, expected.split(), strict=True)), shown
    assert list(made.until(ms(until), ms(since))) == ticks[::-1]


@pytest.mark.parametrize(
    ("fields", "interval"),
    [
        ("* * * * ? *", True),
        ("*/5 * * * ? *", True),
        ("0/15 9-17 ? * MON-FRI *", True),
        ("0 * * * ? *", True),
        ("0,30 * * * ? *", True),
        ("0 0-23 * * ? *", True),
        ("0 0/1 * * ? *", True),
        ("0 0/2 * * ? *", False),
        ("0,30 2 * * ? *", False),
        ("0 9 * * ? *", False),
    ],
)
def test_minutes_with_a_step_or_every_hour_make_an_interval(fields: str, interval: bool) -> None:
    assert Cron.parse(fields).is_interval is interval


def test_a_day_at_a_rate_is_24_hours_whatever_the_clocks_do() -> None:
    ticks = first(3, "rate(1 day)", "2026-03-27T00:00", "Europe/Berlin", anchor="2026-03-27T11:00")
    assert ticks == ["2026-03-28T11:00", "2026-03-29T11:00", "2026-03-30T11:00"]


def test_a_rate_begins_one_interval_after_it_was_made_or_at_its_start() -> None:
    assert first(2, "rate(5 minutes)", "2026-01-01T10:00", anchor="2026-01-01T10:00:20") == [
        "2026-01-01T10:06",
        "2026-01-01T10:11",
    ]
    assert first(2, "rate(2 hours)", "2026-01-01T10:00", start="2026-01-01T11:30") == [
        "2026-01-01T11:30",
        "2026-01-01T13:30",
    ]


def test_one_time_is_local_time_once() -> None:
    assert first(2, "at(2026-07-01T09:00:00)", "2026-01-01T00:00", "America/New_York") == ["2026-07-01T13:00"]
    assert first(2, "at(2026-07-01T09:00:00)", "2026-07-01T13:00", "America/New_York") == []
    with pytest.raises(BadExpression, match="does not exist"):
        recurrence("at(2026-03-29T02:30:00)", "Europe/Berlin")


def test_start_and_end_are_both_within() -> None:
    bounds = {"start": "2026-01-02T10:00", "end": "2026-01-03T10:00"}
    assert first(9, "cron(0 10 * * ? *)", "2026-01-01T00:00", **bounds) == ["2026-01-02T10:00", "2026-01-03T10:00"]
    made = recurrence("cron(0 10 * * ? *)", **bounds)
    assert [at(tick) for tick in made.until(ms("2027-01-01"), 0)] == ["2026-01-03T10:00", "2026-01-02T10:00"]


# -- decisions


HOURLY = recurrence("rate(1 hour)", anchor="2026-01-01T00:00")
NOON = ms("2026-01-01T12:00")


@pytest.mark.parametrize(
    ("policy", "runs", "skipped"),
    [
        ("skip", ["12:00"], 4),
        ("once", ["11:00", "12:00"], 3),
        ("all", ["08:00", "09:00", "10:00", "11:00", "12:00"], 0),
    ],
)
def test_missed_ticks_are_skipped_or_the_latest_or_all_run(policy: str, runs: list[str], skipped: int) -> None:
    decided = decide(HOURLY, MissedPolicy(policy), ms("2026-01-01T07:00"), NOON + 20_000)
    assert [at(tick)[11:] for tick in decided.runs] == runs
    assert [at(tick)[11:] for tick in sorted(decided.caught_up)] == runs[:-1]
    assert (decided.missed, decided.skipped, decided.decided_until) == (4, skipped, NOON)


def test_a_decided_tick_is_not_decided_again() -> None:
    assert decide(HOURLY, MissedPolicy.ALL, NOON, NOON + 30_000).runs == ()


def test_a_tick_is_decided_two_minutes_ahead_and_no_sooner() -> None:
    before = NOON - 1_800_000
    assert decide(HOURLY, MissedPolicy.SKIP, before, NOON - LOOKAHEAD_MS).runs == (NOON,)
    assert decide(HOURLY, MissedPolicy.SKIP, before, NOON - LOOKAHEAD_MS - 1).runs == ()


def test_a_tick_is_missed_after_five_minutes() -> None:
    before = NOON - 1_800_000
    assert decide(HOURLY, MissedPolicy.SKIP, before, NOON + ON_TIME_MS - 1).runs == (NOON,)
    assert decide(HOURLY, MissedPolicy.SKIP, before, NOON + ON_TIME_MS).skipped == 1


def test_after_a_year_of_silence_the_work_is_bounded() -> None:
    every_minute = recurrence("rate(1 minute)", anchor="2025-01-01T00:00")
    decided = decide(every_minute, MissedPolicy.ALL, ms("2025-01-01T00:00"), NOON)
    on_time = (ON_TIME_MS + LOOKAHEAD_MS) // MINUTE_MS
    assert len(decided.runs) == MAX_CAUGHT_UP + on_time
    assert decided.runs == tuple(range(decided.runs[0], NOON + LOOKAHEAD_MS + 1, MINUTE_MS))
    assert (decided.skipped, decided.more) == (MAX_COUNTED - MAX_CAUGHT_UP - on_time, True)


@given(
    st.sampled_from(["rate(7 minutes)", "cron(0/20 * * * ? *)", "cron(5 3 * * ? *)"]),
    st.sampled_from(list(MissedPolicy)),
    st.lists(st.integers(0, 4 * 3_600_000), min_size=1, max_size=8),
)
def test_whenever_the_sweeper_comes_every_tick_is_decided_once_and_all_loses_none(
    expression: str, policy: MissedPolicy, gaps: list[int]
) -> None:
    made = recurrence(expression)
    begin = decided_until = now = ms("2026-05-05T00:00:30")
    runs: list[int] = []
    skipped = 0
    for gap in gaps:
        now += gap
        decided = decide(made, policy, decided_until, now)
        runs += decided.runs
        skipped += decided.skipped
        decided_until = decided.decided_until
    due = list(made.until(now + LOOKAHEAD_MS, begin))[::-1]
    assert runs == sorted(set(runs))
    assert set(runs) <= set(due)
    assert len(runs) + skipped == len(due)
    if policy is MissedPolicy.ALL:
        assert runs == due
