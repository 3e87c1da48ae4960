"""Enqueue and read jobs. `lifecycle` changes them."""

from __future__ import annotations

from functools import lru_cache

from adbot_queue import ledger as ledgers
from adbot_queue.core import aws
from adbot_queue.core.errors import NotFound
from adbot_queue.core.settings import settings
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.enqueue.request import JobRequest, given_key
from adbot_queue.jobs.enqueueing import Enqueued, Enqueueing, TimeLeft, rate_headers
from adbot_queue.jobs.model import TERMINAL, Job, JobState
from adbot_queue.jobs.store.jobs import JobStore
from adbot_queue.jobs.store.pages import ANY_JOB, JobFilter, JobList
from adbot_queue.jobs.worker import dispatch
from adbot_queue.platform import rate_limits as limits
from adbot_queue.platform.queue_pauses import Pauses
from adbot_queue.platform.rate import Rate

__all__ = ["TERMINAL", "Enqueued", "JobRequest", "JobService", "TimeLeft", "rate_headers"]


class JobService(Enqueueing):
    """The jobs of this installation, as other capabilities use them."""

    def job(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            NotFound: the job does not exist.
        """
        found = self.store.get(job_id)
        if found is None:
            raise NotFound(f"there is no job {job_id}")
        return found

    def enqueued_as(self, tenant: str, key: str) -> Job | None:
        """Return the job that an idempotency key has enqueued, if any."""
        job_id = self.store.key_holder(given_key(tenant, key))
        return self.store.get(job_id) if job_id else None

    def page(
        self, queue: str, state: JobState, limit: int, cursor: str | None, wanted: JobFilter = ANY_JOB
    ) -> tuple[JobList, str | None]:
        """Return jobs of a queue in a state, newest first, and the cursor of the next page.

        Raises:
            NotFound: the queue does not exist.
            Invalid: the cursor is invalid.
        """
        job_queues.queue(queue)
        return self.store.page(queue, state, limit=limit, cursor=cursor, wanted=wanted)

    def long_running(self, limit: int, cursor: str | None) -> tuple[JobList, str | None]:
        """Return long-running jobs of all queues, newest first, and the cursor of the next page.

        Raises:
            Invalid: the cursor is invalid.
        """
        return self.store.long_running(limit, cursor)


@lru_cache(maxsize=1)
def from_env() -> JobService:
    """Return the service of this process."""
    env = settings()
    return JobService(
        JobStore(aws.dynamodb(), env.jobs_table),
        dispatch.from_env(),
        ledgers.from_env(),
        limits.from_env(),
        Rate(float(env.jobs_per_second), int(env.jobs_burst)),
        Pauses(aws.dynamodb(), env.system_table, job_queues.QUEUES).paused,
    )
