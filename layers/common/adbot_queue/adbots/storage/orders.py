"""Orders in the AdBots table, and what a purchase writes."""

from __future__ import annotations

from adbot_queue.adbots.model import Adbot, Movement, Order
from adbot_queue.adbots.pool_state import InboxEntry
from adbot_queue.adbots.storage import items, readers
from adbot_queue.adbots.storage.pool_store import PoolStore, TransactionPart
from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import Transaction


class OrderStore(PoolStore):
    """The AdBots table as purchases see it."""

    def create_bought(
        self, order: Order, adbot: Adbot, entry: InboxEntry, *parts: TransactionPart, replaces: Order | None = None
    ) -> None:
        """Write order, bot and inbox entry, with the caller's parts. Purchases touch no common item.

        Raises:
            TransactionRejected: tagged `order`, `adbot`, or with a tag of the caller's.
        """
        transaction = self.transaction()
        self.put_order(transaction, replaces, order)
        transaction.create("adbot", self.table, items.adbot_item(adbot))
        transaction.create("inbox", self.table, items.inbox_item(adbot.pool, entry))
        for part in parts:
            part(transaction)
        transaction.commit()

    def put_order(self, transaction: Transaction, before: Order | None, after: Order) -> None:
        """Write an order that is new, or still has the version it was read with."""
        if before is None:
            transaction.create("order", self.table, items.order_item(after))
        else:
            transaction.put(
                "order", self.table, items.order_item(after), condition="version = :version", version=before.version
            )

    def order(self, order_id: str) -> Order | None:
        """One order."""
        item = dynamodb.get(self.client, self.table, items.order_key(order_id))
        return readers.order_of(item) if item else None

    def put_movement(self, transaction: Transaction, order_id: str, name: str, movement: Movement) -> None:
        """Write a movement of an order's money; the record of its payment, in the same transaction, has the version."""
        transaction.put("movement", self.table, items.movement_item(order_id, name, movement))
