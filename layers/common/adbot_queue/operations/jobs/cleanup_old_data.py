"""`cleanup-old-data`: deletes what is older than its retention."""

from __future__ import annotations

from adbot_queue.jobs.job_queues import exponential
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType
from adbot_queue.processors.maintenance import CleanupOldData, cleanup_old_data

JOB = JobType(
    queue="maintenance",
    payload=CleanupOldData,
    handler=cleanup_old_data,
    horizon_s=DAY_S,
    cap_s=15 * MINUTE_S,
    policy=exponential(10, 10),
    parallel=False,
    cancellable=True,
    long_running=True,
    example={"what": ["raw-events"], "older_than_days": 400, "dry_run": True},
)
