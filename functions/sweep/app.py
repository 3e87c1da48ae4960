"""Every 5 minutes: sends again what was recorded and not settled, has abandoned uploads finished, measures queues.

It also processes the batches of the tables' streams that their functions gave up.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.metrics import MetricUnit

from adbot_queue.adbots import event_publisher
from adbot_queue.adbots import service as adbots_service
from adbot_queue.adbots.audit.verdicts import Verdicts
from adbot_queue.core import aws, events, given_up, telemetry
from adbot_queue.core.clock import system_clock
from adbot_queue.core.settings import settings, variable
from adbot_queue.core.telemetry import gauge
from adbot_queue.operations import admin_digest as notices
from adbot_queue.payments import overdue
from adbot_queue.queues import counters
from adbot_queue.stock import uploads


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


def _given_up() -> given_up.GivenUpBatches:
    env = settings()
    work: dict[str, given_up.Work] = {
        env.adbots_table: lambda records: event_publisher.from_env(notices.from_env()).publish(records),
        env.jobs_table: lambda records: counters.from_env().tally(records),
    }
    return given_up.GivenUpBatches(aws.sqs(), aws.dynamodb_streams, variable("GIVEN_UP_BATCHES_URL"), work)


def handler(event: Any, context: Any) -> dict[str, Any]:
    """The schedule's tick. Whatever fails here fails the run, is alarmed, and comes again."""
    if not events.is_tick(event):
        return events.ignored(event, events.TICKS)
    payments, time_left = overdue.from_env(), context.get_remaining_time_in_millis
    try:
        gauge("OldestUnsettledEvent", payments.oldest_unsettled_s(), MetricUnit.Seconds)
        unsettled = payments.resend(time_left)
        gauge("UnsettledEvents", unsettled)
        payments.review_unmatched(time_left)
        _measure()
        abandoned = uploads.from_env().finish_abandoned()
        return {
            "unsettled": unsettled,
            "uploads_abandoned": abandoned,
            "stream_batches": _given_up().process(time_left),
        }
    finally:
        telemetry.flush()
