"""Payments, refunds and payouts over HTTP: against localstripe, which others wrote after Stripe, and our stand-in.

Every request that was sent is held against Stripe's published schema. localstripe knows no idempotency keys, no
transfers, no `reason` of a refund and no 3-D Secure by redirect, pays out euros only, and refunds more than was paid.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import stripe
from werkzeug.serving import make_server

from adbot_queue.core import telemetry
from adbot_queue.providers import registry, stripe_client
from local.stand_ins.app import StandIns
from tests.builders.payments import configure
from tests.builders.processors import failure, run
from tests.builders.world import empty, world
from tests.support import peers
from tests.support.published import check_request, schema_of

CARD, DECLINED, CHALLENGED = "4242424242424242", "4000000000000341", "4000002500003155"
DAY_S = 86_400
Request = tuple[str, str, str | None]


@dataclass
class Account:
    """Stripe at an address, and what was sent there since the test began."""

    name: str
    base: str
    sent: list[Request] = field(default_factory=list)

    def card(self, number: str) -> str:
        """A payment method of a card."""
        if self.name == "stand-in":
            return {
                CARD: "pm_card_bypassPending",
                DECLINED: "pm_card_chargeDeclined",
                CHALLENGED: "pm_card_threeDSecure2Required",
            }[number]
        client = stripe.StripeClient("sk_test_1", base_addresses={"api": self.base})
        card: Any = {"number": number, "exp_month": 12, "exp_year": 2040, "cvc": "123"}
        return client.v1.payment_methods.create({"type": "card", "card": card}).id

    def pay(self, key: str = "paid", number: str = CARD, **changes: Any) -> dict[str, Any]:
        payment = {"amount": 4900, "currency": "eur", "payment_method": self.card(number), **changes}
        result: dict[str, Any] = run("payment-process", payment, key=key)
        return result

    def charge_of(self, intent: str) -> str:
        client = stripe.StripeClient("sk_test_1", base_addresses={"api": self.base})
        charge: Any = client.v1.payment_intents.retrieve(intent).latest_charge
        return str(charge if isinstance(charge, str) else charge.id)


@pytest.fixture(scope="module")
def localstripe_base() -> Iterator[str]:
    with peers.localstripe() as base:
        yield base


@pytest.fixture(scope="module")
def stand_in_base() -> Iterator[str]:
    stand_ins = StandIns("http://127.0.0.1", lambda _payload, _headers: 200, lambda: "whsec_test")
    server = make_server("127.0.0.1", 0, stand_ins, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/stripe"
    server.shutdown()
    thread.join(timeout=10)
    server.server_close()


@pytest.fixture(scope="module", autouse=True)
def _credentials() -> Iterator[None]:
    with world():
        configure()
        yield


@pytest.fixture(params=["localstripe", "stand-in"])
def account(
    request: pytest.FixtureRequest, localstripe_base: str, stand_in_base: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Account]:
    empty()  # a second's calls are counted there
    made = Account(request.param, localstripe_base if request.param == "localstripe" else stand_in_base)

    class Recording(stripe.RequestsClient):
        def request(self, method: str, url: str, headers: Any, post_data: Any = None) -> Any:
            made.sent.append((method.upper(), url.removeprefix(made.base), post_data))
            return super().request(method, url, headers, post_data)

    monkeypatch.setattr(stripe, "RequestsClient", Recording)
    monkeypatch.setattr(telemetry.metrics.provider, "namespace", "AdBotQueue")
    places = {name: {"secret": name, "base": made.base if name == "stripe" else ""} for name in registry.PROVIDERS}
    monkeypatch.setenv("PROVIDERS", json.dumps(places))
    registry._places.cache_clear()
    stripe_client.make.cache_clear()
    yield made
    registry._places.cache_clear()
    stripe_client.make.cache_clear()
    for method, path, body in made.sent:
        check_request(schema_of("stripe.com"), method, path, body)
    assert made.sent, "nothing was sent"


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """A job of its own: the peers' state is that of the module."""
    return str(request.node.name)


def refused(job_type: str, payload: dict[str, Any], key: str) -> tuple[str, str]:
    found, _ = failure(job_type, payload, key=key)
    return found.kind, found.message


def test_a_card_is_charged(account: Account, key: str) -> None:
    paid = account.pay(key)

    assert paid["payment_intent"].startswith("pi_")
    assert (paid["status"], paid["amount_text"]) == ("succeeded", "49.00 EUR")
    assert [path for _, path, _ in account.sent] == ["/v1/payment_intents"]


def test_a_card_that_the_bank_declines_fails_the_job(account: Account, key: str) -> None:
    payment = {"amount": 4900, "currency": "eur", "payment_method": account.card(DECLINED)}
    kind, message = refused("payment-process", payment, key)

    assert kind == "permanent"
    assert message in {"declined: card_declined", "declined: generic_decline"}


def test_a_card_whose_bank_wants_to_see_its_owner_is_a_result(account: Account, key: str) -> None:
    waiting = account.pay(key, CHALLENGED)

    assert waiting["status"] == "requires_action"
    assert waiting["next_action"]["type"] == "use_stripe_sdk"
    assert refused("refund-process", {"transaction_id": waiting["payment_intent"]}, f"{key}-refund") == (
        "permanent",
        "not paid: requires_action",
    )


def test_a_payment_is_given_back_in_parts_and_never_beyond_what_was_paid(account: Account, key: str) -> None:
    payment = account.pay(key)["payment_intent"]

    def give_back(number: int, **payload: Any) -> Any:
        return run("refund-process", {"transaction_id": payment, **payload}, key=f"{key}-{number}")

    first, again, second = give_back(1, amount=900), give_back(1, amount=900), give_back(2, amount=1000)
    assert (first["status"], first["remaining"]) == ("succeeded", 4000)
    assert first == again
    assert second["remaining"] == 3000
    over = {"transaction_id": payment, "amount": 3001}
    assert refused("refund-process", over, f"{key}-3") == (
        "permanent",
        "amount_too_large: 30.00 EUR is left to refund",
    )
    assert give_back(4, amount=3000)["remaining"] == 0
    assert refused("refund-process", {"transaction_id": payment}, f"{key}-5") == (
        "permanent",
        "charge_already_refunded: nothing is left to refund",
    )
    assert [path for method, path, _ in account.sent if method == "POST" and "refund" in path] == ["/v1/refunds"] * 3


def test_all_of_a_charge_is_given_back(account: Account, key: str) -> None:
    charge = account.charge_of(account.pay(key)["payment_intent"])
    refund = run("refund-process", {"transaction_id": charge}, key=f"{key}-refund")

    assert (refund["amount_text"], refund["remaining"]) == ("49.00 EUR", 0)


@pytest.mark.parametrize("transaction_id", ["pi_unknown", "ch_unknown"])
def test_what_stripe_does_not_know_is_not_given_back(account: Account, key: str, transaction_id: str) -> None:
    assert refused("refund-process", {"transaction_id": transaction_id}, key)[0] == "permanent"


def test_a_balance_is_paid_out_to_the_bank(account: Account, key: str) -> None:
    account.pay(key)
    payload = {"kind": "payout", "amount": 1000, "currency": "eur", "description": "June"}
    payout = run("payout-process", payload, key=f"{key}-payout")

    assert payout["payout"].startswith("po_")
    assert payout["destination"].startswith("ba_")
    assert (payout["status"], payout["amount_text"]) == ("pending", "10.00 EUR")
    assert payout["arrival_date"] > "2000-01-01"


@pytest.mark.parametrize("account", ["stand-in"], indirect=True)
def test_what_localstripe_does_not_know_is_sent_as_published_too(account: Account, key: str) -> None:
    paid = account.pay(
        key,
        customer="cus_1",
        description="Ticket 7",
        metadata={"order": "ord_1"},
        return_url="https://shop.example.com/paid",
    )
    transfer = {"kind": "transfer", "amount": 1000, "currency": "eur", "account": "acct_1SellerOfBots"}
    moved = run("payout-process", transfer | {"description": "June"}, key=f"{key}-1")
    refund = {"transaction_id": paid["payment_intent"], "amount": 100, "reason": "duplicate"}
    run("refund-process", refund, key=f"{key}-2")
    payout = {"kind": "payout", "amount": 500, "currency": "eur", "account": "acct_1SellerOfBots"}
    run("payout-process", payout, key=f"{key}-3")
    # Long after: what may be forgotten is looked for.
    assert run("payout-process", transfer | {"description": "June"}, key=f"{key}-1", age_s=2 * DAY_S) == moved
    run("payout-process", payout, key=f"{key}-3", age_s=2 * DAY_S)
    run("payment-process", {"amount": 100, "currency": "eur", "payment_method": "pm_card_visa"}, key=key, age_s=DAY_S)

    assert {path.partition("?")[0] for method, path, _ in account.sent if method == "GET"} >= {
        "/v1/payment_intents/search",
        "/v1/transfers",
        "/v1/payouts",
    }
