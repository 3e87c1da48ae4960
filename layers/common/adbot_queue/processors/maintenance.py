"""`cleanup-old-data` and `generate-report`. No provider is asked.

Both are long-running jobs.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from adbot_queue.analytics.model import DAY_MS, days_between
from adbot_queue.analytics.schemas import Day
from adbot_queue.core.clock import day
from adbot_queue.core.schema import Input
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.long_running import run
from adbot_queue.reports import service as reports
from adbot_queue.system import cleanup

MOST_DAYS = 366
USUAL_DAYS = 30


class CleanupOldData(Input):
    """What to delete, and how old it must be. A dry run counts; the deletion must confirm that number."""

    what: list[Literal["raw-events", "aggregates", "jobs"]] = Field(min_length=1, max_length=3)
    older_than_days: int = Field(ge=1, le=3650)
    dry_run: bool = True
    confirm: int | None = Field(default=None, ge=0, description="how many a dry run has counted in all")

    @model_validator(mode="after")
    def _keeps_the_limits(self) -> Self:
        if len(set(self.what)) != len(self.what):
            raise ValueError("what names a thing twice")
        least = max(cleanup.LEAST_DAYS[what] for what in self.what)
        if self.older_than_days < least:
            raise ValueError(f"older_than_days must be at least {least} for these")
        if self.dry_run == (self.confirm is not None):
            raise ValueError("confirm goes with dry_run: false, and must")
        return self


class GenerateReport(Input):
    """Which report, of which days (both included; the last 30 by default), in which form."""

    model_config = ConfigDict(populate_by_name=True)  # what is stored of a job has the names of the fields

    report: Literal["orders", "queues", "analytics"]
    since: Day | None = Field(default=None, alias="from")
    until: Day | None = Field(default=None, alias="to")
    format: Literal["csv", "html", "both"] = "both"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.since is None) != (self.until is None):
            raise ValueError("from and to come together")
        if self.since and self.until and not 1 <= len(days_between(self.since, self.until)) <= MOST_DAYS:
            raise ValueError(f"from 1 to {MOST_DAYS} days")
        return self


def cleanup_old_data(payload: CleanupOldData, context: Context) -> dict[str, Any]:
    """Count, or delete.

    Returns:
        before, matching, deleted, total.

    Raises:
        Permanent: there are not as many as confirmed. NextRun: there is more to do. Cancelled: on request.
    """
    return cleanup.clean(sorted(payload.what), payload.older_than_days, payload.confirm, context)


def generate_report(payload: GenerateReport, context: Context) -> dict[str, Any]:
    """Make a report's files.

    Returns:
        report, from, to, rows, files with links that live for minutes.

    Raises:
        NextRun: there is more to do. Cancelled: on request.
    """
    now = context.now()
    since = payload.since or day(now - (USUAL_DAYS - 1) * DAY_MS)
    formats: list[str] = ["csv", "html"] if payload.format == "both" else [payload.format]
    days = (since, payload.until or day(now))
    return run(reports.GenerateReport(reports.from_env(), payload.report, days, formats, context), context)
