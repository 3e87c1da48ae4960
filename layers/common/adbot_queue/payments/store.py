"""The Payments table: what providers reported, and what is known of each payment.

EVENT#stripe#<event id>      an event as received; `unsettled` keeps it in the index of that name until it is settled;
                             a rejected one has `verdict` and `why` and no content
PAYMENT#stripe#<key>         a payment: its facts, under one of its ids; in the same index while it is `UNMATCHED`
PAYMENT#stripe#<other id>    `same_as`: that id of the same payment
REJECTED#stripe#<day>        how many rejected events of a day are stored
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from adbot_queue.core import dynamodb
from adbot_queue.core.clock import iso
from adbot_queue.core.dynamodb import ConditionFailed, Item, Transaction
from adbot_queue.payments.facts import Fact
from adbot_queue.payments.model import Payment
from adbot_queue.payments.payment_row import PaymentRow
from adbot_queue.payments.records import Gathered, Received, StoredPayment

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TTL_DAYS = 400
"""How long a settled event is kept: longer than a year, for the yearly audit."""

UNSETTLED = "EVENT"
"""Value of the sparse attribute: the index holds only what still has to be done, which is little."""

UNMATCHED = "UNMATCHED"
"""The other value: money went back, and nothing is known to have been bought for it."""

_MAX_LINKS = 5
"""Ids in a row that lead to one payment: charge, payment intent, invoice, subscription, and one to spare."""


class PaymentStore:
    """The Payments table of one provider."""

    def __init__(self, client: DynamoDBClient, table: str, provider: str = "stripe") -> None:
        self.client = client
        self.table = table
        self.provider = provider

    # Events

    def record(self, event_id: str, event_type: str, payload: str, now: int, *, ignored: bool) -> tuple[Received, bool]:
        """Record an event once: return it as stored, and whether it is new."""
        item: Item = {
            "pk": f"EVENT#{self.provider}#{event_id}",
            "event_id": event_id,
            "event_type": event_type,
            "received_at": iso(now),
        }
        if ignored:
            item |= {"settled_at": now, "outcome": "ignored", "expires_at": expiry(now)}
        else:
            item |= {"payload": payload, "unsettled": UNSETTLED}
        try:
            dynamodb.put_if(self.client, self.table, item, condition="attribute_not_exists(pk)")
        except ConditionFailed as failed:
            found = failed.item or dynamodb.get(self.client, self.table, {"pk": item["pk"]})
            return _received(found or item), False
        return _received(item), True

    def event(self, key: str) -> Received | None:
        """An event by its key."""
        item = dynamodb.get(self.client, self.table, {"pk": key})
        return _received(item) if item else None

    def settle(self, transaction: Transaction, key: str, outcome: str, now: int) -> None:
        """Mark an event settled: refused with tag `event` when it is already."""
        transaction.update(
            "event",
            self.table,
            {"pk": key},
            "SET settled_at = :now, outcome = :outcome, expires_at = :expiry REMOVE unsettled",
            condition="attribute_exists(unsettled)",
            now=now,
            outcome=outcome,
            expiry=expiry(now),
        )

    # Payments

    def gather(self, fact: Fact) -> Gathered:
        """Find the payment that a fact belongs to, by all its ids.

        A subscription's id is the payment's key. Without one it is the payment that the ids lead to, one with money
        before one of which only other facts are known; and the first id when they lead to none.
        """
        found: dict[str, StoredPayment] = {}
        unlinked: list[str] = []
        for name, known in self._follow(fact.ids).items():
            if known is None:
                unlinked.append(name)
            else:
                found[known.key] = known
        first = fact.ids[0]
        if fact.subscription:
            home = found.get(first, StoredPayment(first, Payment()))
        else:
            home = max(
                found.values(), key=lambda known: known.payment.has_order, default=StoredPayment(first, Payment())
            )
        # Two that both have an order stay two: their bots exist. Stripe gives no events that lead there.
        parts = tuple(known for known in found.values() if known.key != home.key and not known.payment.has_order)
        facts = home.payment
        for part in parts:
            facts = facts.merge(part.payment)
        unlinked = [name for name in unlinked if name != home.key]
        return Gathered(replace(home, payment=facts), parts, tuple(unlinked), home.payment)

    def _follow(self, ids: Sequence[str]) -> dict[str, StoredPayment | None]:
        """What each id leads to, None where it leads nowhere. Facts without an order expire, links to them do not."""
        at = {name: name for name in ids}
        items: dict[str, Item] = {}
        for _ in range(_MAX_LINKS):
            missing = {name for name in at.values() if name not in items}
            read = dynamodb.get_many(self.client, self.table, [self._key(name) for name in sorted(missing)])
            items |= {item["pk"].rsplit("#", 1)[-1]: item for item in read}
            onward = {name: items[here]["same_as"] for name, here in at.items() if "same_as" in items.get(here, {})}
            if not onward:
                break
            at |= onward
        ends = {name: StoredPayment(here, Payment()) if here != name else None for name, here in at.items()}
        return ends | {name: known_of(here, items[here]) for name, here in at.items() if here in items}

    def save(
        self, transaction: Transaction, gathered: Gathered, payment: Payment, now: int, *, unmatched: bool = False
    ) -> None:
        """Write a payment's facts and under which ids it is known; `unmatched`: it waits for its sale.

        Items and what each refuses, all with tag `payment`: the payment, under any version but the one read; each
        part, the same; each new id, when it leads somewhere by now.
        """
        home = gathered.home
        item: Item = {
            **self._key(home.key),
            **asdict(payment),
            "version": home.version + 1,
            # Facts about other sales on the same account would pile up.
            "expires_at": None if payment.has_order else expiry(now),
        }
        if unmatched:
            since = [known.unmatched_since for known in (home, *gathered.parts) if known.unmatched_since]
            item |= {"unsettled": UNMATCHED, "received_at": min(since, default=iso(now))}
        self._put(transaction, item, home.version)
        for part in gathered.parts:
            self._put(transaction, {**self._key(part.key), "same_as": home.key}, part.version)
        for name in gathered.unlinked:
            self._put(transaction, {**self._key(name), "same_as": home.key}, 0)

    def _put(self, transaction: Transaction, item: Item, version: int) -> None:
        if version:
            transaction.put("payment", self.table, item, condition="version = :version", version=version)
        else:
            transaction.create("payment", self.table, item)

    def _key(self, name: str) -> Item:
        return {"pk": f"PAYMENT#{self.provider}#{name}"}


def known_of(name: str, item: Item) -> StoredPayment:
    """Return a payment as read under a name."""
    values = {field: item[field] for field in PaymentRow.__slots__ if field in item}
    since = item["received_at"] if item.get("unsettled") == UNMATCHED else None
    return StoredPayment(name, Payment(**values), item["version"], since)


def _received(item: Item) -> Received:
    return Received(
        item["pk"],
        item["event_id"],
        item["event_type"],
        item.get("payload", ""),
        "unsettled" in item,
        item["received_at"],
    )


def expiry(now: int) -> int:
    """Return when a row that is written now is no longer needed, in seconds."""
    return now // 1000 + TTL_DAYS * 86_400
