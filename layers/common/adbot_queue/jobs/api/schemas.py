"""HTTP models of jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from adbot_queue.core.clock import iso
from adbot_queue.core.errors import AppError, Invalid
from adbot_queue.core.schema import Input, Instant, Moment, Query, View
from adbot_queue.jobs.api.progress import ProgressView
from adbot_queue.jobs.enqueue.request import MAX_BATCH, MAX_PARENTS, JobRequest
from adbot_queue.jobs.masking import ShownPayload
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.rank import HIGHEST_PRIORITY, LOWEST_PRIORITY
from adbot_queue.jobs.service import Enqueued
from adbot_queue.jobs.store.lists import JobFilter, JobList

JobType = Annotated[str, StringConstraints(min_length=1, max_length=64)]
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


class BatchJob(EnqueueJob):
    """A job of a batch, with an idempotency key of its own."""

    idempotency_key: str | None = Field(None, min_length=1, max_length=255)


class EnqueueBatch(Input):
    """Up to 100 jobs: all are valid, or none is enqueued. The callback runs after all of them have ended."""

    jobs: list[BatchJob] = Field(min_length=1, max_length=MAX_BATCH)
    callback: EnqueueJob | None = None


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
    result: Any
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


class BatchItem(View):
    """Result for one job of a batch: its id and state, or why it was not enqueued."""

    index: int
    job_id: str | None
    state: JobState | None
    replayed: bool
    error: str | None

    @classmethod
    def of(cls, index: int, outcome: Enqueued | AppError) -> BatchItem:
        """Return the view of an outcome."""
        if isinstance(outcome, AppError):
            return cls(index=index, job_id=None, state=None, replayed=False, error=outcome.detail)
        return cls(index=index, job_id=outcome.job.id, state=outcome.job.state, replayed=outcome.replayed, error=None)


class BatchView(View):
    """A batch, item by item in the order of the request."""

    batch_id: str
    items: list[BatchItem]
    callback_job_id: str | None


class RetryJob(Input):
    """Reason of the retry, and another payload if needed."""

    reason: str = Field("", max_length=500)
    payload: Payload | None = None


MAX_LISTED = 4096
"""Bytes of a payload or a result in a list."""


class QueueJobsQuery(Query):
    """Filter and page of the jobs of a queue; all filters combine."""

    state: JobState = JobState.WAITING
    type: JobType | None = None
    tag: Tag | None = None
    user_id: str | None = Field(None, min_length=1, max_length=128)
    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)

    def wanted(self) -> JobFilter:
        """Return the filter as the service takes it."""
        return JobFilter(self.type, self.tag, self.user_id)


class LongQuery(Query):
    """Which jobs of all queues; so far those that work in slices alone."""

    long: Literal["true"]
    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)


class JobPage(View):
    """Jobs, newest first. A payload or result over 4 KB is replaced by its size; get the job to see it."""

    items: list[JobView]
    unreadable: list[str] = Field(description="Ids of jobs that this version cannot read; they are left as they are")
    next: str | None

    @classmethod
    def of(cls, jobs: JobList, following: str | None) -> JobPage:
        """Return the view of a page."""
        cut = [replace(job, payload=_cut(job.payload), result=_cut(job.result)) for job in jobs]
        unreadable = [one.job_id for one in jobs.unreadable]
        return cls(items=[JobView.of(job) for job in cut], unreadable=unreadable, next=following)


def _cut(value: Any) -> Any:
    """A Lambda answers 6 MB at most, and a hundred payloads may have more."""
    size = len(json.dumps(value))
    return value if size <= MAX_LISTED else {"truncated": True, "bytes": size}


class CleanQuery(Query):
    """Ended jobs to delete. Without `confirm` they are only counted; with it exactly that many must match.

    Send `count` and `cut_off` of the dry run: jobs that end in the meantime change neither.
    """

    state: JobState = JobState.COMPLETED
    older_than_seconds: int | None = Field(None, ge=0, le=366 * 86_400, description="Age since they ended")
    cut_off: Instant | None = Field(None, description="Ended before this: the value of the dry run")
    confirm: int | None = Field(None, ge=0, le=1000)
    reason: str = Field("", max_length=500)

    @model_validator(mode="after")
    def _ended(self) -> Self:
        if self.state not in {JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED}:
            raise ValueError("state: must be completed, failed or cancelled")
        if self.older_than_seconds is None and self.cut_off is None:
            raise ValueError("older_than_seconds: required unless cut_off is given")
        return self

    def before(self, now: int) -> int:
        """The moment (ms) before which jobs ended.

        Raises:
            Invalid: the cut-off is younger than the age, or lies ahead.
        """
        latest = now - (self.older_than_seconds or 0) * 1000
        if self.cut_off is None:
            return latest
        if self.cut_off > latest:
            raise Invalid.field("cut_off", f"must be at most {iso(latest)}")
        return self.cut_off


class CleanView(View):
    """Count of jobs that ended before `cut_off`, of those deleted, and whether more are left."""

    count: int
    cut_off: str
    deleted: int
    more: bool


def _iso(millis: int | None) -> str | None:
    return iso(millis) if millis is not None else None
