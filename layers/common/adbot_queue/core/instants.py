"""Dates and moments as people and providers write them, read to the millisecond."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The calendar of Python: the years 1 to 9999."""
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  differences of wall-clock times; offsets are taken off in whole minutes
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DATE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt]([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:[.,](\d{1,9}))?)?"
    r"(?:[Zz]|([+-])([01]\d|2[0-3]):?([0-5]\d))?",
    re.ASCII,
)


def day_start(text: str) -> int:
    """Return the first millisecond of a day in UTC.

    Raises:
        ValueError: not a date (`2026-12-31`), or a day that does not exist.
    """
    if not _DATE.fullmatch(text):
        raise ValueError("must be a date like 2026-12-31")
    try:
        midnight = datetime.strptime(text, "%Y-%m-%d")  # noqa: DTZ007
    except ValueError:
        raise ValueError(f"{text} does not exist") from None
    return _within((midnight - _EPOCH) // timedelta(milliseconds=1))


def instant(text: str) -> int:
    """Return the moment of an RFC 3339 date and time, cut to its millisecond.

    It is never rounded: a moment stays in its second, hour and day.

    Raises:
        ValueError: not a date and time with an offset, or a moment that does not exist.
    """
    found = _DATE_TIME.fullmatch(text)
    if not found:
        raise ValueError(
            "must be a date and time with an offset like 2026-12-31T23:00:00Z or 2026-12-31T23:00:00+01:00"
        )
    date, hour, minute, second, fraction, sign, offset_hours, offset_minutes = found.groups()
    if text[-1] not in "Zz" and sign is None:
        raise ValueError("needs an offset: Z for UTC, or one like +01:00")
    offset = (int(offset_hours or 0) * 60 + int(offset_minutes or 0)) * (-1 if sign == "-" else 1)
    within = ((int(hour) * 60 + int(minute) - offset) * 60 + int(second or 0)) * 1000
    return _within(day_start(date) + within + int(f"{fraction or 0:0<3}"[:3]))


def _within(millis: int) -> int:
    if not FIRST_MS <= millis <= LAST_MS:
        raise ValueError("the year must be between 1 and 9999 in UTC")
    return millis
