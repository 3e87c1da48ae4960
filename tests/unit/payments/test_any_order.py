"""Several events of one payment, in any order, any number of times, make one order and one bot in the same state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.adbots.model import AdbotStatus, Order
from adbot_queue.payments.decisions import BotAction, apply
from adbot_queue.payments.facts import Fact
from adbot_queue.payments.model import Payment, order_id_of
from adbot_queue.payments.records import Gathered, StoredPayment
from adbot_queue.payments.store import PaymentStore
from adbot_queue.payments.stripe_events import interpret
from tests.builders.payments import Event, Purchase, audit, empty, happen, open_shop
from tests.builders.world import AwsHarness


class InMemory(PaymentStore):
    """The store without its table: the same search for the payment that a fact belongs to."""

    def __init__(self) -> None:
        self.links: dict[str, str] = {}
        self.known: dict[str, StoredPayment] = {}

    def _follow(self, ids: Sequence[str]) -> dict[str, StoredPayment | None]:
        found: dict[str, StoredPayment | None] = {}
        for name in ids:
            here = name
            while here in self.links:
                here = self.links[here]
            found[name] = self.known.get(here)
        return found

    def keep(self, gathered: Gathered, payment: Payment) -> None:
        home = gathered.home
        self.known[home.key] = StoredPayment(home.key, payment, home.version + 1)
        for part in gathered.parts:
            del self.known[part.key]
        for name in [*(part.key for part in gathered.parts), *gathered.unlinked]:
            assert name not in self.links
            self.links[name] = home.key


class Shop:
    """Orders and bots as the service would make them, without AWS."""

    def __init__(self) -> None:
        self.store = InMemory()
        self.orders: dict[str, Order] = {}
        self.bots: dict[str, tuple[AdbotStatus, bool]] = {}

    def settle(self, event: Event) -> None:
        fact = interpret(event)
        assert fact is not None
        while self._round(fact):
            pass

    def _round(self, fact: Fact) -> bool:
        gathered = self.store.gather(fact)
        payment = gathered.home.payment.merge(fact.facts)
        before = self.orders.get(order_id_of(gathered.home.key))
        gone = bool(
            before
            and before.adbot_id
            and fact.facts.paid.keys() - gathered.home.payment.paid.keys()
            and self.bots[before.adbot_id][0] is AdbotStatus.CANCELLED
        )
        decision = apply(gathered.home.key, payment, fact, before, 1, default_pool="standard", bot_is_gone=gone)
        self.store.keep(gathered, payment)
        order = decision.order
        if order is None:
            return False
        self.orders[order.id] = order
        if decision.step is BotAction.CREATE:
            assert order.adbot_id not in self.bots
            self.bots[str(order.adbot_id)] = (AdbotStatus.QUEUED, order.disputed)
        elif decision.step is BotAction.CANCEL:
            self.bots[str(order.adbot_id)] = (AdbotStatus.CANCELLED, False)
        elif decision.step is not BotAction.NONE:
            status, _ = self.bots[str(order.adbot_id)]
            self.bots[str(order.adbot_id)] = (status, decision.step is BotAction.HOLD)
        return decision.more


def state_after(events: list[Event]) -> Any:
    shop = Shop()
    for event in events:
        shop.settle(event)
    assert len(shop.orders) <= 1
    return [replace(order, version=0) for order in shop.orders.values()], shop.bots


def single(buys: Purchase, *, late: bool, refunds: list[int], disputes: list[str]) -> list[Event]:
    paid = [buys.unpaid(), buys.succeeded()] if late else [buys.checkout()]
    return paid + [buys.refund(amount) for amount in refunds] + disputed(buys, disputes)


def subscribed(
    buys: Purchase, *, old: bool, renewals: int, refunds: list[int], disputes: list[str], ends: bool
) -> list[Event]:
    months = range(1, renewals + 2)
    events = [buys.checkout()]
    for month in months:
        reason = "subscription_create" if month == 1 else "subscription_cycle"
        events += [buys.invoice(month, old=old, billing_reason=reason), *([] if old else [buys.link(month)])]
    # Given back in full between two invoices, money comes for a cancelled bot and a person must look: when that is
    # noticed depends on what comes first. So a full refund is of all months here, and partial ones leave a rest.
    events += [
        buys.refund(amount, invoice=month) for amount in refunds for month in months if amount == 4900 or month == 1
    ]
    return events + disputed(buys, disputes) + ([buys.deleted()] if ends else [])


def disputed(buys: Purchase, disputes: list[str]) -> list[Event]:
    opened = [buys.dispute(number=number) for number in range(len(disputes))]
    return opened + [buys.dispute(end, number=number) for number, end in enumerate(disputes) if end]


ends_of_disputes = st.lists(st.sampled_from(["", "won", "lost"]), max_size=2)
partial_refunds = st.lists(st.sampled_from([100, 900]), max_size=2, unique=True)
histories = st.one_of(
    st.builds(
        single,
        st.just(Purchase()),
        late=st.booleans(),
        refunds=st.lists(st.sampled_from([100, 900, 4900]), max_size=3, unique=True),
        disputes=ends_of_disputes,
    ),
    st.builds(
        subscribed,
        st.just(Purchase(subscription=True)),
        old=st.booleans(),
        renewals=st.just(0),
        refunds=st.lists(st.sampled_from([100, 900, 4900]), max_size=3, unique=True),
        disputes=ends_of_disputes,
        ends=st.booleans(),
    ),
    st.builds(
        subscribed,
        st.just(Purchase(subscription=True)),
        old=st.booleans(),
        renewals=st.integers(1, 2),
        refunds=partial_refunds,
        disputes=st.lists(st.sampled_from(["", "won"]), max_size=2),
        ends=st.booleans(),
    ),
)


@given(histories, st.data())
def test_any_order_and_any_repetition_ends_in_the_state_of_the_right_order(
    events: list[Event], data: st.DataObject
) -> None:
    mixed = data.draw(st.permutations(events))
    again = data.draw(st.lists(st.sampled_from(events), max_size=4))
    places = data.draw(st.lists(st.integers(0, len(mixed)), min_size=len(again), max_size=len(again)))
    for event, place in zip(again, places, strict=True):
        mixed.insert(place, event)
    assert state_after(mixed) == state_after(events)


def test_a_refund_finds_its_subscription_on_aws_whatever_comes_first(shop: AwsHarness) -> None:
    """Where it is hardest: only the link tells whose payment the refund is."""
    for order in permutations(range(3)):
        empty()
        open_shop(shop)
        buys = Purchase(subscription=True)
        events = [buys.invoice(), buys.link(), buys.refund()]
        happen(shop, *(events[index] for index in order), buys.checkout())
        found = audit(shop)
        assert (found.order.id, found.order.status, found.bot.status) == (
            buys.order_id,
            "REFUNDED",
            AdbotStatus.CANCELLED,
        )
