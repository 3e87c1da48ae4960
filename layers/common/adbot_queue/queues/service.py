"""Queues in figures. Reads a fixed number of items, however many jobs there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from adbot_queue.core import aws, dynamodb
from adbot_queue.core.settings import settings
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.model import JobState
from adbot_queue.jobs.store.items import listing_of
from adbot_queue.platform.queue_pauses import DesiredState, all_desired_states
from adbot_queue.queues import counters
from adbot_queue.queues.counters import Counters
from adbot_queue.queues.statistics import LEVEL, Histogram, summed

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MAX_MINUTES = 1440
"""The longest period of statistics."""


def names() -> list[str]:
    """Names of all queues."""
    return list(job_queues.QUEUES)


@dataclass(frozen=True, slots=True)
class QueueSnapshot:
    """A queue now, and its totals.

    Attributes:
        levels: state -> jobs in it.
        totals: numbers since the beginning, see `queues.statistics`.
        oldest_waiting_at: when the oldest waiting job was created, in ms.
    """

    name: str
    desired: DesiredState
    levels: dict[str, int]
    totals: Mapping[str, int]
    oldest_waiting_at: int | None

    def histogram(self, what: str) -> Histogram:
        """Waiting or running times since the beginning."""
        return Histogram.of(what, self.totals)


@dataclass(frozen=True, slots=True)
class QueueStats:
    """What a queue did in the last minutes."""

    minutes: int
    numbers: Mapping[str, int]

    def count(self, event: str) -> int:
        """How often something happened."""
        return self.numbers.get(event, 0)

    @property
    def completed_per_minute(self) -> float:
        """Throughput."""
        return self.count("completed") / self.minutes

    @property
    def failure_rate(self) -> float | None:
        """Share of the ended jobs that failed or died; None when none ended."""
        bad = self.count("failed") + self.count("dead")
        ended = bad + self.count("completed")
        return bad / ended if ended else None

    def histogram(self, what: str) -> Histogram:
        """Waiting or running times."""
        return Histogram.of(what, self.numbers)


class Queues:
    """Answers what the operator wants to know of queues. As old as the stream is behind: a second or two as a rule."""

    def __init__(self, client: DynamoDBClient, jobs_table: str, system_table: str, counted: Counters) -> None:
        self._client = client
        self._jobs_table = jobs_table
        self._system_table = system_table
        self._counters = counted

    def snapshots(self, oldest: Callable[[str], int | None] | None = None) -> list[QueueSnapshot]:
        """Return all queues: five Queries, and one of one item for each queue in which jobs wait.

        Args:
            oldest: says since when the oldest job of a queue waits, instead of that Query.
        """
        desired, totals = all_desired_states(self._client, self._system_table), self._counters.totals()
        oldest = oldest or self._oldest_waiting
        found = []
        for name in names():
            numbers = totals.get(name, Counter())
            levels = _levels(numbers)
            since = oldest(name) if levels[JobState.WAITING] else None
            found.append(QueueSnapshot(name, desired.get(name, DesiredState()), levels, numbers, since))
        return found

    def _oldest_waiting(self, queue: str) -> int | None:
        found, _ = dynamodb.query_page(
            self._client,
            self._jobs_table,
            "listing = :listing",
            index="by_state",
            limit=1,
            cursor=None,
            forward=True,
            listing=listing_of(queue, JobState.WAITING),
        )
        return int(found[0]["listed_at"]) if found else None

    def stats(self, name: str, minutes: int) -> tuple[str, QueueStats, dict[str, Counter[str]]]:
        """What a queue did in the last minutes, in sum and minute by minute: one Query.

        Raises:
            NotFound: there is no such queue.
        """
        found = self._counters.minutes(job_queues.queue(name).name, minutes)
        return name, QueueStats(minutes, summed(found.values())), found

    def periods(self, name: str, *lengths: int) -> list[QueueStats]:
        """What a queue did in the last minutes, for several lengths: one Query for the longest."""
        found = self._counters.minutes(name, max(lengths))
        firsts = [self._counters.minute_before(length - 1) for length in lengths]
        return [
            QueueStats(length, summed(numbers for minute, numbers in found.items() if minute >= first))
            for length, first in zip(lengths, firsts, strict=True)
        ]


def _levels(totals: Mapping[str, int]) -> dict[str, int]:
    # Records of one job may be read before those that came earlier, in another shard of the stream: for a moment.
    return {state.value: max(0, totals.get(LEVEL + state, 0)) for state in JobState}


@lru_cache(maxsize=1)
def from_env() -> Queues:
    """The queues of this process."""
    return Queues(aws.dynamodb(), settings().jobs_table, settings().system_table, counters.from_env())
