"""Consumer of a job queue, and the target of direct calls: runs jobs. One code, a function for each queue."""

from __future__ import annotations

import os
import re
from typing import Any

from adbot_queue.core import events, telemetry
from adbot_queue.core.consume_batch import batch
from adbot_queue.jobs.model import JobMode
from adbot_queue.jobs.rank import RANK
from adbot_queue.jobs.worker import worker as execute
from adbot_queue.jobs.worker.message import JobMessage

_JOB = re.compile(r"[!-~]{1,64}")


def read(body: Any) -> JobMessage:
    """Return a parsed message.

    Raises:
        ValueError: it is none of this worker's queue; it would stop all others of its batch.
    """
    match body:
        case {"job": str(job), "queue": queue} if queue == os.environ["JOB_QUEUE"] and _JOB.fullmatch(job):
            rank = body.get("rank")
            if rank is None or (isinstance(rank, str) and RANK.fullmatch(rank)):
                return JobMessage.from_message(body)
    raise ValueError("no message of this queue")


def work(messages: list[JobMessage], time_left: execute.TimeLeft) -> None:
    """Run a batch of the queue's jobs; a full batch means a backlog."""
    execute.from_env().work(messages, time_left, full=len(messages) >= int(os.environ["JOB_BATCH"]))


_consume = batch(work, read)


def handler(event: Any, context: Any) -> Any:
    """A batch of messages, or `{"job", "queue", "mode"}` from a request that executes its job at once."""
    if not (isinstance(event, dict) and "mode" in event):
        return _consume(event, context)
    try:
        message, mode = read(event), JobMode(event["mode"])
    except ValueError:
        return events.ignored(event, "messages of its queue, or a job of it with the mode of its execution")
    try:
        execute.from_env().work([message], context.get_remaining_time_in_millis, mode=mode)
    finally:
        telemetry.flush()
    return {"job": message.job_id}
