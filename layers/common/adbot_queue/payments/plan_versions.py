"""All that a plan is and was, in the AdBots table: sales at an earlier price are recognised by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from adbot_queue.adbots.service import AdbotService
from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import Item
from adbot_queue.payments.plan import BillingInterval, CheckoutMode, Plan
from adbot_queue.payments.wishes import PLAN_ID

PARTITION = "PLANS"
MAX_VERSIONS = 500
"""Former prices that are looked at, the newest first."""


def versions(adbots: AdbotService, plan_id: str) -> Sequence[Plan]:
    """All that the plan is and was, newest first; nothing if there never was one. One Query."""
    if not PLAN_ID.fullmatch(plan_id):
        return []
    found = dynamodb.query(
        adbots.store.client,
        adbots.store.table,
        "pk = :pk AND sk BETWEEN :first AND :last",
        limit=MAX_VERSIONS,
        forward=False,
        pk=PARTITION,
        first=plan_id,
        last=f"{plan_id}#~",
    )
    # The plan itself is the last one of them, and again the newest of its versions, unless an older code wrote it.
    return sorted({plan.version: plan for plan in map(plan_of, found)}.values(), key=lambda plan: -plan.version)


def former_item(plan: Plan) -> Item:
    """A version of a plan, to be written: never changed, and never for sale by itself."""
    return {"pk": PARTITION, "sk": f"{plan.id}#{plan.version:06d}", "former": plan.version, **asdict(plan)}


def plan_of(item: Item) -> Plan:
    """Return a plan, or a version of it, as read."""
    values = {name: item[name] for name in Plan.__slots__ if name in item}
    interval = item.get("interval")
    return Plan(
        **values | {"mode": CheckoutMode(item["mode"]), "interval": BillingInterval(interval) if interval else None}
    )
