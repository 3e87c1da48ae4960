"""Merging facts, and deciding on them, without AWS."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.adbots.model import Order, OrderStatus
from adbot_queue.payments.decisions import BotAction, Decision, apply
from adbot_queue.payments.facts import Fact
from adbot_queue.payments.model import Dispute, Payment, bot_id_of, order_id_of
from adbot_queue.payments.wishes import wish_of
from tests.builders.payments import metadata

names = st.sampled_from(["a", "b"])
amounts = st.dictionaries(names, st.integers(0, 3))
payments = st.builds(
    Payment,
    began=st.booleans(),
    failed=st.booleans(),
    ended=st.booleans(),
    paid=amounts,
    refunded=amounts,
    disputes=st.dictionaries(names, st.sampled_from(list(Dispute))),
    paid_until=st.none() | st.integers(1, 3),
    currency=st.sampled_from(["", "eur"]),
    metadata=st.sampled_from([{}, metadata()]),
)


@given(payments, payments, payments)
def test_merging_cares_neither_for_order_nor_for_repetition(a: Payment, b: Payment, c: Payment) -> None:
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(b).merge(b) == a.merge(b)


def test_usable_metadata_wins_over_unusable_whichever_is_heard_first() -> None:
    reported = [Payment(metadata=values) for values in ({}, {"note": "x"}, metadata())]
    for order in permutations(reported):
        assert reduce(Payment.merge, order).metadata == metadata()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"plan_id": None}, "plan_id is missing"),
        ({"plan_id": "starter#000001"}, "plan_id is no plan's id"),
        ({"required_sessions": "0"}, "not a number from 1 to 500"),
        ({"required_sessions": "-5"}, "not a number from 1 to 500"),
        ({"required_sessions": "501"}, "not a number from 1 to 500"),
        ({"required_sessions": "five"}, "not a number from 1 to 500"),
        ({"required_sessions": "5.0"}, "not a number from 1 to 500"),
        ({"required_sessions": "\N{ARABIC-INDIC DIGIT FIVE}"}, "not a number from 1 to 500"),
        ({"required_sessions": "9" * 400}, "not a number from 1 to 500"),
        ({"user_id": None}, "user_id is missing"),
        ({"user_id": "x" * 129}, "user_id is no user's id"),
        ({"pool": "No Pool"}, "pool is no pool's name"),
    ],
)
def test_unusable_metadata_is_named_but_never_quoted(changes: dict[str, str | None], problem: str) -> None:
    wish = wish_of(metadata(**changes))
    assert wish.problem
    assert problem in wish.problem
    assert not any(value and len(value) > 4 and value in wish.problem for value in changes.values())


@pytest.mark.parametrize(("field", "name"), [("pool", "pool"), ("required_sessions", "required")])
def test_what_the_metadata_does_not_say_is_the_plans(field: str, name: str) -> None:
    wish = wish_of(metadata(**{field: None}))
    assert (wish.problem, getattr(wish, name)) == (None, None)


def test_the_edges_of_what_a_bot_may_have_are_usable() -> None:
    assert [wish_of(metadata(required_sessions=number)).required for number in ("1", " 500 ")] == [1, 500]


PAID = Payment(began=True, paid={"pi_1": 100}, currency="eur", metadata=metadata())


def decide(payment: Payment, reported: Payment, before: Order | None = None, *, gone: bool = False) -> Decision:
    return apply(
        "pi_1", payment, Fact("payment.x", ("pi_1",), reported), before, 1, default_pool="main", bot_is_gone=gone
    )


def bought(**facts: object) -> Order:
    """Return the order after these facts, with its bot."""
    order = decide(replace(PAID, **facts), PAID).order  # type: ignore[arg-type]
    assert order is not None
    return order


def test_facts_without_a_purchase_make_no_order() -> None:
    reported = Payment(refunded={"ch_1": 100}, disputes={"du_1": "open"}, ended=True)
    assert decide(reported, reported) == Decision(None, BotAction.NONE)


def test_a_payment_makes_order_and_bot() -> None:
    decision = decide(PAID, PAID)
    order = decision.order
    assert order is not None
    assert (decision.step, decision.more, order.status, order.version) == (BotAction.CREATE, False, OrderStatus.PAID, 1)
    assert (order.id, order.adbot_id) == (order_id_of("pi_1"), bot_id_of(order_id_of("pi_1")))
    assert (order.user_id, order.pool, order.required_sessions, order.amount) == ("cara", "standard", 5, 100)


@pytest.mark.parametrize(
    ("facts", "status", "step"),
    [
        ({"refunded": {"ch_1": 40}}, OrderStatus.PARTIALLY_REFUNDED, BotAction.NONE),
        ({"refunded": {"ch_1": 100}}, OrderStatus.REFUNDED, BotAction.CANCEL),
        ({"disputes": {"du_1": "open"}}, OrderStatus.DISPUTED, BotAction.HOLD),
        ({"disputes": {"du_1": "won"}}, OrderStatus.PAID, BotAction.NONE),
        ({"disputes": {"du_1": "won", "du_2": "open"}}, OrderStatus.DISPUTED, BotAction.HOLD),
        ({"disputes": {"du_1": "lost"}}, OrderStatus.REFUNDED, BotAction.CANCEL),
        ({"disputes": {"du_1": "open"}, "refunded": {"ch_1": 100}}, OrderStatus.REFUNDED, BotAction.CANCEL),
        ({"ended": True}, OrderStatus.ENDED, BotAction.CANCEL),
        ({"ended": True, "refunded": {"ch_1": 40}}, OrderStatus.ENDED, BotAction.CANCEL),
        ({"failed": True}, OrderStatus.PAID, BotAction.NONE),
    ],
)
def test_facts_after_the_payment_change_status_and_bot(
    facts: dict[str, object], status: OrderStatus, step: BotAction
) -> None:
    reported = replace(Payment(), **facts)  # type: ignore[arg-type]
    decision = decide(PAID.merge(reported), reported, bought())
    assert decision.order is not None
    assert (decision.order.status, decision.step, decision.more) == (status, step, False)


def test_a_payment_that_was_given_back_already_makes_a_bot_that_must_be_cancelled_next() -> None:
    reported = Payment(refunded={"ch_1": 100})
    first = decide(PAID.merge(reported), PAID)
    assert first.order is not None
    assert (first.step, first.more, first.order.status) == (BotAction.CREATE, True, OrderStatus.REFUNDED)
    assert decide(PAID.merge(reported), PAID, first.order) == Decision(first.order, BotAction.CANCEL)


def test_a_dispute_that_is_over_lets_the_bot_go() -> None:
    payment = replace(PAID, disputes={"du_1": "won"})
    decision = decide(payment, Payment(disputes={"du_1": "won"}), bought(disputes={"du_1": "open"}))
    assert decision.step is BotAction.RELEASE


def test_the_same_facts_again_leave_the_order_as_it_is() -> None:
    order = bought()
    assert decide(PAID, PAID, order) == Decision(order, BotAction.NONE)


def test_an_unpaid_checkout_is_pending_and_a_failed_one_failed() -> None:
    began, failed = Payment(began=True, metadata=metadata()), Payment(began=True, failed=True, metadata=metadata())
    for payment, status in ((began, OrderStatus.PENDING), (failed, OrderStatus.FAILED)):
        decision = decide(payment, payment)
        assert decision.order is not None
        assert (decision.order.status, decision.order.adbot_id, decision.step) == (status, None, BotAction.NONE)


def test_returned_money_needs_no_review_even_with_an_unknown_purpose() -> None:
    payment = Payment(paid={"pi_1": 100}, refunded={"ch_1": 100})
    decision = decide(payment, payment)
    assert decision.order is not None
    assert (decision.order.status, decision.step) == (OrderStatus.REFUNDED, BotAction.NONE)


def test_an_operators_bot_outlives_what_happened_before_it_was_made_but_not_what_happens_after() -> None:
    lost = replace(PAID, disputes={"du_1": "lost"})
    order = replace(bought(), adbot_id="bot_by_hand", status=OrderStatus.PAID)
    renewal = Payment(paid={"in_2": 100})
    kept = decide(lost.merge(renewal), renewal, order)
    assert kept.order is not None
    assert (kept.step, kept.order.status, kept.order.adbot_id) == (BotAction.NONE, OrderStatus.PAID, "bot_by_hand")
    assert decide(lost.merge(renewal), Payment(ended=True), order).step is BotAction.CANCEL


def test_money_for_a_cancelled_bot_waits_for_a_person_until_one_decides() -> None:
    renewal = Payment(paid={"in_2": 100})
    paid_again = decide(PAID.merge(renewal), renewal, bought(), gone=True).order
    assert paid_again is not None
    assert (paid_again.status, paid_again.review_reason) == (
        OrderStatus.REVIEW,
        "paid again although the bot is cancelled",
    )
    refund = Payment(refunded={"ch_2": 50})
    still = decide(PAID.merge(renewal).merge(refund), refund, paid_again).order
    assert still is not None
    assert (still.status, still.review_reason) == (OrderStatus.REVIEW, paid_again.review_reason)
    decided = replace(still, status=OrderStatus.PAID, review_reason=None, adbot_id="bot_by_hand")
    after = decide(PAID.merge(renewal).merge(refund), refund, decided)
    assert after.order is not None
    assert (after.order.status, after.step) == (OrderStatus.PARTIALLY_REFUNDED, BotAction.NONE)
