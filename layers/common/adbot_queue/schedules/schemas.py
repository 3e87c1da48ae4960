"""What schedules look like over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, StringConstraints

from adbot_queue.core.clock import iso
from adbot_queue.core.schema import Input, Instant, View
from adbot_queue.jobs.masking import ShownPayload
from adbot_queue.jobs.rank import HIGHEST_PRIORITY, LOWEST_PRIORITY
from adbot_queue.schedules.cron import FIRST_YEAR, LAST_YEAR
from adbot_queue.schedules.model import NAME, Schedule, ScheduleSpec
from adbot_queue.schedules.plan import MAX_CAUGHT_UP, MissedPolicy


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
        "at(2026-12-31T23:00:00), as EventBridge Scheduler defines them. When clocks change, an interval (rate, every "
        "hour, every n minutes) runs in real time. A fixed time that does not exist does not run that day; one that "
        "comes twice runs once",
        examples=["cron(0 9 ? * MON-FRI *)"],
    )
    timezone: str = Field("UTC", min_length=1, max_length=50, description="IANA name", examples=["Europe/Berlin"])
    type: str = Field(min_length=1, max_length=64, description="a job type")
    payload: dict[str, Any] = Field(default_factory=dict)
    priority: int = Field(0, ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY)
    tags: list[Tag] = Field(default_factory=list, max_length=9)
    enabled: bool = True
    missed_policy: MissedPolicy = Field(
        MissedPolicy.ONCE,
        description="which ticks run that were missed by more than five minutes: none, the latest, or all "
        f"(at most {MAX_CAUGHT_UP}: the latest ones, oldest first)",
    )
    start: Bound | None = Field(None, description="no tick before")
    end: Bound | None = Field(None, description="no tick after")

    def spec(self, *, by_owner: bool) -> ScheduleSpec:
        """Return what the service takes."""
        return ScheduleSpec(
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
            by_owner,
        )


class CreateSchedule(ScheduleBody):
    """A new schedule."""

    name: str = Field(pattern=NAME, description="1 to 48 of a-z, 0-9, _ and -, a letter or digit first")


class ReplaceSchedule(ScheduleBody):
    """All that a schedule says, anew."""

    version: int | None = Field(None, ge=1, description="refuse (409) unless it has this version")


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
    missed_limit: int = Field(description="how many missed ticks the policy all runs")
    start: str | None
    end: str | None
    version: int
    created_at: str
    updated_at: str
    next_runs: list[str] = Field(description="the next five; none of a schedule that is disabled or over")
    problem: str | None = Field(description="why the job of its last tick was refused, or waits")

    @classmethod
    def of(cls, schedule: Schedule, now: int, **more: Any) -> Self:
        """The view of a schedule at this time."""
        spec = schedule.spec
        return cls(
            name=schedule.name,
            expression=spec.expression,
            timezone=spec.timezone,
            type=spec.type,
            payload=spec.payload,
            priority=spec.priority,
            tags=list(spec.tags),
            enabled=spec.enabled,
            missed_policy=spec.missed_policy,
            missed_limit=MAX_CAUGHT_UP,
            start=None if spec.start is None else iso(spec.start),
            end=None if spec.end is None else iso(spec.end),
            version=schedule.version,
            created_at=iso(schedule.created_at),
            updated_at=iso(schedule.updated_at),
            next_runs=[iso(tick) for tick in schedule.next_runs(now)],
            problem=schedule.problem,
            **more,
        )
