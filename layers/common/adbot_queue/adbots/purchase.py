"""Purchases: what one makes, an order and its bot, and how it is written."""

from __future__ import annotations

from adbot_queue.adbots.allocation_trigger import AllocationTrigger
from adbot_queue.adbots.commands import summary
from adbot_queue.adbots.model import MAX_SESSIONS, Adbot, AdbotStatus, ExecutionMode, Order, QueuedReason
from adbot_queue.adbots.pool_state import InboxEntry
from adbot_queue.adbots.storage.orders import OrderStore
from adbot_queue.adbots.storage.pool_store import TransactionPart
from adbot_queue.core.clock import Clock
from adbot_queue.core.dynamodb import Transaction
from adbot_queue.core.errors import Invalid
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.ledger import Actor, Ledger, LedgerEntry


def check_required(required: int) -> None:
    """Refuse a number of sessions that no bot may have.

    Raises:
        Invalid: not from 1 to 500.
    """
    if not 1 <= required <= MAX_SESSIONS:
        raise Invalid.field("required_sessions", f"must be between 1 and {MAX_SESSIONS}")


def bot_of(order: Order, bot_id: str, pool: str, required: int, inbox: InboxEntry, mode: ExecutionMode) -> Adbot:
    """The bot that an order buys, as it waits in the inbox of its pool."""
    return Adbot(
        id=bot_id,
        order_id=order.id,
        user_id=order.user_id,
        pool=pool,
        status=AdbotStatus.QUEUED,
        required=required,
        assigned=0,
        missing=required,
        creation_source=order.source,
        execution_mode=mode,
        created_at=inbox.bought_at,
        queued_reason=QueuedReason.SEQUENCING,
        inbox_id=inbox.id,
        on_hold=order.disputed,
    )


class Purchases:
    """Purchases of bots."""

    def __init__(self, store: OrderStore, ledger: Ledger, trigger: AllocationTrigger, now: Clock) -> None:
        self._store = store
        self._ledger = ledger
        self._trigger = trigger
        self._now = now

    def create_paid(
        self, order: Order, mode: ExecutionMode, actor: Actor, *parts: TransactionPart, replaces: Order | None = None
    ) -> Adbot:
        """Create order and bot, whatever the stock; then trigger allocation.

        The bot starts QUEUED (SEQUENCING). One transaction writes order, bot, inbox entry, ledger entry and the
        caller's parts; purchases never contend.

        Args:
            order: with pool, required sessions and user; `adbot_id` is the bot's id.
            mode: whether a queue's consumer does this, or the request.
            actor: who signs for it.
            parts: add items of the caller's to the transaction.
            replaces: the order as read, if it exists already (other facts preceded the payment, or it was in review).

        Raises:
            TransactionRejected: tag `order` if it exists or changed, or tags of parts; nothing was written.
            Invalid: the pool does not exist, or the number of sessions is out of range.
        """
        if not (order.adbot_id and order.pool and order.required_sessions):
            raise ValueError(f"order {order.id} does not say which bot it buys")
        check_required(order.required_sessions)
        self._store.check(order.pool)
        now = self._now()
        inbox = InboxEntry(time_ordered_id(now), order.adbot_id, order.required_sessions, now)
        adbot = bot_of(order, order.adbot_id, order.pool, order.required_sessions, inbox, mode)

        def sign(transaction: Transaction) -> None:
            after = {**summary(adbot), "order": order.id, "pool": adbot.pool, "required": adbot.required}
            after["user_id"] = adbot.user_id
            self._ledger.sign(transaction, LedgerEntry(actor, "adbot.create", f"adbot:{adbot.id}", after=after))

        self._store.create_bought(order, adbot, inbox, sign, *parts, replaces=replaces)
        self._trigger.send(adbot.pool, inbox.id)
        return adbot

    def settle(self, before: Order, order: Order, part: TransactionPart) -> None:
        """Write an order in REVIEW, settled, whose bot stays as it is.

        Raises:
            TransactionRejected: tag `order` if it changed, or tags of the part; nothing was written.
        """
        transaction = self._store.transaction()
        self._store.put_order(transaction, before, order)
        part(transaction)
        transaction.commit()
