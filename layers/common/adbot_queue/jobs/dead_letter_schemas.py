"""Dead letters and governed replays over HTTP."""

from __future__ import annotations

import json
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from adbot_queue.core.clock import iso
from adbot_queue.core.schema import Input, Period, Query, View
from adbot_queue.jobs import job_types
from adbot_queue.jobs.dead_letters import Group
from adbot_queue.jobs.letters import MESSAGE, NOWHERE, PREVIEW, DeadLetter, Letter, Wanted, died_at, letter_queues
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.replay_model import Replay
from adbot_queue.jobs.schemas import FailureView, Payload


def _queue(name: str) -> str:
    if name not in letter_queues():
        raise ValueError(f"does not exist; queues are {', '.join(sorted(letter_queues()))}")
    return name


def _type(name: str) -> str:
    if name != MESSAGE and job_types.get(name) is None:
        raise ValueError(f"does not exist; types are {', '.join(job_types.names())} and {MESSAGE}")
    return name


class LetterFilter(Period):
    """Which letters; all of it combines. `from` and `to` are about when a letter died."""

    queue: Annotated[str, AfterValidator(_queue)] | None = None
    type: Annotated[str, AfterValidator(_type)] | None = Field(None, description="A job type, or `message`")
    fingerprint: str | None = Field(None, min_length=1, max_length=64)

    def wanted(self) -> Wanted:
        """As the service takes it."""
        return Wanted(self.queue, self.type, self.fingerprint, self.since or 0, self.until)


class LetterQuery(Query, LetterFilter):
    """Which letters, or their groups."""

    group: bool = Field(default=False, description="Groups by fingerprint instead of letters")
    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)


class ReplayFilter(Input, LetterFilter):
    """Which letters; nothing at all means every letter."""


class StartReplay(Input):
    """Replays what is dead now and matches, at a rate. A dry run only counts."""

    filter: ReplayFilter
    rate_per_second: float = Field(5, ge=0.1, le=100)
    dry_run: bool = False
    reason: str = Field("", max_length=500)


class ReplayLetter(Input):
    """Why, and what instead: another payload for a job, another body for a message."""

    reason: str = Field("", max_length=500)
    payload: Payload | None = None
    body: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.payload is not None and self.body is not None:
            raise ValueError("payload is for a job, body for a message")
        return self


class ReasonQuery(Query):
    """Why."""

    reason: str = Field("", max_length=500)


class DeadLetterView(View):
    """A dead letter: a job whose attempts are spent, or a message that could not be handled.

    In lists payloads and bodies are cut (`truncated`); the letter alone has all of it.
    """

    id: str
    kind: Literal["job", "message"]
    queue: str
    type: str
    state: str
    fingerprint: str | None
    error: FailureView | None
    created_at: str
    died_at: str
    attempts: int
    user: str | None
    group_id: str | None
    payload: Payload | None
    body: str | None
    truncated: bool
    replayable: bool
    decision: str | None
    job: str | None
    expires_at: str | None

    @classmethod
    def of(cls, dead: DeadLetter, body: str | None = None, *, whole: bool = False) -> DeadLetterView:
        """Of a letter, with its whole payload or body, or with what a list shows."""
        return cls._message(dead, body) if isinstance(dead, Letter) else cls._job(dead, whole=whole)

    @classmethod
    def _job(cls, job: Job, *, whole: bool) -> DeadLetterView:
        shown = whole or len(json.dumps(job.payload)) <= PREVIEW
        return cls(
            id=job.id,
            kind="job",
            queue=job.queue,
            type=job.type,
            state=job.state.value,
            fingerprint=job.fingerprint,
            error=FailureView.of(job.failure),
            created_at=iso(job.created_at),
            died_at=iso(died_at(job)),
            attempts=job.attempt,
            user=job.tenant,
            group_id=None,
            payload=job.payload if shown else None,
            body=None,
            truncated=not shown,
            replayable=job.is_dead_letter,
            decision=job.decision or (None if job.is_dead_letter else "replayed"),
            job=None,
            expires_at=_ends(job.expires_at),
        )

    @classmethod
    def _message(cls, letter: Letter, body: str | None) -> DeadLetterView:
        text = letter.preview if body is None else body
        return cls(
            id=letter.id,
            kind="message",
            queue=letter.queue,
            type=MESSAGE,
            state=letter.state,
            fingerprint=letter.fingerprint,
            error=FailureView.of(letter.failure),
            created_at=iso(letter.sent_at),
            died_at=iso(letter.died_at),
            attempts=letter.received,
            user=None,
            group_id=letter.group,
            payload=None,
            body=text,
            truncated=len(text.encode()) < letter.size,
            replayable=letter.is_dead_letter and letter.queue not in NOWHERE,
            decision=None if letter.is_dead_letter else letter.state,
            job=letter.job,
            expires_at=_ends(letter.expires_at),
        )


class GroupView(View):
    """Letters that died of the same."""

    fingerprint: str
    queue: str
    type: str
    number: int
    first_died_at: str
    last_died_at: str
    latest: str
    error: FailureView | None

    @classmethod
    def of(cls, group: Group) -> GroupView:
        """Of a group."""
        return cls(
            fingerprint=group.fingerprint,
            queue=group.queue,
            type=group.type,
            number=group.number,
            first_died_at=iso(group.first_at),
            last_died_at=iso(group.last_at),
            latest=group.latest,
            error=FailureView.of(group.failure),
        )


class DeadLetterPage(View):
    """Letters, newest first; or, with `group`, groups, the largest first.

    `complete` is false when there are more letters than are counted: the numbers are of the newest then.
    """

    items: list[DeadLetterView]
    next: str | None
    groups: list[GroupView] | None = None
    complete: bool | None = None


class ReplayView(View):
    """A governed replay, or (without id) what one would do.

    `total_is_lower_bound`: there are more letters than are counted. `seconds` is the least that its rate allows.
    """

    id: str | None
    state: Literal["dry-run", "running", "completed", "cancelled"]
    total: int
    total_is_lower_bound: bool
    rate_per_second: float
    seconds: float
    replayed: int = 0
    skipped: int = 0
    failed: int = 0
    started_at: str | None = None
    started_by: str | None = None
    ended_at: str | None = None
    cancelled_by: str | None = None
    reason: str = ""
    job: str | None = None

    @classmethod
    def dry(cls, total: int, rate: float, *, exact: bool) -> ReplayView:
        """Of a dry run."""
        return cls(
            id=None,
            state="dry-run",
            total=total,
            total_is_lower_bound=not exact,
            rate_per_second=rate,
            seconds=round(total / rate, 1),
        )

    @classmethod
    def of(cls, replay: Replay) -> ReplayView:
        """Of a replay."""
        return cls(
            id=replay.id,
            state=replay.state.value,
            total=replay.total,
            total_is_lower_bound=not replay.total_exact,
            rate_per_second=replay.rate,
            seconds=round(replay.total / replay.rate, 1),
            replayed=replay.progress.replayed,
            skipped=replay.progress.skipped,
            failed=replay.progress.failed,
            started_at=iso(replay.started_at),
            started_by=replay.started_by.id,
            ended_at=iso(replay.ended_at) if replay.ended_at else None,
            cancelled_by=replay.ended_by,
            reason=replay.reason,
            job=replay.job,
        )


def _ends(seconds: int | None) -> str | None:
    return iso(seconds * 1000) if seconds else None
