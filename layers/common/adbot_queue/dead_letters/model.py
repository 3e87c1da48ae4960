"""Dead letters. Pure.

A dead letter is a job in `dead` or `failed` without a decision: its own row, and no other record.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from adbot_queue.jobs import job_queues
from adbot_queue.jobs.model import Job

PREVIEW = 4096
"""Characters of a payload that a list shows."""


MAX_CHOSEN = 100
"""Dead letters that a filter names one by one."""


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters. `since` and `until` are ms and inclusive; `job_ids` are the only ones then."""

    queue: str | None = None
    type: str | None = None
    state: str | None = None
    fingerprint: str | None = None
    since: int = 0
    until: int | None = None
    job_ids: tuple[str, ...] | None = None

    def before(self, cut_off: int) -> DeadLetterFilter:
        """Return the filter for those that died before a moment (ms)."""
        last = cut_off - 1
        return replace(self, until=last if self.until is None else min(last, self.until))

    def takes(self, job: Job) -> bool:
        """Return whether a job is one of them."""
        return (
            job.is_dead_letter
            and self.queue in (None, job.queue)
            and self.type in (None, job.type)
            and self.state in (None, job.state)
            and self.fingerprint in (None, job.fingerprint)
            and self.since <= died_at(job) <= (died_at(job) if self.until is None else self.until)
            and (self.job_ids is None or job.id in self.job_ids)
        )


def died_at(job: Job) -> int:
    """Return when a job died, in ms."""
    return job.finished_at or job.created_at


def is_money(queue: str) -> bool:
    """Return whether the queue's jobs move money."""
    known = job_queues.QUEUES.get(queue)
    return known is not None and known.is_money
