"""Consumer of a job queue, and the target of direct calls: runs jobs. One code, a function for each queue."""

from __future__ import annotations

import os
from typing import Any

from adbot_queue.core import telemetry
from adbot_queue.core.consume import batch
from adbot_queue.jobs import execute
from adbot_queue.jobs.execute import Permit
from adbot_queue.jobs.model import Mode


def work(messages: list[dict[str, Any]], time_left: execute.TimeLeft) -> None:
    """A batch of the queue; a full one means that there is a backlog."""
    permits = [Permit.of(message) for message in messages]
    execute.from_env().work(permits, time_left, full=len(permits) >= int(os.environ["JOB_BATCH"]))


_consume = batch(work, needs=("job", "queue"))


def handler(event: dict[str, Any], context: Any) -> Any:
    """A batch of messages, or `{"job", "queue", "mode"}` from a request that executes its job at once."""
    if "Records" in event:
        return _consume(event, context)
    try:
        permit = Permit(event["job"], event["queue"])
        execute.from_env().work([permit], context.get_remaining_time_in_millis, mode=Mode(event["mode"]))
    finally:
        telemetry.flush()
    return {"job": permit.job_id}
