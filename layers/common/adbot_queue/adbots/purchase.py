"""Purchases: what one makes, an order and its bot, and how it is written."""

from __future__ import annotations

from dataclasses import dataclass, replace

from adbot_queue.adbots.allocation import InboxEntry
from adbot_queue.adbots.allocation_trigger import AllocationTrigger
from adbot_queue.adbots.model import (
    MAX_SESSIONS,
    Adbot,
    AdbotStatus,
    CreationSource,
    ExecutionMode,
    Order,
    OrderStatus,
    QueuedReason,
    summary,
)
from adbot_queue.adbots.pools import Pools
from adbot_queue.adbots.storage.orders import OrderStore
from adbot_queue.adbots.storage.pool_store import TransactionPart
from adbot_queue.core.clock import Clock
from adbot_queue.core.dynamodb import Transaction
from adbot_queue.core.errors import Invalid
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.ledger import Actor, Ledger, LedgerEntry


@dataclass(frozen=True, slots=True)
class AdbotSpec:
    """What an operator asks for: a bot for a user, with a number of sessions of a pool.

    For an order in REVIEW, None is what the order itself says.
    """

    user_id: str | None
    required: int
    pool: str | None
    order_id: str | None = None  # an order in REVIEW that this bot settles


def check_required(required: int) -> None:
    """Refuse a number of sessions that no bot may have.

    Raises:
        Invalid: not from 1 to 500.
    """
    if not 1 <= required <= MAX_SESSIONS:
        raise Invalid.field("required_sessions", f"must be from 1 to {MAX_SESSIONS}")


def order_of(spec: AdbotSpec, before: Order | None, actor: Actor, now: int) -> Order:
    """The paid order of a bot that an operator makes: a new one of amount 0, or the one in REVIEW, settled.

    Raises:
        Invalid: neither the operator nor the order names the user or the pool.
    """
    user_id = spec.user_id or (before.user_id if before else actor.id)
    if not user_id:
        raise Invalid.field("user_id", "the order names no user; say who gets the bot")
    pool = spec.pool or (before.pool if before else None)
    if not pool:
        raise Invalid.field("pool", "say of which pool")
    return replace(
        before or Order(f"ord_{time_ordered_id(now)}", OrderStatus.PAID, CreationSource.ADMIN, now),
        status=OrderStatus.PAID,
        user_id=user_id,
        adbot_id=f"bot_{time_ordered_id(now)}",
        pool=pool,
        required_sessions=spec.required,
        review_reason=None,
        problems={},
        settled={**before.settled, **before.problems} if before else {},
        version=(before.version + 1) if before else 1,
    )


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


def settlement(actor: Actor, why: str, before: Order, after: Order) -> LedgerEntry:
    """Who settled an order in REVIEW, and whose it was and is."""
    shown = [
        {"status": order.status.value, "user_id": order.user_id, "adbot_id": order.adbot_id, "pool": order.pool}
        for order in (before, after)
    ]
    reason = "; ".join(filter(None, (why, before.review_reason)))
    return LedgerEntry(actor, "order.settle", f"order:{after.id}", before=shown[0], after=shown[1], reason=reason)


class Purchases:
    """Purchases of bots."""

    def __init__(self, store: OrderStore, pools: Pools, ledger: Ledger, trigger: AllocationTrigger, now: Clock) -> None:
        self._store = store
        self._pools = pools
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
        self._pools.check(order.pool)
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
