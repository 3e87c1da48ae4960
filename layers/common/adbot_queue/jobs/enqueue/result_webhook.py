"""Result webhooks: a `deliver-webhook` job for each end of a job, written together with it."""

from __future__ import annotations

from adbot_queue.core.ids import time_ordered_id
from adbot_queue.jobs import job_types
from adbot_queue.jobs.model import Job


def with_result_webhook(job: Job, now: int) -> tuple[Job, tuple[Job, ...]]:
    """Return a job that starts a cycle, and the job that will deliver its result, if a webhook is set."""
    if job.webhook_url is None:
        return job, ()
    known = job_types.find("deliver-webhook")
    webhook_job = Job(
        time_ordered_id(now),
        known.name,
        known.queue,
        {"url": job.webhook_url, "job_id": job.id, "cycle": job.cycle},
        now,
        tenant=job.tenant,
        fairness_delay_ms=job.fairness_delay_ms,
        depends_on=(job.id,),
        run_if_parents_fail=True,
    ).blocked(frozenset({job.id}), now)
    return job.changed(children=job.children | {webhook_job.id}), (webhook_job,)
