"""Stripe's events read as facts. Pure; only modules named after Stripe know how its objects look.

See https://docs.stripe.com/api/events/types.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from adbot_queue.payments import stripe_fields as fields
from adbot_queue.payments import stripe_invoices, stripe_returns
from adbot_queue.payments.facts import Fact
from adbot_queue.payments.model import Payment
from adbot_queue.payments.setbacks import SETBACKS
from adbot_queue.payments.stripe_fields import Object

_PAID = {"paid", "no_payment_required"}


def is_handled(event_type: str) -> bool:
    """Whether events of this type may change anything here."""
    return event_type in _READERS or event_type in SETBACKS


def interpret(event: Object, received_at: int | None = None) -> Fact | None:
    """The facts that an event tells, None when it tells none: an unhandled type, a checkout that sells nothing.

    Args:
        event: as Stripe sent it.
        received_at: the time (ms) of an event that does not say when it was made.

    Raises:
        KeyError, TypeError, ValueError: a handled type without the fields that count. Any other field may be missing,
            or of another shape: it is read as absent.
    """
    read = _READERS.get(event["type"])
    fact = read(event["data"]["object"]) if read else None
    at = fields.moment(event.get("created")) or received_at
    return _dated(fact, at) if fact and at else fact


def _dated(fact: Fact, at: int) -> Fact:
    """The facts with the times (ms) of money and ends: the object's own where it has one, else the event's."""
    facts = fact.facts
    dated = replace(
        facts,
        paid_at={name: facts.paid_at.get(name, at) for name in facts.paid},
        returned_at={charge: {str(total): at} for charge, total in facts.refunded.items()},
        ended_at=(facts.ended_at or at) if facts.ended else None,
        lost_at=at if facts.lost else None,
    )
    return replace(fact, facts=dated)


def _checkout(session: Object, *, outcome: str = "") -> Fact | None:
    if session.get("mode") == "setup":
        return None
    subscription, intent, invoice = (
        fields.id_of(session.get(name)) for name in ("subscription", "payment_intent", "invoice")
    )
    outcome = outcome or fields.one_of(session["payment_status"], "payment_status", _PAID, {"unpaid"})
    paid, metadata = outcome in _PAID, fields.texts(session.get("metadata"))
    if (buyer := fields.id_of(session.get("client_reference_id"))) and not metadata.get("user_id"):
        metadata["client_reference_id"] = buyer.strip()
    # The invoice, if there is one, tells the same payment again: it must be known by the same name.
    session_id, currency = fields.required_id(session), fields.currency(session)
    pays = invoice or intent or session_id
    discount = fields.part(session, "total_details").get("amount_discount")
    asked = fields.asked(session.get("amount_subtotal"), (session.get("amount_total"), discount))
    facts = Payment(
        began=True,
        failed=outcome == "failed",
        paid={pays: fields.amount(session.get("amount_total"))} if paid else {},
        currency=currency,
        metadata=metadata,
        tenders=fields.leads(intent, pays),
        sales={session_id: fields.sale(pays, session.get("mode"), currency, asked, metadata)} if paid else {},
        provider_ids=fields.named(checkout_session=session_id, subscription=subscription, payment_intent=intent)
        | fields.named(customer=fields.id_of(session.get("customer"))),
    )
    action = "payment.completed" if paid else "payment.failed" if facts.failed else "payment.pending"
    return Fact(action, fields.distinct(subscription, intent, invoice, session_id), facts, bool(subscription))


_READERS: dict[str, Callable[[Object], Fact | None]] = {
    "checkout.session.completed": _checkout,
    "checkout.session.async_payment_succeeded": lambda session: _checkout(session, outcome="paid"),
    "checkout.session.async_payment_failed": lambda session: _checkout(session, outcome="failed"),
    "invoice.paid": stripe_invoices.read,
    "invoice_payment.paid": stripe_invoices.read_payment,
    "customer.subscription.deleted": stripe_returns.ended,
    "charge.refunded": stripe_returns.refund,
    "charge.dispute.created": stripe_returns.dispute,
    "charge.dispute.closed": lambda dispute: stripe_returns.dispute(dispute, closed=True),
}
