"""The order of a bot that an operator makes: a new one, or one in REVIEW that is settled."""

from __future__ import annotations

from dataclasses import dataclass, replace

from adbot_queue.adbots.model import Adbot, CreationSource, Order, OrderStatus
from adbot_queue.core.errors import FieldError, Invalid
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


def order_of(spec: AdbotSpec, before: Order | None, kept: Adbot | None, actor: Actor, now: int) -> Order:
    """The paid order of a bot that an operator makes: a new one of amount 0, or the one in REVIEW, settled.

    An order has one bot: `kept` is the one in REVIEW's own, which is not cancelled and stays as it is.

    Raises:
        Invalid: neither the operator nor the order names the user or the pool, or the bot that stays is another one.
    """
    if before and kept:
        _check_kept(spec, kept)
        return _settled(before)
    user_id = spec.user_id or (before.user_id if before else actor.id)
    if not user_id:
        raise Invalid.field("user_id", "is required: the order names none")
    pool = spec.pool or (before.pool if before else None)
    if not pool:
        raise Invalid.field("pool", "is required: the order names none")
    new = Order(f"ord_{time_ordered_id(now)}", OrderStatus.PAID, CreationSource.ADMIN, now)
    return replace(
        _settled(before) if before else new,
        user_id=user_id,
        adbot_id=f"bot_{time_ordered_id(now)}",
        pool=pool,
        required_sessions=spec.required,
    )


def _check_kept(spec: AdbotSpec, kept: Adbot) -> None:
    """Refuse a bot that differs from the one that the order keeps.

    Raises:
        Invalid: names each field that does.
    """
    stated = (
        ("required_sessions", spec.required, kept.required),
        ("user_id", spec.user_id or kept.user_id, kept.user_id),
        ("pool", spec.pool or kept.pool, kept.pool),
    )
    errors = tuple(
        FieldError(field, f"must be {its}: the order keeps bot {kept.id}; cancel that bot first to make another")
        for field, asked, its in stated
        if asked != its
    )
    if errors:
        raise Invalid("; ".join(f"{one.field}: {one.message}" for one in errors), errors=errors)


def _settled(before: Order) -> Order:
    partly = OrderStatus.PARTIALLY_REFUNDED if before.amount_refunded else OrderStatus.PAID
    return replace(
        before,
        status=OrderStatus.DISPUTED if before.disputed else partly,
        review_reason=None,
        problems={},
        settled={**before.settled, **before.problems},
        version=before.version + 1,
    )


def settlement(actor: Actor, why: str, before: Order, after: Order) -> LedgerEntry:
    """Who settled an order in REVIEW, and whose it was and is."""
    shown = [
        {"status": order.status.value, "user_id": order.user_id, "adbot_id": order.adbot_id, "pool": order.pool}
        for order in (before, after)
    ]
    reason = "; ".join(filter(None, (why, before.review_reason)))
    return LedgerEntry(actor, "order.settle", f"order:{after.id}", before=shown[0], after=shown[1], reason=reason)
