"""payout-process: money is sent on once, to a connected account or to a bank, and only what is there."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from pydantic import ValidationError

from adbot_queue.core import telemetry
from adbot_queue.jobs.model import JobState
from adbot_queue.payments.jobs.payout_process import ProcessPayout
from adbot_queue.platform.circuit_breaker import CircuitBreaker
from tests.builders.jobs import Jobs
from tests.builders.payments import secret
from tests.builders.processors import failure, run
from tests.builders.providers import Peers, down
from tests.builders.stripe_calls import balance, paid
from tests.builders.world import ADMIN, AwsHarness

DAY_S = 86_400
SELLER = "acct_1SellerOfBots"
TRANSFER = {"kind": "transfer", "amount": 1000, "currency": "eur", "account": SELLER}
PAYOUT = {"kind": "payout", "amount": 1000, "currency": "eur"}
BOTH = pytest.mark.parametrize("payload", [TRANSFER, PAYOUT], ids=["transfer", "payout"])


def send(payload: dict[str, Any], key: str = "job-1", age_s: float = 0) -> dict[str, Any]:
    result: dict[str, Any] = run("payout-process", payload, key=key, age_s=age_s)
    return result


def refused(payload: dict[str, Any], key: str = "job-1", seconds: float = 20) -> tuple[str, str, float | None]:
    """Kind and message of the failure, and the seconds asked for."""
    found, asked = failure("payout-process", payload, key=key, seconds=seconds)
    return found.kind, found.message, asked


def test_a_transfer_moves_money_to_a_connected_account(peers: Peers) -> None:
    paid()
    result = send(TRANSFER | {"description": "June", "metadata": {"order": "ord_1"}})

    [made] = peers.stand_ins.stripe._payouts.transfers("", "").body["data"]
    assert result == {
        "transfer": made["id"],
        "destination": SELLER,
        "destination_payment": made["destination_payment"],
        "amount": 1000,
        "currency": "eur",
        "amount_text": "10.00 EUR",
    }
    assert (made["description"], made["metadata"]) == ("June", {"order": "ord_1", "job": "job-1"})
    assert (balance(peers), balance(peers, SELLER)) == ({"eur": 3900}, {"eur": 1000})
    assert "TransfersProcessed" in telemetry.metrics.metric_set


def test_a_payout_pays_the_platforms_balance_to_its_bank_and_says_when_it_arrives(peers: Peers) -> None:
    paid()
    peers.stand_ins.stripe._payouts._now = lambda: 1_790_000_000.0  # 2026-09-21
    result = send(PAYOUT)

    [made] = peers.stand_ins.stripe._payouts.payouts("", "", "").body["data"]
    assert result == {
        "payout": made["id"],
        "status": "pending",
        "arrival_date": "2026-09-23",
        "destination": made["destination"],
        "amount": 1000,
        "currency": "eur",
        "amount_text": "10.00 EUR",
    }
    assert balance(peers) == {"eur": 3900}
    assert "PayoutsProcessed" in telemetry.metrics.metric_set


def test_a_connected_accounts_balance_is_paid_to_the_accounts_own_bank(peers: Peers) -> None:
    paid()
    send(TRANSFER)
    send(PAYOUT | {"account": SELLER, "amount": 400}, "job-2")

    assert (balance(peers), balance(peers, SELLER)) == ({"eur": 3900}, {"eur": 600})
    assert peers.stand_ins.stripe._payouts.payouts("", "", "").body["data"] == []


@BOTH
def test_the_same_job_again_sends_nothing_more(peers: Peers, payload: dict[str, Any]) -> None:
    paid()
    first, again, another = send(payload), send(payload), send(payload, "job-2")

    assert first == again != another
    assert peers.effects("stripe")["job-1"] == {"requests": 2, "effects": 1}
    assert balance(peers) == {"eur": 2900}


@BOTH
def test_an_answer_that_was_lost_is_had_by_the_next_attempt(peers: Peers, payload: dict[str, Any]) -> None:
    paid()
    lost = payload | {"metadata": {"note": "hang=60x1"}}

    assert refused(lost) == ("transient", "Stripe could not be reached", None)
    assert send(lost)["amount"] == 1000
    assert peers.effects("stripe")["job-1"] == {"requests": 2, "effects": 1}


@BOTH
def test_a_job_that_is_retried_after_stripe_forgot_its_key_finds_what_it_made(
    peers: Peers, payload: dict[str, Any]
) -> None:
    paid()
    peers.stand_ins.stripe._payouts._now = lambda: 1_763_769_900.0  # the attempts' own clock
    first = send(payload)
    send(payload, "job-2")
    peers.stand_ins.stripe._answers.clear()

    assert send(payload, age_s=30 * DAY_S) == first
    assert send(payload, "job-3", age_s=30 * DAY_S) != first
    assert balance(peers) == {"eur": 1900}


@patch.object(
    CircuitBreaker, "failed", lambda *_, **__: None
)  # it would leave Stripe alone, by a clock that is not this one
def test_a_dead_job_that_a_person_retries_days_later_sends_nothing_twice(peers: Peers, _one_world: AwsHarness) -> None:  # noqa: PT019
    paid()
    jobs = Jobs(_one_world)
    peers.stand_ins.stripe._payouts._now = lambda: jobs.clock() / 1000
    job = jobs.enqueue("payout-process", PAYOUT | {"metadata": {"note": "hang=60x1"}})
    jobs.drain()
    peers.instead += [down] * 1000
    while not jobs.get(job).is_terminal:
        jobs.advance(DAY_S / 4)
        jobs.sweep()
        jobs.drain("money")
    assert (jobs.get(job).state, balance(peers)) == (JobState.DEAD, {"eur": 3900})

    peers.instead.clear()
    peers.stand_ins.stripe._answers.clear()
    jobs.lifecycle.retry(job.id, ADMIN)
    jobs.settle()

    assert (jobs.get(job).state, balance(peers)) == (JobState.COMPLETED, {"eur": 3900})


def test_a_payout_that_the_bank_returned_since_is_not_a_success(peers: Peers) -> None:
    paid()
    peers.stand_ins.stripe._payouts._now = lambda: 1_763_769_900.0
    first = send(PAYOUT)
    [made] = peers.stand_ins.stripe._payouts._payouts[""]
    made |= {"status": "failed", "failure_code": "account_closed"}

    found, _ = failure("payout-process", PAYOUT, age_s=2 * DAY_S)
    assert (found.kind, found.message) == ("permanent", f"payout {first['payout']} failed: account_closed")


@BOTH
def test_too_low_a_balance_is_permanent_because_stripe_repeats_its_refusal_under_the_key(
    peers: Peers, payload: dict[str, Any]
) -> None:
    assert refused(payload) == ("permanent", "Stripe refused: balance_insufficient", None)
    paid()
    assert refused(payload) == ("permanent", "Stripe refused: balance_insufficient", None)
    assert send(payload, "job-1-1")["amount"] == 1000


@BOTH
def test_what_is_pending_cannot_be_sent_on(peers: Peers, payload: dict[str, Any]) -> None:
    paid(card="pm_card_visa")

    assert refused(payload)[1] == "Stripe refused: balance_insufficient"


def test_an_account_that_is_not_connected_fails_the_job_and_does_not_blame_the_key(peers: Peers) -> None:
    paid()

    assert refused(TRANSFER | {"account": "acct_x"})[:2] == (
        "permanent",
        "Stripe refused: resource_missing, destination",
    )
    assert refused(PAYOUT | {"account": "acct_x"}, "job-2")[:2] == ("permanent", "Stripe refused: account_invalid")


def test_another_payload_under_a_key_that_stripe_knows_is_refused(peers: Peers) -> None:
    paid()
    send(TRANSFER)

    assert refused(TRANSFER | {"amount": 2000})[0] == "permanent"
    assert balance(peers, SELLER) == {"eur": 1000}


@BOTH
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
    peers: Peers, payload: dict[str, Any], wish: str, kind: str, message: str, seconds: float | None
) -> None:
    paid()
    wished = payload | {"metadata": {"note": wish}}

    assert refused(wished) == (kind, message, seconds)
    assert peers.effects("stripe")["job-1"] == {"requests": 1, "effects": 0}
    if kind == "transient":
        assert send(wished)["amount"] == 1000


def test_a_network_that_is_down_is_tried_again(peers: Peers) -> None:
    peers.instead.append(down)

    assert refused(TRANSFER) == ("transient", "Stripe could not be reached", None)


def test_a_key_that_is_wrong_closes_stripe_and_names_the_setting(peers: Peers) -> None:
    with secret("stripe", '{"api_key": "sk_live_1"}'):
        kind, message, _ = refused(PAYOUT)

    assert (kind, "StripeSecretArn" in message) == ("provider_closed", True)


@pytest.mark.parametrize(("seconds", "read_s"), [(20, 15), (10, 8), (2, 1)])
def test_a_call_ends_before_the_job_must(peers: Peers, seconds: float, read_s: int) -> None:
    paid()
    run("payout-process", TRANSFER, seconds=seconds)

    assert peers.timeouts[1:] == [read_s]


def test_without_time_left_nothing_is_begun(peers: Peers) -> None:
    assert refused(TRANSFER, seconds=0.5)[0] == "timeout"
    assert peers.requests == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "gift"}, "kind"),
        ({"account": None}, None),
        ({"account": "ba_1"}, "account"),
        ({"account": f"{SELLER}/x"}, "account"),
        ({"amount": 0}, "amount"),
        ({"amount": 1_000_001}, "amount"),
        ({"amount": "900"}, "amount"),
        ({"currency": "EUR"}, "currency"),
        ({"currency": "kwd", "amount": 5124}, None),
        ({"kind": "payout", "currency": "huf", "amount": 1050}, None),
        ({"metadata": {"k": "x" * 501}}, "metadata"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_payout_that_breaks_a_rule_is_not_enqueued(changes: dict[str, Any], field: str | None) -> None:
    with pytest.raises(ValidationError) as refused_:
        ProcessPayout.model_validate(TRANSFER | changes)

    assert [error["loc"][:1] for error in refused_.value.errors()] == [(field,) if field else ()]


def test_forints_have_fractions_until_they_are_paid_out() -> None:
    assert ProcessPayout.model_validate(TRANSFER | {"currency": "huf", "amount": 1050}).amount == 1050
