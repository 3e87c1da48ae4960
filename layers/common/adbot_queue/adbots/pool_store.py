"""Pools in the AdBots table: what a resolver step reads, and the one transaction that it writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adbot_queue.adbots import items
from adbot_queue.adbots.allocation import Assignment, Header, InboxEntry, QueueEntry, Segment, Step
from adbot_queue.adbots.model import QueuedReason, Run, Status
from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import Refused, Transaction

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

READ_AHEAD = 51
"""Bots read for one step: it can serve 49 (two items each, the header, 100 in all); one more tells the next head."""

Extra = Callable[[Transaction], None]
"""Adds items of its own to somebody else's transaction: a ledger entry, a settled mark."""


class Stale(Exception):
    """Header or bot changed since they were read: nothing was written, read again."""


class AdbotRefused(Exception):
    """A step was refused by the conditions of bots, not of the header: these bots are not as the queue says."""

    def __init__(self, adbot_ids: set[str]) -> None:
        super().__init__(f"not as the queue says: {', '.join(sorted(adbot_ids))}")
        self.adbot_ids = adbot_ids


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PoolView:
    """What one resolver step is decided on."""

    header: Header
    inbox: list[InboxEntry]
    queue: list[QueueEntry]
    segments: list[Segment]


class PoolStore:
    """The AdBots table as pools see it: headers, inbox, queue, stock, and the resolver's steps."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self.client = client
        self.table = table

    def transaction(self) -> Transaction:
        """An empty transaction."""
        return Transaction(self.client)

    def pools(self) -> list[str]:
        """Names of all pools."""
        return [item["sk"] for item in dynamodb.query(self.client, self.table, "pk = :pk", pk="POOLS")]

    def create_pool(self, pool: str, sign: Extra) -> None:
        """Register an empty pool.

        Raises:
            Refused: it exists.
        """
        transaction = self.transaction()
        transaction.create("pool", self.table, items.key("POOLS", pool))
        transaction.create("header", self.table, items.header_item(Header(pool)))
        sign(transaction)
        transaction.commit()

    def header(self, pool: str) -> Header | None:
        """A pool's header, None when there is no such pool. One read."""
        item = dynamodb.get(self.client, self.table, items.header_key(pool))
        return items.header_of(item) if item else None

    def headers(self, pools: Sequence[str]) -> list[Header]:
        """Headers of several pools, one read each, in one call."""
        found = dynamodb.get_many(self.client, self.table, [items.header_key(pool) for pool in pools])
        return sorted(map(items.header_of, found), key=lambda header: header.pool)

    def oldest_in_inbox(self, pool: str, limit: int = 1) -> list[InboxEntry]:
        """The bots that have waited longest for a place."""
        found = dynamodb.query(self.client, self.table, "pk = :pk", limit=limit, pk=items.inbox_pk(pool))
        return [items.inbox_of(item) for item in found]

    def waiting(self, header: Header, limit: int, start: int | None = None) -> list[QueueEntry]:
        """The first waiting bots, in order. Crosses partitions that have run empty."""
        entries: list[QueueEntry] = []
        wanted = min(limit, header.queue_length)
        seq = header.queue_head if start is None else start
        while len(entries) < wanted and seq < header.queue_tail:
            found = dynamodb.query(
                self.client,
                self.table,
                "pk = :pk AND sk >= :sk",
                limit=wanted - len(entries),
                pk=items.queue_pk(header.pool, seq),
                sk=f"{seq:012d}",
            )
            entries.extend(map(items.queue_of, found))
            seq = (seq // items.QUEUE_BUCKET + 1) * items.QUEUE_BUCKET
        return entries

    def following(self, header: Header) -> QueueEntry | None:
        """The bot behind the head of the queue."""
        first_two = self.waiting(header, 2)
        return first_two[1] if len(first_two) > 1 else None

    def stock_ahead(self, header: Header, limit: int) -> list[Segment]:
        """The segments from the cursor on."""
        segments: list[Segment] = []
        number = header.cursor_segment
        while len(segments) < limit and number < header.next_segment:
            found = dynamodb.query(
                self.client,
                self.table,
                "pk = :pk AND sk >= :sk",
                limit=limit - len(segments),
                pk=items.segment_pk(header.pool, number),
                sk=f"{number:08d}",
            )
            segments.extend(map(items.segment_of, found))
            number = (number // items.SEGMENT_BUCKET + 1) * items.SEGMENT_BUCKET
        return segments

    def segment(self, pool: str, number: int) -> Segment | None:
        """One segment."""
        item = dynamodb.get(self.client, self.table, items.segment_key(pool, number))
        return items.segment_of(item) if item else None

    def view(self, pool: str) -> PoolView | None:
        """What the next step needs: two reads when there is nothing to do, four at the most."""
        header = self.header(pool)
        if header is None:
            return None
        inbox = self.oldest_in_inbox(pool, READ_AHEAD)
        work = header.queue_length or inbox
        queue = self.waiting(header, READ_AHEAD) if header.free and header.queue_length else []
        segments: list[Segment] = []
        if header.free and work:
            # One segment is enough while it is large; a few more when uploads were small.
            wanted = header.missing_total + sum(entry.required for entry in inbox)
            segments = self.stock_ahead(header, 2)
            if sum(segment.count for segment in segments) - header.cursor_offset < min(wanted, header.free):
                segments = self.stock_ahead(header, READ_AHEAD * 2)
        return PoolView(header, inbox, queue, segments)

    def commit_step(self, step: Step) -> None:
        """Write one resolver step.

        Items and what each refuses: the header, under any version but the one read; each bot, when it does not
        wait with this place and this lack (or, from the inbox, was cancelled); each inbox entry, when it is gone.

        Raises:
            Stale: somebody else changed the pool first.
            AdbotRefused: the header agreed, but these bots did not.
            Contended: try again.
        """
        pool, version = step.before.pool, step.after.version
        transaction = self.transaction()
        self.put_header(transaction, step.before, step.after)
        for assignment in step.assignments:
            self._assign(transaction, pool, version, assignment)
        for placement in step.placements:
            entry = placement.entry
            self._take_out_of_inbox(transaction, pool, placement.inbox)
            transaction.create(f"queue:{entry.adbot_id}", self.table, items.queue_item(pool, entry))
            transaction.update(
                f"adbot:{entry.adbot_id}",
                self.table,
                items.adbot_key(entry.adbot_id),
                "SET seq = :seq, queued_at = :at, queued_reason = :reason, version = version + :one REMOVE inbox_id",
                condition="#status = :queued AND inbox_id = :inbox AND #missing = :missing",
                seq=entry.seq,
                at=entry.queued_at,
                reason=QueuedReason.INSUFFICIENT_STOCK,
                one=1,
                queued=Status.QUEUED,
                inbox=placement.inbox.id,
                missing=entry.missing,
            )
        try:
            transaction.commit()
        except Refused as refused:
            if "header" in refused.failed:
                raise Stale from refused
            raise AdbotRefused({tag.split(":", 1)[1] for tag in refused.failed}) from refused

    def _assign(self, transaction: Transaction, pool: str, version: int, assignment: Assignment) -> None:
        adbot_id = assignment.adbot_id
        partial = assignment.missing_after > 0
        changes = "SET assigned = assigned + :given, #missing = :after, runs = list_append(runs, :runs)"
        changes += ", version = version + :one"
        removals = [] if partial else ["queued_reason"]
        values = {
            "given": assignment.count,
            "after": assignment.missing_after,
            "runs": items.runs_list(assignment.runs),
            "one": 1,
            "queued": Status.QUEUED,
            "before": assignment.missing_before,
        }
        condition = "#status = :queued AND #missing = :before AND seq = :seq"
        if not partial:
            changes += ", #status = :ready"
            values["ready"] = Status.READY
        if assignment.inbox:
            self._take_out_of_inbox(transaction, pool, assignment.inbox)
            condition = "#status = :queued AND #missing = :before AND inbox_id = :inbox"
            changes += ", seq = :seq, queued_at = :at"
            removals.append("inbox_id")
            values |= {"inbox": assignment.inbox.id, "at": assignment.queued_at}
            if partial:
                entry = QueueEntry(assignment.seq, adbot_id, assignment.missing_before, assignment.queued_at)
                transaction.create(f"queue:{adbot_id}", self.table, items.queue_item(pool, entry))
                changes += ", queued_reason = :reason"
                values["reason"] = QueuedReason.INSUFFICIENT_STOCK
        if removals:
            changes += f" REMOVE {', '.join(removals)}"
        transaction.update(
            f"adbot:{adbot_id}",
            self.table,
            items.adbot_key(adbot_id),
            changes,
            condition=condition,
            seq=assignment.seq,
            **values,
        )
        for run in assignment.runs:
            self.record_owner(transaction, run, version, adbot_id, assignment.seq)

    def record_owner(self, transaction: Transaction, run: Run, version: int, adbot_id: str, seq: int | None) -> None:
        """An entry in the owner index. `seq` is absent where an operator gave the session out of turn."""
        transaction.create(
            f"alloc:{adbot_id}",
            self.table,
            {
                **items.key(f"UPLOAD#{run.upload}", items.alloc_sk(run.offset, version)),
                "adbot_id": adbot_id,
                "count": run.count,
                "seq": seq,
            },
        )

    def _take_out_of_inbox(self, transaction: Transaction, pool: str, entry: InboxEntry) -> None:
        transaction.delete(f"inbox:{entry.adbot_id}", self.table, items.key(items.inbox_pk(pool), entry.id))

    def put_header(self, transaction: Transaction, before: Header, after: Header) -> None:
        """Write a header that still has the version it was read with."""
        transaction.put(
            "header", self.table, items.header_item(after), condition="version = :version", version=before.version
        )

    def mark_dead(self, transaction: Transaction, pool: str, segment: int, positions: set[int]) -> None:
        """Make the cursor pass over these positions. The header's version, in the same transaction, guards them."""
        transaction.update(
            f"segment:{segment}",
            self.table,
            items.segment_key(pool, segment),
            "ADD dead :dead",
            condition="attribute_exists(pk)",
            dead=positions,
        )

    def parked(self, pool: str) -> list[str]:
        """Bots of a pool that are set aside."""
        return [item["sk"] for item in dynamodb.query(self.client, self.table, "pk = :pk", pk=f"POOL#{pool}#PARK")]
