"""`workflow-wait`: the job that a workflow waits for when it is to wait for a time. It does nothing, then."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from adbot_queue.core.clock import iso
from adbot_queue.core.ids import time_of
from adbot_queue.core.schema import Input
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import Snooze
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType
from adbot_queue.workflow.declaration import MAX_WAIT_S


class Wait(Input):
    """How long, from when the job was made."""

    seconds: int = Field(ge=1, le=MAX_WAIT_S)


def wait(payload: Wait, context: Context) -> dict[str, Any]:
    """Answer when it was over; the platform delays the job, so that it mostly is when this runs.

    Raises:
        Snooze: it is not: the job was cancelled together with its workflow, and both were retried.
    """
    until = time_of(context.job_id) + payload.seconds * 1000
    left = until - context.now()
    if left > 0:
        raise Snooze("its time has not come", left / 1000)
    return {"waited_until": iso(until)}


JOB = JobType(queue="workflow", payload=Wait, handler=wait, horizon_s=DAY_S, cap_s=15 * MINUTE_S, internal=True)
