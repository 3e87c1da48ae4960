"""Stripe's invoices read as facts. Pure.

Both shapes of an invoice are read: that of API versions before 2025-03-31 (`subscription`, `payment_intent`) and the
one since (`parent.subscription_details`, `payments`).
"""

from __future__ import annotations

from typing import Any

from adbot_queue.payments import stripe_fields as fields
from adbot_queue.payments.facts import Fact
from adbot_queue.payments.model import Payment
from adbot_queue.payments.stripe_fields import Object
from adbot_queue.payments.wishes import wish_of


def read(invoice: Object) -> Fact:
    """Return what a paid invoice tells: a first payment, or a renewal."""
    parent = fields.part(invoice, "parent", "subscription_details")
    subscription = fields.id_of(invoice.get("subscription")) or fields.id_of(parent.get("subscription"))
    intent = fields.id_of(invoice.get("payment_intent")) or _intent_of(invoice)
    lines = fields.objects(fields.part(invoice, "lines").get("data"))
    ends = (
        [end for line in lines if (end := fields.moment(fields.part(line, "period").get("end")))]
        if subscription
        else []
    )
    name, currency = fields.required_id(invoice), fields.currency(invoice)
    paid_at = fields.moment(fields.part(invoice, "status_transitions").get("paid_at"))
    metadata = _most_useful(
        parent.get("metadata"),
        fields.part(invoice, "subscription_details").get("metadata"),
        invoice.get("metadata"),
        *(line.get("metadata") for line in lines),
    )
    sold = not lines or any(not _is_proration(line) for line in lines)
    sale = fields.sale(
        name, "subscription" if subscription else "payment", currency, _asked_by(invoice, lines), metadata
    )
    facts = Payment(
        paid={name: fields.amount(invoice["amount_paid"])},
        currency=currency,
        paid_until=max(ends, default=None),
        covers_until={name: max(ends)} if ends else {},
        paid_at={name: paid_at} if paid_at else {},
        metadata=metadata,
        tenders=fields.leads(intent, name),
        sales={name: sale} if sold else {},
        provider_ids=fields.named(subscription=subscription, payment_intent=None if subscription else intent)
        | fields.named(customer=fields.id_of(invoice.get("customer"))),
    )
    renewal = subscription and invoice.get("billing_reason") != "subscription_create"
    ids = fields.distinct(subscription, intent, name)
    return Fact("payment.renewed" if renewal else "payment.completed", ids, facts, bool(subscription))


def read_payment(payment: Object) -> Fact:
    """Tells which payment paid which invoice: since 2025-03-31 nothing else does, and refunds name only the payment."""
    intent, invoice = (
        fields.id_of(fields.part(payment, "payment").get("payment_intent")),
        fields.id_of(payment["invoice"]),
    )
    return Fact("payment.linked", fields.distinct(intent, invoice), Payment(tenders=fields.leads(intent, invoice)))


def _intent_of(invoice: Object) -> str | None:
    paid = (fields.part(entry, "payment") for entry in fields.objects(fields.part(invoice, "payments").get("data")))
    return next((found for payment in paid if (found := fields.id_of(payment.get("payment_intent")))), None)


def _asked_by(invoice: Object, lines: list[Object]) -> int | str:
    """Of an invoice, without its prorations, which are about another period."""
    amounts = (fields.whole(line.get("amount")) for line in lines if _is_proration(line))
    prorations = sum(amount for amount in amounts if isinstance(amount, int))
    subtotal, total = fields.whole(invoice.get("subtotal")), fields.whole(invoice.get("total"))
    if prorations or not isinstance(total, int):
        rest = subtotal - prorations if isinstance(subtotal, int) else subtotal
        return fields.asked(invoice["amount_paid"] if rest is None else rest)
    off = sum(fields.amount(one.get("amount")) for one in fields.objects(invoice.get("total_discount_amounts")))
    due = fields.whole(invoice.get("amount_due"))
    credit = total - due if isinstance(due, int) else 0
    elsewhere = invoice.get("amount_paid_off_stripe")
    paid = total if invoice.get("paid_out_of_band") else invoice["amount_paid"]
    return fields.asked(subtotal, (total, off), (paid, elsewhere, credit, off))


def _is_proration(line: Object) -> bool:
    return bool(line.get("proration") or fields.part(line, "parent", "subscription_item_details").get("proration"))


def _most_useful(*candidates: Any) -> dict[str, str]:
    """The first metadata that says what was bought; without one, the first that says anything."""
    found = [fields.texts(metadata) for metadata in candidates if metadata]
    return next((metadata for metadata in found if not wish_of(metadata).problem), found[0] if found else {})
