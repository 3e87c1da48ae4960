"""The cron expressions of EventBridge Scheduler: six fields, evaluated on wall-clock dates and times. Pure.

    cron(minutes hours day-of-month month day-of-week year)

What Amazon documents is understood; what it does not document (`LW`, `L-3`, `FRI-MON`) is refused, because a schedule
that AWS refuses later is worse than a sentence now. Of day-of-month and day-of-week exactly one must be `?`.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import TypeVar

from adbot_queue.schedules import cron_dialects

FIRST_YEAR, LAST_YEAR = 1970, 2199

Found = TypeVar("Found")

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_SATURDAY = 7


class BadExpression(ValueError):
    """The expression is not valid in EventBridge Scheduler; the text says which part and why."""


@dataclass(frozen=True, slots=True)
class _Field:
    """What may stand in one of the six places."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    steps: bool = True

    def number(self, text: str) -> int:
        if text in self.names:
            return self.low + self.names.index(text)
        if not re.fullmatch(r"\d{1,4}", text, re.ASCII) or not self.low <= int(text) <= self.high:
            names = f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
            raise BadExpression(f"{text!r} is not {self.low} to {self.high}{names}")
        return int(text)

    def values(self, text: str) -> frozenset[int]:
        """The numbers that a list of values, ranges and steps names."""
        found: set[int] = set()
        for part in text.split(","):
            found.update(self._part(part))
        return frozenset(found)

    def _part(self, part: str) -> range:
        span, slash, step = part.partition("/")
        if slash and not self.steps:
            raise BadExpression("steps (/) are not supported in this field")
        every = self._step(step) if slash else 1
        if span == "*":
            return range(self.low, self.high + 1, every)
        first, dash, last = span.partition("-")
        start = self.number(first)
        if not dash:
            return range(start, self.high + 1, every) if slash else range(start, start + 1)
        end = self.number(last)
        if end < start:
            raise BadExpression(f"{span!r} ends before it begins")
        return range(start, end + 1, every)

    def _step(self, text: str) -> int:
        if not re.fullmatch(r"\d{1,4}", text, re.ASCII) or not 1 <= int(text) <= self.high:
            raise BadExpression(f"the step {text!r} is not 1 to {self.high}")
        return int(text)


_MINUTES = _Field("minutes", 0, 59)
_HOURS = _Field("hours", 0, 23)
_DAYS = _Field("day-of-month", 1, 31)
_MONTH = _Field("month", 1, 12, _MONTHS)
_WEEKDAY = _Field("day-of-week", 1, 7, _WEEKDAYS, steps=False)
_YEARS = _Field("year", FIRST_YEAR, LAST_YEAR)


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression.

    Attributes:
        day_of_month: as written; either this or `day_of_week` is `?`.
        day_of_week: as written.
        is_interval: it names an interval and not times of the day: its minutes are `*` or have a step, or it ticks in
            every hour.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    day_of_month: str
    months: frozenset[int]
    day_of_week: str
    years: frozenset[int]
    is_interval: bool

    @classmethod
    def parse(cls, fields: str) -> Cron:
        """The six fields, without `cron(` and `)`.

        Raises:
            BadExpression: with the field and the reason.
        """
        parts = fields.upper().split()
        try:
            return cls._read(parts)
        except BadExpression as error:
            raise BadExpression(f"{error}{cls._written_here(parts)}") from None

    @classmethod
    def _read(cls, parts: list[str]) -> Cron:
        if len(parts) != 6:  # noqa: PLR2004  the six of the format
            names = "minutes hours day-of-month month day-of-week year"
            raise BadExpression(f"cron has six fields ({names}), not {len(parts)}")
        minutes, hours, day, month, weekday, year = parts
        if (day == "?") == (weekday == "?"):
            raise BadExpression(f"day-of-month {day!r} and day-of-week {weekday!r}: exactly one of them must be ?")
        _checked(_DAYS, _check_day, day)
        _checked(_WEEKDAY, _check_weekday, weekday)
        in_hours = _checked(_HOURS, _HOURS.values, hours)
        return cls(
            tuple(sorted(_checked(_MINUTES, _MINUTES.values, minutes))),
            tuple(sorted(in_hours)),
            day,
            _checked(_MONTH, _MONTH.values, month),
            weekday,
            _checked(_YEARS, _YEARS.values, year),
            is_interval="*" in minutes or "/" in minutes or len(in_hours) == _HOURS.high + 1,
        )

    @classmethod
    def _written_here(cls, parts: list[str]) -> str:
        """A note for an expression of another dialect, with what it is here or what is not supported of it."""
        six = cron_dialects.six_fields(parts)
        if six is None:
            return cron_dialects.remark(parts)
        unix = len(parts) == 5  # noqa: PLR2004
        dialect = "as Unix cron" if unix else f"with {parts[0]!r} as seconds (Quartz, Spring)"
        try:
            cls._read(six.split())
        except BadExpression as error:
            # Six fields that are wrong either way are taken for what they should be, unless a ? is where none may be.
            return "" if len(parts) == 6 and "?" not in {parts[3], parts[5]} else f"; {dialect}, {error}"  # noqa: PLR2004
        return f"; {dialect} it is cron({six}) here"

    def forward(self, since: date) -> Iterator[datetime]:
        """Every wall-clock time from this date on, in order."""
        for year in sorted(self.years):
            for month in sorted(self.months):
                if (year, month) >= (since.year, since.month):
                    for day in self._days(year, month):
                        if date(year, month, day) >= since:
                            yield from self._times(year, month, day)

    def backward(self, until: date) -> Iterator[datetime]:
        """Every wall-clock time up to the end of this date, latest first."""
        for year in sorted(self.years, reverse=True):
            for month in sorted(self.months, reverse=True):
                if (year, month) <= (until.year, until.month):
                    for day in reversed(self._days(year, month)):
                        if date(year, month, day) <= until:
                            yield from reversed(list(self._times(year, month, day)))

    def _times(self, year: int, month: int, day: int) -> Iterator[datetime]:
        for hour in self.hours:
            for minute in self.minutes:
                yield datetime.combine(date(year, month, day), time(hour, minute))

    def _days(self, year: int, month: int) -> list[int]:
        """The days of a month, in order."""
        last = monthrange(year, month)[1]
        if self.day_of_week == "?":
            return _days_of_month(self.day_of_month, year, month, last)
        return _days_of_week(self.day_of_week, year, month, last)


def _checked(field: _Field, read: Callable[[str], Found], text: str) -> Found:
    """What `read` makes of a field's text.

    Raises:
        BadExpression: with the field, its text, and the part that does not fit.
    """
    try:
        return read(text)
    except BadExpression as error:
        detail = "" if str(error).startswith(repr(text)) else f"{text!r}: "
        raise BadExpression(f"{field.name}: {detail}{error}{cron_dialects.hint(field.name, text)}") from None


def _check_day(text: str) -> None:
    if text not in {"?", "L"} and not (text.endswith("W") and _DAYS.number(text[:-1])):
        _DAYS.values(text)


def _check_weekday(text: str) -> None:
    if text in {"?", "L"}:
        return
    if "#" in text:
        day, _, which = text.partition("#")
        _WEEKDAY.number(day)
        if which not in {"1", "2", "3", "4", "5"}:
            raise BadExpression(f"{which!r} after # is not 1 to 5")
    elif text.endswith("L"):
        _WEEKDAY.number(text[:-1])
    else:
        _WEEKDAY.values(text)


def _days_of_month(text: str, year: int, month: int, last: int) -> list[int]:
    if text == "L":
        return [last]
    if text.endswith("W"):
        wanted = int(text[:-1])
        return [_nearest_working_day(date(year, month, wanted), last)] if wanted <= last else []
    return sorted(day for day in _DAYS.values(text) if day <= last)


def _nearest_working_day(day: date, last: int) -> int:
    """Monday to Friday, as close as possible, in the same month."""
    match day.isoweekday():
        case 6:
            return day.day - 1 if day.day > 1 else day.day + 2
        case 7:
            return day.day + 1 if day.day < last else day.day - 2
    return day.day


def _days_of_week(text: str, year: int, month: int, last: int) -> list[int]:
    def on(weekday: int) -> list[int]:
        """Sunday is 1 here and 7 to Python."""
        first = 1 + (weekday - 1 - date(year, month, 1).isoweekday()) % 7
        return list(range(first, last + 1, 7))

    if text == "L":
        return on(_SATURDAY)
    if "#" in text:
        day, _, which = text.partition("#")
        return on(_WEEKDAY.number(day))[int(which) - 1 : int(which)]
    if text.endswith("L"):
        return on(_WEEKDAY.number(text[:-1]))[-1:]
    return sorted(day for weekday in _WEEKDAY.values(text) for day in on(weekday))
