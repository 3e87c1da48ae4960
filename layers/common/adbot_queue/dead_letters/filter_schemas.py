"""Which dead letters, over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from adbot_queue.core.schema import Period
from adbot_queue.dead_letters.model import DeadLetterFilter
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.api.schemas import KnownJobType


def _queue(name: str) -> str:
    if name not in job_queues.QUEUES:
        raise ValueError(f"does not exist; queues are {', '.join(sorted(job_queues.QUEUES))}")
    return name


class DeadLetterFields(Period):
    """Which dead letters; all fields combine. `from` and `to` limit when they died."""

    queue: Annotated[str, AfterValidator(_queue)] | None = None
    type: KnownJobType | None = None
    state: Literal["dead", "failed"] | None = None
    fingerprint: str | None = Field(None, min_length=1, max_length=64)

    def wanted(self) -> DeadLetterFilter:
        """As the service takes it."""
        return DeadLetterFilter(self.queue, self.type, self.state, self.fingerprint, self.since or 0, self.until)
