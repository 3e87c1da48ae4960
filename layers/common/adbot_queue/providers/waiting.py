"""When a provider wants to be asked again."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

from adbot_queue.core.clock import Clock, system_clock


def retry_after(headers: Any, now: Clock = system_clock) -> float | None:
    """The seconds that an answer's Retry-After header asks for, given there as seconds or as a date.

    Args:
        headers: the answer's headers, whatever the library's mapping is; None when there was no answer.
        now: the clock that a date is held against.
    """
    text = str((headers.get("retry-after") or headers.get("Retry-After") or "") if headers else "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        asked = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, asked.timestamp() - now() / 1000)
