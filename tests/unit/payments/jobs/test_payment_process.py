"""payment-process: a card is charged once through Stripe's own library, and every refusal is classified."""

from __future__ import annotations

import json
from typing import Any

import pytest
import stripe
from pydantic import ValidationError
from werkzeug.test import Client

from adbot_queue.core import telemetry
from adbot_queue.payments.jobs.payment_process import ProcessPayment
from adbot_queue.providers import stripe_currencies as currencies
from tests.builders.payments import secret
from tests.builders.processors import failure, run
from tests.builders.providers import Peers, down, refusing

GOOD = {"amount": 4900, "currency": "eur", "payment_method": "pm_card_visa"}
ONCE = {"requests": 1, "effects": 1}


def pay(key: str = "job-1", **changes: Any) -> dict[str, Any]:
    result: dict[str, Any] = run("payment-process", GOOD | changes, key=key)
    return result


def refused(key: str = "job-1", seconds: float = 20, **changes: Any) -> tuple[str, str, float | None]:
    """Kind and message of the failure, and the seconds asked for."""
    found, retry_after = failure("payment-process", GOOD | changes, key=key, seconds=seconds)
    return found.kind, found.message, retry_after


def counted() -> set[str]:
    return set(telemetry.metrics.metric_set)


def test_a_card_is_charged_and_the_result_can_be_looked_up_at_stripe(peers: Peers) -> None:
    result = pay(customer="cus_1", description="Ticket 7", metadata={"order": "ord_1"})

    assert result == {
        "payment_intent": result["payment_intent"],
        "status": "succeeded",
        "amount": 4900,
        "currency": "eur",
        "amount_text": "49.00 EUR",
    }
    headers = {"authorization": "Bearer sk_test_1"}
    at_stripe = (
        Client(peers.stand_ins)
        .get(f"/stripe/v1/payment_intents/{result['payment_intent']}", headers=headers)
        .get_json()
    )
    assert (at_stripe["status"], at_stripe["amount_received"], at_stripe["customer"]) == ("succeeded", 4900, "cus_1")
    assert at_stripe["metadata"] == {"order": "ord_1", "job": "job-1"}
    assert at_stripe["description"] == "Ticket 7"
    assert "PaymentsProcessed" in counted()


def test_the_same_job_again_charges_nothing_more(peers: Peers) -> None:
    first, again, another = pay(), pay(), pay("job-2")

    assert first == again != another
    assert peers.effects("stripe") == {"job-1": {"requests": 2, "effects": 1}, "job-2": ONCE}


def test_an_answer_that_was_lost_is_had_by_the_next_attempt_without_a_second_charge(peers: Peers) -> None:
    payload = {"metadata": {"note": "hang=60x1"}}

    assert refused(**payload) == ("transient", "Stripe could not be reached", None)
    assert pay(**payload)["status"] == "succeeded"
    assert peers.effects("stripe")["job-1"] == {"requests": 2, "effects": 1}


def test_a_job_that_is_retried_after_stripe_forgot_its_key_finds_its_payment(peers: Peers) -> None:
    first = pay()
    peers.stand_ins.stripe._answers.clear()

    assert run("payment-process", GOOD, age_s=2 * 86_400) == first
    assert peers.effects("stripe")["job-1"] == ONCE
    assert run("payment-process", GOOD, key="job-2", age_s=2 * 86_400) != first


def test_a_lost_decline_is_found_after_stripe_forgot_the_key(peers: Peers) -> None:
    lost = {"payment_method": "pm_card_chargeDeclinedLostCard", "metadata": {"note": "hang=60x1"}}
    assert refused(**lost)[0] == "transient"
    peers.stand_ins.stripe._answers.clear()

    found, _ = failure("payment-process", GOOD | lost, age_s=2 * 86_400)
    assert (found.kind, found.message) == ("permanent", "declined: lost_card")
    assert peers.effects("stripe")["job-1"] == {"requests": 1, "effects": 0}


def test_a_declined_card_fails_the_job_with_stripes_code_and_is_not_asked_again(peers: Peers) -> None:
    declined = {"payment_method": "pm_card_chargeDeclinedInsufficientFunds"}

    assert refused(**declined) == ("permanent", "declined: insufficient_funds", None)
    assert refused("job-2", payment_method="pm_card_chargeDeclined")[1] == "declined: generic_decline"
    assert peers.effects("stripe")["job-1"] == {"requests": 1, "effects": 0}
    assert "PaymentsDeclined" in counted()


def test_a_retried_declined_payment_is_declined_again_under_the_same_key(peers: Peers) -> None:
    declined = {"payment_method": "pm_card_chargeDeclined"}

    assert refused(**declined) == refused(**declined)


def test_3d_secure_is_a_result_that_says_where_the_customer_has_to_go(peers: Peers) -> None:
    shop = "https://shop.example.com/paid"
    result = pay(payment_method="pm_card_threeDSecure2Required", return_url=shop)

    assert result["status"] == "requires_action"
    assert result["next_action"]["type"] == "redirect_to_url"
    assert peers.effects("stripe")["job-1"]["effects"] == 0
    assert "PaymentsPending" in counted()
    assert "secret" not in json.dumps(result)

    browser, page = Client(peers.stand_ins), result["next_action"]["url"].removeprefix("http://peers.test")
    assert "bank" in browser.get(page).text
    assert browser.post(page).location == shop
    assert peers.effects("stripe")["job-1"]["effects"] == 1


def test_3d_secure_without_a_return_url_is_left_to_stripes_own_page_parts(peers: Peers) -> None:
    result = pay(payment_method="pm_card_threeDSecure2Required")

    assert result["next_action"] == {"type": "use_stripe_sdk", "url": None}


@pytest.mark.parametrize(
    ("wish", "kind", "message", "seconds"),
    [
        ("fail=500x1", "transient", "Stripe is busy (HTTP 500)", None),
        ("fail=503x1", "transient", "Stripe is busy (HTTP 503)", None),
        ("fail=409x1", "transient", "Stripe is busy (HTTP 409)", None),
        ("fail=429x1", "throttled", "Stripe is busy (HTTP 429)", 2.0),
        ("fail=400", "permanent", "Stripe refused: InvalidRequestError", None),
        ("fail=404", "permanent", "Stripe refused: InvalidRequestError", None),
    ],
)
def test_what_may_pass_is_tried_again_and_what_may_not_is_not(
    peers: Peers, wish: str, kind: str, message: str, seconds: float | None
) -> None:
    payload = {"metadata": {"note": wish}}

    assert refused(**payload) == (kind, message, seconds)
    assert peers.effects("stripe")["job-1"] == {"requests": 1, "effects": 0}
    if kind == "transient":
        assert pay(**payload)["status"] == "succeeded"
        assert peers.effects("stripe")["job-1"] == {"requests": 2, "effects": 1}


def test_a_network_that_is_down_is_tried_again(peers: Peers) -> None:
    peers.instead.append(down)

    assert refused() == ("transient", "Stripe could not be reached", None)


def test_an_api_error_by_class_alone_is_not_transient(peers: Peers) -> None:
    peers.instead.append(refusing(418))

    assert refused()[0] == "permanent"


def test_what_stripe_does_not_know_fails_with_code_and_parameter_and_without_its_sentence(peers: Peers) -> None:
    assert refused(customer="nobody")[:2] == ("permanent", "Stripe refused: resource_missing, customer")
    assert refused("job-2", payment_method="card")[:2] == (
        "permanent",
        "Stripe refused: resource_missing, payment_method",
    )
    assert refused("job-3", amount=49)[:2] == ("permanent", "Stripe refused: amount_too_small, amount")


def test_another_payment_under_a_key_that_stripe_knows_is_refused(peers: Peers) -> None:
    pay()

    assert refused(amount=5000)[0] == "permanent"
    assert peers.effects("stripe")["job-1"]["effects"] == 1


@pytest.mark.parametrize("text", ['{"api_key": ""}', '{"api_key": "sk_live_1"}', "nonsense"])
def test_a_key_that_is_missing_or_wrong_closes_stripe_and_names_the_setting(peers: Peers, text: str) -> None:
    with secret("stripe", text):
        kind, message, _ = refused()

    assert kind == "provider_closed"
    assert "StripeSecretArn" in message


def test_a_secret_that_cannot_be_read_now_is_tried_again(peers: Peers) -> None:
    with secret("stripe", None):
        kind, message, _ = refused()

    assert kind == "transient"
    assert "StripeSecretArn" in message


@pytest.mark.parametrize(("seconds", "read_s"), [(20, 15), (10, 8), (2, 1)])
def test_a_call_ends_before_the_job_must(peers: Peers, seconds: float, read_s: int) -> None:
    run("payment-process", GOOD, seconds=seconds)

    assert peers.timeouts == [read_s]


def test_without_time_left_nothing_is_begun(peers: Peers) -> None:
    assert refused(seconds=0.5)[0] == "timeout"
    assert peers.requests == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": 1_000_001}, "amount"),
        ({"amount": 49.5}, "amount"),
        ({"amount": "4900"}, "amount"),
        ({"currency": "EUR"}, "currency"),
        ({"currency": "euro"}, "currency"),
        ({"currency": "kwd", "amount": 5124}, None),
        ({"currency": "isk", "amount": 550}, None),
        ({"payment_method": ""}, "payment_method"),
        ({"payment_method": "pm_1/../x"}, "payment_method"),
        ({"metadata": {"k": "x" * 501}}, "metadata"),
        ({"metadata": {f"k{number}": "x" for number in range(50)}}, "metadata"),
        ({"return_url": "http://shop.example.com"}, "return_url"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_payment_that_breaks_a_rule_is_not_enqueued(changes: dict[str, Any], field: str | None) -> None:
    with pytest.raises(ValidationError) as refused_:
        ProcessPayment.model_validate(GOOD | changes)

    assert [error["loc"][:1] for error in refused_.value.errors()] == [(field,) if field else ()]


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [(4905, "eur", "49.05 EUR"), (500, "jpy", "500 JPY"), (5120, "kwd", "5.120 KWD"), (500, "ugx", "5.00 UGX")],
)
def test_amounts_are_in_each_currencys_smallest_unit(peers: Peers, amount: int, currency: str, text: str) -> None:
    result = pay(amount=amount, currency=currency)

    assert (result["amount"], result["currency"], result["amount_text"]) == (amount, currency, text)
    assert currencies.text(7, currency) in {"0.07 EUR", "7 JPY", "0.007 KWD", "0.07 UGX"}


def test_the_stand_in_knows_payments_that_are_only_created_and_those_that_are_wrong(peers: Peers) -> None:
    client = stripe.StripeClient("sk_test_1", base_addresses={"api": "http://peers.test/stripe"}, http_client=_http())
    create = client.v1.payment_intents.create

    assert create({"amount": 100, "currency": "eur"}).status == "requires_payment_method"
    assert create({"amount": 100, "currency": "eur", "payment_method": "pm_card_visa"}).status == (
        "requires_confirmation"
    )
    wrong: list[dict[str, Any]] = [
        {"amount": 100, "currency": "euro"},
        {"amount": 0, "currency": "eur"},
        {"amount": 100_000_000, "currency": "eur"},
        {"amount": 5124, "currency": "kwd"},
        {"amount": 100, "currency": "eur", "confirm": True},
        {"amount": 100, "currency": "eur", "return_url": "https://x.test"},
        {"amount": 100, "currency": "eur", "colour": "red"},
        {"currency": "eur"},
    ]
    for params in wrong:
        with pytest.raises(stripe.InvalidRequestError):
            create(params)  # type: ignore[arg-type]
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.retrieve("pi_none")
    browser = Client(peers.stand_ins)
    assert browser.get("/stripe/authenticate/pi_none").status_code == 404
    assert browser.post("/stripe/authenticate/pi_none").status_code == 404


def _http() -> Any:
    return stripe.RequestsClient(timeout=(1, 1))
