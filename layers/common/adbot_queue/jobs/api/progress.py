"""The progress document, the same for every kind of long-running work."""

from __future__ import annotations

from pydantic import Field

from adbot_queue.core.schema import View
from adbot_queue.jobs.long_running import Progress
from adbot_queue.jobs.model import Job


class ProgressView(View):
    """How far a job is. A job that does not work in slices reports a percentage: `done` of 100."""

    done: int
    of: int | None = Field(description="null if not known")
    outcomes: dict[str, int] = Field(description="What became of the items, by name")
    cut_off: str | None = Field(description="Only items from before this are worked on")
    note: str = ""

    @classmethod
    def of_job(cls, job: Job) -> ProgressView | None:
        """Return the progress of a job, None if it reports none."""
        if job.long_running:
            return cls(**Progress.read(job.checkpoint).shown())
        if not job.progress:
            return None
        return cls(done=job.progress["percent"], of=100, outcomes={}, cut_off=None, note=job.progress["note"])
