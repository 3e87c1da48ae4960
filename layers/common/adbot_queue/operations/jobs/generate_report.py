"""`generate-report`: renders a report into a file."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from adbot_queue.analytics.model import days_between
from adbot_queue.core.clock import DAY_MS, day
from adbot_queue.core.schema import Date, Input
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.job_queues import exponential
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType
from adbot_queue.jobs.long_running import run
from adbot_queue.reports import service as reports

MAX_DAYS = 366
DEFAULT_DAYS = 30


class GenerateReport(Input):
    """Which report, of which days (both included; the last 30 by default), in which form."""

    model_config = ConfigDict(populate_by_name=True)  # what is stored of a job has the names of the fields

    report: Literal["orders", "queues", "analytics"]
    since: Date | None = Field(default=None, alias="from")
    until: Date | None = Field(default=None, alias="to")
    format: Literal["csv", "html", "both"] = "both"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.since is None) != (self.until is None):
            raise ValueError("from and to come together")
        if self.since and self.until and not 1 <= len(days_between(self.since, self.until)) <= MAX_DAYS:
            raise ValueError(f"from 1 to {MAX_DAYS} days")
        return self


def generate_report(payload: GenerateReport, context: Context) -> dict[str, Any]:
    """Make a report's files.

    Returns:
        report, from, to, rows, files with links that live for minutes.

    Raises:
        NextRun: there is more to do. Cancelled: on request.
    """
    now = context.now()
    since = payload.since or day(now - (DEFAULT_DAYS - 1) * DAY_MS)
    formats: list[str] = ["csv", "html"] if payload.format == "both" else [payload.format]
    days = (since, payload.until or day(now))
    return run(reports.GenerateReport(reports.from_env(), payload.report, days, formats, context), context)


JOB = JobType(
    queue="maintenance",
    payload=GenerateReport,
    handler=generate_report,
    horizon_s=DAY_S,
    cap_s=15 * MINUTE_S,
    policy=exponential(5, 10),
    parallel=False,
    cancellable=True,
    long_running=True,
    example={"report": "orders", "from": "2026-11-01", "to": "2026-11-02"},
)
