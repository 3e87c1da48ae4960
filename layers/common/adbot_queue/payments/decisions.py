"""What a payment means for its order: bought, cancelled, held, to be looked at by a person. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from adbot_queue.adbots.model import CreationSource, Order, OrderStatus
from adbot_queue.payments import reviews
from adbot_queue.payments.facts import Fact, Judgement
from adbot_queue.payments.model import Payment, bot_id_of, order_id_of
from adbot_queue.payments.wishes import wish_of


class BotAction(StrEnum):
    """What is to be done with the bot."""

    NONE = "none"
    CREATE = "create"
    CANCEL = "cancel"
    HOLD = "hold"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Decision:
    """What one transaction does. `more`: after it another round is needed, the event is not settled yet."""

    order: Order | None
    step: BotAction
    more: bool = False


def apply(
    key: str,
    payment: Payment,
    fact: Fact,
    before: Order | None,
    now: int,
    *,
    default_pool: str,
    judgement: Judgement | None = None,
    bot_is_gone: bool = False,
) -> Decision:
    """Decide on the order and its bot.

    Args:
        key: the payment's key.
        payment: all that is known, `fact` included.
        fact: what the event reports.
        before: the order as it is.
        now: milliseconds; when the order is made, if it is.
        default_pool: pool of payments for which neither metadata nor plan name one.
        judgement: what does not fit; None: everything does.
        bot_is_gone: `fact` brings money for a bot that is cancelled.

    Promises: the same payment gives the same status and step whatever came when, but for money that comes for a
    cancelled bot, which a person must look at. An order never gets a second bot. A bot is made even if it must be
    cancelled at once, so that order and bot are always there to be found.
    """
    if before is None and not payment.has_order:
        return Decision(None, BotAction.NONE)
    wish, judgement = wish_of(payment.metadata), judgement or Judgement()
    order_id = order_id_of(key)
    bot_id = before.adbot_id if before else None
    # A bot that an operator made for this order is not undone by what had happened before.
    counts = bot_id in (None, bot_id_of(order_id)) or fact.takes_away
    over = counts and (payment.ended or payment.lost or payment.fully_refunded)
    problems = reviews.problems_of(
        payment, fact, before, judgement, wish.problem, counts=counts, gone=bot_is_gone and not over
    )
    required = wish.required or judgement.required
    creates = bool(payment.paid) and bot_id is None and required is not None and not problems
    # Nothing can be given for money that is lost: such an order waits for no person.
    review = bool(problems) and (bot_id is not None or not payment.nothing_is_left)
    status = _status(payment, review=review, lost=payment.lost and counts)
    order = replace(
        before or Order(order_id, status, CreationSource.PAYMENT, now, version=0),
        status=status,
        amount=payment.amount,
        currency=payment.currency,
        amount_refunded=payment.amount_refunded,
        disputed=payment.disputed,
        ended=payment.ended,
        paid_until=payment.paid_until,
        invoices=tuple(sorted(name for name in payment.paid if name.startswith("in_"))),
        provider_ids=dict(payment.provider_ids),
        dated=bool(payment.paid_at) or not payment.paid,
        problems=problems if status is OrderStatus.REVIEW else {},
        review_reason="; ".join(dict.fromkeys(problems.values())) if status is OrderStatus.REVIEW else None,
    )
    if bot_id is None:
        order = replace(
            order,
            user_id=wish.user_id,
            pool=wish.pool or judgement.pool or default_pool,
            required_sessions=required,
            plan_id=wish.plan_id,
            adbot_id=bot_id_of(order_id) if creates else None,
        )
    if order != before:
        order = replace(order, version=order.version + 1)
    if creates:
        return Decision(order, BotAction.CREATE, more=over)
    if bot_id and over:
        return Decision(order, BotAction.CANCEL)
    if bot_id and before and before.disputed != payment.disputed:
        return Decision(order, BotAction.HOLD if payment.disputed else BotAction.RELEASE)
    return Decision(order, BotAction.NONE)


def _status(payment: Payment, *, review: bool, lost: bool) -> OrderStatus:
    """Where the money is; the first that holds."""
    rules = (
        (payment.unmatched, OrderStatus.REVIEW),
        (not payment.paid and payment.failed, OrderStatus.FAILED),
        (not payment.paid, OrderStatus.PENDING),
        (payment.fully_refunded, OrderStatus.REFUNDED),
        (review, OrderStatus.REVIEW),
        (lost, OrderStatus.REFUNDED),
        (payment.disputed, OrderStatus.DISPUTED),
        (payment.ended, OrderStatus.ENDED),
        (payment.amount_refunded > 0, OrderStatus.PARTIALLY_REFUNDED),
    )
    return next((status for holds, status in rules if holds), OrderStatus.PAID)
