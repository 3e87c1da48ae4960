"""Orders: those in review with their reason, one with its money, and settling one."""

from __future__ import annotations

from typing import Any

import pytest

from adbot_queue.adbots.model import CreationSource, Order, OrderStatus
from adbot_queue.adbots.storage import items
from adbot_queue.console.views import orders as view
from adbot_queue.core import aws
from adbot_queue.core.attribute_values import encode
from tests.builders.console_world import ConsoleWorld, counted_calls

REASON = "pool starter does not exist <b>"


def order(console: ConsoleWorld, name: str, **changed: Any) -> Order:
    """An order in review, as the settling of a payment leaves it."""
    plain: dict[str, Any] = {
        "user_id": "sub-cara",
        "amount": 4900,
        "currency": "eur",
        "pool": "standard",
        "required_sessions": 5,
        "provider_ids": {"payment_intent": "pi_1"},
        "review_reason": REASON,
        "problems": {"wish": REASON},
    }
    made = Order(name, OrderStatus.REVIEW, CreationSource.PAYMENT, 1_764_000_000_000, **plain | changed)
    aws.dynamodb().put_item(TableName=console.world.env["ADBOTS_TABLE"], Item=encode(items.order_item(made)))
    return made


@pytest.fixture(scope="module")
def shop(console: ConsoleWorld) -> ConsoleWorld:
    console.world.pool()
    return console


def test_orders_in_review_are_listed_with_their_reason(shop: ConsoleWorld) -> None:
    assert "No order waits for a person" in shop.get("/console/orders").words
    order(shop, "ord_listed")
    page = shop.get("/console/orders")
    row = page.text.partition('id="order-ord_listed"')[2].partition("</tr>")[0]
    assert "pool starter does not exist &lt;b&gt;" in row
    assert "€49.00" in row
    drawer = shop.get("/console/orders?order=ord_listed", hx_request="true", x_part="drawer")
    assert 'id="drawer-ord_listed"' in drawer.text
    for shown in (drawer, shop.get("/console/orders/ord_listed")):
        assert "In review." in shown.words
        assert REASON in shown.words
        assert "pi_1" in shown.words
        assert "Settle and make bot" in shown.words


def test_settling_makes_the_bot_of_the_customer_and_signs_the_reason(shop: ConsoleWorld) -> None:
    order(shop, "ord_settled")
    path, fields = "/console/orders/ord_settled/settle", {"required_sessions": "5", "user_id": "sub-cara"}
    assert "reason: must have" in shop.post(path, fields | {"in": "settle-order"}, role="admin").words
    answer = shop.post(path, fields | {"reason": "old checkout link", "key": "k-settle-1"}, role="admin")
    again = shop.post(path, fields | {"reason": "old checkout link", "key": "k-settle-1"}, role="admin")
    settled = shop.world.adbots.order("ord_settled")
    assert settled.status is OrderStatus.PAID
    assert answer.headers["hx-redirect"] == again.headers["hx-redirect"]
    assert answer.headers["hx-redirect"].startswith(f"/console/bots/{settled.adbot_id}?")
    bot = shop.world.bot(settled.adbot_id or "")
    assert (bot.user_id, bot.required, bot.pool) == ("sub-cara", 5, "standard")
    (entry,) = shop.world.ledger(target="order:ord_settled")
    assert (entry["actor"], entry["reason"].split(";")[0]) == ("sub-admin", "old checkout link")
    late = shop.post(path, fields | {"reason": "again"}, role="admin")
    assert (late.status, "only one in REVIEW" in late.words) == (409, True)
    assert "Settle and make bot" not in shop.get("/console/orders/ord_settled").words


def test_fewer_sessions_than_were_paid_are_asked_for_twice(shop: ConsoleWorld) -> None:
    order(shop, "ord_fewer")
    path, fields = "/console/orders/ord_fewer/settle", {"required_sessions": "2", "reason": "agreed", "user_id": "u"}
    refused = shop.post(path, fields, role="admin")
    assert (refused.status, "required_sessions: 5 were paid" in refused.words) == (422, True)
    assert shop.world.adbots.order("ord_fewer").status is OrderStatus.REVIEW
    assert shop.post(path, fields | {"fewer": "yes"}, role="admin").status == 200


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"required_sessions": ""}, "required_sessions: must be a whole number"),
        ({"required_sessions": "501"}, "required_sessions: must be"),
        ({"pool": "none"}, "pool: does not exist"),
    ],
)
def test_a_bad_field_is_named_and_the_order_stays(shop: ConsoleWorld, changed: dict[str, str], words: str) -> None:
    order(shop, "ord_bad")
    fields = {"required_sessions": "5", "user_id": "u", "pool": "standard", "reason": "x", "in": "settle-order"}
    answer = shop.post("/console/orders/ord_bad/settle", fields | changed, role="admin")
    assert (answer.status, words in answer.words) == (422, True), answer.words
    assert shop.world.adbots.order("ord_bad").status is OrderStatus.REVIEW


def test_every_state_has_its_words() -> None:
    assert view.STATES.keys() == set(OrderStatus)


def test_viewers_find_no_action(shop: ConsoleWorld) -> None:
    order(shop, "ord_seen")
    for path in ("/console/orders?order=ord_seen", "/console/orders/ord_seen"):
        page = shop.get(path, role="viewer")
        assert page.status == 200
        assert "settle" not in page.text
    assert shop.get("/console/orders/none").status == 404


@pytest.mark.parametrize(
    ("path", "most"), [("/console/orders", 2), ("/console/orders/ord_cheap", 2), ("/console/orders?order=ord_cheap", 4)]
)
def test_a_page_makes_few_calls_after_session_and_snapshot(
    shop: ConsoleWorld, path: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    order(shop, "ord_cheap")
    monkeypatch.setattr("adbot_queue.console.snapshot.FRESH_MS", 3_600_000)
    shop.get(path)
    with counted_calls() as calls:
        shop.get(path)
    assert len(calls) <= 1 + most, calls
