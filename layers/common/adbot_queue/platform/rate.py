"""A rate, as queues and providers declare theirs. Pure: a declaration imports no client of AWS."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate limit: tokens per second in the long run, and tokens in a full bucket."""

    per_second: float
    burst: int
