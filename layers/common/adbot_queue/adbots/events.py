"""What a change of a bot's item means to the world: domain events, read off the table's stream. Pure.

Events come out of the stream and not out of the code that changes bots, so that none is lost when that code dies
after its write, and none is sent for a write that did not happen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adbot_queue.adbots.model import Adbot, AdbotStatus, QueuedReason
from adbot_queue.core.clock import iso


@dataclass(frozen=True, slots=True)
class DomainEvent:
    """One thing that happened to a bot.

    `id` is the same however often the stream delivers it: consumers can deduplicate by it, and order by `version`.
    """

    id: str
    name: str
    detail: dict[str, Any]


def events_of(before: Adbot | None, after: Adbot | None) -> list[DomainEvent]:
    """The events between two images of a bot, in order.

    `adbot.created`, `adbot.queued` (it waits: new, a session lost, sessions taken), `adbot.resolved` (it waited and
    is complete), `adbot.started`, `adbot.stopped`, `adbot.cancelled`, `adbot.parked`, `adbot.sessions_changed`
    (other sessions than before, while complete).
    """
    if after is None:
        return []
    names: list[str] = []
    if before is None:
        names.append("adbot.created")
    if after.status is AdbotStatus.QUEUED and _waits_anew(before, after):
        names.append("adbot.queued")
    if before is not None and after.is_parked and not before.is_parked:
        names.append("adbot.parked")
    if before is not None and before.status is not after.status and after.status in _ARRIVALS:
        names.append(_ARRIVALS[after.status])
    if before and before.status is after.status and not after.missing and before.runs != after.runs:
        names.append("adbot.sessions_changed")
    return [DomainEvent(f"{after.id}:{after.version}:{name}", name, _detail(after)) for name in names]


_ARRIVALS = {
    AdbotStatus.READY: "adbot.resolved",
    AdbotStatus.RUNNING: "adbot.started",
    AdbotStatus.STOPPED: "adbot.stopped",
    AdbotStatus.CANCELLED: "adbot.cancelled",
}


def _waits_anew(before: Adbot | None, after: Adbot) -> bool:
    """It got a place for want of stock, and had none.

    A bot that only waits to be sequenced is not news: most are served in the same second.
    """
    if after.queued_reason in {QueuedReason.SEQUENCING, QueuedReason.PARKED}:
        return False
    return before is None or before.status is not AdbotStatus.QUEUED or before.queued_reason is QueuedReason.SEQUENCING


def _detail(adbot: Adbot) -> dict[str, Any]:
    return {
        "adbot_id": adbot.id,
        "order_id": adbot.order_id,
        "user_id": adbot.user_id,
        "pool": adbot.pool,
        "status": adbot.status.value,
        "required_sessions": adbot.required,
        "sessions_assigned": adbot.assigned,
        "missing_sessions_count": adbot.missing,
        "queued_reason": adbot.queued_reason.value if adbot.queued_reason else None,
        "queued_at": iso(adbot.queued_at) if adbot.queued_at else None,
        "runs": [{"upload": run.upload, "offset": run.offset, "count": run.count} for run in adbot.runs],
        "version": adbot.version,
    }
