"""What a message of a job queue says. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from adbot_queue.jobs.model import Job, JobState


@dataclass(frozen=True, slots=True)
class JobMessage:
    """One message, or one call: one job of the queue may run, as a rule this one.

    Attributes:
        rank: of the job that is named, in the order of service; None: it is never passed over for another.
        delayed: no other message finds that job, should another be run in its place.
    """

    job_id: str
    queue: str
    rank: str | None = None
    delayed: bool = False

    @classmethod
    def for_job(cls, job: Job) -> Self:
        """That of a job which may run now, or at its time."""
        return cls(job.id, job.queue, job.effective_rank, job.state is JobState.DELAYED)

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Self:
        """As `message` says it."""
        return cls(message["job"], message["queue"], message.get("rank"), bool(message.get("delayed")))

    def to_message(self) -> dict[str, Any]:
        """Its JSON body; what says nothing is left out."""
        rank = {"rank": self.rank} if self.rank else {}
        return {"job": self.job_id, "queue": self.queue, **rank, **({"delayed": True} if self.delayed else {})}
