"""Every minute: jobs whose message is lost, whose time has come, whose worker died; alerts, schedules, mappings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adbot_queue.core import events, telemetry
from adbot_queue.core.telemetry import logger
from adbot_queue.jobs import alerts, queues_control, sweep, ticking

KEPT_MS = 15_000
"""Time that the sweep of jobs, which may go on for as long as it is let, leaves to the other parts."""


def handler(event: Any, context: Any) -> dict[str, Any]:
    """The schedule's tick. A part that fails fails the run, which is alarmed, and stops no other part."""
    if not events.is_tick(event):
        return events.ignored(event, events.TICKS)
    time_left = context.get_remaining_time_in_millis
    parts: dict[str, Callable[[], Any]] = {
        "jobs": lambda: sweep.from_env().sweep(lambda: time_left() - KEPT_MS),
        "dead_letters": lambda: alerts.from_env().tell(),
        "schedules": lambda: ticking.from_env().reconcile(time_left),
        "mappings": lambda: len(queues_control.reconcile()),
    }
    done: dict[str, Any] = {}
    failures: list[Exception] = []
    try:
        for name, part in parts.items():
            try:
                done[name] = part()
            except Exception as error:  # noqa: BLE001  whatever it is, the other parts must not wait for it
                logger.exception("part of the sweep failed", part=name)
                failures.append(error)
    finally:
        telemetry.flush()
    if failures:
        raise failures[0]
    return done
