"""Pools: create, list, read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from adbot_queue.adbots.allocation_trigger import AllocationTrigger
from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.pool_state import PoolState
from adbot_queue.adbots.storage.store import AdbotStore
from adbot_queue.core import telemetry
from adbot_queue.core.clock import Clock
from adbot_queue.core.dynamodb import TransactionRejected
from adbot_queue.core.errors import Invalid
from adbot_queue.core.telemetry import logger
from adbot_queue.ledger import Ledger, LedgerEntry

if TYPE_CHECKING:
    from adbot_queue.adbots.queue_page import Page

POOL_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


class Pools:
    """All pools of the installation. A pool is never deleted."""

    def __init__(self, store: AdbotStore, ledger: Ledger, trigger: AllocationTrigger, now: Clock) -> None:
        self._store = store
        self._ledger = ledger
        self._trigger = trigger
        self._now = now

    def create(self, pool: str, command: Command) -> tuple[PoolState, bool]:
        """Create an empty pool; return it, and whether it is new.

        Raises:
            Invalid: the name is invalid.
        """
        if not POOL_NAME.fullmatch(pool):
            raise Invalid.field("pool", "must be 1 to 32 of a-z, 0-9 and -, a letter first")
        try:
            entry = LedgerEntry(command.actor, "pool.create", f"pool:{pool}", reason=command.reason)
            self._store.create_pool(pool, lambda transaction: self._ledger.sign(transaction, entry), self._now())
        except TransactionRejected:
            return self.header(pool), False
        return PoolState(pool), True

    def header(self, pool: str) -> PoolState:
        """Return a pool's header.

        Raises:
            Invalid: the pool does not exist. Unavailable: this version cannot read its header.
        """
        header = self._store.header(pool)
        if header is None:
            raise Invalid.field("pool", "does not exist")
        return header

    def waiting(self, pool: str, limit: int, cursor: str | None) -> Page:
        """Return a page of the bots that wait in a pool, in the order in which they are served.

        Raises:
            Invalid: pool or cursor does not exist. Unavailable: as `header`.
        """
        from adbot_queue.adbots import queue_page  # noqa: PLC0415  few functions list a queue

        return queue_page.in_order(self._store, self.header(pool), limit, cursor)

    def parked(self, pool: str, limit: int, cursor: str | None) -> Page:
        """Return a page of a pool's parked bots. Raises Invalid, as `waiting`."""
        from adbot_queue.adbots import queue_page  # noqa: PLC0415  as above

        self._store.check(pool)
        return queue_page.parked(self._store, pool, limit, cursor)

    def names(self) -> list[str]:
        """Return the names of all pools."""
        return self._store.pools()

    def headers(self) -> list[PoolState]:
        """Return all pools that this version can read: one call for their names, one read each."""
        return self.readable()[0]

    def readable(self) -> tuple[list[PoolState], list[str]]:
        """Return all readable pools, and the names of the others."""
        found = self._store.read_headers(self._store.pools())
        names = [unreadable.item["pk"].removeprefix("POOL#") for unreadable in found.bad]
        for name, unreadable in zip(names, found.bad, strict=True):
            logger.error("pool cannot be read", pool=name, reason=unreadable.reason)
        telemetry.count("RowsUnreadable", len(names))
        return found.good, names

    def trigger_allocation(self, pools: Sequence[str], cause: str) -> list[str]:
        """Request a resolver run for each pool; return the pools whose message SQS accepted."""
        return [pool for pool in pools if self._trigger.send(pool, cause)]

    def with_work(self) -> list[str]:
        """Return the pools with a queue, an inbox or unreadable stock: those that the schedule triggers."""
        return [header.pool for header in self.headers() if self._has_work(header)]

    def _has_work(self, header: PoolState) -> bool:
        if header.queue_length or header.aside:
            return True
        inbox = self._store.read_inbox(header.pool, 1)
        return bool(inbox.good or inbox.bad)
