"""Stripe's events read as facts. Pure, and the only place that knows how Stripe's objects look.

Both shapes of an invoice are read: that of API versions before 2025-03-31 (`subscription`, `payment_intent`) and the
one since (`parent.subscription_details`, `payments`). See https://docs.stripe.com/api/events/types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from adbot_queue.payments.model import Dispute, Fact, Payment, Setback, wish_of

Object = Mapping[str, Any]


def is_handled(event_type: str) -> bool:
    """Whether events of this type may change anything here."""
    return event_type in _READERS or event_type in _SETBACKS


def interpret(event: Object) -> Fact | None:
    """The facts that an event tells, None when it tells none: an unhandled type, a checkout that sells nothing.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: a handled type without what Stripe promises to be in it.
    """
    read = _READERS.get(event["type"])
    return read(event["data"]["object"]) if read else None


def setback(event: Object) -> Setback | None:
    """Money that came back, None for events of other types.

    Raises:
        KeyError, TypeError, ValueError: as `interpret`.
    """
    reason = _SETBACKS.get(event["type"])
    if reason is None:
        return None
    moved = event["data"]["object"]
    # A job's key is its id, and a number behind it when a person had it retried (`Job.provider_key`).
    job = _texts(moved.get("metadata")).get("job", "").partition("-")[0]
    named = _named(
        payment=_id(moved.get("payment_intent")) or _id(moved.get("charge")),
        account=event.get("account"),
        reason=moved.get(reason),
    )
    facts = {"id": moved["id"], "amount": int(moved["amount"]), "currency": moved["currency"], **named}
    return Setback(event["type"].partition(".")[0], moved["id"], job or None, facts)


def _checkout(session: Object, *, outcome: str = "") -> Fact | None:
    if session.get("mode") == "setup":
        return None
    subscription, intent, invoice = (_id(session.get(name)) for name in ("subscription", "payment_intent", "invoice"))
    outcome = outcome or str(session["payment_status"])
    paid, amount = outcome in {"paid", "no_payment_required"}, int(session.get("amount_total") or 0)
    told = Payment(
        began=True,
        failed=outcome == "failed",
        # The invoice, if there is one, tells the same payment again: it must be known by the same name.
        paid={invoice or intent or session["id"]: amount} if paid else {},
        currency=session.get("currency") or "",
        metadata=_texts(session.get("metadata")),
        provider_ids=_named(checkout_session=session["id"], subscription=subscription, payment_intent=intent)
        | _named(customer=_id(session.get("customer"))),
    )
    action = "payment.completed" if paid else "payment.failed" if told.failed else "payment.pending"
    return Fact(action, _distinct(subscription, intent, invoice, session["id"]), told, bool(subscription))


def _invoice(invoice: Object) -> Fact:
    parent = (invoice.get("parent") or {}).get("subscription_details") or {}
    subscription = _id(invoice.get("subscription") or parent.get("subscription"))
    intent = _id(invoice.get("payment_intent")) or _intent_of(invoice.get("payments"))
    lines = (invoice.get("lines") or {}).get("data") or []
    ends = [int(line["period"]["end"]) * 1000 for line in lines if line.get("period")] if subscription else []
    told = Payment(
        paid={invoice["id"]: int(invoice["amount_paid"])},
        currency=invoice.get("currency") or "",
        paid_until=max(ends, default=None),
        metadata=_most_useful(
            parent.get("metadata"),
            (invoice.get("subscription_details") or {}).get("metadata"),
            invoice.get("metadata"),
            *(line.get("metadata") for line in lines),
        ),
        provider_ids=_named(subscription=subscription, payment_intent=None if subscription else intent)
        | _named(customer=_id(invoice.get("customer"))),
    )
    renewal = subscription and invoice.get("billing_reason") != "subscription_create"
    ids = _distinct(subscription, intent, invoice["id"])
    return Fact("payment.renewed" if renewal else "payment.completed", ids, told, bool(subscription))


def _invoice_payment(payment: Object) -> Fact:
    """Tells which payment paid which invoice: since 2025-03-31 nothing else does, and refunds name only the payment."""
    ids = _distinct(_id(payment["payment"].get("payment_intent")), _id(payment["invoice"]))
    return Fact("payment.linked", ids, Payment())


def _ended(subscription: Object) -> Fact:
    return Fact("payment.ended", (subscription["id"],), Payment(ended=True), subscription=True)


def _refund(charge: Object) -> Fact:
    """`amount_refunded` is the sum so far, so that the highest one heard of is the last one."""
    told = Payment(refunded={charge["id"]: int(charge["amount_refunded"])})
    return Fact("payment.refunded", _ids_of_charge(charge, charge["id"]), told)


def _dispute(dispute: Object, *, closed: bool = False) -> Fact:
    """What closes without being lost (won, warning_closed, prevented) is won."""
    state = Dispute.OPEN if not closed else Dispute.LOST if dispute["status"] == "lost" else Dispute.WON
    action = "payment.dispute_closed" if closed else "payment.disputed"
    return Fact(action, _ids_of_charge(dispute, _id(dispute["charge"])), Payment(disputes={dispute["id"]: state}))


_READERS: dict[str, Callable[[Object], Fact | None]] = {
    "checkout.session.completed": _checkout,
    "checkout.session.async_payment_succeeded": lambda session: _checkout(session, outcome="paid"),
    "checkout.session.async_payment_failed": lambda session: _checkout(session, outcome="failed"),
    "invoice.paid": _invoice,
    "invoice_payment.paid": _invoice_payment,
    "customer.subscription.deleted": _ended,
    "charge.refunded": _refund,
    "charge.dispute.created": _dispute,
    "charge.dispute.closed": lambda dispute: _dispute(dispute, closed=True),
}

_SETBACKS = {"refund.failed": "failure_reason", "payout.failed": "failure_code"}
"""Which field says why."""


def _id(value: Any) -> str | None:
    """An id, where Stripe may have put the object itself."""
    return value["id"] if isinstance(value, Mapping) else value or None


def _intent_of(payments: Any) -> str | None:
    entries = (payments or {}).get("data") or []
    return next((found for entry in entries if (found := _id(entry["payment"].get("payment_intent")))), None)


def _ids_of_charge(thing: Object, charge: str | None) -> tuple[str, ...]:
    """A charge is known by its payment intent; only charges of the time before there were any stand for themselves."""
    intent = _id(thing.get("payment_intent"))
    return _distinct(intent or charge, _id(thing.get("invoice")))


def _distinct(*ids: str | None) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(name for name in ids if name))
    if not found:
        raise ValueError("the event names no payment")
    return found


def _named(**ids: str | None) -> dict[str, str]:
    return {name: value for name, value in ids.items() if value}


def _texts(metadata: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in (metadata or {}).items()}


def _most_useful(*candidates: Any) -> dict[str, str]:
    """The first metadata that says what was bought; without one, the first that says anything."""
    found = [_texts(metadata) for metadata in candidates if metadata]
    return next((metadata for metadata in found if not wish_of(metadata).problem), found[0] if found else {})
