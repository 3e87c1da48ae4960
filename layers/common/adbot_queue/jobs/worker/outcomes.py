"""What is written of an attempt that ended, in addition to its verdict. Pure, except for a line in the log."""

from __future__ import annotations

import json
from typing import Any

from adbot_queue.core.telemetry import logger
from adbot_queue.jobs import job_types
from adbot_queue.jobs.failure import Failure
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.unreadable import Unreadable, Unsupported

MAX_RESULT = 32 * 1024
"""Bytes of a result that are stored."""


def on_cancel(after: Job, now: int) -> Job:
    """Return what to write instead if cancellation was requested: a job that would retry or die is cancelled.

    A job with jobs of its own runs once more, to stop them.
    """
    goes_on = after.state in {JobState.DELAYED, JobState.WAITING} and not after.blocked_by
    if not (goes_on or after.state is JobState.DEAD) or job_types.spawns_jobs(after.type):
        return after
    return after.cancelled("cancelled while it ran", now)


_COUNTED = {
    JobState.COMPLETED: "Completed",
    JobState.FAILED: "Failed",
    JobState.DEAD: "Dead",
    JobState.CANCELLED: "Cancelled",
}


def metric_of(job: Job) -> str:
    """Return the end of the metric that counts a job after its attempt."""
    if job.state is JobState.DELAYED and job.failure and job.failure.kind == "unsupported":
        return "Unsupported"
    if job.state is JobState.DELAYED and (job.blocked_by or job.failure is None):
        return "Suspended"
    return _COUNTED.get(job.state, "Retried")


def put_back(job: Job, error: Unsupported | Unreadable, now: int) -> Job:
    """Return a job that waits for another version of the code; the first time is logged."""
    name = error.error if isinstance(error, Unsupported) else type(error).__name__
    failure = Failure("unsupported", name, str(error)[:500])
    if job.failure is None or job.failure.kind != failure.kind:
        logger.warning("job waits for another version", job_id=job.id, job_type=job.type, queue=job.queue, error=name)
    return job.put_back(failure, now)


def storable(result: Any) -> Any:
    """Return the result, or a note that it is too large to store."""
    text = json.dumps(result, default=str)
    return {"truncated": True, "bytes": len(text)} if len(text) > MAX_RESULT else json.loads(text)
