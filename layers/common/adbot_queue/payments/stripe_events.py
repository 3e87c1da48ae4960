"""Stripe's events read as facts. Pure, and the only place that knows how Stripe's objects look.

Both shapes of an invoice are read: that of API versions before 2025-03-31 (`subscription`, `payment_intent`) and the
one since (`parent.subscription_details`, `payments`). See https://docs.stripe.com/api/events/types.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from adbot_queue.core.text import LOST
from adbot_queue.payments.model import Dispute, Fact, Payment, Setback
from adbot_queue.payments.wishes import wish_of

Object = Mapping[str, Any]

_FIRST_S, _LAST_S = 1_262_304_000, 4_102_444_800
"""The years 2010, before Stripe, to 2099: a time outside of them is none."""
_NUMBER = re.compile(r"-?[0-9]{1,15}")
_MAX_AMOUNT = 40
"""Characters kept of what should be an amount."""


def is_handled(event_type: str) -> bool:
    """Whether events of this type may change anything here."""
    return event_type in _READERS or event_type in _SETBACKS


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
    at = _moment(event.get("created")) or received_at
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


def setback(event: Object) -> Setback | None:
    """Money that came back, None for events of other types.

    Raises:
        KeyError, TypeError, ValueError: as `interpret`.
    """
    reason = _SETBACKS.get(event["type"])
    if reason is None:
        return None
    moved = event["data"]["object"]
    # A job's key is its id, with a number after a definite refusal (`Job.provider_key`).
    job = _texts(moved.get("metadata")).get("job", "").partition("-")[0]
    named = _named(
        payment=_id(moved.get("payment_intent")) or _id(moved.get("charge")),
        account=_id(event.get("account")),
        reason=_id(moved.get(reason)),
    )
    moved_id = _required_id(moved)
    facts = {"id": moved_id, "amount": _whole(moved.get("amount")) or 0, "currency": _currency(moved), **named}
    return Setback(event["type"].partition(".")[0], moved_id, job or None, facts)


def _checkout(session: Object, *, outcome: str = "") -> Fact | None:
    if session.get("mode") == "setup":
        return None
    subscription, intent, invoice = (_id(session.get(name)) for name in ("subscription", "payment_intent", "invoice"))
    outcome = outcome or _one_of(session["payment_status"], "payment_status", _PAID, {"unpaid"})
    paid, metadata = outcome in _PAID, _texts(session.get("metadata"))
    if (buyer := _id(session.get("client_reference_id"))) and not metadata.get("user_id"):
        metadata["client_reference_id"] = buyer.strip()
    # The invoice, if there is one, tells the same payment again: it must be known by the same name.
    session_id, currency = _required_id(session), _currency(session)
    pays = invoice or intent or session_id
    discount = _part(session, "total_details").get("amount_discount")
    asked = _asked(session.get("amount_subtotal"), (session.get("amount_total"), discount))
    facts = Payment(
        began=True,
        failed=outcome == "failed",
        paid={pays: _amount(session.get("amount_total"))} if paid else {},
        currency=currency,
        metadata=metadata,
        tenders=_leads(intent, pays),
        sales={session_id: _sale(pays, session.get("mode"), currency, asked, metadata)} if paid else {},
        provider_ids=_named(checkout_session=session_id, subscription=subscription, payment_intent=intent)
        | _named(customer=_id(session.get("customer"))),
    )
    action = "payment.completed" if paid else "payment.failed" if facts.failed else "payment.pending"
    return Fact(action, _distinct(subscription, intent, invoice, session_id), facts, bool(subscription))


def _invoice(invoice: Object) -> Fact:
    parent = _part(invoice, "parent", "subscription_details")
    subscription = _id(invoice.get("subscription")) or _id(parent.get("subscription"))
    intent = _id(invoice.get("payment_intent")) or _intent_of(invoice)
    lines = _items(_part(invoice, "lines").get("data"))
    ends = [end for line in lines if (end := _moment(_part(line, "period").get("end")))] if subscription else []
    name, currency = _required_id(invoice), _currency(invoice)
    paid_at = _moment(_part(invoice, "status_transitions").get("paid_at"))
    metadata = _most_useful(
        parent.get("metadata"),
        _part(invoice, "subscription_details").get("metadata"),
        invoice.get("metadata"),
        *(line.get("metadata") for line in lines),
    )
    sold = not lines or any(not _is_proration(line) for line in lines)
    sale = _sale(name, "subscription" if subscription else "payment", currency, _asked_by(invoice, lines), metadata)
    facts = Payment(
        paid={name: _amount(invoice["amount_paid"])},
        currency=currency,
        paid_until=max(ends, default=None),
        covers_until={name: max(ends)} if ends else {},
        paid_at={name: paid_at} if paid_at else {},
        metadata=metadata,
        tenders=_leads(intent, name),
        sales={name: sale} if sold else {},
        provider_ids=_named(subscription=subscription, payment_intent=None if subscription else intent)
        | _named(customer=_id(invoice.get("customer"))),
    )
    renewal = subscription and invoice.get("billing_reason") != "subscription_create"
    ids = _distinct(subscription, intent, name)
    return Fact("payment.renewed" if renewal else "payment.completed", ids, facts, bool(subscription))


def _invoice_payment(payment: Object) -> Fact:
    """Tells which payment paid which invoice: since 2025-03-31 nothing else does, and refunds name only the payment."""
    intent, invoice = _id(_part(payment, "payment").get("payment_intent")), _id(payment["invoice"])
    return Fact("payment.linked", _distinct(intent, invoice), Payment(tenders=_leads(intent, invoice)))


def _ended(subscription: Object) -> Fact:
    facts = Payment(ended=True, ended_at=_moment(subscription.get("ended_at")))
    return Fact("payment.ended", (_required_id(subscription),), facts, subscription=True)


def _refund(charge: Object) -> Fact:
    """`amount_refunded` is the sum so far, so that the highest one heard of is the last one."""
    charge_id, total = _required_id(charge), _whole(charge["amount_refunded"])
    if not isinstance(total, int):
        raise TypeError("amount_refunded: must be a whole number")
    facts = Payment(
        refunded={charge_id: total},
        currency=_currency(charge),
        tenders=_leads(charge_id, _id(charge.get("invoice")) or _id(charge.get("payment_intent"))),
        job=_texts(charge.get("metadata")).get("job", "").partition("-")[0],
    )
    return Fact("payment.refunded", _ids_of_charge(charge, charge_id), facts)


def _dispute(dispute: Object, *, closed: bool = False) -> Fact:
    """What closes without being lost is won; a status that is none of an end says neither."""
    state = Dispute.OPEN
    if closed:
        status = _one_of(dispute["status"], "status", {"lost"}, _NOT_LOST)
        state = Dispute.LOST if status == "lost" else Dispute.WON
    action = "payment.dispute_closed" if closed else "payment.disputed"
    facts = Payment(disputes={_required_id(dispute): state})
    return Fact(action, _ids_of_charge(dispute, _id(dispute.get("charge"))), facts)


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


_PAID = {"paid", "no_payment_required"}
_NOT_LOST = {"won", "warning_closed", "prevented"}


def _one_of(value: Any, field: str, *known: set[str]) -> str:
    """A status that decides about money: one that is not known is not guessed."""
    if isinstance(value, str) and any(value in statuses for statuses in known):
        return value
    raise ValueError(f"{field}: not known")


def _id(value: Any) -> str | None:
    """An id, where Stripe may have put the object itself; None for what is none."""
    found = value.get("id") if isinstance(value, Mapping) else value
    return found or None if isinstance(found, str) else None


def _required_id(thing: Object) -> str:
    if found := _id(thing):
        return found
    raise ValueError("id: must be a text")


def _part(thing: Any, *names: str) -> Object:
    """An object within an object; an empty one where there is none."""
    for name in names:
        thing = thing.get(name) if isinstance(thing, Mapping) else None
    return thing if isinstance(thing, Mapping) else {}


def _items(value: Any) -> list[Object]:
    """The objects of a list."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _moment(seconds: Any) -> int | None:
    """A time in milliseconds; None where there is none."""
    found = _whole(seconds)
    return found * 1000 if isinstance(found, int) and _FIRST_S <= found < _LAST_S else None


def _intent_of(invoice: Object) -> str | None:
    paid = (_part(entry, "payment") for entry in _items(_part(invoice, "payments").get("data")))
    return next((found for payment in paid if (found := _id(payment.get("payment_intent")))), None)


def _ids_of_charge(thing: Object, charge: str | None) -> tuple[str, ...]:
    """A charge is known by its payment intent; only charges of the time before there were any stand for themselves."""
    intent = _id(thing.get("payment_intent"))
    return _distinct(intent or charge, _id(thing.get("invoice")))


def _leads(tender: str | None, pays: str | None) -> dict[str, str]:
    """For `Payment.tenders`."""
    return {tender: pays} if tender and pays and tender != pays else {}


def _distinct(*ids: str | None) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(name for name in ids if name))
    if not found:
        raise ValueError("the event names no payment")
    return found


def _named(**ids: str | None) -> dict[str, str]:
    return {name: value for name, value in ids.items() if value}


def _texts(metadata: Any) -> dict[str, str]:
    """Metadata as texts, trimmed. Stripe sends texts; a number is taken as one, a list or an object fits nothing."""
    given = metadata.items() if isinstance(metadata, Mapping) else ()
    return {
        name: str(value).strip() if isinstance(value, str | int | float) else LOST
        for name, value in given
        if value is not None
    }


def _currency(thing: Object) -> str:
    return str(thing.get("currency") or "").strip().lower()


def _whole(value: Any) -> int | str | None:
    """An amount as a number; a text if it is none, None if there is none."""
    if value is None:
        return None
    text = str(value).strip()
    return int(text) if _NUMBER.fullmatch(text) else text[:_MAX_AMOUNT]


def _amount(value: Any) -> int:
    """An amount to add up; what is none counts for nothing, and its sale does not fit any plan."""
    found = _whole(value)
    return max(0, found) if isinstance(found, int) else 0


def _asked(subtotal: Any, *explained: tuple[Any, ...]) -> int | str:
    """What was asked for before discounts and taxes.

    Args:
        subtotal: what the object says.
        explained: sums that cannot be less than that: what was paid, and what discounts and credit took off.

    Returns:
        The smallest of them, or a text that is no amount.
    """
    if any(parts[0] is None for parts in explained):
        return ""  # what was paid is not said
    sums: list[int] = []
    for parts in ((subtotal,), *explained):
        found = [_whole(part) for part in parts]
        if wrong := [one for one in found if isinstance(one, str)]:
            return wrong[0]
        if found[0] is not None:
            sums.append(sum(one for one in found if isinstance(one, int)))
    return min(sums, default="")


def _asked_by(invoice: Object, lines: list[Object]) -> int | str:
    """Of an invoice, without its prorations, which are about another period."""
    amounts = (_whole(line.get("amount")) for line in lines if _is_proration(line))
    prorations = sum(amount for amount in amounts if isinstance(amount, int))
    subtotal, total = _whole(invoice.get("subtotal")), _whole(invoice.get("total"))
    if prorations or not isinstance(total, int):
        rest = subtotal - prorations if isinstance(subtotal, int) else subtotal
        return _asked(invoice["amount_paid"] if rest is None else rest)
    off = sum(_amount(one.get("amount")) for one in _items(invoice.get("total_discount_amounts")))
    due = _whole(invoice.get("amount_due"))
    credit = total - due if isinstance(due, int) else 0
    elsewhere = invoice.get("amount_paid_off_stripe")
    paid = total if invoice.get("paid_out_of_band") else invoice["amount_paid"]
    return _asked(subtotal, (total, off), (paid, elsewhere, credit, off))


def _is_proration(line: Object) -> bool:
    return bool(line.get("proration") or _part(line, "parent", "subscription_item_details").get("proration"))


def _sale(pays: str, mode: Any, currency: str, asked: int | str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What was sold, for `Payment.sales`."""
    return {
        "pays": pays,
        "mode": str(mode or "")[:_MAX_AMOUNT],
        "currency": currency[:_MAX_AMOUNT],
        "asked": asked,
        "plan_id": metadata.get("plan_id", "")[:64],
        "required_sessions": metadata.get("required_sessions", "")[:_MAX_AMOUNT],
    }


def _most_useful(*candidates: Any) -> dict[str, str]:
    """The first metadata that says what was bought; without one, the first that says anything."""
    found = [_texts(metadata) for metadata in candidates if metadata]
    return next((metadata for metadata in found if not wish_of(metadata).problem), found[0] if found else {})
