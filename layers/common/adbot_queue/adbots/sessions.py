"""Sessions one by one: whose they are, where they are, and losing them."""

from __future__ import annotations

from collections.abc import Sequence

from adbot_queue.adbots import changes
from adbot_queue.adbots.changes import StockPosition
from adbot_queue.adbots.model import Run
from adbot_queue.adbots.pool_state import PoolState
from adbot_queue.adbots.session_locator import SessionLocation, SessionLocator
from adbot_queue.adbots.storage import items
from adbot_queue.adbots.storage.pool_store import StalePool, TransactionPart
from adbot_queue.adbots.storage.store import AdbotStore
from adbot_queue.core import dynamodb
from adbot_queue.core.clock import Clock
from adbot_queue.core.dynamodb import Item, Transaction, TransactionRejected
from adbot_queue.core.errors import Conflict, NotFound


class Sessions:
    """The sessions of all pools."""

    def __init__(self, store: AdbotStore, now: Clock) -> None:
        self._store = store
        self._now = now
        self._client = store.client
        self._table = store.table
        self._whereabouts = SessionLocator(store)

    def session_ids(self, runs: tuple[Run, ...]) -> list[str]:
        """The ids of the sessions in these runs, in order. Reads one page item for 100 sessions."""
        wanted = {
            (run.upload, page)
            for run in runs
            for page in range(run.offset // items.PAGE, (run.end - 1) // items.PAGE + 1)
        }
        keys = [items.page_key(upload, page) for upload, page in sorted(wanted)]
        pages = {(item["pk"], item["sk"]): item["ids"] for item in dynamodb.get_many(self._client, self._table, keys)}
        ids: list[str] = []
        for run in runs:
            for offset in range(run.offset, run.end):
                key = items.page_key(run.upload, offset // items.PAGE)
                page = pages.get((key["pk"], key["sk"]), [])
                if offset % items.PAGE < len(page):
                    ids.append(page[offset % items.PAGE])
        return ids

    def position(self, pool: str, session_id: str) -> tuple[str, int]:
        """Upload and offset of a session of the pool.

        Raises:
            NotFound: there is no such session in it. Conflict: it was lost.
        """
        session = self._present(pool, session_id)
        return session["upload"], session["offset"]

    def free_place(self, header: PoolState, session_id: str) -> StockPosition:
        """Return where a free session is in the stock.

        Raises:
            NotFound, Conflict: it is not free, or as `position`.
        """
        located = self._whereabouts.of([self._present(header.pool, session_id)], [header])[session_id]
        if located.place is None:
            holder = f"assigned to adbot {located.adbot_id}" if located.adbot_id else "not in stock"
            raise Conflict(f"session {session_id} is not free: {holder}", session_id=session_id)
        return located.place

    def locate(self, session_id: str) -> SessionLocation:
        """Return where a session is now.

        Raises:
            NotFound: there is none.
        """
        return self._whereabouts.of([self._session(session_id)])[session_id]

    def _present(self, pool: str, session_id: str) -> Item:
        session = self._session(session_id)
        if session["pool"] != pool:
            raise NotFound(f"there is no session {session_id} in pool {pool}", session_id=session_id)
        if session.get("lost_at"):
            raise Conflict(f"session {session_id} was lost", session_id=session_id)
        return session

    def _session(self, session_id: str) -> Item:
        session = dynamodb.get(self._client, self._table, items.session_key(session_id))
        if session is None:
            raise NotFound(f"there is no session {session_id}", session_id=session_id)
        return session

    def mark_lost(self, transaction: Transaction, session_id: str) -> None:
        """Mark a session lost; refuses one that is."""
        transaction.update(
            "session",
            self._table,
            items.session_key(session_id),
            "SET lost_at = :now",
            condition="attribute_exists(pk) AND attribute_not_exists(lost_at)",
            now=self._now(),
        )

    def lose_free(self, header: PoolState, place: StockPosition, *parts: TransactionPart) -> None:
        """Take a free session out of the stock for good.

        Raises:
            StalePool: the pool changed since the header was read.
        """
        after = changes.lose_free(header)
        transaction = self._store.transaction()
        self._store.put_header(transaction, header, after)
        self._store.mark_dead(transaction, header.pool, place.segment, {place.position})
        for part in parts:
            part(transaction)
        try:
            transaction.commit()
        except TransactionRejected as refused:
            raise StalePool from refused

    def locate_all(self, sessions: Sequence[Item]) -> dict[str, SessionLocation]:
        """Return where sessions are that were read already; by their ids."""
        return self._whereabouts.of(sessions)
