"""All that a plan is and was, in the AdBots table: sales at an earlier price are recognised by it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from adbot_queue.adbots.service import AdbotService
from adbot_queue.core import dynamodb, telemetry
from adbot_queue.core.dynamodb import Item
from adbot_queue.core.errors import Unavailable
from adbot_queue.core.telemetry import logger
from adbot_queue.payments.plan import BillingInterval, CheckoutMode, Plan
from adbot_queue.payments.wishes import PLAN_ID

PARTITION = "PLANS"
MAX_VERSIONS = 500
"""Former prices that are looked at, the newest first."""


def versions(adbots: AdbotService, plan_id: str) -> Sequence[Plan]:
    """All that the plan is and was, newest first; nothing if there never was one. One Query.

    Raises:
        UnreadablePlan: one of them; what is sold by it waits for a version of the code that can read it.
    """
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
    """Return a plan, or a version of it, as read.

    Raises:
        UnreadablePlan: an attribute is missing, or is not what this version takes it for.
    """
    values: dict[str, Any] = {}
    for name, kind in _KINDS.items():
        if (stored := item.get(name)) is None:
            continue
        try:
            values[name] = kind(stored)
        except (TypeError, ValueError) as error:
            raise UnreadablePlan(item, name) from error
        if values[name] != stored or isinstance(stored, bool) is not (kind is bool):
            raise UnreadablePlan(item, name)
    if missing := _REQUIRED - values.keys():
        raise UnreadablePlan(item, min(missing))
    return Plan(**values)


def readable(found: Iterable[Item]) -> list[Plan]:
    """Return the plans that this version can read; the others are counted and logged."""
    plans: list[Plan] = []
    for item in found:
        try:
            plans.append(plan_of(item))
        except UnreadablePlan as unreadable:
            telemetry.count("PlansUnreadable")
            logger.error("plan left out", plan=item["sk"], reason=unreadable.detail)
    return plans


class UnreadablePlan(Unavailable):
    """The row of a plan that this version cannot read: a newer version wrote it, or it is damaged."""

    def __init__(self, item: Item, name: str) -> None:
        super().__init__(f"this version cannot read plan {item['sk']}: attribute {name}")


_KINDS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("id", "name", "pool", "currency"), str),
    **dict.fromkeys(("required_sessions", "amount", "version"), int),
    "mode": CheckoutMode,
    "interval": BillingInterval,
    "active": bool,
}
_REQUIRED = {"id", "name", "pool", "required_sessions", "amount", "currency", "mode"}
