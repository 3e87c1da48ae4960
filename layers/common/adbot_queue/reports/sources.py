"""Where a report's figures come from. Nothing is scanned: lists in the order of time, and what is counted by day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from adbot_queue.adbots.model import Order, OrderStatus
from adbot_queue.adbots.storage.store import AdbotStore
from adbot_queue.analytics.model import days_between
from adbot_queue.analytics.store import AnalyticsStore
from adbot_queue.core import clock
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.long_running import Progress, Slice
from adbot_queue.providers import stripe_currencies as currencies
from adbot_queue.queues.statistics import EVENTS
from adbot_queue.reports.model import Table, by_day

PAGE_SIZE = 100
"""Bots of one page: what one BatchGetItem reads, of the bots and of their orders."""

PAGES_PER_SLICE = 20

KINDS = ("ADBOT", "REVIEW", "MONEY")

Cursor = dict[str, Any]
"""kind: its number; page: where its next page begins; days: what is counted, by day and currency."""

NOT_PAID = {OrderStatus.PENDING, OrderStatus.FAILED}

BOTS, ORDERS, AMOUNT, REFUNDED = range(4)


def next_orders(adbots: AdbotStore, progress: Progress, since: str, until: str) -> Slice:
    """Count the next pages of bots, orders and money: each a Query of the index by kind and up to two BatchGetItem."""
    state: Cursor = progress.cursor or {"kind": 0, "page": None, "days": {}}
    state = state | {"days": {day: {**found} for day, found in state["days"].items()}}
    number = 0
    for _ in range(PAGES_PER_SLICE):
        number += _page(adbots, state, KINDS[state["kind"]], since, until)
        if state["page"] is None:
            state["kind"] += 1
            if state["kind"] == len(KINDS):
                return Slice(state, done=number, is_last=True)
    return Slice(state, done=number)


def orders(progress: Progress, since: str, until: str) -> Table:
    """Bots, orders and money by day and currency.

    Money counts on the day on which it came in or went out, whenever its order was made: a renewal in its own month.
    """
    counted: dict[str, dict[str, list[int]]] = progress.cursor["days"]
    rows: list[tuple[str | int | Decimal, ...]] = [
        (day, currency, numbers[BOTS], numbers[ORDERS], *_money(numbers, currency))
        for day in sorted(counted)
        for currency, numbers in sorted(counted[day].items())
    ]
    made = Counter({day: sum(numbers[BOTS] for numbers in found.values()) for day, found in counted.items()})
    return Table(
        "orders",
        since,
        until,
        ("day", "currency", "bots", "orders", "amount", "refunded", "net"),
        rows,
        "Bots made",
        by_day(days_between(since, until), made),
        (
            "An order counts on the day on which its bot was made; one that waits for a person on the day it came.",
            "Money counts on the day on which it was received or returned.",
        ),
    )


def _page(adbots: AdbotStore, state: Cursor, kind: str, since: str, until: str) -> int:
    """Count a page of a kind and move on to the next, None after the last; how many there were."""
    if kind == "MONEY":
        moved, state["page"] = adbots.movements_between(since, until, PAGE_SIZE, state["page"])
        for movement in moved:
            _move(state, clock.day(movement.at), movement.currency, movement.received, movement.returned)
        return len(moved)
    ids, state["page"] = adbots.listed_between(kind, since, until, PAGE_SIZE, state["page"])
    for day, order, bots in _bots(adbots, ids) if kind == "ADBOT" else _in_review(adbots, ids):
        _add(state, day, order, bots)
        if order and not order.dated and order.status not in NOT_PAID:  # from before there were movements
            _move(state, day, order.currency, order.amount, order.amount_refunded)
    return len(ids)


def _bots(adbots: AdbotStore, ids: list[str]) -> Iterator[tuple[str, Order | None, int]]:
    bots = adbots.adbots(ids)
    known = {order.id: order for order in adbots.orders([*{bot.order_id for bot in bots}])}
    for bot in bots:
        yield clock.day(bot.created_at), known.get(bot.order_id), 1


def _in_review(adbots: AdbotStore, ids: list[str]) -> Iterator[tuple[str, Order | None, int]]:
    for order in adbots.orders(ids):
        if order.adbot_id is None:
            yield clock.day(order.created_at), order, 0


def _add(state: Cursor, day: str, order: Order | None, bots: int) -> None:
    numbers = _numbers(state, day, order.currency if order else "")
    numbers[BOTS] += bots
    numbers[ORDERS] += 1 if order else 0


def _move(state: Cursor, day: str, currency: str, received: int, returned: int) -> None:
    numbers = _numbers(state, day, currency)
    numbers[AMOUNT] += received
    numbers[REFUNDED] += returned


def _numbers(state: Cursor, day: str, currency: str) -> list[int]:
    found: list[int] = state["days"].setdefault(day, {}).setdefault(currency, [0, 0, 0, 0])
    return found


def _money(numbers: list[int], currency: str) -> tuple[Decimal, ...]:
    amount, refunded = numbers[AMOUNT], numbers[REFUNDED]
    return tuple(Decimal(one).scaleb(-currencies.decimals(currency)) for one in (amount, refunded, amount - refunded))


def queues(store: AnalyticsStore, since: str, until: str) -> Table:
    """What every job queue did on every day that is counted. One Query."""
    found = store.queue_days(since, until)
    days = days_between(since, until)
    missing = sorted(set(days) - {day for day, _, _ in found})
    done = Counter(dict.fromkeys(days, 0))
    for day, _, counts in found:
        done[day] += counts.get("completed", 0)
    return Table(
        "queues",
        since,
        until,
        ("day", "queue", *EVENTS),
        [(day, queue, *(counts.get(event, 0) for event in EVENTS)) for day, queue, counts in found],
        f"Jobs completed, of {len(job_queues.QUEUES)} queues",
        by_day(days, done),
        (f"Not counted by any snapshot: {', '.join(missing)}.",) if missing else (),
    )


def analytics(store: AnalyticsStore, since: str, until: str) -> Table:
    """Events and people of every day that is counted, and every event by its name. One Query."""
    found = store.days(since, until)
    days = days_between(since, until)
    missing = sorted(set(days) - {one.start for one in found})
    rows: list[tuple[str | int, ...]] = []
    for one in found:
        rows.append((one.start, "", one.events, one.people, "yes" if one.people_exact else "no"))
        rows += [(one.start, name, number, "", "") for name, number in sorted(one.by_event.items())]
    notes = ["A row without an event is all of the day. People are estimated to about three percent where not exact."]
    if missing:
        notes.append(f"Not counted by any snapshot: {', '.join(missing)}.")
    return Table(
        "analytics",
        since,
        until,
        ("day", "event", "events", "people", "people_exact"),
        list(rows),
        "Events",
        by_day(days, Counter({one.start: one.events for one in found})),
        tuple(notes),
    )
