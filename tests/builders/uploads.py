"""Uploads whose request died, and the sweeper and worker that finish them."""

from __future__ import annotations

from adbot_queue.core.clock import system_clock
from adbot_queue.jobs.model import Job
from adbot_queue.stock.uploads import STAGED_FOR_MS, Uploads
from tests.builders.jobs import Jobs
from tests.builders.world import AwsHarness


def abandoned(on_aws: AwsHarness, jobs: Jobs, later_ms: int = STAGED_FOR_MS + 1) -> int:
    """Have the sweeper enqueue the jobs of staged uploads, `later_ms` from now; return the number of uploads."""

    def enqueue(upload_id: str) -> None:
        jobs.enqueue("finish-upload", {"upload_id": upload_id}, key=f"finish-upload/{upload_id}")

    return Uploads(on_aws.adbots.store, enqueue, lambda: system_clock() + later_ms).finish_abandoned()


def finish(on_aws: AwsHarness) -> list[Job]:
    """Sweep once no function can be at work any more by the clock, run the jobs, and return all of them."""
    jobs = Jobs(on_aws)
    abandoned(on_aws, jobs)
    jobs.drain("maintenance")
    return [job for job in jobs.all() if job.type == "finish-upload"]
