"""The order of a bot that an operator makes: a new one, or one in REVIEW that is settled."""

from __future__ import annotations

from dataclasses import dataclass, replace

from adbot_queue.adbots.model import (
    CreationSource,
    Order,
    OrderStatus,
)
from adbot_queue.core.errors import Invalid
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.ledger import Actor, LedgerEntry


@dataclass(frozen=True, slots=True)
class AdbotSpec:
    """What an operator asks for: a bot for a user, with a number of sessions of a pool.

    For an order in REVIEW, None is what the order itself says.
    """

    user_id: str | None
    required: int
    pool: str | None
    order_id: str | None = None  # an order in REVIEW that this bot settles


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


def settlement(actor: Actor, why: str, before: Order, after: Order) -> LedgerEntry:
    """Who settled an order in REVIEW, and whose it was and is."""
    shown = [
        {"status": order.status.value, "user_id": order.user_id, "adbot_id": order.adbot_id, "pool": order.pool}
        for order in (before, after)
    ]
    reason = "; ".join(filter(None, (why, before.review_reason)))
    return LedgerEntry(actor, "order.settle", f"order:{after.id}", before=shown[0], after=shown[1], reason=reason)
