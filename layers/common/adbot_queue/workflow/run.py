"""`run-workflow`: takes a workflow as far as it goes now, and waits for the jobs of its steps.

Every step that takes time is a job of its own, enqueued under a key made of the workflow's id and the step's: started
once, however often this runs and wherever it dies. In between the workflow's job is suspended (`errors.Suspend`) until
one of those jobs ends. Its state is in the job's checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from adbot_queue import ledger
from adbot_queue.core.errors import AppError, Conflict, NotFound, Unavailable
from adbot_queue.core.telemetry import count, logger
from adbot_queue.jobs import job_types, service
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import Cancelled, PermanentError, Suspend
from adbot_queue.jobs.failure import Failure
from adbot_queue.jobs.lifecycle import Lifecycle
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.service import JobRequest, JobService
from adbot_queue.jobs.unreadable import Unsupported
from adbot_queue.workflow.check import unreadable_fields
from adbot_queue.workflow.declaration import RunWorkflow, WorkflowStep
from adbot_queue.workflow.plan import BROKEN, Incomparable, StepState, holds, is_passed, plan
from adbot_queue.workflow.record import Execution, Record
from adbot_queue.workflow.references import Absent, Reference, follow, references, resolved

WAIT = "workflow-wait"
MAX_STATUS = 200


class StepFailed(PermanentError):
    """A step was not done. Names it."""


def run_workflow(payload: RunWorkflow, context: Context) -> dict[str, Any]:
    """Go on with a workflow.

    Returns:
        status, and for each step how it ended and by which job.

    Raises:
        Suspend: jobs of it run.
        StepFailed: a step failed; when the workflow is retried it goes on with that step.
        Cancelled: and the jobs of its steps have ended.
        Unavailable: a step could not be enqueued now.
    """
    assert context.job, "only the worker runs workflows"  # noqa: S101  a promise of the worker
    return _Run(payload, context, context.job, service.from_env()).go_on()


class _Run:
    """One run: from the claim to the next wait, or to the end."""

    def __init__(self, declared: RunWorkflow, context: Context, job: Job, jobs: JobService) -> None:
        self._declared = declared
        self._steps = {step.id: step for step in declared.steps}
        self._context = context
        self._job = job
        self._jobs = jobs
        self._lifecycle = Lifecycle(jobs)
        self._record = Record.of(job.checkpoint, declared.steps)
        self._wanted = _wanted(declared)

    def go_on(self) -> dict[str, Any]:
        if self._job.cancel_requested:
            self._stop()
        self._look()
        if self._record.cycle < self._job.cycle:
            self._begin_cycle()
        self._retry()
        while (following := plan(self._declared.steps, self._record.states())).start:
            for step in following.start:
                self._start(step)
        self._keep()
        self._wait_for(following.wait)
        if following.broken:
            count("WorkflowsFailed")
            raise self._failure(following.broken)
        count("WorkflowsCompleted")
        return {
            "status": self._record.status,
            "steps": {name: _summary(one) for name, one in self._record.steps.items()},
        }

    # What its jobs say

    def _look(self) -> None:
        """Take over how the jobs of running steps ended."""
        running = self._running()
        rows = self._jobs.store.all_of({one.job for one in running if one.job})
        for one in running:
            self._see(one, rows.get(one.job or ""))

    def _see(self, execution: Execution, row: Job | None) -> None:
        seen = execution.seen(row, self._context.now())
        if row and seen.state is StepState.COMPLETED:
            seen = seen.with_values(row.result, self._wanted.get(seen.id, ()), self._record.room())
        self._record.steps[seen.id] = seen

    def _running(self) -> list[Execution]:
        return [one for one in self._record.steps.values() if one.state is StepState.RUNNING]

    # Manual retry

    def _begin_cycle(self) -> None:
        """What broke the workflow is to be tried again: written down before it is done, so that it is done once."""
        broken = [
            one
            for one in self._record.steps.values()
            if one.state in BROKEN and not is_passed(self._steps[one.id], one.state)
        ]
        completed = [one for one in self._record.steps.values() if one.state is StepState.COMPLETED and one.job]
        rows = self._jobs.store.all_of({one.job for one in (*broken, *completed) if one.job})
        for one in broken:
            self._record.steps[one.id] = one.again(rows.get(one.job or ""))
        for one in completed:  # the payload may be another one, and refer to what was not kept
            if row := rows.get(one.job or ""):
                self._see(one, row)
        self._record.cycle = self._job.cycle
        self._keep()
        self._look()

    def _retry(self) -> None:
        """Have those jobs retried that are to be, and were not yet."""
        intended = [one for one in self._running() if one.retrying is not None and one.job]
        rows = self._jobs.store.all_of({one.job for one in intended if one.job}) if intended else {}
        for one in intended:
            row = rows.get(one.job or "")
            if row and one.is_to_be_retried(row):
                self._retry_job(one, row)

    def _retry_job(self, execution: Execution, row: Job) -> None:
        try:
            payload = self._payload(self._steps[execution.id])
            changed = payload if payload != row.payload else None  # another payload is another effect
            self._lifecycle.retry(row.id, ledger.SYSTEM, f"its workflow {self._job.id} is retried", payload=changed)
        except Conflict:
            logger.info("step's job was retried by another process", step=execution.id)
        except (Absent, AppError) as error:
            self._refused(execution, error)
        else:
            count("WorkflowStepsRetried")

    # Starting

    def _start(self, step: WorkflowStep) -> None:
        now, execution = self._context.now(), self._record.steps[step.id]
        try:
            if step.when and not holds(step.when, self._look_up):
                self._record.steps[step.id] = execution.ended(StepState.SKIPPED, now)
            elif step.set_status is not None:
                self._record.status = str(resolved(step.set_status, self._look_up))[:MAX_STATUS]
                self._record.steps[step.id] = execution.ended(StepState.COMPLETED, now)
            elif step.condition is not None:
                answer = holds(step.condition, self._look_up)
                done = execution.ended(StepState.COMPLETED, now)
                self._record.steps[step.id] = done.with_values(
                    answer, self._wanted.get(step.id, ()), self._record.room()
                )
            else:
                self._enqueue(step, execution)
        except (Absent, Incomparable, AppError) as error:
            self._refused(execution, error)

    def _enqueue(self, step: WorkflowStep, execution: Execution) -> None:
        new = JobRequest(
            step.type or WAIT,
            self._payload(step),
            self._job.tenant,
            self._key(step),
            self._job.priority,
            tags=(*self._job.tags, f"workflow:{self._job.id}"),
            delay_ms=step.wait_seconds * 1000 if step.wait_seconds else None,
            accepted=True,
        )
        self._must_be_known(step, new)
        enqueued = self._jobs.enqueue(new, ledger.SYSTEM)
        if not enqueued.replayed:
            count("WorkflowStepsStarted")
        self._see(execution.began(enqueued.job), enqueued.job)

    def _must_be_known(self, step: WorkflowStep, new: JobRequest) -> None:
        """What the door has accepted, up to a year ago and by whichever version, is not refused here: it waits.

        What earlier steps have answered was not known at the door; that may be refused.

        Raises:
            Unsupported: this version does not know the step's type, or cannot read what the door has seen of its
                payload.
        """
        known = job_types.get(new.type)
        if known is None:
            self._keep()
            raise Unsupported("UnknownType", f"step {step.id}: this version knows no job type {new.type}")
        if fields := unreadable_fields(known, step, new.payload):
            self._keep()
            raise Unsupported("UnknownPayload", f"step {step.id}: this version cannot read of the payload: {fields}")

    def _refused(self, execution: Execution, error: Exception) -> None:
        """A step that cannot be done as it is declared."""
        if isinstance(error, Unavailable):
            raise error
        failure = Failure("permanent", type(error).__name__, str(error)[:500])
        self._record.steps[execution.id] = execution.ended(StepState.FAILED, self._context.now(), failure)

    def _key(self, step: WorkflowStep) -> str:
        return f"{self._job.id}/{step.id}"

    def _payload(self, step: WorkflowStep) -> dict[str, Any]:
        if step.wait_seconds is not None:
            return {"seconds": step.wait_seconds}
        payload: dict[str, Any] = resolved(step.payload, self._look_up)
        return payload

    def _look_up(self, reference: Reference) -> Any:
        if reference.step is None:
            return follow(self._declared.input, reference.path or (), reference.text)
        execution = self._record.steps[reference.step]
        if reference.path is None:
            return execution.state.value
        if reference.text not in execution.values:
            raise Absent(f"there is no ${{{reference.text}}}, or it was too large to be kept")
        return execution.values[reference.text]

    # Ending

    def _stop(self) -> None:
        """Cancel the jobs of running steps, and end when they have ended.

        Raises:
            Cancelled, Suspend.
        """
        for one in self._record.steps.values():
            step = self._steps[one.id]
            if one.state is StepState.PENDING and (step.type or step.wait_seconds):
                # It may be that an earlier run enqueued it and did not live to write it down.
                row = self._jobs.enqueued_as(self._job.tenant, self._key(step))
                self._record.steps[one.id] = one.began(row) if row else one
        for one in self._running():
            self._record.steps[one.id] = replace(one, retrying=None)
            try:
                self._lifecycle.cancel(one.job or "", ledger.SYSTEM, f"its workflow {self._job.id} is cancelled")
            except (Conflict, NotFound):
                logger.info("step's job had ended", step=one.id)
        self._look()
        self._keep()
        self._wait_for([self._steps[one.id] for one in self._running()])
        raise Cancelled("cancelled on request")

    def _keep(self) -> None:
        self._context.save_checkpoint(self._record.stored())

    def _wait_for(self, steps: Iterable[WorkflowStep]) -> None:
        ids = {self._record.steps[step.id].job for step in steps}
        if ids:
            raise Suspend(frozenset(one for one in ids if one))

    def _failure(self, step: WorkflowStep) -> StepFailed:
        execution = self._record.steps[step.id]
        why = (execution.error or {}).get("message", "")
        return StepFailed(f"step {step.id}: {execution.state}" + (f": {why}" if why else ""))


def _wanted(declared: RunWorkflow) -> dict[str, list[Reference]]:
    """What is referred to, by step."""
    found: dict[str, list[Reference]] = {}
    for step in declared.steps:
        for reference in references(step.said()):
            if reference.step is not None:
                found.setdefault(reference.step, []).append(reference)
    return found


def _summary(execution: Execution) -> dict[str, str]:
    return {"state": execution.state.value} | ({"job": execution.job} if execution.job else {})
