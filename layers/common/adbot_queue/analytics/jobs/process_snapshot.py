"""`process-snapshot`: recounts the figures of the platform."""

from __future__ import annotations

from adbot_queue.jobs.job_queues import exponential
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType
from adbot_queue.processors.aggregates import ProcessSnapshot, process_snapshot

JOB = JobType(
    queue="analytics",
    payload=ProcessSnapshot,
    handler=process_snapshot,
    horizon_s=DAY_S,
    cap_s=15 * MINUTE_S,
    policy=exponential(10, 10),  # a job of many slices must survive that some of them die
    parallel=False,
    cancellable=True,
    long_running=True,
    example={"hour": "2026-11-22T05"},
)
