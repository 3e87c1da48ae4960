"""refund-process: never more is refunded than was paid, however many refunds run at the same time."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from adbot_queue.core import telemetry
from adbot_queue.jobs.retry import failure_of
from adbot_queue.payments.jobs import refund_process as processor
from adbot_queue.payments.jobs.refund_process import ProcessRefund
from tests.builders.payments import secret
from tests.builders.processors import failure, run
from tests.builders.providers import Peers, down, refusing
from tests.builders.stripe_calls import balance, charge_of, paid

DAY_S = 86_400
ONCE = {"requests": 1, "effects": 1}


def give_back(of: str, key: str = "job-1", age_s: float = 0, **payload: Any) -> dict[str, Any]:
    result: dict[str, Any] = run("refund-process", {"transaction_id": of, **payload}, key=key, age_s=age_s)
    return result


def refused(of: str, key: str = "job-1", seconds: float = 20, **payload: Any) -> tuple[str, str, float | None]:
    """Kind and message of the failure, and the seconds asked for."""
    found, asked = failure("refund-process", {"transaction_id": of, **payload}, key=key, seconds=seconds)
    return found.kind, found.message, asked


def refunds(peers: Peers, of: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = peers.stand_ins.stripe._refunds.list("", f"payment_intent={of}").body["data"]
    return found


def test_without_an_amount_all_is_given_back_and_the_result_can_be_looked_up_at_stripe(peers: Peers) -> None:
    payment = paid()
    result = give_back(payment, reason="requested_by_customer", metadata={"ticket": "7"})

    [made] = refunds(peers, payment)
    assert result == {
        "refund": made["id"],
        "status": "succeeded",
        "amount": 4900,
        "currency": "eur",
        "amount_text": "49.00 EUR",
        "remaining": 0,
    }
    assert (made["reason"], made["metadata"]) == ("requested_by_customer", {"ticket": "7", "job": "job-1"})
    assert balance(peers) == {}
    assert "RefundsProcessed" in telemetry.metrics.metric_set


def test_parts_are_given_back_until_nothing_is_left(peers: Peers) -> None:
    payment = paid()

    assert give_back(payment, "job-1", amount=1000)["remaining"] == 3900
    assert give_back(payment, "job-2", amount=900, currency="eur")["remaining"] == 3000
    assert refused(payment, "job-3", amount=3001) == (
        "permanent",
        "amount_too_large: 30.00 EUR is left to refund",
        None,
    )
    rest = give_back(payment, "job-4")
    assert (rest["amount"], rest["remaining"]) == (3000, 0)
    assert refused(payment, "job-5", amount=1)[:2] == (
        "permanent",
        "charge_already_refunded: nothing is left to refund",
    )
    assert [key for key, happened in peers.effects("stripe").items() if happened["effects"]] == [
        "paid",
        "job-1",
        "job-2",
        "job-4",
    ]


def test_a_charge_is_given_back_like_its_payment(peers: Peers) -> None:
    payment = paid()

    assert give_back(charge_of(peers, payment), amount=900)["remaining"] == 4000
    assert give_back(payment, "job-2")["amount"] == 4000
    assert refused(charge_of(peers, payment), "job-3")[1].startswith("charge_already_refunded")


def test_the_same_job_again_gives_back_nothing_more(peers: Peers) -> None:
    payment = paid()

    assert give_back(payment, amount=900) == give_back(payment, amount=900)
    assert peers.effects("stripe")["job-1"] == ONCE
    assert len(refunds(peers, payment)) == 1


def test_a_full_refund_whose_answer_was_lost_is_found_as_its_own(peers: Peers) -> None:
    payment = paid()
    lost = {"metadata": {"note": "hang=60x1"}}

    assert refused(payment, **lost) == ("transient", "Stripe could not be reached", None)
    assert give_back(payment, **lost)["remaining"] == 0
    assert peers.effects("stripe")["job-1"] == ONCE


def test_what_the_list_does_not_show_yet_is_caught_by_stripes_idempotency_key(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = paid()
    first = give_back(payment, amount=900)
    monkeypatch.setattr(processor, "_refunds", lambda _payload, _context: iter([]))

    assert give_back(payment, amount=900) == first
    assert peers.effects("stripe")["job-1"] == {"requests": 2, "effects": 1}


def test_a_job_that_is_retried_after_stripe_forgot_its_key_finds_its_refund(peers: Peers) -> None:
    payment = paid()
    first = give_back(payment, amount=900)
    peers.stand_ins.stripe._answers.clear()

    assert give_back(payment, age_s=30 * DAY_S, amount=900) == first
    assert len(refunds(peers, payment)) == 1


def test_of_two_refunds_at_the_same_time_that_are_too_much_together_stripe_refuses_one(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = paid()
    create = processor._create

    def another_comes_first(*arguments: Any) -> Any:
        monkeypatch.setattr(processor, "_create", create)
        assert give_back(payment, "job-2", amount=3000)["remaining"] == 1900
        return create(*arguments)

    monkeypatch.setattr(processor, "_create", another_comes_first)

    assert refused(payment, amount=3000)[:2] == ("permanent", "Stripe refused: InvalidRequestError, amount")
    assert balance(peers) == {"eur": 1900}


def test_of_two_full_refunds_at_the_same_time_stripe_refuses_one(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    payment = paid()
    create = processor._create

    def another_comes_first(*arguments: Any) -> Any:
        monkeypatch.setattr(processor, "_create", create)
        give_back(payment, "job-2")
        return create(*arguments)

    monkeypatch.setattr(processor, "_create", another_comes_first)

    assert refused(payment)[:2] == ("permanent", "Stripe refused: charge_already_refunded")
    assert balance(peers) == {}


def test_a_payment_of_more_refunds_than_a_page_has_is_read_to_its_end(peers: Peers) -> None:
    payment = paid(amount=1030)
    for number in range(103):
        peers.stand_ins.stripe._refunds.create(f"payment_intent={payment}&amount=10", f"before-{number}")

    assert refused(payment)[1].startswith("charge_already_refunded")


@pytest.mark.parametrize(
    ("card", "status", "metric"),
    [("pm_card_visa", "succeeded", "RefundsProcessed"), ("pm_card_pendingRefund", "pending", "RefundsPending")],
)
def test_a_refund_may_come_later(peers: Peers, card: str, status: str, metric: str) -> None:
    assert give_back(paid(card=card))["status"] == status
    assert metric in telemetry.metrics.metric_set


def test_a_refund_that_failed_at_the_bank_counts_for_nothing(peers: Peers) -> None:
    payment = paid(card="pm_card_refundFail")
    first = give_back(payment)

    assert first["status"] == "succeeded"
    assert refused(payment) == ("permanent", f"refund {first['refund']} failed: unknown", None)
    assert give_back(payment, "job-2")["amount"] == 4900


def test_what_was_never_paid_is_not_given_back(peers: Peers) -> None:
    waiting = run(
        "payment-process",
        {"amount": 500, "currency": "eur", "payment_method": "pm_card_threeDSecure2Required"},
        key="waiting",
    )

    assert refused(waiting["payment_intent"])[:2] == ("permanent", "not paid: requires_action")


@pytest.mark.parametrize(("name", "param"), [("pi_unknown", "intent"), ("ch_unknown", "id")])
def test_a_payment_that_stripe_does_not_know_fails_the_job(peers: Peers, name: str, param: str) -> None:
    assert refused(name)[:2] == ("permanent", f"Stripe refused: resource_missing, {param}")


def test_another_currency_than_the_payments_is_a_mistake(peers: Peers) -> None:
    assert refused(paid(), amount=100, currency="jpy")[:2] == (
        "permanent",
        "currency_mismatch: the payment was in eur",
    )


def test_a_part_must_be_one_that_the_payments_currency_has(peers: Peers) -> None:
    payment = paid(amount=5120, currency="kwd")

    assert refused(payment, amount=11)[:2] == (
        "permanent",
        "invalid_amount: an amount in kwd must be a multiple of 10",
    )
    assert give_back(payment, amount=120)["amount_text"] == "0.120 KWD"


@pytest.mark.parametrize(
    ("wish", "kind", "message", "seconds"),
    [
        ("fail=500x1", "transient", "Stripe is busy (HTTP 500)", None),
        ("fail=409x1", "transient", "Stripe is busy (HTTP 409)", None),
        ("fail=429x1", "throttled", "Stripe is busy (HTTP 429)", 2.0),
        ("fail=400", "permanent", "Stripe refused: InvalidRequestError", None),
    ],
)
def test_what_may_pass_is_tried_again_and_what_may_not_is_not(
    peers: Peers, wish: str, kind: str, message: str, seconds: float | None
) -> None:
    payment, payload = paid(), {"metadata": {"note": wish}}

    assert refused(payment, **payload) == (kind, message, seconds)
    assert peers.effects("stripe")["job-1"] == {"requests": 1, "effects": 0}
    if kind == "transient":
        assert give_back(payment, **payload)["remaining"] == 0


@pytest.mark.parametrize("before", [0, 1, 2])
def test_the_network_may_fail_at_every_request(peers: Peers, before: int) -> None:
    payment = paid()
    asked, answer = len(peers.requests), peers.answer

    def failing(*arguments: Any) -> Any:
        return down() if len(peers.requests) - asked == before else answer(*arguments)

    peers.answer = failing  # type: ignore[method-assign]
    assert refused(payment) == ("transient", "Stripe could not be reached", None)
    peers.answer = answer  # type: ignore[method-assign]
    assert give_back(payment)["remaining"] == 0


def test_a_stripe_that_is_down_when_it_is_asked_for_the_payment_is_asked_again(peers: Peers) -> None:
    payment = paid()
    peers.instead.append(refusing(503))

    assert refused(payment) == ("transient", "Stripe is busy (HTTP 503)", None)


def test_a_key_that_is_missing_closes_stripe_and_names_the_setting(peers: Peers) -> None:
    payment = paid()
    with secret("stripe", '{"api_key": ""}'):
        kind, message, _ = refused(payment)

    assert (kind, "StripeSecretArn" in message) == ("provider_closed", True)


def test_questions_are_given_less_time_than_the_refund(peers: Peers) -> None:
    give_back(paid())

    assert peers.timeouts[1:] == [5, 5, 15]


def test_without_time_left_nothing_is_begun(peers: Peers) -> None:
    payment = paid()

    assert refused(payment, seconds=0.5)[0] == "timeout"
    assert len(peers.requests) == 1


def test_a_job_that_is_cancelled_gives_nothing_back(peers: Peers) -> None:
    from adbot_queue.jobs.context import Context  # noqa: PLC0415
    from tests.builders.processors import NOW  # noqa: PLC0415

    payment = paid()
    cancelled = Context("job-1", 1, "job-1", NOW + 20_000, lambda: NOW, lambda: True, lambda _percent, _note: None)
    payload = ProcessRefund(transaction_id=payment)
    with pytest.raises(Exception, match="cancelled") as stopped:
        processor.process_refund(payload, cancelled)

    assert failure_of(stopped.value)[0].kind == "cancelled"
    assert refunds(peers, payment) == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"transaction_id": "re_1"}, "transaction_id"),
        ({"transaction_id": "pi_1/../ch_1"}, "transaction_id"),
        ({"transaction_id": "pi_"}, "transaction_id"),
        ({"amount": 0}, "amount"),
        ({"amount": -5}, "amount"),
        ({"amount": 1_000_001}, "amount"),
        ({"amount": "900"}, "amount"),
        ({"currency": "EUR"}, "currency"),
        ({"amount": 11, "currency": "kwd"}, None),
        ({"reason": "boredom"}, "reason"),
        ({"metadata": {"k": "x" * 501}}, "metadata"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_refund_that_breaks_a_rule_is_not_enqueued(changes: dict[str, Any], field: str | None) -> None:
    with pytest.raises(ValidationError) as refused_:
        ProcessRefund.model_validate({"transaction_id": "pi_1"} | changes)

    assert [error["loc"][:1] for error in refused_.value.errors()] == [(field,) if field else ()]
