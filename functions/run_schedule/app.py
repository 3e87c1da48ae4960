"""The target of every schedule in EventBridge Scheduler: its time has come, its job is enqueued."""

from __future__ import annotations

from typing import Any

from adbot_queue.core import events, telemetry
from adbot_queue.jobs import ticking


def handler(event: Any, context: Any) -> dict[str, Any]:
    """A tick. Whatever fails here fails the run and comes again; a tick that comes twice is one job."""
    if not ticking.is_tick(event):
        return events.ignored(event, "ticks of schedules: {schedule, version, scheduled_time}")
    try:
        ticks = ticking.from_env().tick(event, context.get_remaining_time_in_millis)
        return {"outcomes": [tick.outcome.value for tick in ticks]}
    finally:
        telemetry.flush()
