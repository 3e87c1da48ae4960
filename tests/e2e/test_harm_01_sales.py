"""On the deployed stack: the demo's sale is a bot, a sale for a user who does not exist or at another price is not."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from local.demo import main as demo
from local.stack import Stack
from tests.e2e.conftest import Api
from tests.e2e.test_main_job import Eventually, Shop, bots_of

pytestmark = pytest.mark.e2e


@pytest.fixture
def shop(api: Api, stack: Stack) -> Shop:
    pool = f"e2e-{uuid.uuid4().hex[:8]}"
    assert api("admin", "PUT", f"/admin/stock/pools/{pool}").status_code == 201
    return Shop(api, stack, pool)


def test_the_demo_plays(stack: Stack) -> None:
    demo.play(stack)


def test_a_sale_that_does_not_fit_is_an_order_in_review(api: Api, shop: Shop, eventually: Eventually) -> None:
    foreign = shop.completed(1)
    foreign["data"]["object"]["metadata"]["user_id"] = str(uuid.uuid4())
    cheap = shop.completed(1, amount_total=100, amount_subtotal=100)
    for event in (foreign, cheap, {**shop.completed(1), "account": "acct_1"}, {**shop.completed(1), "livemode": True}):
        assert shop.send(event).status_code == 200
    intents = {event["data"]["object"]["payment_intent"] for event in (foreign, cheap)}

    def reasons() -> dict[str, str]:
        listed: list[dict[str, Any]] = api("viewer", "GET", "/orders?limit=100").json()["items"]
        return {
            order["provider_ids"]["payment_intent"]: order["review_reason"]
            for order in listed
            if order["provider_ids"].get("payment_intent") in intents
        }

    found = eventually(lambda: len(reasons()) == len(intents) and reasons())
    assert found[foreign["data"]["object"]["payment_intent"]].startswith("metadata.user_id: found ")
    assert found[cheap["data"]["object"]["payment_intent"]] == "amount: found 100, expected 4900 (plan e2e-1)"
    assert bots_of(api, shop.pool) == []
