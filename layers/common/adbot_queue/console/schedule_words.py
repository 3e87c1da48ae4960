"""Schedules in words: when they run, how they are, and their runs in their own time zone. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import islice

from adbot_queue.console.job_words import Why
from adbot_queue.schedules.model import NEXT_RUNS, Schedule
from adbot_queue.schedules.plan import Recurrence
from adbot_queue.schedules.ticks import TickOutcome

_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_ORDINALS = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth"}

MAX_NAMED = 4
"""Values that a sentence lists; longer lists are shown as they are written."""

OUTCOMES = {
    TickOutcome.RAN: ("circle", "ok", "ran"),
    TickOutcome.CAUGHT_UP: ("triangle", "warn", "caught up"),
    TickOutcome.SKIPPED: ("circle-minus", "off", "skipped"),
    TickOutcome.REFUSED: ("square", "bad", "refused"),
    TickOutcome.WITHDRAWN: ("ban", "off", "withdrawn"),
    TickOutcome.MANUAL: ("play", "run", "run by hand"),
}
"""Icon, kind and word of what became of a tick; icons differ in shape."""


def words(expression: str) -> str:
    """`Monday to Friday at 07:45`: when an expression ticks; what has no words is shown as it is written."""
    kind, _, inner = expression.removesuffix(")").partition("(")
    if kind == "rate":
        number, unit = inner.split()
        return f"Every {unit}" if number == "1" else f"Every {number} {unit}"
    if kind == "at":
        return f"Once, on {datetime.fromisoformat(inner):%-d %b %Y at %H:%M}"
    minutes, hours, day, month, weekday, year = inner.upper().split()
    time, days = _time(minutes, hours), _weekdays(weekday) if day == "?" else _days_of_month(day)
    when = f"{time}, {days}" if time.startswith("every") and days != "every day" else f"{days} {time}"
    if time.startswith("every") and days == "every day":
        when = time
    months = "" if month == "*" else f" in {_listed([_name(part, _MONTHS, 1) for part in month.split(',')])}"
    years = "" if year == "*" else f" in {year}"
    text = f"{when}{months}{years}"
    return text[0].upper() + text[1:]


def _time(minutes: str, hours: str) -> str:
    """`at 07:45`, `every 6 hours at minute 15`."""
    if hours == "*":
        if step := _step(minutes):
            return "every minute" if step == 1 else f"every {step} minutes"
        return "every hour" if minutes == "0" else f"every hour at minute {minutes}"
    if minutes.isdigit():
        if (step := _step(hours)) and step > 1:
            return f"every {step} hours" + ("" if minutes == "0" else f" at minute {minutes}")
        if all(hour.isdigit() for hour in hours.split(",")) and hours.count(",") < MAX_NAMED:
            return "at " + _listed([f"{int(hour):02}:{int(minutes):02}" for hour in hours.split(",")])
        return f"at minute {minutes} of the hours {hours}"
    return f"at the minutes {minutes} of the hours {hours}"


def _step(field: str) -> int:
    """Return n of `*/n` and `0/n`, 1 of `*`, else 0."""
    found = re.fullmatch(r"\*|(?:\*|0)/(\d+)", field)
    return int(found[1] or 1) if found else 0


def _weekdays(field: str) -> str:
    """`Monday to Friday`, `the third Friday of the month`."""
    if field == "*":
        return "every day"
    if found := re.fullmatch(r"(\w+)#(\d)", field):
        return f"the {_ORDINALS[int(found[2])]} {_name(found[1], _DAYS, 1)} of the month"
    if field == "L":
        return "Saturday"
    if found := re.fullmatch(r"(\w+)L", field):
        return f"the last {_name(found[1], _DAYS, 1)} of the month"
    return _listed([_name(part, _DAYS, 1) for part in field.split(",")])


def _days_of_month(field: str) -> str:
    """`the 1st and 15th`, `the last day of the month`."""
    if field == "*":
        return "every day"
    if field == "L":
        return "the last day of the month"
    if found := re.fullmatch(r"(\d+)W", field):
        return f"the working day closest to the {_ordinal(int(found[1]))}"
    parts = field.split(",")
    if all(part.isdigit() for part in parts) and len(parts) <= MAX_NAMED:
        return f"the {_listed([_ordinal(int(part)) for part in parts])} of the month"
    return f"the days {field} of the month"


def _name(part: str, names: Sequence[str], first: int) -> str:
    """The name of a number or of three letters, or of the range from one to another."""
    if "-" in part and "/" not in part:
        return " to ".join(_name(end, names, first) for end in part.split("-"))
    if part.isdigit():
        return names[int(part) - first]
    return next((name for name in names if name[:3].upper() == part), part)


def _listed(parts: Sequence[str]) -> str:
    if len(parts) < 2:  # noqa: PLR2004  one needs no "and"
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _ordinal(number: int) -> str:
    suffix = "th" if number in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def state(schedule: Schedule) -> Why:
    """Return how a schedule is: on time, off, over, or in trouble."""
    if schedule.problem:
        return Why("bad", "circle-x", "Problem", schedule.problem, is_trouble=True)
    if not schedule.spec.enabled:
        return Why("off", "circle-pause", "Off", "It runs when it is enabled again.")
    if schedule.next_check_at is None:
        return Why("off", "flag", "Over", "It never runs again.")
    return Why("ok", "circle-check", "On time")


@dataclass(frozen=True, slots=True)
class Planned:
    """A run to come: its time in its zone and in UTC. `at` is None for a time that clocks skip."""

    at: int | None
    local: str
    utc: str


def local(millis: int, zone: tzinfo) -> str:
    """`Sat 28 Nov 2026 02:30`."""
    return f"{datetime.fromtimestamp(millis / 1000, tz=zone):%a %-d %b %Y %H:%M}"


def planned(recurrence: Recurrence, now: int, count: int = NEXT_RUNS) -> list[Planned]:
    """Return the next runs, and between them the times that do not exist because clocks go forward."""
    runs = list(islice(recurrence.after(now), count))
    found = [
        Planned(run, local(run, recurrence.tz), f"{datetime.fromtimestamp(run / 1000, tz=UTC):%H:%M}") for run in runs
    ]
    order = [
        (datetime.fromtimestamp(run / 1000, tz=recurrence.tz).replace(tzinfo=None), one)
        for run, one in zip(runs, found, strict=True)
    ]
    skipped = recurrence.skipped(now, runs[-1]) if runs else []
    order += [(wall, Planned(None, f"{wall:%a %-d %b %Y %H:%M}", "")) for wall in skipped]
    return [one for _, one in sorted(order, key=lambda pair: pair[0])]


DAY_MS = 86_400_000


def runs_a_day(recurrence: Recurrence, now: int) -> int:
    """Return how often it runs in the next 24 hours."""
    return sum(1 for _ in recurrence.until(now + DAY_MS, now))
