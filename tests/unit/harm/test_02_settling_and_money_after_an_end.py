"""A settled order stays its user's; money after an end, and money that goes back for no sale, is never silent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.model import AdbotStatus, Order, OrderStatus
from adbot_queue.core import telemetry
from adbot_queue.core.clock import system_clock
from adbot_queue.payments import overdue
from adbot_queue.payments import service as payments
from adbot_queue.payments.decisions import apply
from adbot_queue.payments.model import Payment, order_id_of
from adbot_queue.payments.stripe_events import interpret
from tests.builders.payments import Event, Purchase, audit, configure, empty, happen, metadata, rows
from tests.builders.world import ADMIN, AwsHarness, FakeContext, world

PLAN = {"name": "Plan", "pool": "standard", "required_sessions": 5, "amount": 4900, "currency": "eur"}
DAY = 86_400
BOUGHT = 1_763_769_661
"""When a purchase begins (2025-11-22)."""


@pytest.fixture(scope="module")
def _one_world() -> Iterator[AwsHarness]:
    with world() as made:
        configure()
        yield made


@pytest.fixture
def shop(_one_world: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> AwsHarness:
    monkeypatch.setattr(telemetry.metrics.provider, "namespace", "AdBotQueue")
    empty()
    open_shop(_one_world)
    return _one_world


def open_shop(shop: AwsHarness) -> None:
    shop.pool()
    for plan, body in (("starter", PLAN), ("monthly", PLAN | {"mode": "subscription", "interval": "month"})):
        answer = shop.http("checkout", "PUT /admin/plans/{id}", role="admin", body=body, id=plan)
        assert answer.status == 201, answer.text


@pytest.fixture
def metrics(capsys: pytest.CaptureFixture[str]) -> Any:
    def read() -> dict[str, float]:
        lines = [line for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
        return {
            name: value[-1] for line in lines for name, value in json.loads(line).items() if isinstance(value, list)
        }

    return read


def at(event: Event, day: float, *, paid: float | None = None, ended: float | None = None) -> Event:
    """The event as of a day after the purchase; an invoice paid, a subscription ended then."""
    event["created"] = int(BOUGHT + day * DAY)
    about = event["data"]["object"]
    if event["type"] == "invoice.paid":
        start = BOUGHT + int((paid if paid is not None else day) * DAY)
        about["status_transitions"] = {"paid_at": start}
        for line in about["lines"]["data"]:
            line["period"] = {"start": start, "end": start + 30 * DAY}
    if event["type"] == "customer.subscription.deleted":
        about["ended_at"] = int(BOUGHT + (ended if ended is not None else day) * DAY)
    return event


# Whose it stays


def settle(shop: AwsHarness, order: Order, **body: Any) -> Any:
    wanted = {"order_id": order.id, "required_sessions": 5, "reason": "looked at"} | body
    return shop.http("admin_create", "POST /admin/adbots", role="admin", user="olga", body=wanted)


@pytest.mark.parametrize(
    ("changes", "named", "owner"),
    [
        ({"required_sessions": "50"}, {}, "cara"),
        ({"plan_id": "gold"}, {}, "cara"),
        ({"plan_id": None}, {}, "cara"),
        ({"pool": "nowhere"}, {"pool": "standard"}, "cara"),
        ({"required_sessions": "50"}, {"user_id": "dora"}, "dora"),
        ({"user_id": None}, {"user_id": "dora"}, "dora"),
        ({"user_id": None}, {"user_id": "olga"}, "olga"),
    ],
)
def test_a_settled_order_is_its_own_users_unless_another_is_named(
    shop: AwsHarness, changes: dict[str, Any], named: dict[str, Any], owner: str
) -> None:
    happen(shop, Purchase(metadata=metadata(**changes)).checkout())
    before = audit(shop).order
    assert before.status is OrderStatus.REVIEW
    answer = settle(shop, before, **named)
    assert (answer.status, answer.json["user_id"]) == (201, owner)
    found = audit(shop)
    assert (found.order.user_id, found.order.status, found.bot.user_id) == (owner, OrderStatus.PAID, owner)
    (entry,) = shop.ledger(action="order.settle")
    assert (entry["actor"], entry["target"]) == ("olga", f"order:{before.id}")
    assert (entry["before"]["user_id"], entry["after"]["user_id"]) == (before.user_id, owner)
    assert "looked at" in entry["reason"]
    (made,) = shop.ledger(action="adbot.create")
    assert (made["actor"], made["after"]["user_id"]) == ("olga", owner)


def test_an_order_without_a_user_asks_whose_the_bot_is(shop: AwsHarness) -> None:
    happen(shop, Purchase(metadata=metadata(user_id=None)).checkout(client_reference_id=None))
    answer = settle(shop, audit(shop).order)
    assert (answer.status, answer.fields) == (422, ["user_id"])
    assert audit(shop).bots == []


@pytest.mark.parametrize("events", list(permutations(range(2))))
@pytest.mark.parametrize("changes", [{"required_sessions": "50"}, {"user_id": None}, {"pool": "nowhere"}])
def test_an_order_without_a_bot_whose_money_is_lost_cannot_be_settled(
    shop: AwsHarness, changes: dict[str, Any], events: tuple[int, ...]
) -> None:
    buys = Purchase(metadata=metadata(**changes))
    reported = [buys.checkout(), buys.dispute("lost")]
    happen(shop, *(reported[index] for index in events))
    order = audit(shop).order
    assert (order.status, order.review_reason) == (OrderStatus.REFUNDED, None)
    assert settle(shop, order, user_id="dora", pool="standard").status == 409
    happen(shop, buys.dispute("won"))
    assert audit(shop).bots == []


@pytest.mark.parametrize(
    ("then", "status", "held"),
    [
        (lambda buys: buys.dispute(), OrderStatus.DISPUTED, True),
        (lambda buys: buys.refund(1000), OrderStatus.PARTIALLY_REFUNDED, False),
    ],
)
def test_a_settled_order_shows_what_is_known_of_its_money(
    shop: AwsHarness, then: Any, status: OrderStatus, held: bool
) -> None:
    buys = Purchase(metadata=metadata(required_sessions="50"))
    happen(shop, buys.checkout(), then(buys))
    assert audit(shop).order.status is OrderStatus.REVIEW
    assert settle(shop, audit(shop).order).status == 201
    found = audit(shop)
    assert (found.order.status, found.bot.on_hold) == (status, held)


RENEWALS = {
    "another price": lambda buys: at(buys.invoice(2, **dict.fromkeys(("amount_paid", "subtotal", "total"), 100)), 30),
    "another currency": lambda buys: at(buys.invoice(2, currency="usd"), 30),
}


@pytest.mark.parametrize("kind", RENEWALS)
def test_settling_an_order_that_has_a_bot_makes_no_second_one(shop: AwsHarness, kind: str) -> None:
    buys = Purchase(subscription=True)
    happen(shop, at(buys.checkout(), 0), at(buys.invoice(1), 0), RENEWALS[kind](buys))
    order = audit(shop).order
    assert (order.status, order.adbot_id) == (OrderStatus.REVIEW, buys.bot_id)
    for field, other in {"user_id": "dora", "pool": "gold", "required_sessions": 6}.items():
        shop.pool("gold")
        answer = settle(shop, order, **{field: other})
        assert (answer.status, answer.fields) == (422, [field])
    done = settle(shop, order)
    assert (done.status, done.json["adbot_id"], done.json["user_id"]) == (200, buys.bot_id, "cara")
    found = audit(shop)
    assert (found.order.status, found.order.review_reason, found.bot.id) == (OrderStatus.PAID, None, buys.bot_id)
    (entry,) = shop.ledger(action="order.settle")
    assert (entry["actor"], entry["target"], entry["after"]["adbot_id"]) == ("olga", f"order:{order.id}", buys.bot_id)
    happen(shop, {**RENEWALS[kind](buys), "id": "evt_told_again"}, at(buys.invoice(3), 60))
    assert audit(shop).order.status is OrderStatus.PAID
    happen(shop, at(buys.deleted(), 70))
    assert audit(shop).bot.status is AdbotStatus.CANCELLED


def test_settling_twice_under_one_key_settles_once(shop: AwsHarness) -> None:
    buys = Purchase(subscription=True)
    happen(shop, at(buys.checkout(), 0), at(buys.invoice(1), 0), RENEWALS["another price"](buys))
    body = {"order_id": buys.order_id, "required_sessions": 5}
    ask = {"role": "admin", "body": body, "headers": {"idempotency-key": "once"}}
    first, second = (shop.http("admin_create", "POST /admin/adbots", **ask) for _ in range(2))
    assert (first.status, second.status, second.headers["idempotent-replayed"]) == (200, 200, "true")
    assert "idempotent-replayed" not in first.headers
    assert second.json["adbot_id"] == buys.bot_id
    assert len(shop.ledger(action="order.settle")) == 1


def test_an_order_of_a_pool_that_is_not_there_asks_for_one(shop: AwsHarness) -> None:
    happen(shop, Purchase(metadata=metadata(pool="nowhere")).checkout())
    answer = settle(shop, audit(shop).order)
    assert (answer.status, answer.fields) == (422, ["pool"])


def test_a_settled_order_is_served_from_its_own_pool(shop: AwsHarness) -> None:
    shop.pool("gold")
    happen(shop, Purchase(metadata=metadata(required_sessions="50", pool="gold")).checkout())
    assert settle(shop, audit(shop).order).json["pool"] == "gold"


def test_a_bot_that_settles_nothing_is_the_operators_own_by_default(shop: AwsHarness) -> None:
    answer = shop.http("admin_create", "POST /admin/adbots", role="admin", user="olga", body={"required_sessions": 1})
    assert (answer.json["user_id"], answer.json["pool"]) == ("olga", "standard")


# Money after an end


def after(kind: str, day: float, buys: Purchase) -> Event:
    return at(buys.deleted(), day) if kind == "ended" else at(buys.dispute("lost"), day)


@pytest.mark.parametrize("kind", ["ended", "lost"])
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_money_after_an_end_is_reviewed_in_any_order_of_events(
    shop: AwsHarness, kind: str, order: tuple[int, ...]
) -> None:
    buys = Purchase(subscription=True)
    events = [at(buys.invoice(1), 0), after(kind, 20, buys), at(buys.invoice(2), 30)]
    links = [buys.link(1)] if kind == "lost" else []
    happen(shop, *links, at(buys.checkout(), 0), *(events[index] for index in order))
    found = audit(shop)
    assert (found.order.status, found.bot.status) == (OrderStatus.REVIEW, AdbotStatus.CANCELLED)
    assert "4900 eur paid on 2025-12-22" in (found.order.review_reason or "")
    assert found.order.amount == 9800


def test_money_after_an_end_is_counted_and_listed(shop: AwsHarness, metrics: Any) -> None:
    buys = Purchase(subscription=True)
    happen(shop, at(buys.checkout(), 0), at(buys.invoice(1), 0), at(buys.deleted(), 20))
    metrics()
    happen(shop, at(buys.invoice(2), 20.4))
    assert metrics()["OrdersInReview"] == 1
    listed = shop.http("adbots", "GET /orders", role="viewer").json["items"]
    assert [one["order_id"] for one in listed] == [buys.order_id]


def final_bill(buys: Purchase) -> Event:
    event = at(buys.invoice(2), 21)
    for line in event["data"]["object"]["lines"]["data"]:
        line["period"] = {"start": BOUGHT, "end": BOUGHT + 20 * DAY}
    return event


@pytest.mark.parametrize("reported", [(0, 1), (1, 0)])
@pytest.mark.parametrize(
    "invoice",
    [
        lambda buys: at(buys.invoice(2), 21, paid=19),  # paid before the end, reported after it
        lambda buys: at(buys.invoice(2, amount_paid=0, amount_due=0), 21),  # of nothing
        final_bill,
    ],
)
def test_what_was_paid_before_an_end_or_for_the_time_before_it_needs_no_person(
    shop: AwsHarness, invoice: Any, reported: tuple[int, int]
) -> None:
    buys = Purchase(subscription=True)
    events = [at(buys.deleted(), 20), invoice(buys)]
    happen(shop, at(buys.checkout(), 0), at(buys.invoice(1), 0), *(events[index] for index in reported))
    assert (audit(shop).order.status, audit(shop).bot.status) == (OrderStatus.ENDED, AdbotStatus.CANCELLED)


def test_every_payment_after_an_end_is_looked_at_again_after_a_person_has_settled_the_last(shop: AwsHarness) -> None:
    buys = Purchase(subscription=True)
    happen(shop, at(buys.checkout(), 0), at(buys.invoice(1), 0), at(buys.deleted(), 20), at(buys.invoice(2), 30))
    assert settle(shop, audit(shop).order).status == 201
    happen(shop, {**at(buys.invoice(2), 30), "id": "evt_told_again"})
    assert shop.adbots.order(buys.order_id).status is OrderStatus.ENDED
    (bot,) = [bot for bot in audit_bots(shop) if bot.status is not AdbotStatus.CANCELLED]
    assert bot.user_id == "cara"


def audit_bots(shop: AwsHarness) -> list[Any]:
    return shop.adbots.list_adbots(None, None, 10, None)[0]


def test_money_for_a_bot_that_an_operator_or_a_refund_has_ended_is_looked_at(shop: AwsHarness) -> None:
    for number, end in enumerate(("cancel", "refund")):
        buys = Purchase(f"s{number}", subscription=True)
        happen(shop, at(buys.checkout(), 0), at(buys.invoice(1), 0), buys.link(1))
        if end == "cancel":
            shop.adbots.cancel(buys.bot_id, Command(ADMIN))
        else:
            happen(shop, at(buys.refund(), 5))
        happen(shop, at(buys.invoice(2), 30))
        order = shop.adbots.order(buys.order_id)
        assert (order.status, order.review_reason) == (OrderStatus.REVIEW, "paid again although the bot is cancelled")


@pytest.mark.parametrize("old", [False, True])
def test_giving_back_the_payment_closes_what_was_open_about_it_and_another_ones_refund_does_not(
    shop: AwsHarness, old: bool
) -> None:
    buys = Purchase(subscription=True)
    links = [] if old else [buys.link(1), buys.link(2)]
    happen(shop, at(buys.checkout(), 0), at(buys.invoice(1, old=old), 0), at(buys.deleted(), 20))
    happen(shop, at(buys.invoice(2, old=old), 30), *links, at(buys.refund(1000, invoice=1), 31))
    assert audit(shop).order.status is OrderStatus.REVIEW
    happen(shop, at(buys.refund(3000, invoice=2), 32))
    assert audit(shop).order.status is OrderStatus.REVIEW
    happen(shop, at(buys.refund(4900, invoice=2), 33))
    order = audit(shop).order
    assert (order.status, order.review_reason, order.problems) == (OrderStatus.ENDED, None, {})


days = st.floats(0, 60, allow_nan=False).map(lambda day: round(day, 2))


@given(
    ended=days,
    payments=st.lists(st.tuples(days, st.sampled_from([0, 4900])), min_size=1, max_size=4),
    data=st.data(),
)
def test_in_any_order_exactly_the_money_paid_after_the_end_is_looked_at(
    ended: float, payments: list[tuple[float, int]], data: st.DataObject
) -> None:
    buys = Purchase(subscription=True)
    events = [at(buys.deleted(), ended)]
    for number, (day, amount) in enumerate(payments, 1):
        events.append(at(buys.invoice(number, amount_paid=amount), day))
    payment, order = Payment(), None
    for event in data.draw(st.permutations(events)):
        fact = interpret(event)
        assert fact is not None
        payment = payment.merge(fact.facts)
        decision = apply(buys.key, payment, fact, order, 1, default_pool="standard")
        order = decision.order
    assert order is not None
    late = {
        f"after:in_1_{n}" for n, (day, amount) in enumerate(payments, 1) if amount and int(day * DAY) > int(ended * DAY)
    }
    assert order.problems.keys() == (late if order.status is OrderStatus.REVIEW else set())
    assert (order.status is OrderStatus.REVIEW) == bool(late)


# Money that goes back for no sale


def sweep(shop: AwsHarness, monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    """The sweeper's tick, that many hours from now."""
    with monkeypatch.context() as patched:
        for door in (payments.from_env(), overdue.from_env()):
            patched.setattr(door, "_now", lambda: system_clock() + int(hours * 3_600_000))
        shop.app("sweep").handler({"source": "aws.scheduler"}, FakeContext())


@pytest.mark.parametrize("kind", ["refund", "dispute", "lost"])
def test_money_that_went_back_for_no_sale_is_looked_at_after_a_day(
    shop: AwsHarness, monkeypatch: pytest.MonkeyPatch, metrics: Any, kind: str
) -> None:
    buys = Purchase("elsewhere")
    happen(shop, buys.refund(1000) if kind == "refund" else buys.dispute("lost" if kind == "lost" else ""))
    sweep(shop, monkeypatch, 23)
    assert audit(shop).orders == []
    metrics()
    sweep(shop, monkeypatch, 25)
    assert metrics()["OrdersInReview"] == 1
    found = audit(shop)
    assert (found.order.id, found.order.status, found.bots) == (buys.order_id, OrderStatus.REVIEW, [])
    assert (found.order.review_reason or "").startswith("a refund of 1000 eur" if kind == "refund" else "a dispute")
    assert found.order.provider_ids == {"payment_intent": "pi_elsewhere"}
    sweep(shop, monkeypatch, 30)
    assert "OrdersInReview" not in metrics()
    (entry,) = shop.ledger(action="payment.review")
    assert entry["actor"] == "system"


def test_a_sale_that_comes_within_the_day_leaves_nothing_to_look_at(
    shop: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    buys = Purchase()
    happen(shop, buys.refund(1000), buys.checkout())
    sweep(shop, monkeypatch, 25)
    assert audit(shop).order.status is OrderStatus.PARTIALLY_REFUNDED


@pytest.mark.parametrize("kind", ["single", "subscription"])
def test_a_sale_that_comes_after_the_day_takes_over_what_waited(
    shop: AwsHarness, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    buys = Purchase(subscription=kind == "subscription")
    happen(shop, buys.refund(1000))
    sweep(shop, monkeypatch, 25)
    assert audit(shop).order.status is OrderStatus.REVIEW
    happen(shop, buys.checkout(), *([buys.invoice(1), buys.link(1)] if buys.subscription else []))
    order = shop.adbots.order(buys.order_id)
    assert (order.status, order.amount_refunded) == (OrderStatus.PARTIALLY_REFUNDED, 1000)
    assert [bot.id for bot in audit(shop).bots] == [buys.bot_id]
    assert shop.adbots.store.orders_in_review(10, None)[0] == []
    sweep(shop, monkeypatch, 60)
    assert shop.adbots.store.orders_in_review(10, None)[0] == []


def test_further_refunds_of_an_order_in_review_show_in_its_order(
    shop: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    buys = Purchase("elsewhere")
    happen(shop, buys.refund(1000))
    sweep(shop, monkeypatch, 25)
    happen(shop, buys.refund(3000), buys.dispute())
    order = audit(shop).order
    assert (order.status, order.amount_refunded) == (OrderStatus.REVIEW, 3000)
    assert (order.review_reason or "").startswith("a refund of 3000 eur and a dispute")


def test_a_refund_of_what_one_of_our_jobs_took_is_no_order(shop: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    event = Purchase("job").refund()
    event["data"]["object"]["metadata"] = {"job": "019aaf0c1e2a7c3d9b8e4f5a6b-1"}
    happen(shop, event)
    sweep(shop, monkeypatch, 25)
    assert audit(shop).orders == []


def test_the_end_of_a_subscription_that_is_not_known_moves_no_money(
    shop: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    happen(shop, Purchase("elsewhere", subscription=True).deleted())
    sweep(shop, monkeypatch, 25)
    assert audit(shop).orders == []


def test_what_an_earlier_version_wrote_is_read(shop: AwsHarness) -> None:
    """Orders and payments without problems, times and sales."""
    buys = Purchase(subscription=True)
    happen(shop, at(buys.checkout(), 0), at(buys.invoice(1), 0))
    client, env = shop.adbots.store.client, shop.env
    new = ("problems", "settled", "dated")
    for key in ("ORDER#" + order_id_of(buys.key),):
        client.update_item(
            TableName=env["ADBOTS_TABLE"],
            Key={"pk": {"S": key}, "sk": {"S": "O"}},
            UpdateExpression="REMOVE " + ", ".join(new),
        )
    new = ("sales", "tenders", "paid_at", "returned_at", "covers_until", "ended_at", "lost_at", "job")
    client.update_item(
        TableName=env["PAYMENTS_TABLE"],
        Key={"pk": {"S": f"PAYMENT#stripe#{buys.key}"}},
        UpdateExpression="REMOVE " + ", ".join(new),
    )
    happen(shop, at(buys.invoice(2), 30), buys.link(2), at(buys.refund(100, invoice=2), 31))
    assert audit(shop).order.status is OrderStatus.PARTIALLY_REFUNDED
    assert rows(env["ADBOTS_TABLE"], "MONEY#")
