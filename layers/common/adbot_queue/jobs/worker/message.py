"""The body of a job queue's message. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from adbot_queue.jobs.model import Job, JobState


@dataclass(frozen=True, slots=True)
class JobMessage:
    """A permission to run one job of the queue, as a rule the named one.

    Attributes:
        rank: the named job's place in the order of service; None: never passed over.
        delayed: the only message that names this job; if another job runs instead, it must be sent again.
    """

    job_id: str
    queue: str
    rank: str | None = None
    delayed: bool = False

    @classmethod
    def for_job(cls, job: Job) -> Self:
        """Return the message of a job that may run now, or at its time."""
        return cls(job.id, job.queue, job.effective_rank, job.state is JobState.DELAYED)

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Self:
        """Return a parsed body."""
        return cls(message["job"], message["queue"], message.get("rank"), bool(message.get("delayed")))

    def to_message(self) -> dict[str, Any]:
        """Return the JSON body; empty fields are left out."""
        rank = {"rank": self.rank} if self.rank else {}
        return {"job": self.job_id, "queue": self.queue, **rank, **({"delayed": True} if self.delayed else {})}
