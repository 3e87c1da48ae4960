"""Dead letters and their replays over HTTP."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from adbot_queue.core.clock import iso
from adbot_queue.core.schema import Input, Instant, Moment, Period, Query, View
from adbot_queue.dead_letters.model import MAX_CHOSEN, PREVIEW, DeadLetterFilter, died_at
from adbot_queue.dead_letters.replay_service import Preview
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.api.schemas import FailureView, JobId, KnownJobType, Payload
from adbot_queue.jobs.masking import ShownPayload
from adbot_queue.jobs.model import Job


def _queue(name: str) -> str:
    if name not in job_queues.QUEUES:
        raise ValueError(f"does not exist; queues are {', '.join(sorted(job_queues.QUEUES))}")
    return name


class DeadLetterFields(Period):
    """Which dead letters; all fields combine. `from` and `to` limit when they died."""

    queue: Annotated[str, AfterValidator(_queue)] | None = None
    type: KnownJobType | None = None
    state: Literal["dead", "failed"] | None = None
    fingerprint: str | None = Field(None, min_length=1, max_length=64)

    def wanted(self) -> DeadLetterFilter:
        """As the service takes it."""
        return DeadLetterFilter(self.queue, self.type, self.state, self.fingerprint, self.since or 0, self.until)


class DeadLetterQuery(Query, DeadLetterFields):
    """Which dead letters, or their groups."""

    group: bool = Field(default=False, description="Groups by fingerprint instead of dead letters")
    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)


class ReplayFilter(Input, DeadLetterFields):
    """Which dead letters; without a field, all of them. `job_ids` names them one by one."""

    job_ids: list[JobId] | None = Field(None, min_length=1, max_length=MAX_CHOSEN)

    def wanted(self) -> DeadLetterFilter:
        """Return the filter as the service takes it."""
        return replace(super().wanted(), job_ids=tuple(self.job_ids) if self.job_ids else None)


class StartReplay(Input):
    """Replays what is dead now and matches, at a rate. A dry run only counts."""

    filter: ReplayFilter
    rate_per_second: float = Field(5, ge=0.1, le=100)
    dry_run: bool = False
    canary: bool = Field(default=False, description="Replay one first; go on when it has completed, stop if it fails")
    cut_off: Instant | None = Field(None, description="Of the dry run: only what died before this is replayed")
    confirm: int | None = Field(
        None,
        ge=0,
        description="The dry run's count; required if more than one matches, refused (409) if another number matches",
    )
    reason: str = Field("", max_length=500)

    @model_validator(mode="after")
    def _confirms_a_dry_run(self) -> Self:
        if (self.cut_off is None) != (self.confirm is None):
            raise ValueError("confirm: required together with cut_off, the answer of the dry run")
        return self

    @property
    def confirmed(self) -> Preview | None:
        """What the caller confirms, if anything."""
        if self.confirm is None or self.cut_off is None:
            return None
        return Preview(self.confirm, is_exact=True, cut_off=self.cut_off)


class ReplayDeadLetter(Input):
    """Why, and with which payload instead of the job's own."""

    reason: str = Field("", max_length=500)
    payload: Payload | None = None


class ReasonQuery(Query):
    """Why."""

    reason: str = Field("", max_length=500)


class DeadLetterView(View):
    """A dead letter: a job that failed for good or has spent its attempts.

    In lists a long payload is left out (`truncated`); the dead letter alone has all of it.
    """

    job_id: str
    queue: str
    type: str
    state: str
    fingerprint: str | None
    error: FailureView | None
    created_at: str
    died_at: str
    attempts: int
    user_id: str
    payload: ShownPayload | None
    truncated: bool
    replayable: bool
    decision: str | None
    expires_at: str | None

    @classmethod
    def of(cls, job: Job, *, whole: bool = False) -> DeadLetterView:
        """Of a job, with its whole payload or with what a list shows."""
        shown = whole or len(json.dumps(job.payload)) <= PREVIEW
        return cls(
            job_id=job.id,
            queue=job.queue,
            type=job.type,
            state=job.state.value,
            fingerprint=job.fingerprint,
            error=FailureView.model_validate(job.failure) if job.failure else None,
            created_at=iso(job.created_at),
            died_at=iso(died_at(job)),
            attempts=job.attempt,
            user_id=job.tenant,
            payload=job.payload if shown else None,
            truncated=not shown,
            replayable=job.is_dead_letter,
            decision=job.decision or (None if job.is_dead_letter else "replayed"),
            expires_at=iso(job.expires_at * 1000) if job.expires_at else None,
        )


class GroupView(View):
    """Dead letters with the same fingerprint."""

    fingerprint: str
    queue: str
    type: str
    count: int
    first_died_at: Moment = Field(validation_alias="first_at")
    last_died_at: Moment = Field(validation_alias="last_at")
    latest_job_id: str = Field(validation_alias="latest")
    error: FailureView | None = Field(validation_alias="failure")


class DeadLetterPage(View):
    """Dead letters, newest first; or, with `group`, groups, the largest first.

    `complete` is false when there are more dead letters than are counted: the counts cover the newest then.
    """

    items: list[DeadLetterView]
    next: str | None
    groups: list[GroupView] | None = None
    complete: bool | None = None


class ReplayView(View):
    """What a replay goes through: what a dry run counted, or the job that replays it.

    `seconds` is the least that the rate allows.
    """

    job_id: str | None = Field(description="Its progress is at /dead-letters/replays/{id}; null: a dry run")
    count: int
    count_is_lower_bound: bool
    cut_off: str = Field(description="Only what died before this is replayed")
    rate_per_second: float
    seconds: float

    @classmethod
    def of(cls, found: Preview, rate: float, job_id: str | None = None) -> ReplayView:
        """Of what was counted."""
        return cls(
            job_id=job_id,
            count=found.count,
            count_is_lower_bound=not found.is_exact,
            cut_off=iso(found.cut_off),
            rate_per_second=rate,
            seconds=round(found.count / rate, 1),
        )

    @classmethod
    def of_job(cls, job: Job) -> ReplayView:
        """Of the job that replays it."""
        given = job.payload
        found = Preview(given["count"], given["count_is_exact"], given["cut_off"])
        return cls.of(found, given["rate_per_second"], job.id)
