"""How the figures of the overview have changed since the same hour yesterday. Pure.

Each renewal of the figures carries on a sample of every hour, the first of the hour, so that the comparison takes no
call. An hour in which no page was open has none.
"""

from __future__ import annotations

from collections.abc import Iterable

from adbot_queue.console import trouble
from adbot_queue.jobs.model import BAD_ENDS, JobState

HOUR_MS = 3_600_000
DAY = 24
"""Hours between the moments that are compared."""

NAMES = ("bots", "free", "waiting", "failed", "stopped", "dead")

Sample = list[int]
"""Hours since the epoch, then the figures of `NAMES`."""


def values(seen: trouble.Figures, now: int) -> list[int]:
    """Return the figures of `NAMES`."""
    queues = seen["queues"]
    return [
        seen["bots"]["queued"],
        seen["bots"]["free"],
        sum(trouble.level(queue, JobState.WAITING) for queue in queues),
        sum(queue["failed"] for queue in queues),
        sum(trouble.reason(queue, seen, now).rank < trouble.SLOW for queue in queues),
        sum(trouble.level(queue, *BAD_ENDS) for queue in queues),
    ]


def carried(past: Iterable[Sample], now: int, seen: trouble.Figures) -> list[Sample]:
    """Return the samples of the last day, with one of these figures if this hour has none yet."""
    hour = now // HOUR_MS
    kept = [sample for sample in past if hour - DAY <= sample[0] <= hour]
    return kept if kept and kept[-1][0] == hour else [*kept, [hour, *values(seen, now)]]


def since_yesterday(seen: trouble.Figures, now: int) -> dict[str, int]:
    """Return how much each figure has changed in a day; empty if there is no sample of the same hour yesterday."""
    wanted = now // HOUR_MS - DAY
    then = next((sample for sample in seen.get("past", ()) if sample[0] == wanted), None)
    if then is None:
        return {}
    return {name: one - other for name, one, other in zip(NAMES, values(seen, now), then[1:], strict=True)}


def words(change: int | None) -> str:
    """`+5 in 24 h`, `unchanged in 24 h`; nothing is known: nothing."""
    if change is None:
        return ""
    return f"{change:+,} in 24 h".replace("-", "\N{MINUS SIGN}") if change else "unchanged in 24 h"
