"""The schedule that comes by every 5 minutes: what was left behind, and how long bots have waited."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adbot_queue.adbots.model import CreationSource, ExecutionMode, Order, OrderStatus
from adbot_queue.core import aws, clock, telemetry
from adbot_queue.payments import overdue
from adbot_queue.payments import service as payments
from tests.builders.payments import Purchase, audit, consume, deliver, failing
from tests.builders.world import ADMIN, AwsHarness, FakeContext

MINUTE, HOUR = 60_000, 3_600_000


def sweep(shop: AwsHarness, left: int = 60_000) -> dict[str, int]:
    answer: dict[str, int] = shop.app("sweep").handler({}, FakeContext(left=left))
    return answer


BEGINNING = clock.system_clock() // HOUR * HOUR + 6 * MINUTE


def at(monkeypatch: pytest.MonkeyPatch, later: int) -> None:
    """The time, that many milliseconds after the beginning of an hour."""
    for door in (payments.from_env(), overdue.from_env()):
        monkeypatch.setattr(door, "_now", lambda: BEGINNING + later)


def left_behind(shop: AwsHarness, *names: str) -> None:
    for name in names:
        deliver(shop, Purchase(name).checkout())
    shop.messages("payments")  # all lost


def test_an_event_that_was_left_behind_is_handed_over_again(shop: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, 0)
    left_behind(shop, "1", "2")
    at(monkeypatch, 2 * MINUTE)
    assert sweep(shop)["unsettled"] == 2
    assert consume(shop) == []
    assert len(audit(shop).bots) == 2
    assert sweep(shop)["unsettled"] == 0


def test_an_event_that_has_just_come_is_left_to_the_queue(shop: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, 0)
    left_behind(shop, "1")
    at(monkeypatch, MINUTE - 1)
    assert sweep(shop)["unsettled"] == 0
    assert shop.messages("payments") == []


def test_what_has_failed_for_more_than_an_hour_is_handed_over_once_an_hour(
    shop: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, 0)
    left_behind(shop, "1")
    sent = []
    for tick in range(36):
        at(monkeypatch, tick * 5 * MINUTE + 2 * MINUTE)
        sweep(shop)
        sent.append(len(shop.messages("payments")))
    assert sum(sent[:12]) == 12
    assert sum(sent[12:24]) == sum(sent[24:]) == 1


def test_when_sqs_is_down_the_sweeper_settles_itself(shop: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, 0)
    left_behind(shop, "1")
    at(monkeypatch, 2 * MINUTE)
    with failing(aws.sqs(), "SendMessage"):
        sweep(shop)
    assert audit(shop).unsettled == []


def test_one_event_that_cannot_be_settled_does_not_stop_the_others(
    shop: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, 0)
    door = payments.from_env()
    door._store.record("evt_broken", "charge.refunded", '{"type": "charge.refunded"}', door._now(), ignored=False)
    left_behind(shop, "1")
    at(monkeypatch, 2 * MINUTE)
    with failing(aws.sqs(), "SendMessage"):
        assert sweep(shop)["unsettled"] == 2
    assert audit(shop).unsettled == ["EVENT#stripe#evt_broken"]


def test_the_sweeper_stops_in_time(shop: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, 0)
    left_behind(shop, "1")
    at(monkeypatch, 2 * MINUTE)
    assert sweep(shop, left=9_000)["unsettled"] == 1
    assert shop.messages("payments") == []


def test_more_events_than_a_page_are_all_found(shop: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, 0)
    left_behind(shop, *(str(number) for number in range(5)))
    at(monkeypatch, 2 * MINUTE)
    query = aws.dynamodb().query
    monkeypatch.setattr(aws.dynamodb(), "query", lambda **request: query(**request | {"Limit": 2}))
    store = overdue.from_env()._store
    assert len(store.unsettled(payments.from_env()._now(), 1000)) == 5


def test_the_sweeper_measures_the_oldest_bot_whether_it_has_a_place_or_not(
    shop: AwsHarness, monkeypatch: pytest.MonkeyPatch, metrics: Any
) -> None:
    began = clock.system_clock()

    def levels(later: int) -> dict[str, float]:
        """As if that many milliseconds had passed since the test began; its own duration does not count."""
        telemetry.metrics.clear_metrics()
        monkeypatch.setattr(shop.app("sweep"), "system_clock", lambda: began + later)
        metrics()
        sweep(shop)
        found = dict(metrics())
        return found | {"OldestQueuedAge": round(found["OldestQueuedAge"], -2)}

    shop.pool("other")
    nothing = {
        "OldestUnsettledEvent": 0,
        "UnsettledEvents": 0,
        "ParkedBots": 0,
        "RowsSetAside": 0,
        "PoolsWithoutVerdict": 0,
        "BotsFaults": 0,
    }
    assert levels(0) == nothing | {"OldestQueuedAge": 0, "QueueLength": 0}
    shop.adbots.purchases.create_paid(
        bought("other"), ExecutionMode.ASYNC_QUEUE, ADMIN
    )  # in the inbox, without a place
    assert levels(300_000)["OldestQueuedAge"] == 300
    for _ in range(10):
        shop.create(5)
    assert levels(900_000) == nothing | {"OldestQueuedAge": 900, "QueueLength": 10}


def bought(pool: str) -> Order:
    order = Order("ord_1", OrderStatus.PAID, CreationSource.PAYMENT, 1, adbot_id="bot_1", pool=pool)
    return replace(order, user_id="cara", required_sessions=1)
