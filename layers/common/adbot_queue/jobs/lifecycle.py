"""Cancel and retry jobs on behalf of people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adbot_queue import ledger
from adbot_queue.core.conflicts import retry_on_conflict
from adbot_queue.core.dynamodb import TransactionConflict
from adbot_queue.core.errors import Conflict
from adbot_queue.jobs import job_types, service
from adbot_queue.jobs.enqueue.payloads import check_payload
from adbot_queue.jobs.enqueue.result_webhook import with_result_webhook
from adbot_queue.jobs.model import RETRYABLE, Job, JobState
from adbot_queue.jobs.service import JobService, TimeLeft
from adbot_queue.jobs.unmasking import unmasked
from adbot_queue.ledger import Actor, LedgerEntry


class Lifecycle:
    """Changes of jobs by people, each signed in the ledger."""

    def __init__(self, jobs: JobService) -> None:
        self._jobs = jobs

    def cancel(self, job_id: str, actor: Actor, reason: str = "") -> Job:
        """Cancel a job: at once if it is not running, otherwise its handler is asked to stop.

        A job with jobs of its own that has started runs once more, to stop them.

        Raises:
            NotFound: the job does not exist.
            Conflict: the job has ended in another state.
        """

        def cancelled(job: Job) -> Job | None:
            spawns = job.has_started and job_types.spawns_jobs(job.type)
            waits_to_stop = job.state is JobState.ACTIVE or (spawns and job.state is JobState.WAITING)
            if job.state is JobState.CANCELLED or (job.cancel_requested and waits_to_stop):
                return None
            if job.is_terminal:
                raise Conflict(f"job {job.id} is {job.state}", state=job.state.value)
            if job.state is JobState.ACTIVE:
                return job.changed(cancel_requested=True)
            if spawns:
                return job.waiting(self._jobs.now()).changed(cancel_requested=True)
            return job.cancelled(reason or "cancelled by a person", self._jobs.now())

        job = self.change_as(job_id, "job.cancel", cancelled, actor, reason)
        if job.is_terminal and job.children:
            self._jobs.dependents.notify(job)
        if job.state is JobState.WAITING:
            self._jobs.dispatch([job], None)
        return job

    def retry(
        self,
        job_id: str,
        actor: Actor,
        reason: str = "",
        *,
        payload: dict[str, Any] | None = None,
        only: frozenset[JobState] = RETRYABLE,
        time_left: TimeLeft | None = None,
    ) -> Job:
        """Restart an ended job in a new cycle of attempts. In direct mode it has run when this returns.

        Args:
            job_id: which.
            actor: who retries it.
            reason: why.
            payload: another payload, validated like a new one.
            only: states in which it may be retried.
            time_left: as `enqueue`.

        Raises:
            NotFound: the job does not exist.
            Conflict: the job has not ended, or is completed.
            Invalid: the payload is invalid.
        """

        def again(job: Job) -> Job:
            if job.state not in only:
                raise Conflict(
                    f"job {job.id} is {job.state}; retried are {', '.join(sorted(only))}", state=job.state.value
                )
            self._jobs.must_hold_its_key(job)
            ignore_unknown = actor.role == ledger.SYSTEM.role
            whole = None if payload is None else edited(job, payload, ignore_unknown=ignore_unknown)
            return job.restarted(self._jobs.now(), whole)

        job = self.change_as(job_id, "job.retry", again, actor, reason)
        return self._jobs.dispatch([job], time_left).get(job.id, job)

    def change_as(
        self, job_id: str, action: str, change: Callable[[Job], Job | None], actor: Actor, reason: str
    ) -> Job:
        """Change a job on a person's behalf, signed in the same transaction.

        Args:
            job_id: which.
            action: the ledger's name for it.
            change: returns the changed job, None to leave it; called again after a conflict.
            actor: who.
            reason: why.

        Raises:
            NotFound: the job does not exist.
            Unavailable: too many conflicts.
        """

        def attempt() -> Job:
            before = self._jobs.job(job_id)
            after = change(before)
            if after is None:
                return before
            entry = LedgerEntry(
                actor, action, f"job:{job_id}", {"state": before.state.value}, {"state": after.state.value}, reason
            )
            after, with_it = with_result_webhook(after, self._jobs.now()) if after.cycle > before.cycle else (after, ())
            written = self._jobs.store.change(
                before, after, lambda transaction: self._jobs.ledger.sign(transaction, entry), with_it
            )
            if written is None:
                raise TransactionConflict(f"job {job_id}")
            return written

        return retry_on_conflict(attempt)


def edited(job: Job, payload: dict[str, Any], *, ignore_unknown: bool = False) -> dict[str, Any]:
    """Return an edited payload as a retry runs it: checked like that of a new job, with what was left masked.

    Args:
        job: which is retried.
        payload: as a person sent it.
        ignore_unknown: as `check_payload`.

    Raises:
        Invalid: it breaks its type's rules.
    """
    return check_payload(job_types.find(job.type), unmasked(payload, job.payload), job, ignore_unknown=ignore_unknown)


def from_env() -> Lifecycle:
    """Return the lifecycle of this process."""
    return Lifecycle(service.from_env())
