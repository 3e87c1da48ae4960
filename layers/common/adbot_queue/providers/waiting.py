"""When a provider wants to be asked again."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

from adbot_queue.core.clock import Clock, system_clock

MOST_S = 365 * 86_400.0
"""More is not believed: the header is a stranger's, and a number of hundreds of digits is infinity to Python."""


def retry_after(headers: Any, now: Clock = system_clock) -> float | None:
    """The seconds that an answer's Retry-After header asks for, given there as seconds or as a date.

    Args:
        headers: the answer's headers, whatever the library's mapping is; None when there was no answer.
        now: the clock that a date is held against.

    Returns:
        0 to `MOST_S`; None when the header is missing or says nothing.
    """
    text = str((headers.get("retry-after") or headers.get("Retry-After") or "") if headers else "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MOST_S)
    try:
        asked = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, asked - now() / 1000), MOST_S)
