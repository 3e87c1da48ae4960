"""When a provider wants to be asked again, and how one says that it takes no more for the moment."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Any

from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.errors import ProviderFailed, Reach

MAX_S = 365 * 86_400.0
"""More is not believed: the header is a stranger's, and a number of hundreds of digits is infinity to Python."""

A_MOMENT = 1_000_000_000
"""A reset from here on is a moment in seconds since 1970, not a number of seconds."""

_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]*)?)(?:\s*[,;].*)?")
"""A number, with a fraction or not; of a header that came twice the first one."""

_RESETS = ("x-ratelimit-reset", "X-RateLimit-Reset", "ratelimit-reset", "RateLimit-Reset")


def throttled(
    sentence: str, headers: Any, reach: Reach = Reach.PROVIDER, now: Clock = system_clock, **extra: Any
) -> ProviderFailed:
    """Return the error of a provider that throttles.

    Args:
        sentence: for a person.
        headers: the answer's headers, as for `retry_after`; without Retry-After their rate limit's reset counts.
        reach: what it concerns in addition to the request.
        now: the clock that moments are compared with.
        extra: further members of the error.
    """
    seconds = retry_after(headers, now)
    if seconds is None:
        seconds = _reset(headers, now)
    return ProviderFailed(sentence, retryable=True, retry_after=seconds, throttled=reach, **extra)


def retry_after(headers: Any, now: Clock = system_clock) -> float | None:
    """The seconds that an answer's Retry-After header asks for, given there as seconds or as a date.

    Args:
        headers: the answer's headers, whatever the library's mapping is; None when there was no answer.
        now: the clock that a date is held against.

    Returns:
        0 to `MAX_S`; None when the header is missing or says nothing.
    """
    text = str((headers.get("retry-after") or headers.get("Retry-After") or "") if headers else "").strip()
    if number := _NUMBER.fullmatch(text):
        return min(float(number[1]), MAX_S)
    try:
        asked = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, asked - now() / 1000), MAX_S)


def _reset(headers: Any, now: Clock) -> float | None:
    """The seconds until a rate limit's window ends: SendGrid tells the moment, others how long it takes."""
    found = (str(headers.get(name) or "").strip() for name in _RESETS) if headers else iter(())
    text = next(filter(None, found), "")
    number = _NUMBER.fullmatch(text)
    if number is None:
        return None
    reset = float(number[1])
    if reset >= A_MOMENT * 100.0:  # the year 5138, or milliseconds
        reset /= 1000
    return min(max(0.0, reset - now() / 1000) if reset >= A_MOMENT else reset, MAX_S)
