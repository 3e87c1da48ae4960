"""What schedules look like over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, StringConstraints

from adbot_queue.core.clock import iso
from adbot_queue.core.schema import Input, Instant, Query, View
from adbot_queue.jobs.cron import FIRST_YEAR, LAST_YEAR
from adbot_queue.jobs.masking import ShownPayload
from adbot_queue.jobs.model import HIGHEST_PRIORITY, LOWEST_PRIORITY, Job
from adbot_queue.jobs.schedule_model import NAME, Schedule, Tick, Wanted
from adbot_queue.jobs.ticks import MOST_MADE_UP, MissedPolicy


def _known_year(moment: int) -> int:
    if not FIRST_YEAR < int(iso(moment).partition("-")[0]) < LAST_YEAR:  # a year's margin: zones and days are added
        raise ValueError(f"the year must be between {FIRST_YEAR + 1} and {LAST_YEAR - 1}")
    return moment


Bound = Annotated[Instant, AfterValidator(_known_year)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class ScheduleBody(Input):
    """When which job is enqueued."""

    expression: str = Field(
        min_length=1,
        max_length=256,
        description="cron(minutes hours day-of-month month day-of-week year), rate(5 minutes) or "
        "at(2026-12-31T23:00:00), as EventBridge Scheduler defines them",
        examples=["cron(0 9 ? * MON-FRI *)"],
    )
    timezone: str = Field("UTC", min_length=1, max_length=50, description="IANA name", examples=["Europe/Berlin"])
    type: str = Field(min_length=1, max_length=64, description="a job type")
    payload: dict[str, Any] = Field(default_factory=dict)
    priority: int = Field(0, ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY)
    tags: list[Tag] = Field(default_factory=list, max_length=9)
    enabled: bool = True
    missed_policy: MissedPolicy = Field(
        MissedPolicy.SKIP,
        description="what becomes of ticks that were missed: none runs, the latest, or all "
        f"({MOST_MADE_UP} at the most, the latest ones, oldest first)",
    )
    start: Bound | None = Field(None, description="no tick before")
    end: Bound | None = Field(None, description="no tick after")

    def wanted(self) -> Wanted:
        """What the service takes."""
        return Wanted(
            self.expression,
            self.timezone,
            self.type,
            self.payload,
            self.priority,
            tuple(self.tags),
            self.enabled,
            self.missed_policy,
            self.start,
            self.end,
        )


class CreateSchedule(ScheduleBody):
    """A new schedule."""

    name: str = Field(pattern=NAME)


class ReplaceSchedule(ScheduleBody):
    """All that a schedule says, anew."""

    version: int | None = Field(None, ge=1, description="refuse (409) unless it has this version")


class SchedulePage(Query):
    """Which page."""

    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)


class TickView(View):
    """What became of a tick, or of several that were skipped."""

    at: str = Field(description="of several, the last one's")
    outcome: str = Field(description="ran, made_up (missed, and a job now), skipped, refused, by_hand")
    job_id: str | None
    count: int
    detail: str

    @classmethod
    def of(cls, tick: Tick) -> TickView:
        """The view of a tick."""
        return cls(at=iso(tick.at), outcome=tick.outcome, job_id=tick.job_id, count=tick.count, detail=tick.detail)


class ScheduleView(View):
    """A schedule."""

    name: str
    expression: str
    timezone: str
    type: str
    payload: ShownPayload
    priority: int
    tags: list[str]
    enabled: bool
    missed_policy: str
    missed_limit: int = Field(description="how many missed ticks the policy all makes up for")
    start: str | None
    end: str | None
    version: int
    created_at: str
    updated_at: str
    next_runs: list[str] = Field(description="the next five; none of a schedule that is switched off or over")
    in_step: bool = Field(description="whether EventBridge Scheduler was told of this version; if not, it will be")
    problem: str | None = Field(description="what EventBridge Scheduler has against it")

    @classmethod
    def of(cls, schedule: Schedule, now: int, **more: Any) -> Self:
        """The view of a schedule at this time."""
        wanted = schedule.wanted
        return cls(
            name=schedule.name,
            expression=wanted.expression,
            timezone=wanted.timezone,
            type=wanted.type,
            payload=wanted.payload,
            priority=wanted.priority,
            tags=list(wanted.tags),
            enabled=wanted.enabled,
            missed_policy=wanted.missed_policy,
            missed_limit=MOST_MADE_UP,
            start=None if wanted.start is None else iso(wanted.start),
            end=None if wanted.end is None else iso(wanted.end),
            version=schedule.version,
            created_at=iso(schedule.created_at),
            updated_at=iso(schedule.updated_at),
            next_runs=[iso(tick) for tick in schedule.next_runs(now)],
            in_step=schedule.in_step,
            problem=schedule.problem,
            **more,
        )


class ScheduleDetail(ScheduleView):
    """A schedule with what became of its latest ticks."""

    ticks: list[TickView] = Field(description="the latest ten, latest first")


class ScheduleList(View):
    """Schedules in the order of their making."""

    items: list[ScheduleView]
    next: str | None


class StartedView(View):
    """The job of a run that somebody asked for."""

    schedule: str
    job_id: str
    state: str

    @classmethod
    def of(cls, name: str, job: Job) -> StartedView:
        """The view of a job that a schedule made."""
        return cls(schedule=name, job_id=job.id, state=job.state)
