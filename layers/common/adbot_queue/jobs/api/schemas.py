"""HTTP models of jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from adbot_queue.core.clock import iso
from adbot_queue.core.schema import Input, Instant, Moment, View
from adbot_queue.jobs import job_types
from adbot_queue.jobs.api.progress import ProgressView
from adbot_queue.jobs.enqueue.request import MAX_PARENTS, JobRequest
from adbot_queue.jobs.masking import ShownPayload, ShownResult
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.rank import HIGHEST_PRIORITY, LOWEST_PRIORITY


def _known(name: str) -> str:
    if name not in job_types.names():
        raise ValueError(f"does not exist; types are {', '.join(job_types.names())}")
    return name


JobType = Annotated[str, StringConstraints(min_length=1, max_length=64)]
KnownJobType = Annotated[str, AfterValidator(_known)]
"""Of a filter: of a type that does not exist there is nothing, which looks like an all-clear."""

JobId = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Payload = dict[str, Any]


class EnqueueJob(Input):
    """A job to enqueue. `delay_seconds` and `run_at` exclude each other."""

    type: JobType
    payload: Payload = Field(default_factory=dict)
    priority: int = Field(0, ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY, description="Higher goes first within a queue")
    delay_seconds: int | None = Field(None, ge=0, le=366 * 86_400)
    run_at: Instant | None = Field(None, description="Not before this; at most a year from now")
    tags: list[Tag] = Field(default_factory=list, max_length=20)
    depends_on: list[JobId] = Field(default_factory=list, max_length=MAX_PARENTS)
    run_if_parents_fail: bool = Field(default=False, description="Run even if a job it depends on did not complete")
    webhook_url: str | None = Field(None, max_length=2000, description="Receives the result of the job")

    @model_validator(mode="after")
    def _one_moment(self) -> Self:
        if self.delay_seconds is not None and self.run_at is not None:
            raise ValueError("run_at: not allowed together with delay_seconds")
        return self

    def new(self, tenant: str, key: str | None = None, batch: str | None = None) -> JobRequest:
        """Return the job as the service takes it."""
        return JobRequest(
            self.type,
            self.payload,
            tenant,
            key,
            self.priority,
            self.run_at,
            tuple(self.tags),
            tuple(self.depends_on),
            self.run_if_parents_fail,
            self.webhook_url,
            batch,
            self.delay_seconds * 1000 if self.delay_seconds is not None else None,
        )


class FailureView(View):
    """Why an attempt, or a job, did not complete."""

    kind: str
    error: str
    message: str


class AttemptView(View):
    """An attempt."""

    number: int
    started_at: Moment
    ended_at: Moment
    worker: str
    error: FailureView | None = Field(validation_alias="failure")


class StepView(View):
    """A step of a workflow, its state, and its job."""

    step_id: str
    type: str
    state: str
    job_id: str | None
    started_at: str | None
    ended_at: str | None
    attempts: int
    error: FailureView | None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> StepView:
        """Return the view of an entry of the checkpoint of a job."""
        return cls(
            step_id=entry["id"],
            type=entry["type"],
            state=entry["state"],
            job_id=entry.get("job"),
            started_at=_iso(entry.get("started_at")),
            ended_at=_iso(entry.get("ended_at")),
            attempts=entry.get("attempts", 0),
            error=FailureView.model_validate(entry["error"]) if "error" in entry else None,
        )


class JobView(View):
    """A job. Times are ISO 8601, UTC. Only workflows have `status` and `steps`."""

    job_id: str
    type: str
    queue: str
    state: JobState
    payload: ShownPayload
    priority: int
    tags: list[str]
    user_id: str
    created_at: str
    run_at: str | None
    started_at: str | None
    finished_at: str | None
    attempt: int
    attempts: list[AttemptView]
    cycle: int
    result: ShownResult
    error: FailureView | None
    progress: ProgressView | None
    status: str | None
    steps: list[StepView]
    depends_on: list[str]
    blocked_by: list[str] = Field(description="Ids of jobs that must end first")
    batch_id: str | None
    execution_mode: str | None
    cancel_requested: bool
    fingerprint: str | None
    version: int

    @classmethod
    def of(cls, job: Job) -> JobView:
        """Return the view of a job."""
        return cls(
            job_id=job.id,
            type=job.type,
            queue=job.queue,
            state=job.state,
            payload=job.payload,
            priority=job.priority,
            tags=list(job.tags),
            user_id=job.tenant,
            created_at=iso(job.created_at),
            run_at=_iso(job.run_at),
            started_at=_iso(job.started_at),
            finished_at=_iso(job.finished_at),
            attempt=job.attempt,
            attempts=[AttemptView.model_validate(attempt) for attempt in job.attempts],
            cycle=job.cycle,
            result=job.result,
            error=FailureView.model_validate(job.failure) if job.failure else None,
            progress=ProgressView.of_job(job),
            status=job.checkpoint.get("status"),
            steps=[StepView.of(entry) for entry in job.checkpoint.get("steps", ())],
            depends_on=list(job.depends_on),
            blocked_by=sorted(job.blocked_by),
            batch_id=job.batch,
            execution_mode=job.mode.value if job.mode else None,
            cancel_requested=job.cancel_requested,
            fingerprint=job.fingerprint,
            version=job.version,
        )


class RetryJob(Input):
    """Reason of the retry, and another payload if needed."""

    reason: str = Field("", max_length=500)
    payload: Payload | None = None


def _iso(millis: int | None) -> str | None:
    return iso(millis) if millis is not None else None
