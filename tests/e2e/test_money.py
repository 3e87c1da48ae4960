"""Money that comes in, goes back and goes on, through the deployed worker of the queue `money`."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from tests.e2e.conftest import Api
from tests.e2e.test_jobs import ended, post


def run(api: Api, eventually: Callable[..., Any], job_type: str, **payload: Any) -> dict[str, Any]:
    """Enqueue a job and wait for its end."""
    job = {"type": job_type, "payload": {**payload, "metadata": {"nonce": uuid.uuid4().hex}}}
    answer = post(api, job)
    assert answer.status_code == 202, answer.text
    return ended(api, eventually, answer.json()["job_id"])


def test_a_payment_is_given_back_in_part_sent_on_in_part_and_never_beyond(
    api: Api, eventually: Callable[..., Any]
) -> None:
    card = {"amount": 4900, "currency": "eur", "payment_method": "pm_card_bypassPending"}
    paid = run(api, eventually, "payment-process", **card)["result"]
    refund = run(api, eventually, "refund-process", transaction_id=paid["payment_intent"], amount=900)
    assert (refund["state"], refund["result"]["remaining"]) == ("completed", 4000)
    over = run(api, eventually, "refund-process", transaction_id=paid["payment_intent"], amount=4001)
    assert (over["state"], over["error"]["message"]) == ("failed", "amount_too_large: 40.00 EUR is left to refund")

    seller = f"acct_1{uuid.uuid4().hex[:15]}"
    money = {"amount": 1000, "currency": "eur", "account": seller}
    transfer = run(api, eventually, "payout-process", kind="transfer", **money)
    assert (transfer["state"], transfer["result"]["destination"]) == ("completed", seller)
    payout = run(api, eventually, "payout-process", kind="payout", **money)
    assert (payout["state"], payout["result"]["status"]) == ("completed", "pending")
    poor = run(api, eventually, "payout-process", kind="payout", **money)
    assert (poor["state"], poor["error"]["message"]) == ("failed", "Stripe refused: balance_insufficient")
