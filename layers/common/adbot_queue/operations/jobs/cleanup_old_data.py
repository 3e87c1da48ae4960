"""`cleanup-old-data`: deletes what is older than its retention."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from adbot_queue.core.schema import Input
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.job_queues import exponential
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType
from adbot_queue.operations import cleanup


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
        least = max(cleanup.MIN_DAYS[what] for what in self.what)
        if self.older_than_days < least:
            raise ValueError(f"older_than_days must be at least {least} for these")
        if self.dry_run == (self.confirm is not None):
            raise ValueError("confirm goes with dry_run: false, and must")
        return self


def cleanup_old_data(payload: CleanupOldData, context: Context) -> dict[str, Any]:
    """Count, or delete.

    Returns:
        before, matching, deleted, total.

    Raises:
        PermanentError: there are not as many as confirmed. NextRun: there is more to do. Cancelled: on request.
    """
    return cleanup.clean(sorted(payload.what), payload.older_than_days, payload.confirm, context)


JOB = JobType(
    queue="maintenance",
    payload=CleanupOldData,
    handler=cleanup_old_data,
    horizon_s=DAY_S,
    cap_s=15 * MINUTE_S,
    policy=exponential(10, 10),
    parallel=False,
    cancellable=True,
    long_running=True,
    example={"what": ["raw-events"], "older_than_days": 400, "dry_run": True},
)
