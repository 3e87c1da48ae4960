"""Events and payments in the Payments table that still wait: for their settling, for their sale."""

from __future__ import annotations

from adbot_queue.core import dynamodb
from adbot_queue.core.clock import iso
from adbot_queue.core.dynamodb import Transaction
from adbot_queue.payments.records import StoredPayment
from adbot_queue.payments.store import UNMATCHED, UNSETTLED, PaymentStore, known_of


class WaitingPayments(PaymentStore):
    """The Payments table as a sweep sees it."""

    def unsettled(self, before: int, most: int) -> list[tuple[str, str]]:
        """Key and time of receipt of events received before that time and not settled, oldest first, up to `most`."""
        return self._waiting(UNSETTLED, before, most)

    def unmatched(self, before: int, most: int) -> list[str]:
        """Payments of which only refunds or disputes are known, and were before that time: their keys, oldest first."""
        return [pk.removeprefix(self._key("")["pk"]) for pk, _ in self._waiting(UNMATCHED, before, most)]

    def _waiting(self, what: str, before: int, most: int) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        cursor: str | None = None
        while len(found) < most:
            page, cursor = dynamodb.query_page(
                self.client,
                self.table,
                "unsettled = :unsettled AND received_at < :before",
                index="unsettled",
                limit=most - len(found),
                cursor=cursor,
                forward=True,
                unsettled=what,
                before=iso(before),
            )
            found.extend((item["pk"], item["received_at"]) for item in page)
            if cursor is None:
                break
        return found

    def payment(self, key: str) -> StoredPayment | None:
        """A payment by its key."""
        item = dynamodb.get(self.client, self.table, self._key(key))
        return known_of(key, item) if item and "same_as" not in item else None

    def matched(self, transaction: Transaction, known: StoredPayment) -> None:
        """Take a payment out of those that wait for their sale: refused with tag `payment` when it has changed."""
        transaction.update(
            "payment",
            self.table,
            self._key(known.key),
            "SET version = :next REMOVE unsettled, received_at",
            condition="version = :version",
            next=known.version + 1,
            version=known.version,
        )
