"""Writes of an attempt while it runs, under its lease."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import ConditionFailed, Transaction, TransactionRejected
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.store.items import key_of
from adbot_queue.jobs.store.rows import JobRows

_SLICE = "SET checkpoint = :checkpoint, slices = :slices, #attempt = :attempt REMOVE tried_since"
_SLICE_IS_NEXT = (
    "#lease = :lease AND attribute_not_exists(cancel_requested) "
    "AND (slices = :before OR (attribute_not_exists(slices) AND :before = :zero))"
)


class Attempts(JobRows):
    """The Jobs table as a running handler changes it."""

    def set_progress(self, job: Job, progress: Mapping[str, Any]) -> None:
        """Write how far an active job is; nothing if the lease was lost."""
        try:
            dynamodb.update_if(
                self.client,
                self.table,
                key_of(job.id),
                "SET progress = :progress",
                condition="#lease = :lease",
                progress=json.dumps(progress),
                lease=job.lease,
            )
        except ConditionFailed:
            return

    def save_checkpoint(self, job: Job, checkpoint: Mapping[str, Any]) -> bool:
        """Write what an active job resumes from; False if the lease was lost."""
        text = json.dumps(checkpoint, separators=(",", ":"))
        with suppress(ConditionFailed):
            dynamodb.update_if(
                self.client,
                self.table,
                key_of(job.id),
                "SET checkpoint = :checkpoint",
                condition="#lease = :lease",
                answer=False,
                checkpoint=text,
                lease=job.lease,
            )
            return True
        return False

    def commit_slice(self, job: Job, effects: Callable[[Transaction], None] | None) -> None:
        """Write the progress of a long-running job (tag `job`) together with its effects.

        The version stays: a person who asks for the job to be cancelled must not lose a race against each slice.

        Raises:
            TransactionRejected: `job` if the lease was lost, cancellation was requested or the slice was written.
            TransactionConflict: nothing was written; try again.
        """
        key, condition = key_of(job.id), _SLICE_IS_NEXT
        values = {
            "before": job.slices - 1,
            "zero": 0,
            "slices": job.slices,
            "checkpoint": json.dumps(job.checkpoint, separators=(",", ":")),
            "attempt": job.attempt,
            "lease": job.lease,
        }
        if effects is None:
            try:
                dynamodb.update_if(self.client, self.table, key, _SLICE, condition=condition, answer=False, **values)
            except ConditionFailed as failed:
                raise TransactionRejected({"job": failed.item}) from failed
            return
        transaction = Transaction(self.client)
        transaction.update("job", self.table, key, _SLICE, condition=condition, **values)
        effects(transaction)
        transaction.commit()
