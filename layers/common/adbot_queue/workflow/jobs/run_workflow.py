"""`run-workflow`: steps that are jobs, in the order that their declaration gives."""

from __future__ import annotations

from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType
from adbot_queue.workflow.check import check, types
from adbot_queue.workflow.declaration import RunWorkflow
from adbot_queue.workflow.run import run_workflow

JOB = JobType(
    queue="workflow",
    payload=RunWorkflow,
    handler=run_workflow,
    horizon_s=DAY_S,
    cap_s=15 * MINUTE_S,
    check=check,
    child_types=types,
    cancellable=True,
    example={"name": "thanks", "steps": [{"id": "done", "set_status": "done"}]},
)
