"""What a workflow's job records of its steps, in its own row (`Job.checkpoint`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from adbot_queue.jobs.failure import Failure
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.workflow.declaration import WorkflowStep
from adbot_queue.workflow.plan import StepState
from adbot_queue.workflow.references import Absent, Reference, follow

MAX_VALUES = 100 * 1024
"""Bytes of all values that are kept for later steps: a row has 400 KB, and each write of it is billed by its size."""

_ENDS = {
    JobState.COMPLETED: StepState.COMPLETED,
    JobState.FAILED: StepState.FAILED,
    JobState.DEAD: StepState.FAILED,
    JobState.CANCELLED: StepState.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Execution:
    """What is known of a step.

    Attributes:
        type: the job's type, or the built-in's name.
        job: the job that does it.
        retrying: the cycle of that job which is not the end of it: it is to be retried, or just was.
        attempts: of the job's last cycle.
        values: what later steps refer to, by reference.
    """

    id: str
    type: str
    state: StepState = StepState.PENDING
    job: str | None = None
    retrying: int | None = None
    started_at: int | None = None
    ended_at: int | None = None
    attempts: int = 0
    error: dict[str, str] | None = None
    values: dict[str, Any] = field(default_factory=dict)

    def began(self, job: Job) -> Execution:
        """Its job is enqueued."""
        return replace(self, state=StepState.RUNNING, job=job.id, started_at=job.created_at)

    def ended(self, state: StepState, now: int, failure: Failure | None = None) -> Execution:
        """It has come to its end."""
        error = {"kind": failure.kind, "error": failure.error, "message": failure.message} if failure else None
        return replace(self, state=state, started_at=self.started_at or now, ended_at=now, error=error)

    def again(self, job: Job | None) -> Execution:
        """It is to be tried again; without a job it never was begun."""
        if job is None:
            return Execution(self.id, self.type)
        retrying = job.cycle if job.is_terminal and job.state is not JobState.COMPLETED else None
        return replace(self, state=StepState.RUNNING, retrying=retrying, ended_at=None, error=None)

    def is_to_be_retried(self, job: Job) -> bool:
        """Its job ended in a way that is not the end of it, and has not been retried since."""
        return self.retrying == job.cycle and job.is_terminal

    def seen(self, job: Job | None, now: int) -> Execution:
        """What its job says of it; None when the job is gone."""
        if job is None:
            return self.ended(StepState.FAILED, now, Failure("permanent", "JobGone", "its job was deleted"))
        if job.state not in _ENDS or self.is_to_be_retried(job):
            return self
        ended = self.ended(_ENDS[job.state], job.finished_at or now, job.failure)
        return replace(ended, retrying=None, attempts=job.attempt)

    def with_values(self, result: Any, wanted: Iterable[Reference], room: int) -> Execution:
        """With what later steps refer to, as far as there is room for it (bytes)."""
        kept = dict(self.values)
        for reference in wanted:
            if reference.text in kept or reference.path is None:
                continue
            try:
                value = follow(result, reference.path, reference.text)
            except Absent:
                continue
            room -= size({reference.text: value})
            if room >= 0:
                kept[reference.text] = value
        return replace(self, values=kept)


@dataclass(slots=True)
class Record:
    """All of it.

    Attributes:
        cycle: the workflow's cycle that it belongs to.
        status: what the workflow says of itself (`set_status`).
        steps: in the order of the declaration.
    """

    cycle: int
    status: str | None
    steps: dict[str, Execution]

    @classmethod
    def of(cls, stored: Mapping[str, Any], declared: Sequence[WorkflowStep]) -> Record:
        """The record in a row, with a place for every declared step."""
        known = {entry["id"]: entry for entry in stored.get("steps", ())}
        steps = {step.id: _execution(step, known.get(step.id, {})) for step in declared}
        return cls(stored.get("cycle", 0), stored.get("status"), steps)

    def stored(self) -> dict[str, Any]:
        """As it lies in the row; what has its default value is left out."""
        kept = {"cycle": self.cycle, "status": self.status, "steps": list(map(_entry, self.steps.values()))}
        return {name: value for name, value in kept.items() if value is not None}

    def room(self) -> int:
        """Bytes that are left for values."""
        return MAX_VALUES - sum(size(execution.values) for execution in self.steps.values())

    def states(self) -> dict[str, StepState]:
        """Return the state of every step."""
        return {name: execution.state for name, execution in self.steps.items()}


def size(value: Any) -> int:
    """Bytes of a value as JSON."""
    return len(json.dumps(value, separators=(",", ":")).encode())


_NAMES = tuple(spec.name for spec in fields(Execution))


def _execution(step: WorkflowStep, entry: Mapping[str, Any]) -> Execution:
    known = {name: entry[name] for name in _NAMES if name in entry}
    return Execution(**{**known, "id": step.id, "type": step.kind, "state": StepState(entry.get("state", "pending"))})


def _entry(execution: Execution) -> dict[str, Any]:
    entry = {name: getattr(execution, name) for name in _NAMES}
    return {name: value for name, value in entry.items() if value is not None and value != {}}
