"""Rows that this version cannot read are set aside, so that the rest of their pool goes on.

An entry of queue or inbox moves into the park unchanged; its bot waits there for an operator. A segment stays in place
and is skipped: the header names it and counts its sessions separately; they return to the stock as soon as the segment
can be read. A newer version's row is never overwritten.
"""

from __future__ import annotations

from dataclasses import replace

from adbot_queue.adbots import changes
from adbot_queue.adbots.allocation import Segment
from adbot_queue.adbots.commands import summary
from adbot_queue.adbots.model import Adbot, AdbotStatus, Run
from adbot_queue.adbots.pool_state import PoolState, QueueEntry
from adbot_queue.adbots.storage import items
from adbot_queue.adbots.storage.pool_store import PoolView, TransactionPart
from adbot_queue.adbots.storage.rows import UnreadableRow, number_in, text_in
from adbot_queue.adbots.storage.store import AdbotStore, parked_as
from adbot_queue.core import telemetry
from adbot_queue.core.dynamodb import Item, Transaction
from adbot_queue.core.telemetry import logger
from adbot_queue.ledger import SYSTEM, Ledger, LedgerEntry


class Quarantine:
    """Sets rows of a pool aside, one in a transaction, and gives segments back."""

    def __init__(self, store: AdbotStore, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger

    def clear(self, view: PoolView) -> bool:
        """Give a segment back, or set one unreadable row of a view aside; False if there was nothing to do.

        Raises:
            StalePool, TransactionConflict: the pool changed meanwhile; try again.
        """
        if view.header.aside and self._give_back(view.header):
            return True
        if view.bad_entries:
            self._entry(view.header, view.bad_entries[0].item, view.bad_entries[0].reason)
        elif view.bad_segments:
            self._segment(view.header, view.bad_segments[0])
        return bool(view.bad_entries or view.bad_segments)

    def first_entries(self, pool: str) -> None:
        """Set aside the unreadable entries among the first two of the queue. Raises as `clear`."""
        while (header := self._store.header(pool)) is not None:
            found = self._store.waiting(header, 2)
            if not found.bad:
                return
            self._entry(header, found.bad[0].item, found.bad[0].reason)

    def repeated(self, view: PoolView, adbot_ids: set[str]) -> bool:
        """Set aside the later entry of a bot that has several; False when none was found.

        Raises:
            StalePool, TransactionConflict: as `clear`.
        """
        rows = [items.queue_item(view.header.pool, entry) for entry in view.queue]
        rows += [items.inbox_item(view.header.pool, entry) for entry in view.inbox]
        for adbot_id in sorted(adbot_ids):
            mine = [row for row in rows if row["adbot_id"] == adbot_id]
            if len(mine) > 1:
                self._entry(view.header, mine[-1], "adbot_id has an earlier place", is_repeated=True)
                return True
        return False

    # Entries

    def _entry(self, header: PoolState, row: Item, reason: str, *, is_repeated: bool = False) -> None:
        from_inbox = row["pk"] == items.inbox_pk(header.pool)
        adbot = None if is_repeated else self._owner(row, from_inbox=from_inbox)
        after = header if from_inbox else self._without(header, row, adbot)
        after = replace(after, version=header.version + 1, parked=header.parked + 1)
        name = text_in(row, "adbot_id") or parked_as(row)

        def sign(transaction: Transaction) -> None:
            seen = {"pool": header.pool, "entry": row["sk"]}
            before = summary(adbot) if adbot else {}
            self._ledger.sign(transaction, LedgerEntry(SYSTEM, "adbot.park", f"adbot:{name}", before, seen, reason))

        self._store.park_entry(header, after, row, adbot, sign)
        logger.error("entry set aside: this version cannot read it", pool=header.pool, key=row["sk"], reason=reason)
        telemetry.count("AdbotsParked")
        telemetry.count("RowsUnreadable")

    def _owner(self, row: Item, *, from_inbox: bool) -> Adbot | None:
        """The entry's bot, if it can be read and waits at this very place."""
        adbot_id = text_in(row, "adbot_id")
        try:
            adbot = self._store.adbot(adbot_id) if adbot_id else None
        except UnreadableRow:
            return None
        if adbot is None or adbot.status is not AdbotStatus.QUEUED or adbot.is_parked:
            return None
        here = adbot.inbox_id == row["sk"] if from_inbox else f"{adbot.seq or 0:012d}" == row["sk"]
        return adbot if here else None

    def _without(self, header: PoolState, row: Item, adbot: Adbot | None) -> PoolState:
        """The header without a place of the queue."""
        rows = self._store.queue_rows(header, header.queue_length)
        others = [other for other in rows if other["sk"] != row["sk"]]
        next_in_queue = next((other for other in others if other["sk"] > row["sk"]), None)
        seq = _seq(row)
        is_head = next((other for other in rows), row)["sk"] == row["sk"]
        lacks = header.head_missing if is_head else number_in(row, "missing", 1)
        if lacks is None:
            lacks = number_in(row, "missing", 1) or (adbot.missing if adbot else None)
        if lacks is None:  # its lack is unknown: the total less what the others lack
            known = (self._lacks(header, other, first=index == 0 and not is_head) for index, other in enumerate(others))
            lacks = header.missing_total - sum(known)
        behind = None
        if next_in_queue is not None:
            queued_at = number_in(next_in_queue, "queued_at") or header.last_queued_at
            behind = QueueEntry(_seq(next_in_queue), "", 1, queued_at)
        return changes.remove_from_queue(header, seq, max(lacks, 0), behind)

    def _lacks(self, header: PoolState, row: Item, *, first: bool) -> int:
        if first and header.head_missing is not None:
            return header.head_missing
        return number_in(row, "missing", 1) or 0

    # Segments

    def _segment(self, header: PoolState, unreadable: UnreadableRow) -> None:
        number = int(unreadable.item["sk"])
        offset = header.cursor_offset if number == header.cursor_segment else 0
        left = sum(_free(header, segment) for segment in self._store.all_ahead(header).good)
        held = max(header.free - left, 0)
        after = replace(
            header,
            version=header.version + 1,
            free=header.free - held,
            aside=(*header.aside, (number, offset)),
            set_aside=header.set_aside + held,
        )
        self._store.put_aside(
            header, after, self._signature("stock.set_aside", header, after, number, unreadable.reason)
        )
        logger.error("segment set aside", pool=header.pool, segment=number, sessions=held, reason=unreadable.reason)
        telemetry.count("RowsUnreadable")

    def _give_back(self, header: PoolState) -> bool:
        """Give one segment back that can be read again; False when none can."""
        for number, offset in header.aside:
            try:
                segment = self._store.segment(header.pool, number)
            except UnreadableRow:
                continue
            if segment is None:
                continue
            runs = _free_from(segment, offset)
            live = sum(run.count for run in runs)
            rest = tuple(one for one in header.aside if one[0] != number)
            still = max(header.set_aside - live, 0) if rest else 0
            after = replace(
                header,
                version=header.version + 1,
                free=header.free + live,
                stock_total=header.stock_total + live + still - header.set_aside,
                aside=rest,
                set_aside=still,
                next_segment=header.next_segment + 1,
            )
            sign = self._signature("stock.give_back", header, after, number, "it can be read again")
            self._store.give_back(header, after, number, offset, Segment(header.next_segment, runs), sign)
            logger.warning("segment given back", pool=header.pool, segment=number, sessions=live)
            return True
        return False

    def _signature(self, action: str, header: PoolState, after: PoolState, number: int, reason: str) -> TransactionPart:
        def sign(transaction: Transaction) -> None:
            entry = LedgerEntry(
                SYSTEM, action, f"segment:{header.pool}/{number}", _stock(header), _stock(after), reason
            )
            self._ledger.sign(transaction, entry)

        return sign


def _stock(header: PoolState) -> dict[str, int]:
    return {"free": header.free, "set_aside": header.set_aside, "stock_total": header.stock_total}


def _seq(row: Item) -> int:
    key = str(row["sk"])
    return int(key) if key.isdigit() else 0


def _free(header: PoolState, segment: Segment) -> int:
    passed = header.cursor_offset if segment.number == header.cursor_segment else 0
    return sum(run.count for run in _free_from(segment, passed))


def _free_from(segment: Segment, position: int) -> tuple[Run, ...]:
    """Return the live positions from one on, in order."""
    runs: list[Run] = []
    start = 0
    for run in segment.ranges:
        for place in range(max(position - start, 0), run.count):
            if start + place in segment.dead:
                continue
            if runs and (last := runs[-1]).upload == run.upload and last.end == run.offset + place:
                runs[-1] = replace(last, count=last.count + 1)
            else:
                runs.append(Run(run.upload, run.offset + place, 1))
        start += run.count
    return tuple(runs)
