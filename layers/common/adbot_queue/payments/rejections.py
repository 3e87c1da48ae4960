"""Rejected events in the Payments table, up to a number a day."""

from __future__ import annotations

from adbot_queue.core import dynamodb
from adbot_queue.core.clock import day, iso
from adbot_queue.core.dynamodb import ConditionFailed, Item
from adbot_queue.payments.store import PaymentStore, expiry

MAX_REJECTED = 100
"""Rejected events stored per day: the owner of a connected account can send any number."""

REJECTED = "rejected"


def record(store: PaymentStore, event_id: str, event_type: str, why: str, now: int) -> None:
    """Record a rejected event once, and only the first of a day; its content, which is others', is not stored."""
    pk = f"EVENT#{store.provider}#{event_id}"
    if dynamodb.get(store.client, store.table, {"pk": pk}):
        return
    item: Item = {
        "pk": pk,
        "event_id": event_id,
        "event_type": event_type,
        "received_at": iso(now),
        "settled_at": now,
        "verdict": REJECTED,
        "why": why,
        "expires_at": expiry(now),
    }
    try:
        dynamodb.update_if(
            store.client,
            store.table,
            {"pk": f"REJECTED#{store.provider}#{day(now)}"},
            "SET written = if_not_exists(written, :none) + :one, expires_at = :expiry",
            condition="attribute_not_exists(written) OR written < :most",
            none=0,
            one=1,
            most=MAX_REJECTED,
            expiry=expiry(now),
        )
        dynamodb.put_if(store.client, store.table, item, condition="attribute_not_exists(pk)")
    except ConditionFailed:
        return
