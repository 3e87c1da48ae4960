"""HTTP models of batches."""

from __future__ import annotations

from pydantic import Field

from adbot_queue.core.errors import AppError
from adbot_queue.core.schema import Input, View
from adbot_queue.jobs.api.schemas import EnqueueJob
from adbot_queue.jobs.enqueue.request import MAX_BATCH
from adbot_queue.jobs.model import JobState
from adbot_queue.jobs.service import Enqueued


class BatchJob(EnqueueJob):
    """A job of a batch, with an idempotency key of its own."""

    idempotency_key: str | None = Field(None, min_length=1, max_length=255)


class EnqueueBatch(Input):
    """Up to 100 jobs: all are valid, or none is enqueued. The callback runs after all of them have ended."""

    jobs: list[BatchJob] = Field(min_length=1, max_length=MAX_BATCH)
    callback: EnqueueJob | None = None


class BatchItem(View):
    """Result for one job of a batch: its id and state, or why it was not enqueued."""

    index: int
    job_id: str | None
    state: JobState | None
    replayed: bool
    error: str | None

    @classmethod
    def of(cls, index: int, outcome: Enqueued | AppError) -> BatchItem:
        """Return the view of an outcome."""
        if isinstance(outcome, AppError):
            return cls(index=index, job_id=None, state=None, replayed=False, error=outcome.detail)
        return cls(index=index, job_id=outcome.job.id, state=outcome.job.state, replayed=outcome.replayed, error=None)


class BatchView(View):
    """A batch, item by item in the order of the request."""

    batch_id: str
    items: list[BatchItem]
    callback_job_id: str | None
