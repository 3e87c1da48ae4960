"""What an operator must review about a purchase, and why. Pure.

    wish             unknown what was bought, or for whom
    sale:<payment>   its mode, currency, price or size is not the plan's
    user:<payment>   a renewal for a user who is gone
    after:<payment>  paid after the end, for a time after the end
    late:<payment>   paid for a bot that was cancelled for another reason
    unmatched        money went back, or is disputed, and nothing was bought for it

Settling an order settles what is open then; the same difference in a renewal is settled with it. Returning all of a
payment's money closes its open problems.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adbot_queue.core.clock import iso

if TYPE_CHECKING:
    from adbot_queue.adbots.model import Order
    from adbot_queue.payments.facts import Fact, Judgement
    from adbot_queue.payments.model import Payment

_REMEMBERED = ("user:", "late:")
"""What only the event that brought the money could tell: it stays open until a person has settled it."""


def problems_of(
    payment: Payment,
    fact: Fact,
    before: Order | None,
    judgement: Judgement,
    wish: str | None,
    *,
    counts: bool,
    gone: bool,
) -> dict[str, str]:
    """Return the open problems of an order, by the names above.

    Args:
        payment: all known facts.
        fact: the facts of the event.
        before: the order as it is.
        judgement: what does not fit.
        wish: why the metadata is not usable.
        counts: ends of the purchase are ends of the order's bot.
        gone: `fact` brings money for a bot that is cancelled, and the purchase is not over.
    """
    if payment.unmatched:
        return {"unmatched": unmatched(payment)}
    if not payment.paid:
        return {}
    has_bot = before is not None and before.adbot_id is not None
    first = min(fact.facts.paid, default="")
    found: dict[str, str] = {}
    if not has_bot and (reason := wish or judgement.refusal):
        found["wish"] = reason
    if before and has_bot:
        found |= {name: reason for name, reason in _open(before).items() if name.startswith(_REMEMBERED)}
        if judgement.refusal:
            found[f"user:{first}"] = judgement.refusal
        if gone:
            found[f"late:{first}"] = "paid again although the bot is cancelled"
    known = _open(before) if before and has_bot else None
    for name, reason in judgement.problems.items():
        # A sale is checked when reported, and again while it is open: what was settled stays settled.
        if known is None or f"sale:{name}" in known or name in fact.facts.paid:
            found[f"sale:{name}"] = reason
    if counts:
        found |= _after_the_end(payment)
    return _unsettled(found, payment, before)


def _unsettled(found: dict[str, str], payment: Payment, before: Order | None) -> dict[str, str]:
    """Those that no person has settled, and whose money was not given back."""
    if before and before.adbot_id:  # an order without a bot is closed by giving back all of its money
        found = {name: why for name, why in found.items() if not payment.is_given_back(name.partition(":")[2])}
    settled = before.settled if before else {}
    accepted = {why for name, why in settled.items() if name.startswith("sale:")}
    return {
        name: why
        for name, why in found.items()
        if name not in settled and not (name.startswith("sale:") and why in accepted)
    }


def unmatched(payment: Payment) -> str:
    """Return what is known of money that went back for nothing that was sold here."""
    parts = []
    if payment.amount_refunded:
        parts.append(f"a refund of {payment.amount_refunded} {payment.currency}".rstrip())
    if payment.disputes:
        parts.append("a dispute")
    return f"{' and '.join(parts)} without an order: no sale was reported within a day"


def _open(order: Order) -> dict[str, str]:
    """The order's open problems; one that an earlier version wrote has a sentence alone."""
    if order.status != "REVIEW":
        return {}
    return order.problems or {"late:": order.review_reason or ""}


def _after_the_end(payment: Payment) -> dict[str, str]:
    """Payments made after the end, but for a final bill for the time before it, and for what was paid before."""
    over = payment.over_at
    if over is None:
        return {}
    what = "the subscription had ended" if payment.ended_at == over else "a dispute was lost"
    return {
        f"after:{name}": f"{amount} {payment.currency} paid on {iso(at)[:16]}Z after {what} on {iso(over)[:16]}Z"
        for name, amount in sorted(payment.paid.items())
        if amount > 0 and (at := payment.paid_at.get(name, 0)) > over and payment.covers_until.get(name, at) > over
    }
