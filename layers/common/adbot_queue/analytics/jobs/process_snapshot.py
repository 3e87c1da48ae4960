"""`process-snapshot`: recounts the figures of the platform."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from adbot_queue.analytics import snapshot
from adbot_queue.analytics.model import hour_start, hours_between
from adbot_queue.core.instants import day_start
from adbot_queue.core.schema import Input
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.job_queues import exponential
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType


def _hour(text: str) -> str:
    """An hour that exists."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT([01]\d|2[0-3])", text, re.ASCII):
        raise ValueError("must be an hour like 2026-12-31T23")
    hour_start(text)
    return text


def _hour_or_day(text: str) -> str:
    """An hour or a day that exists."""
    if "T" in text:
        return _hour(text)
    day_start(text)
    return text


Moment = Annotated[
    str, Field(description="an hour or a day: 2025-11-22T05 or 2025-11-22"), AfterValidator(_hour_or_day)
]


class ProcessSnapshot(Input):
    """Which hours (UTC): one, or from one to another; without any, those since the last snapshot and late ones."""

    model_config = ConfigDict(populate_by_name=True)  # what is stored of a job has the names of the fields

    since: Moment | None = Field(default=None, alias="from")
    until: Moment | None = Field(default=None, alias="to")
    hour: Annotated[str, AfterValidator(_hour)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.since is None) != (self.until is None):
            raise ValueError("from and to come together")
        if self.hour and self.since:
            raise ValueError("hour or from and to, not both")
        if window := self.window:
            number = len(hours_between(*window))
            if not 1 <= number <= snapshot.MAX_HOURS:
                raise ValueError(f"from 1 to {snapshot.MAX_HOURS} hours")
        return self

    @property
    def window(self) -> tuple[str, str] | None:
        """First and last hour."""
        if self.hour:
            return self.hour, self.hour
        if self.since is None or self.until is None:
            return None
        first, last = self.since, self.until
        return first if "T" in first else f"{first}T00", last if "T" in last else f"{last}T23"


def process_snapshot(payload: ProcessSnapshot, context: Context) -> dict[str, Any]:
    """Count events by hour, day and article.

    Returns:
        hours, days, events, from, to.

    Raises:
        PermanentError: events of the window have gone. NextRun: there is more to do. Cancelled: on request.
    """
    return snapshot.snapshot(payload.window, context)


JOB = JobType(
    queue="analytics",
    payload=ProcessSnapshot,
    handler=process_snapshot,
    horizon_s=DAY_S,
    cap_s=15 * MINUTE_S,
    policy=exponential(10, 10),  # a job of many slices must survive that some of them die
    parallel=False,
    cancellable=True,
    long_running=True,
    example={"hour": "2026-11-22T05"},
)
