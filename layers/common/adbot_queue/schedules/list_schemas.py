"""What lists, histories and runs of schedules look like over HTTP."""

from __future__ import annotations

from pydantic import Field

from adbot_queue.core.schema import Moment, Query, View
from adbot_queue.jobs.model import Job
from adbot_queue.schedules.records import ScheduleRows
from adbot_queue.schedules.schemas import ScheduleView


class SchedulesQuery(Query):
    """Which page."""

    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)


class TickView(View):
    """What became of a tick, or of several that were skipped."""

    at: Moment = Field(description="of several, the last one's")
    outcome: str = Field(
        description="ran, caught_up (missed, and a job now), skipped, refused, withdrawn (cancelled before it started: "
        "the schedule was changed or removed), manual"
    )
    job_id: str | None
    count: int
    detail: str


class ScheduleDetail(ScheduleView):
    """A schedule with what became of its latest ticks."""

    ticks: list[TickView] = Field(description="the latest ten, latest first")


class SchedulePage(View):
    """Schedules in the order of their creation."""

    items: list[ScheduleView]
    unreadable: int = Field(description="how many schedules of this page are left out: this version cannot read them")
    next: str | None

    @classmethod
    def of(cls, page: ScheduleRows, now: int) -> SchedulePage:
        """Return the view of a page at this time."""
        items = [ScheduleView.of(schedule, now) for schedule in page.schedules]
        return cls(items=items, unreadable=page.unreadable, next=page.next)


class StartedView(View):
    """The job of a manual run."""

    schedule: str
    job_id: str
    state: str

    @classmethod
    def of(cls, name: str, job: Job) -> StartedView:
        """The view of a job that a schedule made."""
        return cls(schedule=name, job_id=job.id, state=job.state)
