"""What a handler receives in addition to its payload."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adbot_queue.core.clock import Clock
from adbot_queue.core.dynamodb import Transaction
from adbot_queue.jobs.errors import Cancelled

if TYPE_CHECKING:
    from adbot_queue.jobs.model import Job

CHECK_EVERY_MS = 1000
"""Age up to which the last answer to `check_cancelled` is reused."""


@dataclass(slots=True)
class Context:
    """A job as its handler sees it.

    Attributes:
        job_id: the job's id.
        attempt: number of this attempt, from 1.
        idempotency_key: the key to send to the provider: the same on every attempt at the same effect.
        deadline: when the attempt must have ended, in ms.
        now: the clock.
        tenant: the user who enqueued the job, or `system`.
        job: the row as claimed, or as the last slice has left it.
        save_checkpoint: saves in the row what the job resumes from (`Job.checkpoint`); raises TransientError if the
            lease is lost.
        commit_slice: writes a slice of a long-running job (`jobs.long_running`).
        created_at: when the job was enqueued, in ms; None: not known.
    """

    job_id: str
    attempt: int
    idempotency_key: str
    deadline: int
    now: Clock
    is_cancelled: Callable[[], bool]
    write_progress: Callable[[int, str], None]
    tenant: str = "system"
    job: Job | None = None
    save_checkpoint: Callable[[dict[str, Any]], None] = lambda _: None
    commit_slice: Callable[[dict[str, Any], Callable[[Transaction], None] | None], None] = lambda *_: None
    created_at: int | None = None
    _checked_at: int = 0

    def seconds_left(self) -> float:
        """Return the seconds until the deadline, at least 0: the longest timeout of a provider call."""
        return max(0, self.deadline - self.now()) / 1000

    @property
    def checkpoint(self) -> dict[str, Any]:
        """What the job resumes from; empty before the first save."""
        return self.job.checkpoint if self.job else {}

    def check_cancelled(self) -> None:
        """Raise if cancellation was requested; call it between steps. Reads the row at most once a second.

        Raises:
            Cancelled: cancellation was requested.
        """
        now = self.now()
        if now - self._checked_at >= CHECK_EVERY_MS:
            self._checked_at = now
            if self.is_cancelled():
                raise Cancelled("cancelled on request")

    def set_progress(self, percent: int, note: str = "") -> None:
        """Show in the job's row how far the job is."""
        self.write_progress(min(100, max(0, percent)), note[:200])
