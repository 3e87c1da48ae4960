"""What each of Stripe's events is read as, on the samples in events/stripe."""

from __future__ import annotations

from typing import Any

import pytest

from adbot_queue.payments import setbacks
from adbot_queue.payments.model import Payment
from adbot_queue.payments.stripe_events import interpret, is_handled
from tests.builders.payments import Purchase, sample, sample_names

PI, SUB = "pi_3SWaQ2LkdIwHu7ix0b1c2d3e", "sub_1SWaR4LkdIwHu7ixQwErTyUi"
CS, CS_SUB = "cs_test_a1Kk3nV7mQpZr8sT2uWx4yZ6bC9dE0fG", "cs_test_b1Qq9wErTyUiOpAsDfGhJkLzXcVbNm012"
IN1, IN2 = "in_1SWaR4LkdIwHu7ixAaBbCcDd", "in_1SidJxLkdIwHu7ixEeFfGgHh"
PI_SUB, CH, DU = "pi_3SWaR4LkdIwHu7ix1f2g3h4i", "ch_3SWaQ2LkdIwHu7ix0AbCdEfG", "du_1SWbT7LkdIwHu7ixWxYzAbCd"

READ: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "checkout.session.completed": ("payment.completed", (PI, CS), {"paid": {PI: 4900}, "began": True}),
    "checkout.session.completed.unpaid": ("payment.pending", (PI, CS), {"paid": {}, "began": True, "failed": False}),
    "checkout.session.completed.subscription": ("payment.completed", (SUB, IN1, CS_SUB), {"paid": {IN1: 9900}}),
    "checkout.session.async_payment_succeeded": ("payment.completed", (PI, CS), {"paid": {PI: 4900}}),
    "checkout.session.async_payment_failed": ("payment.failed", (PI, CS), {"paid": {}, "failed": True}),
    "invoice.paid.first": ("payment.completed", (SUB, IN1), {"paid": {IN1: 9900}, "paid_until": 1766361720000}),
    "invoice.paid.renewal": ("payment.renewed", (SUB, IN2), {"paid": {IN2: 9900}, "paid_until": 1769040120000}),
    "invoice.paid.before-2025-03-31": ("payment.completed", (SUB, PI_SUB, IN1), {"paid": {IN1: 9900}}),
    "invoice_payment.paid": ("payment.linked", (PI_SUB, IN1), {"paid": {}}),
    "customer.subscription.deleted": ("payment.ended", (SUB,), {"ended": True}),
    "charge.refunded.full": ("payment.refunded", (PI,), {"refunded": {CH: 4900}}),
    "charge.refunded.partial": ("payment.refunded", (PI,), {"refunded": {CH: 1500}}),
    "charge.dispute.created": ("payment.disputed", (PI,), {"disputes": {DU: "open"}}),
    "charge.dispute.closed.won": ("payment.dispute_closed", (PI,), {"disputes": {DU: "won"}}),
    "charge.dispute.closed.lost": ("payment.dispute_closed", (PI,), {"disputes": {DU: "lost"}}),
}

CAME_BACK: dict[str, tuple[str, dict[str, Any]]] = {
    "refund.failed": (
        "job:019aaf0c1e2a7c3d9b8e4f5a6b",
        {"amount": 4900, "currency": "eur", "payment": PI, "reason": "expired_or_canceled_card"},
    ),
    "payout.failed": (
        "job:019aaf0c2f3b8d4eac9f506b7c",
        {"amount": 120000, "currency": "eur", "account": "acct_1SWcT0LkdIwHu7ix", "reason": "account_closed"},
    ),
}


def test_every_sample_is_covered_here() -> None:
    assert set(sample_names()) == set(READ) | set(CAME_BACK) | {"payment_intent.created"}


@pytest.mark.parametrize("name", READ)
def test_a_sample_is_read_as_its_facts(name: str) -> None:
    fact = interpret(sample(name))
    action, ids, facts = READ[name]
    assert fact is not None
    assert (fact.action, fact.ids) == (action, ids)
    assert {field: getattr(fact.facts, field) for field in facts} == facts
    assert fact.subscription == ids[0].startswith("sub_")


@pytest.mark.parametrize("name", CAME_BACK)
def test_money_that_came_back_names_its_job_and_is_no_fact_of_a_payment(name: str) -> None:
    target, facts = CAME_BACK[name]
    found = setbacks.read(sample(name))
    assert found.action == f"payment.{name.replace('.', '_')}"
    assert (found.target, found.facts) == (target, {"id": found.id, **facts})
    assert interpret(sample(name)) is None


def test_a_refund_that_no_job_made_is_named_by_its_own_id_and_an_old_charge_by_its() -> None:
    event = sample("refund.failed")
    event["data"]["object"] |= {"metadata": {}, "payment_intent": None, "failure_reason": None}
    found = setbacks.read(event)
    assert (found.target, found.facts["payment"]) == ("refund:re_3SWaQ2LkdIwHu7ix0PqRsTuV", CH)
    assert "reason" not in found.facts


@pytest.mark.parametrize("name", READ)
def test_other_events_are_no_setback(name: str) -> None:
    assert sample(name)["type"] not in setbacks.SETBACKS


def test_every_handled_type_has_a_sample() -> None:
    handled = {sample(name)["type"] for name in sample_names() if is_handled(sample(name)["type"])}
    assert len(handled) == 11


def test_an_unhandled_type_tells_nothing() -> None:
    assert interpret(sample("payment_intent.created")) is None


def test_a_checkout_that_only_saves_a_card_sells_nothing() -> None:
    assert interpret(Purchase().checkout(mode="setup", payment_status="no_payment_required")) is None


def test_a_checkout_without_payment_counts_as_paid_and_is_known_by_its_session() -> None:
    fact = interpret(Purchase().checkout(payment_status="no_payment_required", amount_total=0, payment_intent=None))
    assert fact is not None
    assert (fact.ids, fact.facts.paid) == (("cs_1",), {"cs_1": 0})


def test_the_payment_of_an_invoice_is_found_in_its_payments_when_stripe_sends_them() -> None:
    payments = {"object": "list", "data": [{"payment": {"type": "payment_intent", "payment_intent": "pi_9"}}]}
    fact = interpret(Purchase(subscription=True).invoice(payments=payments))
    assert fact is not None
    assert fact.ids == ("sub_1", "pi_9", "in_1_1")


def test_metadata_of_an_invoice_is_taken_from_where_it_says_what_was_bought() -> None:
    event = Purchase(subscription=True).invoice()
    event["data"]["object"]["parent"]["subscription_details"]["metadata"] = {"unrelated": "yes"}
    fact = interpret(event)
    assert fact is not None
    assert fact.facts.metadata["required_sessions"] == "5"


def test_ids_are_found_in_expanded_objects() -> None:
    fact = interpret(Purchase().checkout(payment_intent={"id": "pi_9", "object": "payment_intent"}))
    assert fact is not None
    assert fact.ids[0] == "pi_9"


def test_a_charge_from_before_payment_intents_is_its_own_payment() -> None:
    event = Purchase().refund(100)
    event["data"]["object"] |= {"payment_intent": None, "id": "ch_old"}
    fact = interpret(event)
    assert fact is not None
    at = event["created"] * 1000
    facts = Payment(refunded={"ch_old": 100}, returned_at={"ch_old": {"100": at}}, currency="eur")
    assert (fact.ids, fact.facts) == (("ch_old",), facts)


def test_a_dispute_that_closes_without_being_lost_is_won() -> None:
    event = Purchase().dispute("won")
    event["data"]["object"]["status"] = "warning_closed"
    fact = interpret(event)
    assert fact is not None
    assert list(fact.facts.disputes.values()) == ["won"]
