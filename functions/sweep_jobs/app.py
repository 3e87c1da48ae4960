"""Every minute: jobs whose message is lost, whose time has come, whose worker died; mappings, schedules out of step."""

from __future__ import annotations

from typing import Any

from adbot_queue.core import telemetry
from adbot_queue.jobs import queues_control, sweep, ticking


def handler(_event: dict[str, Any], context: Any) -> dict[str, int]:
    """The schedule's tick."""
    time_left = context.get_remaining_time_in_millis
    try:
        done = sweep.from_env().sweep(time_left)
        repaired = len(queues_control.reconcile())
        return {**done, "mappings": repaired, "schedules": ticking.from_env().reconcile(time_left)}
    finally:
        telemetry.flush()
