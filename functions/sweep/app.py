"""Every 5 minutes: hands over again what was recorded and not settled, finishes uploads that died, measures queues."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.metrics import MetricUnit

from adbot_queue.adbots import service as adbots_service
from adbot_queue.adbots.verdicts import Verdicts
from adbot_queue.core import aws, events, telemetry
from adbot_queue.core.clock import system_clock
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import gauge
from adbot_queue.payments import service as payments_service


def _measure() -> None:
    adbots, now = adbots_service.from_env(), system_clock()
    headers, unreadable = adbots.pools.readable()
    arrivals = [entry.bought_at for header in headers for entry in adbots.store.oldest_in_inbox(header.pool)]
    waiting = arrivals + [header.oldest_queued_at for header in headers if header.oldest_queued_at is not None]
    gauge("OldestQueuedAge", max(0, now - min(waiting, default=now)) // 1000, MetricUnit.Seconds)
    gauge("QueueLength", sum(header.queue_length for header in headers))
    gauge("ParkedBots", sum(header.parked for header in headers))
    verdicts = Verdicts(aws.dynamodb(), settings().system_table)
    gauge("PoolsWithoutVerdict", len(verdicts.missing(adbots.store.made())))
    gauge("RowsSetAside", sum(len(header.aside) for header in headers) + len(unreadable))


def handler(event: Any, context: Any) -> dict[str, Any]:
    """The schedule's tick. Whatever fails here fails the run, is alarmed, and comes again."""
    if not events.is_tick(event):
        return events.ignored(event, events.TICKS)
    payments, time_left = payments_service.from_env(), context.get_remaining_time_in_millis
    try:
        gauge("OldestUnsettledEvent", payments.oldest_unsettled_s(), MetricUnit.Seconds)
        overdue = payments.resend(time_left)
        gauge("UnsettledEvents", overdue)
        payments.review_unmatched(time_left)
        _measure()
        return {"unsettled": overdue, "uploads_finished": adbots_service.from_env().stock.finish_staged()}
    finally:
        telemetry.flush()
