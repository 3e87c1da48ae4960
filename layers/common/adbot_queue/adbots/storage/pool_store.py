"""Pools in the AdBots table: what a resolver step reads, and the one transaction that it writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from botocore.exceptions import ClientError

from adbot_queue.adbots.allocation import AllocationStep, Assignment, Segment
from adbot_queue.adbots.model import AdbotStatus, QueuedReason, Run
from adbot_queue.adbots.pool_state import InboxEntry, PoolState, QueueEntry
from adbot_queue.adbots.storage import items, readers
from adbot_queue.adbots.storage.rows import ROW_VERSION, Found, UnreadableRow, read_each
from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import Item, Table, Transaction, TransactionRejected
from adbot_queue.core.errors import Invalid

READ_AHEAD = 51
"""Bots read for one step: it can serve 49 (two items each, the header, 100 in all); one more tells the next head."""

FIRST_ID = "!"
"""Before every time-ordered id."""

KNOWN_VERSIONS = {f"v{number}": number for number in range(1, ROW_VERSION + 1)}
KNOWN = f"(attribute_not_exists(v) OR v IN ({', '.join(f':{name}' for name in KNOWN_VERSIONS)}))"
"""Holds for a bot whose row this version knows, so that a step may serve the bot without having read it.

No more is asked: DynamoDB itself checks what the update computes with (`assigned`, `runs`, `version`), and the stream's
consumer reports a bot that is damaged elsewhere. Each further attribute would cost DynamoDB Local 2 % of a step.
"""

TransactionPart = Callable[[Transaction], None]
"""Adds items to another's transaction: a ledger entry, a settled mark."""


class StalePool(Exception):
    """Header or bot changed since they were read: nothing was written, read again."""


class AdbotRefused(Exception):
    """A step was refused by the conditions of bots, not of the header: these bots are not as the queue says."""

    def __init__(self, adbot_ids: set[str]) -> None:
        super().__init__(f"not as the queue says: {', '.join(sorted(adbot_ids))}")
        self.adbot_ids = adbot_ids


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PoolView:
    """What one resolver step is decided on, and what of it this version cannot read."""

    header: PoolState
    inbox: list[InboxEntry]
    queue: list[QueueEntry]
    segments: list[Segment]
    bad_entries: list[UnreadableRow] = field(default_factory=list)
    bad_segments: list[UnreadableRow] = field(default_factory=list)

    @property
    def needs_clearing(self) -> bool:
        """Whether rows are set aside, or must be."""
        return bool(self.header.aside or self.bad_entries or self.bad_segments)


class PoolStore(Table):
    """The AdBots table as a resolver step sees it: a pool's header, inbox, queue and stock."""

    def transaction(self) -> Transaction:
        """An empty transaction."""
        return Transaction(self.client)

    def header(self, pool: str) -> PoolState | None:
        """A pool's header, None when there is no such pool. One read.

        Raises:
            UnreadableRow: this version cannot read it.
        """
        item = dynamodb.get(self.client, self.table, items.header_key(pool))
        return items.header_of(item) if item else None

    def check(self, pool: str) -> None:
        """Refuse a pool that does not exist; a purchase needs no more, whatever the header says.

        Raises:
            Invalid: the pool does not exist.
        """
        if dynamodb.get(self.client, self.table, items.header_key(pool)) is None:
            raise Invalid.field("pool", "does not exist")

    def read_inbox(self, pool: str, limit: int, after: str = FIRST_ID) -> Found[InboxEntry]:
        """The oldest entries of the inbox, behind the id `after`."""
        condition = "pk = :pk AND sk > :after"
        found = dynamodb.query(self.client, self.table, condition, limit=limit, pk=items.inbox_pk(pool), after=after)
        return read_each(found, items.inbox_of)

    def queue_rows(self, header: PoolState, limit: int) -> list[Item]:
        """The first places of the queue as they are stored, in order. Crosses partitions that have run empty."""
        return self._numbered(header.pool, items.queue_pk, header.queue_head, header.queue_tail, 12, limit)

    def waiting(self, header: PoolState, limit: int) -> Found[QueueEntry]:
        """The first waiting bots, in order."""
        return read_each(self.queue_rows(header, min(limit, header.queue_length)), items.queue_of)

    def stock_ahead(self, header: PoolState, limit: int) -> Found[Segment]:
        """The segments from the cursor on, without those that are set aside."""
        aside = {number for number, _ in header.aside}
        many = limit + len(aside)
        first, last = header.cursor_segment, header.next_segment
        found = self._numbered(header.pool, items.segment_pk, first, last, 8, many)
        return read_each([item for item in found if int(item["sk"]) not in aside][:limit], items.segment_of)

    def _numbered(
        self, pool: str, partition: Callable[[str, int], str], first: int, last: int, digits: int, limit: int
    ) -> list[Item]:
        """Rows of something numbered, through the partitions it is spread over."""
        rows: list[Item] = []
        number = first
        while len(rows) < limit and number < last:
            pk = partition(pool, number)
            found = dynamodb.query(
                self.client,
                self.table,
                "pk = :pk AND sk >= :sk",
                limit=limit - len(rows),
                pk=pk,
                sk=f"{number:0{digits}d}",
            )
            rows.extend(found)
            size = items.QUEUE_BUCKET if partition is items.queue_pk else items.SEGMENT_BUCKET
            number = (number // size + 1) * size
        return rows

    def view(self, pool: str, known: PoolState | None = None) -> PoolView | None:
        """Read what the next step needs: two reads when there is nothing to do, four at most.

        `known` is the header where the caller has just written it: one read less. A step on a header that has changed
        since is `StalePool`.

        Raises:
            UnreadableRow: this version cannot read the pool's header.
        """
        header = known or self.header(pool)
        if header is None:
            return None
        inbox = self.read_inbox(pool, READ_AHEAD)
        nothing: Found[QueueEntry] = Found([], [])
        queue = self.waiting(header, READ_AHEAD) if header.free and header.queue_length else nothing
        stock: Found[Segment] = Found([], [])
        if header.free and (header.queue_length or inbox.good):
            # One segment is enough while it is large; a few more when uploads were small.
            wanted = header.missing_total + sum(entry.required for entry in inbox.good)
            stock = self.stock_ahead(header, 2)
            if sum(segment.count for segment in stock.good) - header.cursor_offset < min(wanted, header.free):
                stock = self.stock_ahead(header, READ_AHEAD * 2)
        return PoolView(header, inbox.good, queue.good, stock.good, [*queue.bad, *inbox.bad], stock.bad)

    def commit_step(self, step: AllocationStep) -> None:
        """Write one resolver step.

        Items and what each refuses: the header, at any version but the one read; each bot that no longer has this place
        and lack (or, from the inbox, was cancelled); each inbox entry that is gone.

        Raises:
            StalePool: another process changed the pool first.
            AdbotRefused: the header agreed, but these bots did not, or this version cannot read them.
            TransactionConflict: try again.
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
                condition=f"#status = :queued AND inbox_id = :inbox AND #missing = :missing AND {KNOWN}",
                **KNOWN_VERSIONS,
                seq=entry.seq,
                at=entry.queued_at,
                reason=QueuedReason.INSUFFICIENT_STOCK,
                one=1,
                queued=AdbotStatus.QUEUED,
                inbox=placement.inbox.id,
                missing=entry.missing,
            )
        try:
            transaction.commit()
        except TransactionRejected as refused:
            if "header" in refused.failed:
                raise StalePool from refused
            raise AdbotRefused({tag.split(":", 1)[1] for tag in refused.failed}) from refused
        except ClientError as error:
            unreadable = self._unreadable_bots(step) if dynamodb.is_invalid(error) else set()
            if not unreadable:
                raise
            raise AdbotRefused(unreadable) from error

    def _unreadable_bots(self, step: AllocationStep) -> set[str]:
        """Return the ids of the bots of a step that this version cannot read."""
        ids = [one.adbot_id for one in step.assignments] + [one.entry.adbot_id for one in step.placements]
        found = dynamodb.get_many(self.client, self.table, map(items.adbot_key, ids))
        return {unreadable.item["pk"].partition("#")[2] for unreadable in read_each(found, readers.adbot_of).bad}

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
            "queued": AdbotStatus.QUEUED,
            "before": assignment.missing_before,
        }
        condition = "#status = :queued AND #missing = :before AND seq = :seq"
        if not partial:
            changes += ", #status = :ready"
            values["ready"] = AdbotStatus.READY
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
            condition=f"{condition} AND {KNOWN}",
            **KNOWN_VERSIONS,
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

    def put_header(self, transaction: Transaction, before: PoolState, after: PoolState) -> None:
        """Write a header that still has the version it was read with."""
        transaction.put(
            "header", self.table, items.header_item(after), condition="version = :version", version=before.version
        )
