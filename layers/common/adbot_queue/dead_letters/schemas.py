"""Dead letters and their replays over HTTP."""

from __future__ import annotations

import json

from pydantic import Field

from adbot_queue.core.clock import iso
from adbot_queue.core.schema import Input, Moment, Query, View
from adbot_queue.dead_letters.filter_schemas import DeadLetterFields
from adbot_queue.dead_letters.model import PREVIEW, died_at
from adbot_queue.jobs.api.schemas import FailureView, Payload
from adbot_queue.jobs.masking import ShownPayload
from adbot_queue.jobs.model import Job


class DeadLetterQuery(Query, DeadLetterFields):
    """Which dead letters, or their groups."""

    group: bool = Field(default=False, description="Groups by fingerprint instead of dead letters")
    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)


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
