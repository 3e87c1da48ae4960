"""Killed after every single AWS call of receiving and settling, delivered again: nothing is lost, nothing doubled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from adbot_queue.core import aws
from adbot_queue.payments import overdue
from adbot_queue.payments import service as payments
from tests.builders.crash import Killed, crash_after, every_call
from tests.builders.payments import Event, Purchase, audit, consume, deliver, failing, happen, snapshot
from tests.builders.world import AwsHarness

STORIES: dict[str, tuple[Purchase, Callable[[Purchase], list[Event]]]] = {
    "a payment": (Purchase(), lambda buys: [buys.checkout()]),
    "a payment that was refunded before": (Purchase(), lambda buys: [buys.refund(), buys.checkout()]),
    "a refund": (Purchase(), lambda buys: [buys.checkout(), buys.refund()]),
    "a dispute won": (Purchase(), lambda buys: [buys.checkout(), buys.dispute(), buys.dispute("won")]),
    "money for an unknown purpose": (Purchase(metadata={}), lambda buys: [buys.checkout()]),
    "a refund that finds its subscription": (
        Purchase(subscription=True),
        lambda buys: [buys.refund(), buys.checkout(), buys.link()],
    ),
    "a renewal": (Purchase(subscription=True), lambda buys: [buys.checkout(), buys.invoice(2)]),
}


def process(shop: AwsHarness, event: Event) -> bool:
    """Webhook and consumer, as AWS would run them: True when both came to their end."""
    answered = deliver(shop, event).status == 200
    return consume(shop) == [] and answered


def state(shop: AwsHarness) -> tuple[object, ...]:
    """All that matters, after checking that nothing is lost and nothing doubled."""
    found = audit(shop)
    assert found.unsettled == []
    header = shop.adbots.pools.header("standard")
    bots = [(bot.id, bot.status, bot.on_hold, bot.assigned) for bot in found.bots]
    orders = [(order.id, order.status, order.amount, order.amount_refunded, order.adbot_id) for order in found.orders]
    return bots, orders, found.actions, header.free, header.queue_length


@pytest.mark.parametrize("name", STORIES)
def test_killed_after_any_call_and_delivered_again_it_ends_as_if_nothing_had_happened(
    shop: AwsHarness, name: str
) -> None:
    buys, story = STORIES[name]
    *before, event = story(buys)
    happen(shop, *before)
    restore = snapshot()
    with crash_after(None) as calls:
        assert process(shop, event)
    number = len(calls.names)
    wanted = state(shop)
    assert number >= 8
    for call in every_call(number):
        restore()
        with crash_after(call), suppress(Killed):
            process(shop, event)
        assert process(shop, event)  # Stripe and SQS both deliver again what was not finished
        assert state(shop) == wanted, f"after call {call}"


def test_killed_after_any_call_of_settling_in_the_request_the_sweeper_ends_it(shop: AwsHarness) -> None:
    """SQS is down, the function dies, and Stripe never comes back."""
    buys = Purchase()
    restore = snapshot()
    with crash_after(None) as calls, failing(aws.sqs(), "SendMessage"):
        assert deliver(shop, buys.checkout()).status == 200
    wanted = state(shop)
    for call in every_call(len(calls.names)):
        restore()
        with failing(aws.sqs(), "SendMessage"), crash_after(call), suppress(Killed):
            deliver(shop, buys.checkout())
        door = payments.from_env()
        for key, _ in overdue.from_env()._store.unsettled(door._now() + 1, 10):
            door.settle(key)
        assert state(shop) == wanted, f"after call {call}"


def settled_in_between(shop: AwsHarness, monkeypatch: pytest.MonkeyPatch, first: Event, second: Event) -> None:
    """The second event is settled between the first one's reading and its writing."""
    for event in (first, second):
        assert deliver(shop, event).status == 200
    shop.messages("payments")
    door = payments.from_env()
    write, others = door._write, iter([f"EVENT#stripe#{second['id']}"])

    def interrupted(*args: Any) -> None:
        if other := next(others, None):
            door.settle(other)
        write(*args)

    with monkeypatch.context() as patched:
        patched.setattr(door, "_write", interrupted)
        door.settle(f"EVENT#stripe#{first['id']}")


@pytest.mark.parametrize(
    ("together", "ends"),
    [
        (("checkout", "refund"), "REFUNDED"),
        (("refund", "checkout"), "REFUNDED"),
        (("checkout", "dispute"), "DISPUTED"),
        (("checkout", "checkout"), "PAID"),
    ],
)
def test_two_events_of_one_payment_settled_at_once_both_count(
    shop: AwsHarness, monkeypatch: pytest.MonkeyPatch, together: tuple[str, str], ends: str
) -> None:
    buys = Purchase()
    settled_in_between(shop, monkeypatch, *(getattr(buys, name)() for name in together))
    assert (audit(shop).order.status, audit(shop).unsettled) == (ends, [])


def test_two_facts_of_a_payment_that_is_not_made_yet_settled_at_once_both_count(
    shop: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    buys = Purchase()
    happen(shop, buys.refund(50))
    settled_in_between(shop, monkeypatch, buys.refund(100), buys.dispute())
    happen(shop, buys.checkout())
    assert (audit(shop).order.amount_refunded, audit(shop).order.status) == (100, "DISPUTED")


def test_an_event_that_changes_nothing_settled_twice_at_once_is_settled_once(
    shop: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = Purchase().checkout(mode="setup")
    deliver(shop, nothing)
    door = payments.from_env()
    commit, others = door.commit, iter([True])

    def interrupted(fill: Any) -> None:
        if next(others, None):
            door.settle(f"EVENT#stripe#{nothing['id']}")
        commit(fill)

    monkeypatch.setattr(door, "commit", interrupted)
    with crash_after(None) as calls:
        door.settle(f"EVENT#stripe#{nothing['id']}")
    assert calls.names.count("TransactWriteItems") == 2  # the second is refused and finds it settled
    assert calls.names[-1] == "GetItem"
