"""How an upload becomes stock: the items of one transaction, of the request or of `finish-upload`."""

from __future__ import annotations

from adbot_queue.adbots import changes
from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.model import Run
from adbot_queue.adbots.service import AdbotService
from adbot_queue.adbots.storage import items
from adbot_queue.core.clock import Clock
from adbot_queue.core.dynamodb import Transaction
from adbot_queue.ledger import LedgerEntry
from adbot_queue.stock.claims import Claims, Upload

STAGED, PUBLISHED = "STAGED", "UPLOAD"
"""The kinds of uploads in the index `by_kind`."""


class Publication:
    """Adds the publication of uploads to transactions."""

    def __init__(self, adbots: AdbotService, now: Clock) -> None:
        self._adbots = adbots
        self._now = now

    def add(
        self, transaction: Transaction, upload: Upload, claims: Claims, command: Command, request: str | None = None
    ) -> None:
        """Read the header and add the items.

        Items and what each refuses: the header, any version but the one read; the segment, when it exists; the
        description, when it has a segment (published already); the ledger entry.

        Args:
            transaction: all of them, or none.
            upload: which one.
            claims: every line of it, settled.
            command: who signs for it.
            request: whose caller is answered that the lines are accepted; `finish-upload` has none.

        Raises:
            Invalid: the pool does not exist. Unavailable: this version cannot read its header.
        """
        store, header, dead = self._adbots.store, self._adbots.pools.header(upload.pool), claims.dead
        after, segment = changes.publish(header, (Run(upload.id, 0, upload.count),), dead)
        store.put_header(transaction, header, after)
        transaction.create("segment", store.table, items.segment_item(upload.pool, segment))
        values = {"segment": segment.number, "now": self._now(), "outcomes": dict(claims.outcomes()), "kind": PUBLISHED}
        transaction.update(
            "upload",
            store.table,
            items.upload_key(upload.id),
            "SET #segment = :segment, published_at = :now, outcomes = :outcomes, #kind = :kind"
            + (", accepted_for = :request" if request else ""),
            condition="attribute_not_exists(#segment)",
            **values,
            **({"request": request} if request else {}),
        )
        entry = LedgerEntry(
            command.actor,
            "stock.upload",
            f"upload:{upload.id}",
            before={"free": header.free, "stock_total": header.stock_total},
            after={
                "free": after.free,
                "stock_total": after.stock_total,
                "pool": upload.pool,
                "accepted": upload.count - len(dead),
            },
            reason=command.reason,
        )
        self._adbots.ledger.sign(transaction, entry)
