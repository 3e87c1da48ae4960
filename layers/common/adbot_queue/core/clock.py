"""Time as the project counts it: whole milliseconds since 1970, UTC."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

DAY_MS = 86_400_000
Clock = Callable[[], int]
"""Answers the present time in milliseconds. Passed in wherever time decides something, so that tests own it."""


def system_clock() -> int:
    """The machine's clock, in milliseconds."""
    return time.time_ns() // 1_000_000


def iso(millis: int) -> str:
    """`1763769600123` -> `2025-11-22T00:00:00.123Z`. Sorts as text in the order of time."""
    moment = datetime.fromtimestamp(millis / 1000, tz=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{millis % 1000:03d}Z"


def day(millis: int) -> str:
    """`2025-11-22`, in UTC."""
    return iso(millis)[:10]


def text_range(since: int | None, until: int | None) -> tuple[str, str]:
    """Return the bounds (for BETWEEN) of sort keys that begin with `iso`: both ends included, None is open."""
    return ("0" if since is None else iso(since)), ("9" if until is None else iso(until)) + "~"
