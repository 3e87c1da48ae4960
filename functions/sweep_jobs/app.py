"""Every minute: schedules; jobs whose message is lost, whose time has come, whose worker died; alerts, mappings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adbot_queue.core import events, telemetry
from adbot_queue.core.telemetry import logger
from adbot_queue.dead_letters import alerts
from adbot_queue.jobs import sweeper as sweep
from adbot_queue.jobs.enqueue import owner_check
from adbot_queue.queues import mappings
from adbot_queue.schedules import runner as ticking

JOBS_MS, REST_MS = 30_000, 10_000
"""Time that schedules leave to the parts after them, and jobs to the parts after these."""


def handler(event: Any, context: Any) -> dict[str, Any]:
    """The schedule's tick. A part that fails fails the run, which is alarmed, and stops no other part."""
    if not events.is_tick(event):
        return events.ignored(event, events.TICKS)
    time_left = context.get_remaining_time_in_millis
    parts: dict[str, Callable[[], Any]] = {
        # First: the sweep of jobs sends the messages of the jobs that ticks make.
        "schedules": lambda: ticking.from_env(owner_check.needs_owner).trigger_due(lambda: time_left() - JOBS_MS),
        "jobs": lambda: sweep.from_env().sweep(lambda: time_left() - REST_MS),
        "dead_letters": lambda: alerts.from_env().report(),
        "mappings": lambda: len(mappings.reconcile()),
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
