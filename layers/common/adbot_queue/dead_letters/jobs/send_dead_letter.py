"""`send-dead-letter`: sends a message that died back to its queue."""

from __future__ import annotations

from adbot_queue.jobs.dead_letter_jobs import SendDeadLetter, send_dead_letter
from adbot_queue.jobs.job_queues import exponential
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType

JOB = JobType(
    queue="maintenance",
    payload=SendDeadLetter,
    handler=send_dead_letter,
    horizon_s=DAY_S,
    cap_s=15 * MINUTE_S,
    policy=exponential(10, 2),
    internal=True,
)
