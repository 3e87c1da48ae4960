"""Stripe's refunds, disputes and ended subscriptions read as facts. Pure."""

from __future__ import annotations

from adbot_queue.payments import stripe_fields as fields
from adbot_queue.payments.facts import Fact
from adbot_queue.payments.model import Dispute, Payment
from adbot_queue.payments.stripe_fields import Object

_NOT_LOST = {"won", "warning_closed", "prevented"}


def ended(subscription: Object) -> Fact:
    """Return what the end of a subscription tells."""
    facts = Payment(ended=True, ended_at=fields.moment(subscription.get("ended_at")))
    return Fact("payment.ended", (fields.required_id(subscription),), facts, subscription=True)


def refund(charge: Object) -> Fact:
    """`amount_refunded` is the sum so far, so that the highest one heard of is the last one."""
    charge_id, total = fields.required_id(charge), fields.whole(charge["amount_refunded"])
    if not isinstance(total, int):
        raise TypeError("amount_refunded: must be a whole number")
    facts = Payment(
        refunded={charge_id: total},
        currency=fields.currency(charge),
        tenders=fields.leads(
            charge_id, fields.id_of(charge.get("invoice")) or fields.id_of(charge.get("payment_intent"))
        ),
        job=fields.texts(charge.get("metadata")).get("job", "").partition("-")[0],
    )
    return Fact("payment.refunded", _ids_of_charge(charge, charge_id), facts)


def dispute(dispute: Object, *, closed: bool = False) -> Fact:
    """What closes without being lost is won; a status that is none of an end says neither."""
    state = Dispute.OPEN
    if closed:
        status = fields.one_of(dispute["status"], "status", {"lost"}, _NOT_LOST)
        state = Dispute.LOST if status == "lost" else Dispute.WON
    action = "payment.dispute_closed" if closed else "payment.disputed"
    facts = Payment(disputes={fields.required_id(dispute): state})
    return Fact(action, _ids_of_charge(dispute, fields.id_of(dispute.get("charge"))), facts)


def _ids_of_charge(thing: Object, charge: str | None) -> tuple[str, ...]:
    """A charge is known by its payment intent; only charges of the time before there were any stand for themselves."""
    intent = fields.id_of(thing.get("payment_intent"))
    return fields.distinct(intent or charge, fields.id_of(thing.get("invoice")))
