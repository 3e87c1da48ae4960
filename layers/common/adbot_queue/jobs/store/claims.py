"""Writes of workers: several jobs in one call, each under its own condition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import ConditionFailed, Item
from adbot_queue.core.events import drop
from adbot_queue.core.updates import Update, update_many
from adbot_queue.jobs.model import Job, JobMode, JobState
from adbot_queue.jobs.store.items import ROW_VERSION, job_of, key_of, listing_of
from adbot_queue.jobs.store.rows import JobRows, change_of
from adbot_queue.jobs.unreadable import Unreadable, report

_CLAIM = (
    "SET #state = :active, #listing = :listing, #lease = :lease, #lease_until = :until, #due_at = :until, "
    "#worker = :worker, #mode = :mode, #started_at = :now "
    "REMOVE #rank, #progress ADD #attempt :one, #version :one"
)
# `=` for each version: the stored value may not be a number.
_CLAIMABLE = (
    "(#state = :waiting OR (#state = :delayed AND #run_at <= :now AND attribute_not_exists(blocked_by))) "
    "AND (attribute_not_exists(v) OR #v = :known)"
)
_UNCLAIM = (
    "SET #state = :delayed, #listing = :listing, #run_at = :now, #due_at = :now "
    "REMOVE #lease, #lease_until, #worker, #started_at ADD #attempt :minus, #version :one"
)
_OURS = "#lease = :our_lease AND #state = :was"


class TooEarly(Exception):
    """A message came before its job's time."""

    def __init__(self, job: Job) -> None:
        super().__init__(job.id)
        self.job = job


class Claims(JobRows):
    """The Jobs table as workers change it."""

    def claim(
        self,
        job_id: str,
        queue: str,
        worker: str,
        lease: str,
        now: int,
        lease_until: int,
        mode: JobMode = JobMode.ASYNC_QUEUE,
    ) -> Job | None:
        """Take a job: waiting, or delayed and due -> active, one attempt more. None when it cannot be taken.

        Raises:
            TooEarly: it is delayed until later.
        """
        (claimed,) = self.claim_many([job_id], queue, worker, lease, now, lease_until, mode)
        if isinstance(claimed, Exception):
            raise claimed
        return claimed

    def claim_many(
        self, job_ids: Sequence[str], queue: str, worker: str, lease: str, now: int, lease_until: int, mode: JobMode
    ) -> list[Job | Exception | None]:
        """Take jobs, each for itself, under one lease.

        Returns:
            For each the job as it is now; None when it cannot be taken, or not be read; TooEarly; or what else went
            wrong with it.

        Raises:
            ClientError, BotoCoreError: it is not known which were taken.
        """
        claims = [
            Update(
                key_of(job_id),
                _CLAIM,
                _CLAIMABLE,
                {
                    "active": JobState.ACTIVE.value,
                    "listing": listing_of(queue, JobState.ACTIVE),
                    "lease": lease,
                    "until": lease_until,
                    "worker": worker,
                    "mode": mode.value,
                    "now": now,
                    "one": 1,
                    "waiting": JobState.WAITING.value,
                    "delayed": JobState.DELAYED.value,
                    "known": ROW_VERSION,
                },
            )
            for job_id in job_ids
        ]
        outcomes = update_many(self.client, self.table, claims)
        return [
            self._readable(job_id, queue, lease, now, outcome)
            for job_id, outcome in zip(job_ids, outcomes, strict=True)
        ]

    def _readable(
        self, job_id: str, queue: str, lease: str, now: int, outcome: Item | Exception
    ) -> Job | Exception | None:
        """What a claim led to.

        A row that cannot be read is given back: it waits, at no attempt's cost, for a version that can read it.
        """
        if isinstance(outcome, ConditionFailed) and outcome.item is None:
            drop([job_id], "there is no such job")
            return None
        try:
            return _claimed(job_id, queue, lease, outcome)
        except Unreadable as error:
            report([error])
            if isinstance(outcome, Exception):
                return None  # it was left as it is
        values = {
            "delayed": JobState.DELAYED.value,
            "listing": listing_of(queue, JobState.DELAYED),
            "now": now,
            "minus": -1,
            "one": 1,
            "lease": lease,
        }
        with suppress(ConditionFailed):
            dynamodb.update_if(
                self.client, self.table, key_of(job_id), _UNCLAIM, condition="#lease = :lease", answer=False, **values
            )
        return None

    def release(self, before: Job, after: Job) -> Job | None:
        """End an attempt: write what changed, if the claim is still ours; None when it is not."""
        (written,) = self.release_many([(before, after)])
        if isinstance(written, Exception):
            raise written
        return written

    def release_many(
        self, ends: Sequence[tuple[Job, Job]], on_cancel: Callable[[Job], Job] = lambda after: after
    ) -> list[Job | Exception | None]:
        """End attempts, each for itself.

        Args:
            ends: each job as it was claimed, and as it is to be.
            on_cancel: what to write instead if cancellation was requested in the meantime.

        Returns:
            For each the job as it was written; None when the claim was lost; or what went wrong with it.

        Raises:
            ClientError, BotoCoreError: it is not known which were written.
        """
        changes = [
            change_of(before, after, _OURS, version=before.version, our_lease=before.lease) for before, after in ends
        ]
        outcomes = update_many(self.client, self.table, changes)
        return [self._released(*end, outcome, on_cancel) for end, outcome in zip(ends, outcomes, strict=True)]

    def _released(
        self, before: Job, after: Job, outcome: Item | Exception, on_cancel: Callable[[Job], Job]
    ) -> Job | Exception | None:
        if isinstance(outcome, ConditionFailed):
            cancelled = outcome.item is not None and outcome.item.get("cancel_requested") is True
            try:
                return self._release_again(before, on_cancel(after) if cancelled else after)
            except (ClientError, BotoCoreError) as error:
                return error
        return outcome if isinstance(outcome, Exception) else after.changed(version=before.version + 1)

    def _release_again(self, before: Job, after: Job) -> Job | None:
        # A cancellation or a new child changed the row: the claim is still ours.
        before = before.changed(cancel_requested=before.cancel_requested or after.is_terminal)
        written = self.write(before, after, _OURS, our_lease=before.lease)
        if written is None:
            found = dynamodb.get(self.client, self.table, key_of(before.id))
            found_row = job_of(found) if found else None
            if found_row and found_row.attempts[-1:] == after.attempts[-1:]:
                return found_row  # the answer got lost, and the client sent it again
        return written


def _claimed(job_id: str, queue: str, lease: str, outcome: Item | Exception) -> Job | Exception | None:
    if isinstance(outcome, ClientError) and outcome.response.get("Error", {}).get("Code") == "ValidationException":
        raise Unreadable(job_id, queue, "a claim does not fit it") from outcome
    if not isinstance(outcome, ConditionFailed):
        return outcome if isinstance(outcome, Exception) else job_of(outcome)
    found_row = job_of(outcome.item or {})
    if found_row.state is JobState.DELAYED and found_row.run_at is not None and not found_row.blocked_by:
        return TooEarly(found_row)
    # The answer to our own claim got lost, and the client sent it again.
    return found_row if found_row.lease == lease else None
