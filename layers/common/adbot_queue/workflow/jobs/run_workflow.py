"""`run-workflow`: steps that are jobs, in the order that their declaration gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adbot_queue.jobs.enqueue.owner_check import needs_owner as step_needs_owner
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType
from adbot_queue.platform.owner_limit import OwnerLimit
from adbot_queue.workflow.check import check, types
from adbot_queue.workflow.declaration import RunWorkflow
from adbot_queue.workflow.references import Absent, NoReference, Reference, follow, resolved
from adbot_queue.workflow.run import run_workflow


def needs_owner(payload: Mapping[str, Any], limit: OwnerLimit) -> str | None:
    """Return why a step needs the owner; None: none does. What another step will answer is not known."""
    steps = payload.get("steps")
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, dict) and isinstance(step.get("type"), str):
            asked = step.get("payload")
            known = (
                {name: _known(value, payload.get("input")) for name, value in asked.items()}
                if isinstance(asked, dict)
                else {}
            )
            if reason := step_needs_owner(step["type"], known, limit):
                return reason
    return None


def _known(value: Any, given: Any) -> Any:
    """Fill a value in from the workflow's input; a reference to another step stays a text."""

    def look_up(reference: Reference) -> Any:
        if reference.step is None:
            return follow(given, reference.path or (), reference.text)
        return f"${{{reference.text}}}"

    try:
        return resolved(value, look_up)
    except (Absent, NoReference):
        return None


JOB = JobType(
    queue="workflow",
    payload=RunWorkflow,
    handler=run_workflow,
    needs_owner=needs_owner,
    horizon_s=DAY_S,
    cap_s=15 * MINUTE_S,
    check=check,
    child_types=types,
    cancellable=True,
    example={"name": "thanks", "steps": [{"id": "done", "set_status": "done"}]},
)
