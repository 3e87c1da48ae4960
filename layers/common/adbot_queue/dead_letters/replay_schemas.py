"""Replays of many dead letters over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from pydantic import Field, model_validator

from adbot_queue.core.clock import iso
from adbot_queue.core.schema import Input, Instant, View
from adbot_queue.dead_letters.filter_schemas import DeadLetterFields
from adbot_queue.dead_letters.model import MAX_CHOSEN, DeadLetterFilter
from adbot_queue.dead_letters.replay_service import Preview
from adbot_queue.jobs.api.schemas import JobId
from adbot_queue.jobs.model import Job


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
