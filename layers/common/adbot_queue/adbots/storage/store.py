"""Bots, their lists and commands in the AdBots table. Every racing write is conditional."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adbot_queue.adbots.allocation import Segment
from adbot_queue.adbots.changes import PoolChange
from adbot_queue.adbots.model import Adbot, AdbotStatus, Movement, Order, QueuedReason, Run
from adbot_queue.adbots.pool_state import PoolState, QueueEntry
from adbot_queue.adbots.storage import items, readers
from adbot_queue.adbots.storage.orders import OrderStore
from adbot_queue.adbots.storage.pool_directory import PoolDirectory
from adbot_queue.adbots.storage.pool_store import StalePool, TransactionPart
from adbot_queue.adbots.storage.rows import Found, Row, read_each
from adbot_queue.core import dynamodb, telemetry
from adbot_queue.core.dynamodb import Item, Transaction, TransactionRejected
from adbot_queue.core.telemetry import logger


class AdbotStore(OrderStore, PoolDirectory):
    """The AdBots table as orders, bots and pools see it."""

    # Commands

    def replace_adbot(self, transaction: Transaction, before: Adbot, after: Adbot) -> None:
        """Write a bot that still has the version it was read with."""
        transaction.put(
            "adbot", self.table, items.adbot_item(after), condition="version = :version", version=before.version
        )

    def commit_change(self, change: PoolChange, *parts: TransactionPart) -> None:
        """Write a command's change.

        Raises:
            StalePool: header or bot changed since they were read.
            TransactionRejected: with the tags of the caller's parts.
            TransactionConflict: try again.
        """
        transaction = self.transaction()
        self.add_change(transaction, change)
        for part in parts:
            part(transaction)
        try:
            transaction.commit()
        except TransactionRejected as refused:
            if refused.failed.keys() & {"header", "adbot"}:
                raise StalePool from refused
            raise

    def add_change(self, transaction: Transaction, change: PoolChange) -> None:
        """The items of a change: header, bot, its place in inbox, queue or park, released and taken sessions."""
        pool, before, after = change.header_after.pool, change.before, change.after
        version = change.header_after.version
        self.put_header(transaction, change.header_before, change.header_after)
        self.replace_adbot(transaction, before, after)
        if before.inbox_id and not after.inbox_id and not change.unparks:
            transaction.delete("inbox", self.table, items.key(items.inbox_pk(pool), before.inbox_id))
        if change.leaves and before.seq is not None:
            transaction.delete("queue", self.table, items.queue_key(pool, before.seq))
        if change.entry_missing is not None and before.seq is not None:
            transaction.update(
                "queue",
                self.table,
                items.queue_key(pool, before.seq),
                "SET #missing = :missing",
                condition="attribute_exists(pk)",
                missing=change.entry_missing,
            )
        if change.joins:
            transaction.create("place", self.table, items.queue_item(pool, change.joins))
        if change.unparks:
            transaction.delete("park", self.table, items.park_key(pool, change.parked_as or before.id))
        if change.released:
            transaction.create("segment", self.table, items.segment_item(pool, change.released))
        taken: dict[int, set[int]] = {}
        for place in change.taken:
            taken.setdefault(place.segment, set()).add(place.position)
            self.record_owner(transaction, Run(place.upload, place.offset, 1), version, before.id, None)
        for number, positions in taken.items():
            self.mark_dead(transaction, pool, number, positions)

    def park(
        self,
        before: PoolState,
        after: PoolState,
        entry: QueueEntry,
        adbot: Adbot | None,
        inbox_id: str | None,
        *parts: TransactionPart,
    ) -> None:
        """Park a bot: out of queue or inbox, where it blocks no other.

        Raises:
            StalePool: the pool changed; TransactionConflict: try again.
        """
        transaction = self.transaction()
        self.put_header(transaction, before, after)
        if inbox_id:
            transaction.delete("inbox", self.table, items.key(items.inbox_pk(before.pool), inbox_id))
        else:
            transaction.delete("queue", self.table, items.queue_key(before.pool, entry.seq))
        transaction.put(
            "park",
            self.table,
            {
                **items.park_key(before.pool, entry.adbot_id),
                "seq": entry.seq,
                "missing": entry.missing,
                "queued_at": entry.queued_at,
            },
        )
        if adbot and adbot.status is AdbotStatus.QUEUED:
            self._mark_parked(transaction, adbot)
        for part in parts:
            part(transaction)
        self._commit_or_stale(transaction)

    def park_entry(
        self, before: PoolState, after: PoolState, entry: Item, adbot: Adbot | None, *parts: TransactionPart
    ) -> None:
        """Set an entry of queue or inbox aside that this version cannot read: its row moves into the park as it is.

        Args:
            before: the header as read.
            after: the header without the entry.
            entry: the row.
            adbot: the entry's bot where this version can read it and it waits there; no other bot is written.
            parts: join the transaction.

        Raises:
            StalePool: the pool changed; TransactionConflict: try again.
        """
        transaction = self.transaction()
        self.put_header(transaction, before, after)
        transaction.delete("entry", self.table, items.key(entry["pk"], entry["sk"]))
        park = items.park_key(before.pool, adbot.id if adbot else parked_as(entry))
        transaction.put(
            "park", self.table, {**entry, **park, "entry": entry["sk"]}, condition="attribute_not_exists(pk)"
        )
        if adbot:
            self._mark_parked(transaction, adbot)
        for part in parts:
            part(transaction)
        self._commit_or_stale(transaction)

    def _mark_parked(self, transaction: Transaction, adbot: Adbot) -> None:
        transaction.update(
            "adbot",
            self.table,
            items.adbot_key(adbot.id),
            "SET queued_reason = :parked, version = version + :one REMOVE inbox_id",
            condition="version = :version",
            parked=QueuedReason.PARKED,
            one=1,
            version=adbot.version,
        )

    def place_in_park(self, adbot: Adbot) -> str | None:
        """Return the sort key under which a bot is set aside, None where it is not."""
        entries = [adbot.inbox_id, None if adbot.seq is None else f"{adbot.seq:012d}"]
        names = [adbot.id, *(f"ENTRY#{name}" for name in entries if name)]
        found = dynamodb.get_many(self.client, self.table, [items.park_key(adbot.pool, name) for name in names])
        there = {item["sk"] for item in found}
        return next((name for name in names if name in there), None)

    def all_ahead(self, header: PoolState) -> Found[Segment]:
        """Every segment from the cursor on, without those that are set aside."""
        return self.stock_ahead(header, header.next_segment)

    def put_aside(self, before: PoolState, after: PoolState, *parts: TransactionPart) -> None:
        """Write a header that leaves segments out. Raises as `park`."""
        transaction = self.transaction()
        self.put_header(transaction, before, after)
        for part in parts:
            part(transaction)
        self._commit_or_stale(transaction)

    def give_back(
        self, before: PoolState, after: PoolState, number: int, until: int, segment: Segment, part: TransactionPart
    ) -> None:
        """Put what a segment held behind a position back into the stock, as a new segment at its end.

        Raises:
            StalePool: the pool changed; TransactionConflict: try again.
        """
        transaction = self.transaction()
        self.put_header(transaction, before, after)
        transaction.create("segment", self.table, items.segment_item(before.pool, segment))
        transaction.update(
            "aside",
            self.table,
            items.segment_key(before.pool, number),
            "SET #until = :until, moved_to = :number",
            condition="attribute_exists(pk) AND attribute_not_exists(#until)",
            until=until,
            number=segment.number,
        )
        part(transaction)
        self._commit_or_stale(transaction)

    def _commit_or_stale(self, transaction: Transaction) -> None:
        try:
            transaction.commit()
        except TransactionRejected as refused:
            raise StalePool from refused

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

    # Orders and bots

    def adbot(self, adbot_id: str) -> Adbot | None:
        """One bot.

        Raises:
            UnreadableRow: this version cannot read it.
        """
        item = dynamodb.get(self.client, self.table, items.adbot_key(adbot_id))
        return readers.adbot_of(item) if item else None

    def adbots(self, adbot_ids: Sequence[str]) -> list[Adbot]:
        """Several bots, in the order asked for; those that exist and that this version can read."""
        found = dynamodb.get_many(self.client, self.table, [items.adbot_key(adbot_id) for adbot_id in adbot_ids])
        by_id = {adbot.id: adbot for adbot in _readable(found, readers.adbot_of)}
        return [by_id[adbot_id] for adbot_id in adbot_ids if adbot_id in by_id]

    def list_adbots(self, owner: str | None, limit: int, cursor: str | None) -> tuple[list[Adbot], str | None]:
        """A page of bots, newest first: those of one owner, or all."""
        if owner is None:
            found, next_in_queue = self._list("by_kind", "#kind = :hash", "ADBOT", limit, cursor)
        else:
            found, next_in_queue = self._list("by_owner", "#owner = :hash", owner, limit, cursor)
        return self.adbots([item["pk"].removeprefix("ADBOT#") for item in found]), next_in_queue

    def orders_in_review(self, limit: int, cursor: str | None) -> tuple[list[Order], str | None]:
        """A page of the orders that a person must look at, newest first."""
        found, next_in_queue = self._list("by_kind", "#kind = :hash", "REVIEW", limit, cursor)
        by_id = {order.id: order for order in self.orders([item["pk"].removeprefix("ORDER#") for item in found])}
        names = [item["pk"].removeprefix("ORDER#") for item in found]
        return [by_id[name] for name in names if name in by_id], next_in_queue

    def movements_between(
        self, first: str, last: str, limit: int, cursor: str | None
    ) -> tuple[list[Movement], str | None]:
        """A page of the money that came in and went out between two days: a Query and a BatchGetItem."""
        keys, next_in_queue = self._between("MONEY", first, last, limit, cursor)
        wanted = [items.key(found["pk"], found["sk"]) for found in keys]
        return [readers.movement_of(item) for item in dynamodb.get_many(self.client, self.table, wanted)], next_in_queue

    def listed_between(
        self, kind: str, first: str, last: str, limit: int, cursor: str | None
    ) -> tuple[list[str], str | None]:
        """A page of ids, oldest first: of bots (`ADBOT`) or orders in review (`REVIEW`) made between two days."""
        found, next_in_queue = self._between(kind, first, last, limit, cursor)
        return [str(item["pk"]).partition("#")[2] for item in found], next_in_queue

    def _between(
        self, kind: str, first: str, last: str, limit: int, cursor: str | None
    ) -> tuple[list[Item], str | None]:
        """Keys of a kind, oldest first."""
        return dynamodb.query_page(
            self.client,
            self.table,
            "#kind = :kind AND listed_at BETWEEN :first AND :last",
            index="by_kind",
            limit=limit,
            cursor=cursor,
            forward=True,
            kind=kind,
            first=first,
            last=f"{last}~",
        )

    def orders(self, order_ids: Sequence[str]) -> list[Order]:
        """Several orders, in any order; those that exist and that this version can read."""
        found = dynamodb.get_many(self.client, self.table, [items.order_key(one) for one in order_ids])
        return _readable(found, readers.order_of)

    def _list(
        self, index: str, condition: str, value: str, limit: int, cursor: str | None
    ) -> tuple[list[Item], str | None]:
        return dynamodb.query_page(
            self.client, self.table, condition, index=index, limit=limit, cursor=cursor, hash=value
        )


def parked_as(entry: Item) -> str:
    """Return the sort key in the park of an entry whose bot is not known to wait there."""
    return f"ENTRY#{entry['sk']}"


def _readable(found: list[Item], read: Callable[[Item], Row]) -> list[Row]:
    """Return the readable rows of a list; the others are logged, counted and left out."""
    rows = read_each(found, read)
    for unreadable in rows.bad:
        logger.error("row left out of a list", key=unreadable.item.get("pk"), reason=unreadable.reason)
    telemetry.count("RowsUnreadable", len(rows.bad))
    return rows.good
