"""What the change of a job's row adds to the statistics. Pure.

Counted are events (totals that only grow), levels (how many jobs stand in each state) and two histograms: for how long
jobs waited when they were claimed, and how long their attempts ran.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from adbot_queue.jobs.failure import SPENDS_NO_ATTEMPT
from adbot_queue.jobs.model import JobState

EVENTS = (
    "enqueued",  # a new row
    "completed",
    "failed",
    "dead",
    "cancelled",
    "retried",  # an attempt failed and another one follows
    "snoozed",  # put back without spending an attempt
    "stalled",  # the worker died; another attempt follows
    "requeued",  # an ended job that a person had retried
    "removed",  # the row went: cleaned, or expired
)

BOUNDS_MS = (10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 900_000, 3_600_000)
"""Upper ends of the histograms' buckets; one more bucket takes what is longer."""

MINUTE_MS = 60_000

_ENDS = {
    JobState.COMPLETED: "completed",
    JobState.FAILED: "failed",
    JobState.DEAD: "dead",
    JobState.CANCELLED: "cancelled",
}
_PUT_BACK = {"stalled": "stalled"} | dict.fromkeys(SPENDS_NO_ATTEMPT, "snoozed")
_NO_RUN = {*_PUT_BACK, "expired"}  # attempts whose length says nothing about the work

LEVEL = "level_"
WAIT, RUN = "wait", "run"


@dataclass(slots=True)
class StatisticsChange:
    """What one change of a row adds: by queue. `counts` belong to a minute as well, `levels` only to the totals."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    levels: dict[str, Counter[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anything to count."""
        return bool(self.counts or self.levels)


def change_of(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> StatisticsChange:
    """The change between two images of a job's item, decoded; None where it did not exist or does not any more."""
    change = StatisticsChange()
    was, becomes = _place(before), _place(after)
    if was == becomes:
        return change
    if was:
        change.levels.setdefault(was[0], Counter())[LEVEL + was[1]] -= 1
    if becomes:
        change.levels.setdefault(becomes[0], Counter())[LEVEL + becomes[1]] += 1
    if after is None:
        counts = Counter({"removed": 1})
    elif before is None:
        counts = Counter({"enqueued": 1})
    else:
        counts = _moved(before, after)
    if counts:
        change.counts[(becomes or was or ("", ""))[0]] = counts
    return change


def _place(image: Mapping[str, Any] | None) -> tuple[str, JobState] | None:
    """Return where a job counts. A discarded dead letter counts nowhere."""
    if not image or image.get("decision"):
        return None
    return image["queue"], JobState(image["state"])


def _moved(before: Mapping[str, Any], after: Mapping[str, Any]) -> Counter[str]:
    """The events of a job that went from one state to another."""
    was, becomes = JobState(before["state"]), JobState(after["state"])
    counts: Counter[str] = Counter()
    if was is becomes:  # only what is decided about it has changed
        return counts
    if becomes in _ENDS:
        counts[_ENDS[becomes]] += 1
    elif becomes is JobState.ACTIVE:
        _measure(counts, WAIT, after.get("started_at", 0) - _ready_at(before))
    elif was in _ENDS:
        counts["requeued"] += 1
    if was is JobState.ACTIVE and becomes not in _ENDS and before.get("attempts") == after.get("attempts"):
        counts["snoozed"] += 1  # it goes on with its next slice, or when jobs of its own have ended: no attempt
    elif was is JobState.ACTIVE:
        attempt = after["attempts"][-1] if after.get("attempts") else {}
        kind = attempt.get("failure", {}).get("kind", "")
        if becomes not in _ENDS:
            counts[_PUT_BACK.get(kind, "retried")] += 1
        if attempt and kind not in _NO_RUN:
            _measure(counts, RUN, attempt["ended_at"] - attempt["started_at"])
    return counts


def _ready_at(image: Mapping[str, Any]) -> int:
    """From when on a job could have been claimed.

    One that waits for the first time: since it was created. One that waits again, or for other jobs before: since it
    got its rank, which names the moment, and how far its tenant is ahead of its rate.
    """
    if image.get("run_at"):
        return int(image["run_at"])
    waits_again = image.get("first_started_at") or image.get("cycle") or image.get("depends_on")
    if waits_again and image.get("rank"):
        return int(str(image["rank"]).partition("#")[2]) - int(image.get("fairness_delay_ms", 0))
    return int(image["created_at"])


def _measure(counts: Counter[str], what: str, millis: int) -> None:
    """Add to a histogram: the bucket's count and the sum."""
    taken = max(0, millis)
    counts[f"{what}_{bisect_left(BOUNDS_MS, taken)}"] += 1
    counts[f"{what}_ms"] += taken


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many took how long. `counts` has one number a bound and one for what is longer."""

    counts: tuple[int, ...]
    sum_ms: int

    @classmethod
    def of(cls, what: str, numbers: Mapping[str, int]) -> Histogram:
        """The histogram among an item's numbers."""
        counts = tuple(numbers.get(f"{what}_{index}", 0) for index in range(len(BOUNDS_MS) + 1))
        return cls(counts, numbers.get(f"{what}_ms", 0))

    @property
    def count(self) -> int:
        """How many were measured."""
        return sum(self.counts)

    def percentile(self, percent: int) -> int | None:
        """Return the time (ms) within which `percent` of the values lie; None if there are none.

        Exact to the bucket, evenly spread within it. Values beyond the last bound count as that bound.
        """
        if not self.count:
            return None
        wanted, seen = self.count * percent / 100, 0
        for index, number in enumerate(self.counts[:-1]):
            if seen + number >= wanted and number:
                low, high = BOUNDS_MS[index - 1] if index else 0, BOUNDS_MS[index]
                return round(low + (high - low) * (wanted - seen) / number)
            seen += number
        return BOUNDS_MS[-1]

    def cumulative(self) -> list[tuple[int | None, int]]:
        """Return bound (None: none) and the number of values up to it."""
        found: list[tuple[int | None, int]] = []
        seen = 0
        for bound, number in zip((*BOUNDS_MS, None), self.counts, strict=True):
            seen += number
            found.append((bound, seen))
        return found


def summed(items: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """The numbers of several items added up, name by name; a sum may be zero or (a level of one shard) negative."""
    total: Counter[str] = Counter()
    for item in items:
        for name, value in item.items():
            if isinstance(value, int) and name != "expires_at":
                total[name] += value
    return total
