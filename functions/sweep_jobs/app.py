"""Every minute: jobs whose message is lost, whose time has come, whose worker died; mappings, schedules out of step."""

from __future__ import annotations

from typing import Any

from adbot_queue.core import events, telemetry
from adbot_queue.jobs import queues_control, sweep, ticking

KEPT_MS = 15_000
"""Time that the sweep of jobs, which may go on for as long as it is let, leaves to schedules and mappings."""


def handler(event: Any, context: Any) -> dict[str, Any]:
    """The schedule's tick."""
    if not events.is_tick(event):
        return events.ignored(event, events.TICKS)
    time_left = context.get_remaining_time_in_millis
    try:
        done = sweep.from_env().sweep(lambda: time_left() - KEPT_MS)
        schedules = ticking.from_env().reconcile(time_left)
        return {**done, "schedules": schedules, "mappings": len(queues_control.reconcile())}
    finally:
        telemetry.flush()
