"""Does a sale fit the plan it names? Pure: what was asked for against the versions of the plan, field by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adbot_queue.payments.model import Payment
from adbot_queue.payments.plan import Plan
from adbot_queue.payments.wishes import session_count

SHOWN = 40
"""Characters of a value that a reason quotes."""


def plan_ids(payment: Payment) -> set[str]:
    """Return the plans that the payment's sales name."""
    return {plan for sale in payment.sales.values() if (plan := _plan_of(sale, payment))}


def fitting(sale: Mapping[str, Any], payment: Payment, versions: Sequence[Plan]) -> list[Plan]:
    """Return the versions of the plan that were sold at just this price, newest first."""
    return [plan for plan in versions if not _differences(sale, payment, plan)]


def problems(
    payment: Payment,
    versions: Mapping[str, Sequence[Plan]],
    required: int | None = None,
    *,
    has_bot: bool = False,
) -> dict[str, str]:
    """Return what does not fit, by the name of the payment.

    Args:
        payment: with its sales. One that is sold twice in its own words (session and invoice) must fit both times.
        versions: of each plan that a sale names, newest first; current and former prices alike.
        required: as many sessions every sale must be for; None: as many as its plan has.
        has_bot: the first sale was accepted: what asks for no money is no further one.
    """
    found: dict[str, str] = {}
    for _, sale in sorted(payment.sales.items()):
        if sale["asked"] == 0 and payment.paid.get(sale["pays"]) == 0 and has_bot:
            continue  # an invoice of nothing asks for nothing
        if reason := _problem(sale, payment, versions.get(_plan_of(sale, payment), ()), required):
            found.setdefault(sale["pays"], reason)
    for name in payment.paid.keys() - {sale["pays"] for sale in payment.sales.values()}:
        if not has_bot:
            found[name] = "amount: the payment does not say what was sold"
    return found


def offer(payment: Payment, versions: Mapping[str, Sequence[Plan]]) -> Plan | None:
    """Return the version of the plan that the first sale fits; None if none does."""
    for _, sale in sorted(payment.sales.items()):
        if plans := fitting(sale, payment, versions.get(_plan_of(sale, payment), ())):
            return plans[0]
    return None


def quoted(value: Any) -> str:
    """Return a value as a reason shows it: short, on one line, without what a terminal or a page would act on."""
    text = "".join(one if one.isprintable() else "?" for one in str(value))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _problem(sale: Mapping[str, Any], payment: Payment, versions: Sequence[Plan], required: int | None) -> str | None:
    plan_id = _plan_of(sale, payment)
    if not plan_id:
        return None  # nothing to compare with: as a wish it is refused
    if not versions:
        return f"metadata.plan_id: found {quoted(plan_id)}, expected a plan of the catalogue"
    if plans := fitting(sale, payment, versions):
        if required and all(plan.required_sessions != required for plan in plans):
            return f"metadata.required_sessions: found {plans[0].required_sessions}, expected {required} (the bot's)"
        return None
    nearest = min((_differences(sale, payment, plan) for plan in versions), key=len)
    return f"{'; '.join(nearest)} (plan {plan_id})"


def _differences(sale: Mapping[str, Any], payment: Payment, plan: Plan) -> list[str]:
    required = sale["required_sessions"] or payment.metadata.get("required_sessions", "")
    pairs = (
        ("mode", sale["mode"], plan.mode.value),
        ("currency", sale["currency"], plan.currency),
        ("amount", sale["asked"], plan.amount),
        (
            "metadata.required_sessions",
            session_count(required) or required or plan.required_sessions,
            plan.required_sessions,
        ),
    )
    return [
        f"{field}: found {quoted(found) or 'nothing'}, expected {expected}"
        for field, found, expected in pairs
        if found != expected
    ]


def _plan_of(sale: Mapping[str, Any], payment: Payment) -> str:
    return str(sale["plan_id"] or payment.metadata.get("plan_id", ""))
