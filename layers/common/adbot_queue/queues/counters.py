"""The statistics of jobs in DynamoDB, fed by the Jobs table's stream; exact however often it delivers.

In the System table:

    COUNTERS#<shard>  <queue>            totals: events, levels, histograms
    MINUTES#<queue>   <minute>#<shard>   events and histograms of one minute, for 48 hours
    TALLIED#<record>  B                  the records of a batch that is counted, under its first, for 2 days

A batch is counted in one transaction together with its marker, which refuses the second time. Lambda delivers anew
from where it last noted success, always the beginning of a batch, so a batch that comes again begins with the same
record. Longer than before: what the marker names is left out, and the rest is a batch of its own. Shorter: the next
one will begin in the middle of what is counted; the marker knows with which record, so one is left there as well.

Size of a transaction: at most one item a queue, one a queue and minute, and the marker: 2 x 40 + 1 for 40 records.

Shards exist for writers that meet: each process writes to one of them and moves on to the next when it collides.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adbot_queue.core import attribute_values, aws, dynamodb, records, telemetry
from adbot_queue.core.clock import Clock, iso, system_clock
from adbot_queue.core.conflicts import CHANGED, retry_on_conflict
from adbot_queue.core.dynamodb import ConditionFailed, Item, Transaction, TransactionConflict, TransactionRejected
from adbot_queue.core.records import readable
from adbot_queue.core.settings import settings
from adbot_queue.queues.statistics import MINUTE_MS, StatisticsChange, change_of, summed

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SHARDS = 4
MAX_RECORDS = 40
"""Records of a batch (the template's BatchSize): what a transaction has room for."""

MINUTES_TTL_S = 48 * 3_600
MARKERS_TTL_S = 2 * 86_400
"""Longer than a stream keeps its records."""


_NEEDED = (
    *("queue", "state", "created_at", "run_at", "rank", "fairness_delay_ms", "started_at", "first_started_at"),
    *("attempts", "cycle", "depends_on", "blocked_by"),
)


@dataclass(frozen=True, slots=True)
class Counted:
    """A stream record that changes the statistics. `id` is the same whenever it is delivered."""

    id: str
    at: int
    change: StatisticsChange


class Counters:
    """Writes and reads the statistics."""

    def __init__(self, client: DynamoDBClient, table: str, now: Clock = system_clock) -> None:
        self._client = client
        self._table = table
        self._now = now
        self._shard = 0

    # Writing

    def tally(self, batch: Sequence[Mapping[str, Any]]) -> None:
        """Count a batch of stream records, each once however often and in whatever batches it is delivered.

        Args:
            batch: consecutive ones of one shard of the stream, at most `MAX_RECORDS` of them about jobs.

        Raises:
            Unavailable: nothing is known to be counted; deliver the batch again.
        """
        left = readable(batch, read)
        while left:
            marker = self._count(left)
            if marker is None:
                return
            known: list[str] = marker["records"]
            if left[-1].id in known:
                self._leave_marker(known[known.index(left[-1].id) + 1 :])
                return
            left = [counted for counted in left if counted.id not in known]

    def _count(self, batch: Sequence[Counted]) -> Item | None:
        """Count a batch; None when that is done, otherwise the marker of the time when it was done before."""

        def attempt() -> Item | None:
            try:
                self._transaction(batch).commit()
            except TransactionRejected as refused:
                if marker := refused.failed["marker"]:
                    return marker
                raise
            except TransactionConflict:
                self._shard = (self._shard + 1) % SHARDS
                raise
            telemetry.count("RecordsTallied", len(batch))
            return None

        return retry_on_conflict(attempt, CHANGED)

    def _transaction(self, batch: Sequence[Counted]) -> Transaction:
        """Marker (refused when there is one), totals of each queue, minutes of each queue."""
        totals: defaultdict[str, Counter[str]] = defaultdict(Counter)
        minutes: defaultdict[tuple[str, int], Counter[str]] = defaultdict(Counter)
        for counted in batch:
            for queue, counts in counted.change.counts.items():
                totals[queue].update(counts)
                minutes[queue, counted.at // MINUTE_MS].update(counts)
            for queue, levels in counted.change.levels.items():
                totals[queue].update(levels)
        transaction = Transaction(self._client)
        marker = self._marker([counted.id for counted in batch])
        transaction.create("marker", self._table, marker)
        for queue, numbers in totals.items():
            # A job that came and went within the batch leaves levels as they were.
            changed = {name: number for name, number in numbers.items() if number}
            if changed:
                key = {"pk": _totals_pk(self._shard), "sk": queue}
                transaction.add(f"totals:{queue}", self._table, key, changed)
        for (queue, minute), numbers in minutes.items():
            key = {"pk": _minutes_pk(queue), "sk": f"{_minute(minute * MINUTE_MS)}#{self._shard}"}
            expires_at = minute * MINUTE_MS // 1000 + MINUTES_TTL_S
            changed = {name: number for name, number in numbers.items() if number}
            transaction.add(f"minute:{queue}:{minute}", self._table, key, changed, expires_at=expires_at)
        return transaction

    def _marker(self, counted: list[str]) -> Item:
        expires_at = self._now() // 1000 + MARKERS_TTL_S
        return {**_marker_key(counted[0]), "records": counted, "expires_at": expires_at}

    def _leave_marker(self, counted: list[str]) -> None:
        if not counted:
            return
        try:
            dynamodb.put_if(self._client, self._table, self._marker(counted), condition="attribute_not_exists(pk)")
        except ConditionFailed:
            return  # left before; a marker never changes

    # Reading

    def totals(self) -> dict[str, Counter[str]]:
        """Return the totals of every queue that ever had a job.

        One Query a shard: neighbours share read units, which items that are read one by one do not.
        """
        shards: defaultdict[str, list[Item]] = defaultdict(list)
        for shard in range(SHARDS):
            pk = _totals_pk(shard)
            for item in dynamodb.query(self._client, self._table, "pk = :pk", consistent=False, pk=pk):
                shards[item["sk"]].append(item)
        return {queue: summed(items) for queue, items in shards.items()}

    def minutes(self, queue: str, minutes: int) -> dict[str, Counter[str]]:
        """Return the last minutes of a queue with any event, the current one included.

        One Query: at most `SHARDS` small items a minute.

        Returns:
            Start of the minute (`2025-11-22T00:05`) -> its numbers, oldest first.
        """
        first, last = self.minute_before(minutes - 1), self.minute_before(0)
        found = dynamodb.query(
            self._client,
            self._table,
            "pk = :pk AND sk BETWEEN :first AND :last",
            consistent=False,
            pk=_minutes_pk(queue),
            first=first,
            last=f"{last}~",
        )
        parts: defaultdict[str, list[Item]] = defaultdict(list)
        for item in found:
            parts[item["sk"].partition("#")[0]].append(item)
        return {minute: summed(items) for minute, items in sorted(parts.items())}

    def day(self, queue: str, day: str) -> Counter[str]:
        """What a queue did on a day (`2025-11-22`) that began less than `MINUTES_TTL_S` ago. One Query."""
        found = dynamodb.query(
            self._client,
            self._table,
            "pk = :pk AND begins_with(sk, :day)",
            consistent=False,
            pk=_minutes_pk(queue),
            day=f"{day}T",
        )
        return summed(found)

    def minute_before(self, minutes: int) -> str:
        """Return the name of the minute that many minutes ago."""
        return _minute(self._now() - minutes * MINUTE_MS)


def read(record: Mapping[str, Any]) -> Counted | None:
    """Return what a stream record changes, None if it changes nothing or is not about a job.

    An unreadable record raises an error of its shape; `records.readable` sets it aside.
    """
    if not records.partition(record).startswith("JOB#"):
        return None
    before, after = records.images(record)
    change = change_of(_image(before), _image(after))
    if not change:
        return None
    if not all(isinstance(queue, str) and queue for queue in (*change.counts, *change.levels)):
        raise TypeError("queue: must be text")
    at = int(float(record["dynamodb"]["ApproximateCreationDateTime"]) * 1000)
    return Counted(str(record["eventID"]), at, change)


def _image(image: Mapping[str, Any] | None) -> Item | None:
    return attribute_values.decode({name: image[name] for name in _NEEDED if name in image}) if image else None


def _totals_pk(shard: int) -> str:
    return f"COUNTERS#{shard}"


def _minutes_pk(queue: str) -> str:
    return f"MINUTES#{queue}"


def _minute(millis: int) -> str:
    return iso(millis)[:16]


def _marker_key(record: str) -> Item:
    return {"pk": f"TALLIED#{record}", "sk": "B"}


@lru_cache(maxsize=1)
def from_env() -> Counters:
    """The counters of this process."""
    return Counters(aws.dynamodb(), settings().system_table)
