"""Rows and payloads that this version of the code cannot read: a newer version wrote them, or they are damaged.

`Unreadable` is a row, `Unsupported` a job whose type or payload this version does not know.

An unreadable row is not claimed, changed or deleted, so a version that can read it finds it whole. The sweeper counts
it every minute; the alarm `JobsUnreadable` rings until then.
"""

from __future__ import annotations

from collections.abc import Sequence

from adbot_queue.core.errors import Unavailable
from adbot_queue.core.telemetry import count, logger

LOGGED = 20
"""Rows that one report names; it counts all."""


class Unreadable(Unavailable):
    """A job's row that this version cannot read. Names the attribute, never its value."""

    def __init__(self, job_id: str, queue: str, problem: str) -> None:
        super().__init__(f"this version cannot read the row of job {job_id}: {problem}", job_id=job_id)
        self.job_id = job_id
        self.queue = queue
        self.problem = problem


def report(rows: Sequence[Unreadable]) -> None:
    """Count the unreadable rows, and log the first of them."""
    count("JobsUnreadable", len(rows))
    for row in rows[:LOGGED]:
        logger.error("job cannot be read", job_id=row.job_id, queue=row.queue, problem=row.problem)


class Unsupported(Exception):
    """A job that this version cannot run and another one can: it was valid when enqueued. Spends no attempt.

    Args:
        error: what is not known, as an operator searches for it.
        message: stored with the job: names fields, never values.
    """

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error
