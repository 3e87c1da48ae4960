"""HTTP models of lists of jobs, and of what is deleted from them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from adbot_queue.core.clock import iso
from adbot_queue.core.errors import Invalid
from adbot_queue.core.schema import Instant, Query, View
from adbot_queue.jobs.api.schemas import JobView, KnownJobType, Tag
from adbot_queue.jobs.model import JobState
from adbot_queue.jobs.store.pages import JobFilter, JobList

MAX_LISTED = 4096
"""Bytes of a payload or a result in a list."""


class QueueJobsQuery(Query):
    """Filter and page of the jobs of a queue; all filters combine."""

    state: JobState = JobState.WAITING
    type: KnownJobType | None = None
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
