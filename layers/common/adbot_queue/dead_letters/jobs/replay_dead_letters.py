"""`replay-dead-letters`: replays many dead letters, oldest first, at a rate.

A replay goes through what died before it began. A job that dies again is younger than that, and `last_replay`
names the replay, should clocks disagree. So none is replayed twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, Field

from adbot_queue.core.dynamodb import Transaction
from adbot_queue.core.errors import Conflict
from adbot_queue.core.schema import Input
from adbot_queue.core.telemetry import count, logger
from adbot_queue.dead_letters.model import DeadLetterFilter, died_at
from adbot_queue.dead_letters.store import DeadLetterStore, IndexEntry
from adbot_queue.jobs import service
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.enqueue import owner_check
from adbot_queue.jobs.enqueue.result_webhook import with_result_webhook
from adbot_queue.jobs.errors import PermanentError
from adbot_queue.jobs.job_queues import exponential
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType
from adbot_queue.jobs.long_running import LongRunningJob, Progress, Slice, allowed, next_at, run
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.service import JobService
from adbot_queue.ledger import Actor, LedgerEntry
from adbot_queue.platform.owner_limit import OWNER, OwnerLimit

READ_PAGE_SIZE = 100

MAX_PER_SLICE = 25
"""Each is up to three items of the slice's transaction: the job, its result webhook, the ledger entry."""

CANARY_CHECK_MS, MAX_CANARY_CHECK_MS = 5_000, 15 * 60_000
"""A canary that waits longer is looked at less often."""

MAX_QUERIES = 20
"""Queries of a slice whose filter leaves out much."""


class Filter(BaseModel):
    """Which dead letters; as `DeadLetterFilter`."""

    queue: str | None = None
    type: str | None = None
    state: Literal["dead", "failed"] | None = None
    fingerprint: str | None = None
    since: int = 0
    until: int | None = None
    job_ids: tuple[str, ...] | None = None


class StartedBy(BaseModel):
    """Who began it, and signs for every dead letter."""

    id: str
    role: str
    request_id: str = ""


class ReplayDeadLetters(Input):
    """What `Replays.start` writes. `cut_off` is in ms."""

    filter: Filter
    rate_per_second: float = Field(gt=0)
    canary: bool = False
    cut_off: int
    count: int
    count_is_exact: bool
    reason: str
    started_by: StartedBy


class Replay(LongRunningJob):
    """The work of one replay.

    Its cursor is `[place in the index, when the next one may follow, the canary that must complete first]`.
    """

    def __init__(
        self,
        payload: ReplayDeadLetters,
        context: Context,
        letters: DeadLetterStore,
        jobs: JobService,
    ) -> None:
        self._payload = payload
        self._context = context
        self._letters = letters
        self._jobs = jobs
        self._id = context.job_id
        self._actor = Actor(payload.started_by.id, payload.started_by.role, payload.started_by.request_id)
        self._wanted = DeadLetterFilter(**payload.filter.model_dump()).before(payload.cut_off)

    def next_slice(self, progress: Progress) -> Slice:
        """Replay as many dead letters as the rate allows now."""
        now, rate = self._context.now(), self._payload.rate_per_second
        place, paced_at, canary = progress.cursor or (None, now, None)
        if canary and not self._has_completed(canary):
            wait_ms = min(max((now - paced_at) // 2, CANARY_CHECK_MS), MAX_CANARY_CHECK_MS)
            return Slice(progress.cursor, not_before=now + wait_ms)
        is_first = self._payload.canary and not progress.outcomes.get("replayed")
        size = min(allowed(paced_at, now, rate), 1 if is_first else MAX_PER_SLICE)
        if not size:
            return Slice([place, paced_at, None], not_before=paced_at)
        entries, place = self._next(place, size)
        rows = self._letters.rows(entries)
        retried: list[tuple[Job, Job, Sequence[Job]]] = []
        outcomes = {"replayed": 0, "skipped": 0, "refused": 0}
        for entry in entries:
            row = rows.get(entry.job_id)
            if row is None or not self._is_wanted(row):
                # What this replay has done itself is counted; what died again meanwhile is none of its own.
                outcomes["skipped"] += row is None or not (row.last_replay == self._id or row.is_dead_letter)
            elif why := self._refusal(row):
                logger.warning("dead letter not replayed", job_id=row.id, replay=self._id, why=why)
                outcomes["refused"] += 1
            else:
                again, with_it = with_result_webhook(row.restarted(now).changed(last_replay=self._id), now)
                retried.append((row, again, with_it))
                outcomes["replayed"] += 1
                paced_at = next_at(paced_at, now, rate)
        canary = retried[0][0].id if is_first and retried else None
        return Slice(
            [place, paced_at, canary],
            done=sum(outcomes.values()),
            outcomes=outcomes,
            effects=(lambda transaction: self._write(transaction, retried)) if retried else None,
            afterwards=partial(self._send, [again for _, again, _ in retried]),
            of=self._payload.count if self._payload.count_is_exact else None,
            cut_off=self._payload.cut_off,
            not_before=max(paced_at, now + CANARY_CHECK_MS) if canary else paced_at,
            is_last=place is None,
        )

    def result(self, progress: Progress) -> dict[str, Any]:
        """Return how many were replayed, skipped and refused."""
        count("ReplaysCompleted")
        return super().result(progress)

    def _has_completed(self, canary: str) -> bool:
        """Whether the replay may go on; a canary that was deleted stops nothing.

        Raises:
            PermanentError: an attempt of the canary failed, or it was cancelled. A retry of the replay looks again.
        """
        row = self._jobs.store.get(canary)
        if row is None or row.state is JobState.COMPLETED:
            return True
        if row.is_terminal or row.failure:
            raise PermanentError(f"the canary, job {canary}, did not complete: it is {row.state}")
        return False

    def _send(self, jobs: Sequence[Job]) -> None:
        """Those that SQS does not take, or whose sender dies right now, are sent by the sweeper."""
        self._jobs.dispatcher.send(jobs)

    def _next(self, place: str | None, size: int) -> tuple[list[IndexEntry], str | None]:
        """The next entries of the index, and the place behind them; None: there are no more."""
        for _ in range(MAX_QUERIES):
            entries, place = self._letters.entries(self._wanted, READ_PAGE_SIZE, place, forward=True)
            if len(entries) > size:
                return entries[:size], entries[size - 1].position
            if entries or place is None:
                break
        return entries, place

    def _is_wanted(self, row: Job) -> bool:
        return row.is_dead_letter and row.last_replay != self._id and died_at(row) < self._payload.cut_off

    def _refusal(self, job: Job) -> str | None:
        """Return why a job stays dead: the owner alone may move its money, or another job has taken its key."""
        if self._actor.role != "owner" and (why := owner_check.needs_owner(job.type, job.payload)):
            return why
        try:
            self._jobs.must_hold_its_key(job)
        except Conflict as conflict:
            return str(conflict)
        return None

    def _write(self, transaction: Transaction, retried: Sequence[tuple[Job, Job, Sequence[Job]]]) -> None:
        """Items of each and what it refuses: the job, if it has changed; its result webhook; the ledger entry."""
        for row, again, with_it in retried:
            self._jobs.store.add_change(transaction, row, again, with_it)
            before, after = {"state": row.state.value}, {"state": again.state.value, "replay": self._id}
            target = f"job:{row.id}"
            entry = LedgerEntry(self._actor, "dead-letter.replay", target, before, after, self._payload.reason)
            self._jobs.ledger.sign(transaction, entry)


def replay_dead_letters(payload: ReplayDeadLetters, context: Context) -> dict[str, Any]:
    """Work on a replay.

    Raises:
        NextRun, Cancelled: as `long_running.run`.
    """
    jobs = service.from_env()
    return run(Replay(payload, context, DeadLetterStore(jobs.store.client, jobs.store.table), jobs), context)


def needs_owner(payload: Mapping[str, Any], _: OwnerLimit) -> str | None:
    """Return why a replay needs the owner: one that the owner began moves what the owner may move."""
    began = (payload.get("started_by") or {}).get("role")
    return "a replay that the owner began needs the role owner" if began == OWNER else None


JOB = JobType(
    queue="maintenance",
    payload=ReplayDeadLetters,
    handler=replay_dead_letters,
    needs_owner=needs_owner,
    horizon_s=DAY_S,
    cap_s=15 * MINUTE_S,
    timeout_s=30,
    # However often its worker dies: hours of a large replay must survive that.
    policy=exponential(20, 2),
    parallel=False,
    cancellable=True,
    internal=True,
    long_running=True,
)
