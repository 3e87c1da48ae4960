"""Parks bots that were refused too often, so that they do not block their pool."""

from __future__ import annotations

from dataclasses import replace

from adbot_queue.adbots import changes
from adbot_queue.adbots.commands import summary
from adbot_queue.adbots.model import Adbot
from adbot_queue.adbots.pool_state import PoolState, QueueEntry
from adbot_queue.adbots.storage.pool_store import PoolView, StalePool
from adbot_queue.adbots.storage.rows import UnreadableRow
from adbot_queue.adbots.storage.store import AdbotStore
from adbot_queue.core import telemetry
from adbot_queue.core.clock import Clock
from adbot_queue.core.dynamodb import Transaction, TransactionConflict
from adbot_queue.core.telemetry import logger
from adbot_queue.ledger import SYSTEM, Ledger, LedgerEntry

STRIKES = 3
"""Refusals of one bot after which it is parked, so that it does not block the pool."""


class Parking:
    """Takes a bot out of queue or inbox until an operator looks."""

    def __init__(self, store: AdbotStore, ledger: Ledger, now: Clock) -> None:
        self._store = store
        self._ledger = ledger
        self._now = now

    def park(self, view: PoolView, adbot_id: str) -> bool:
        """Park a bot that was refused too often; False if the pool changed in the meantime."""
        header = view.header
        adbot = self._readable(adbot_id)
        queued = next((entry for entry in view.queue if entry.adbot_id == adbot_id), None)
        arrived = next((entry for entry in view.inbox if entry.adbot_id == adbot_id), None)
        if queued:
            at_head = queued.seq == header.queue_head and header.head_missing is not None
            lacks = header.head_missing if at_head and header.head_missing is not None else queued.missing
            try:
                next_in_queue = self._store.next_in_queue(header)
            except UnreadableRow:  # set aside with the next view
                return False
            after = changes.remove_from_queue(header, queued.seq, lacks, next_in_queue)
            entry = replace(queued, missing=lacks)
        elif arrived:
            after = replace(header, queue_tail=header.queue_tail + 1)
            if not header.queue_length:
                after = replace(after, queue_head=after.queue_tail)
            entry = QueueEntry(header.queue_tail, adbot_id, arrived.required, self._now())
        else:
            return False
        after = replace(after, version=header.version + 1, parked=header.parked + 1)
        try:
            self._store.park(
                header,
                after,
                entry,
                adbot,
                arrived.id if arrived and not queued else None,
                lambda transaction: self._sign(transaction, entry, header, adbot),
            )
        except (StalePool, TransactionConflict):
            return False
        logger.error("bot set aside: its record does not agree with the queue", adbot_id=adbot_id, pool=header.pool)
        telemetry.count("AdbotsParked")
        return True

    def _readable(self, adbot_id: str) -> Adbot | None:
        """Return a bot; None if it does not exist or this version cannot read it: then it is parked unwritten."""
        try:
            return self._store.adbot(adbot_id)
        except UnreadableRow as unreadable:
            logger.error("bot cannot be read", adbot_id=adbot_id, reason=unreadable.reason)
            telemetry.count("RowsUnreadable")
            return None

    def _sign(self, transaction: Transaction, entry: QueueEntry, header: PoolState, adbot: Adbot | None) -> None:
        self._ledger.sign(
            transaction,
            LedgerEntry(
                SYSTEM,
                "adbot.park",
                f"adbot:{entry.adbot_id}",
                before=summary(adbot) if adbot else {},
                after={"seq": entry.seq, "missing": entry.missing, "pool": header.pool},
                reason=f"refused {STRIKES} times",
            ),
        )
