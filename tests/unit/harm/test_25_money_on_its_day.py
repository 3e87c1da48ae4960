"""The report of orders counts money on the day it was received or returned, not on the day the bot was made."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.adbots.model import Movement, OrderStatus
from adbot_queue.core.clock import day as day_of
from adbot_queue.core.clock import system_clock
from adbot_queue.jobs.long_running import Progress
from adbot_queue.payments.model import Payment
from adbot_queue.payments.movements import movements
from adbot_queue.payments.stripe_events import interpret
from adbot_queue.reports import sources
from tests.builders.payments import Event, Purchase, audit, configure, empty, happen, metadata, rows
from tests.builders.world import AwsHarness, world

DAY = 86_400
NOW = int(time.time())
PLAN = {"name": "Plan", "pool": "standard", "required_sessions": 5, "amount": 4900, "currency": "eur"}


@pytest.fixture(scope="module")
def _one_world() -> Iterator[AwsHarness]:
    with world() as made:
        configure()
        yield made


@pytest.fixture
def shop(_one_world: AwsHarness) -> AwsHarness:
    empty()
    _one_world.pool()
    for plan, body in (("starter", PLAN), ("monthly", PLAN | {"mode": "subscription", "interval": "month"})):
        answer = _one_world.http("checkout", "PUT /admin/plans/{id}", role="admin", body=body, id=plan)
        assert answer.status == 201, answer.text
    return _one_world


def ago(days: float, event: Event) -> Event:
    """Return the event as it happened that many days ago."""
    at = int(NOW - days * DAY)
    event["created"] = at
    if event["type"] == "invoice.paid":
        event["data"]["object"]["status_transitions"] = {"paid_at": at}
    return event


def date(days: float) -> str:
    return day_of(int(NOW - days * DAY) * 1000)


def report(
    shop: AwsHarness, since: str = "2020-01-01", until: str = "2099-12-31"
) -> dict[tuple[str, str], tuple[Any, ...]]:
    """(day, currency) -> bots, orders, amount, refunded, as the report has them."""
    progress = Progress()
    while not (done := sources.next_orders(shop.adbots.store, progress, since, until)).is_last:
        progress = Progress(done.cursor)
    table = sources.orders(Progress(done.cursor), since, until)
    return {(str(row[0]), str(row[1])): tuple(map(float, row[2:6])) for row in table.rows}  # type: ignore[arg-type]


def test_renewals_of_four_months_count_in_four_months(shop: AwsHarness) -> None:
    buys = Purchase(subscription=True)
    happen(shop, ago(90, buys.checkout()), ago(90, buys.invoice(1)))
    happen(shop, *(ago(120 - 30 * month, buys.invoice(month)) for month in (2, 3, 4)))
    assert report(shop) == {
        (date(90), "eur"): (0, 0, 49, 0),
        (date(60), "eur"): (0, 0, 49, 0),
        (date(30), "eur"): (0, 0, 49, 0),
        (date(0), "eur"): (1, 1, 49, 0),
    }
    assert report(shop, date(61), date(29)).keys() == {(date(60), "eur"), (date(30), "eur")}


def test_a_refund_counts_on_its_own_day_part_by_part(shop: AwsHarness) -> None:
    buys = Purchase()
    happen(
        shop, ago(40, buys.checkout()), ago(20, buys.refund(3000)), ago(30, buys.refund(1000)), ago(10, buys.refund())
    )
    found = report(shop)
    assert {key: values[2:] for key, values in found.items() if key[0] != date(0)} == {
        (date(40), "eur"): (49, 0),
        (date(30), "eur"): (0, 10),
        (date(20), "eur"): (0, 20),
        (date(10), "eur"): (0, 19),
    }


def test_money_that_waits_for_a_person_counts_on_the_day_it_came(shop: AwsHarness) -> None:
    happen(shop, ago(5, Purchase(metadata=metadata(plan_id="gold")).checkout()))
    assert audit(shop).order.status is OrderStatus.REVIEW
    assert report(shop)[date(5), "eur"] == (0, 0, 49, 0)


def test_money_is_counted_once_however_often_it_is_reported(shop: AwsHarness) -> None:
    buys = Purchase(subscription=True)
    again = [{**ago(day, buys.invoice(1)), "id": f"evt_{day}"} for day in (3, 2)]
    happen(shop, ago(3, buys.checkout()), *again, ago(1, buys.link(1)))
    assert sum(values[2] for values in report(shop).values()) == 49


def test_money_that_did_not_come_or_was_never_ours_is_not_counted(shop: AwsHarness) -> None:
    happen(shop, ago(3, Purchase("pending").unpaid()), ago(3, Purchase("elsewhere").refund()))
    happen(shop, ago(2, Purchase("failed").failed()), ago(2, Purchase("foreign").checkout() | {"account": "acct_1"}))
    assert report(shop) == {}


def test_a_refund_reported_before_its_sale_counts_once_the_sale_is_known(shop: AwsHarness) -> None:
    buys = Purchase(subscription=True)
    happen(shop, ago(1, buys.refund(1000)))
    assert report(shop) == {}
    happen(shop, ago(30, buys.checkout()), ago(30, buys.invoice(1)), ago(30, buys.link(1)))
    found = report(shop)
    assert (found[date(30), "eur"][2:], found[date(1), "eur"][2:]) == ((49, 0), (0, 10))


def test_a_page_of_the_report_is_a_query_and_a_batch_whatever_the_size_of_the_table(shop: AwsHarness) -> None:
    from tests.builders.crash import crash_after  # noqa: PLC0415

    transaction = shop.adbots.store.transaction()
    for number in range(60):
        at = system_clock() - number * 40 * DAY * 1000
        shop.adbots.store.put_movement(transaction, f"ord_{number}", "IN#pi", Movement(at, "eur", 100, 0))
    transaction.commit()
    with crash_after(None) as calls:
        assert report(shop, date(41), date(0)).keys() == {(date(0), "eur"), (date(40), "eur")}
    assert sorted(calls.names) == ["BatchGetItem", "Query", "Query", "Query"]


def test_the_rows_of_money_name_no_person(shop: AwsHarness) -> None:
    happen(shop, Purchase().checkout())
    (row,) = rows(shop.env["ADBOTS_TABLE"], "MONEY#")
    assert row.keys() == {"pk", "sk", "kind", "listed_at", "at", "currency", "received", "returned"}


parts = st.lists(st.integers(1, 4900), min_size=1, max_size=4, unique=True).map(sorted)


@given(sums=parts, months=st.integers(1, 4), data=st.data())
def test_every_cent_has_its_day_in_any_order_of_events(sums: list[int], months: int, data: st.DataObject) -> None:
    buys = Purchase(subscription=True)
    reported = {month: ago(300 - 30 * month, buys.invoice(month)) for month in range(1, months + 1)}
    back = {total: ago(100 - number, buys.refund(total)) for number, total in enumerate(sums)}
    payment = Payment()
    events = [*reported.values(), *back.values()]
    for event in [*data.draw(st.permutations(events)), *data.draw(st.lists(st.sampled_from(events), max_size=3))]:
        fact = interpret(event)
        assert fact is not None
        payment = payment.merge(fact.facts)
    found = movements(payment).values()
    assert sorted(one.at for one in found if one.received) == sorted(
        event["created"] * 1000 for event in reported.values()
    )
    before, wanted = 0, []
    for total, event in back.items():
        wanted.append((event["created"] * 1000, total - before))
        before = total
    assert sorted((one.at, one.returned) for one in found if one.returned) == sorted(wanted)
    assert sum(one.received - one.returned for one in found) == payment.amount - payment.amount_refunded


def test_days_are_those_of_utc(shop: AwsHarness) -> None:
    late = datetime(2025, 11, 30, 23, 59, 59, tzinfo=UTC)
    for number, moment in enumerate((late, late + timedelta(seconds=1))):
        event = Purchase(f"u{number}").checkout()
        event["created"] = int(moment.timestamp())
        happen(shop, event)
    found = report(shop, "2025-11-30", "2025-12-01")
    assert {key: values[2] for key, values in found.items()} == {("2025-11-30", "eur"): 49, ("2025-12-01", "eur"): 49}
