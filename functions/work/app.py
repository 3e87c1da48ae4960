"""Consumer of a job queue, and the target of direct calls: runs jobs. One code, a function for each queue."""

from __future__ import annotations

import os
import re
from typing import Any

from adbot_queue.core import events, telemetry
from adbot_queue.core.consume import batch
from adbot_queue.jobs.model import Mode
from adbot_queue.jobs.rank import RANK
from adbot_queue.jobs.worker import worker as execute
from adbot_queue.jobs.worker.message import Permit

_JOB = re.compile(r"[!-~]{1,64}")


def read(body: Any) -> Permit:
    """The permit that a message is.

    Raises:
        ValueError: it is none of this worker's queue; it would stop all others of its batch.
    """
    match body:
        case {"job": str(job), "queue": queue} if queue == os.environ["JOB_QUEUE"] and _JOB.fullmatch(job):
            rank = body.get("rank")
            if rank is None or (isinstance(rank, str) and RANK.fullmatch(rank)):
                return Permit.of(body)
    raise ValueError("no permit of this queue")


def work(permits: list[Permit], time_left: execute.TimeLeft) -> None:
    """A batch of the queue; a full one means that there is a backlog."""
    execute.from_env().work(permits, time_left, full=len(permits) >= int(os.environ["JOB_BATCH"]))


_consume = batch(work, read)


def handler(event: Any, context: Any) -> Any:
    """A batch of messages, or `{"job", "queue", "mode"}` from a request that executes its job at once."""
    if not (isinstance(event, dict) and "mode" in event):
        return _consume(event, context)
    try:
        permit, mode = read(event), Mode(event["mode"])
    except ValueError:
        return events.ignored(event, "messages of its queue, or a job of it with the mode of its execution")
    try:
        execute.from_env().work([permit], context.get_remaining_time_in_millis, mode=mode)
    finally:
        telemetry.flush()
    return {"job": permit.job_id}
