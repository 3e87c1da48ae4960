"""Dead letters. Pure.

A dead letter is a job in `dead` or `failed` without a decision: its own row, and no other record.
"""

from __future__ import annotations

from dataclasses import dataclass

from adbot_queue.jobs import job_queues
from adbot_queue.jobs.model import Job

PREVIEW = 4096
"""Characters of a payload that a list shows."""


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters. `since` and `until` are ms and inclusive."""

    queue: str | None = None
    type: str | None = None
    state: str | None = None
    fingerprint: str | None = None
    since: int = 0
    until: int | None = None


def died_at(job: Job) -> int:
    """Return when a job died, in ms."""
    return job.finished_at or job.created_at


def is_money(queue: str) -> bool:
    """Return whether the queue's jobs move money."""
    known = job_queues.QUEUES.get(queue)
    return known is not None and known.is_money
