"""Pools in the AdBots table beyond a resolver step: all of them, a page of a queue, single rows."""

from __future__ import annotations

from collections.abc import Sequence

from adbot_queue.adbots.allocation import Segment
from adbot_queue.adbots.pool_state import InboxEntry, PoolState, QueueEntry
from adbot_queue.adbots.storage import items
from adbot_queue.adbots.storage.pool_store import PoolStore, TransactionPart
from adbot_queue.adbots.storage.rows import Found, UnreadableRow, number_in, read_each
from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import Item

MAX_PARTITIONS = 3
"""Partitions of the queue that one page reads."""


class PoolDirectory(PoolStore):
    """The AdBots table as those who look at pools see it."""

    def pools(self) -> list[str]:
        """Names of all pools."""
        return list(self.made())

    def made(self) -> dict[str, int]:
        """All pools: name -> when it was made, in milliseconds; 0 where that is not known."""
        found = dynamodb.query(self.client, self.table, "pk = :pk", pk="POOLS")
        return {item["sk"]: number_in(item, "created_at") or 0 for item in found}

    def create_pool(self, pool: str, sign: TransactionPart, now: int = 0) -> None:
        """Register an empty pool.

        Raises:
            TransactionRejected: it exists.
        """
        transaction = self.transaction()
        transaction.create("pool", self.table, {**items.key("POOLS", pool), "created_at": now})
        transaction.create("header", self.table, items.header_item(PoolState(pool)))
        sign(transaction)
        transaction.commit()

    def headers(self, pools: Sequence[str]) -> list[PoolState]:
        """Headers of several pools, one read each, in one call; those that this version can read."""
        return self.read_headers(pools).good

    def read_headers(self, pools: Sequence[str]) -> Found[PoolState]:
        """Headers of several pools; a registered pool without one counts as unreadable."""
        found = dynamodb.get_many(self.client, self.table, [items.header_key(pool) for pool in pools])
        read = read_each(found, items.header_of)
        there = {item["pk"] for item in found}
        gone = [key for key in map(items.header_key, pools) if key["pk"] not in there]
        lacking = [UnreadableRow(key, "it is missing") for key in gone]
        return Found(sorted(read.good, key=lambda header: header.pool), [*read.bad, *lacking])

    def oldest_in_inbox(self, pool: str, limit: int = 1) -> list[InboxEntry]:
        """The bots that have waited longest for a place."""
        return self.read_inbox(pool, limit).good

    def queue_page(self, header: PoolState, first: int, limit: int) -> tuple[list[QueueEntry], int]:
        """Entries of the queue from a sequence number on, and the number to go on with.

        At most `MAX_PARTITIONS` reads: the page is short where many bots were cancelled, and without unreadable rows.
        """
        rows: list[Item] = []
        number = max(first, header.queue_head)
        for _ in range(MAX_PARTITIONS):
            if len(rows) == limit or number >= header.queue_tail:
                break
            pk, sk = items.queue_pk(header.pool, number), f"{number:012d}"
            left = limit - len(rows)
            rows += dynamodb.query(self.client, self.table, "pk = :pk AND sk >= :sk", limit=left, pk=pk, sk=sk)
            ended = len(rows) < limit
            number = (number // items.QUEUE_BUCKET + 1) * items.QUEUE_BUCKET if ended else int(rows[-1]["sk"]) + 1
        return read_each(rows, items.queue_of).good, number

    def parked_page(self, pool: str, limit: int, cursor: str | None) -> tuple[list[str], str | None]:
        """A page of the ids of bots that are set aside."""
        pk = f"POOL#{pool}#PARK"
        found, following = dynamodb.query_page(
            self.client, self.table, "pk = :pk", limit=limit, cursor=cursor, forward=True, pk=pk
        )
        return [item["sk"] for item in found], following

    def next_in_queue(self, header: PoolState) -> QueueEntry | None:
        """The bot behind the head of the queue.

        Raises:
            UnreadableRow: an entry before it, or its own, cannot be read: it must be set aside first.
        """
        first_two = [items.queue_of(item) for item in self.queue_rows(header, min(2, header.queue_length))]
        return first_two[1] if len(first_two) > 1 else None

    def segment(self, pool: str, number: int) -> Segment | None:
        """One segment. Raises as `header`."""
        item = dynamodb.get(self.client, self.table, items.segment_key(pool, number))
        return items.segment_of(item) if item else None
