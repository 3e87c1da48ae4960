"""What a job is. Pure.

    waiting --claim--> active --> completed | failed | dead | cancelled
       ^                 |
       |                 v  (transient failure, rate limit, lease ran out)
    delayed <------------+

`failed`: the provider said no, once and for all. `dead`: all attempts are spent. Both are dead letters until a person
decides. They, and `cancelled`, can be retried by a person, which begins a new cycle of attempts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum, auto
from typing import Any

from adbot_queue.core.ids import fingerprint
from adbot_queue.jobs.rank import rank


class JobState(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"  # may be claimed now
    DELAYED = "delayed"  # may be claimed from run_at on, or when the jobs it depends on are done
    ACTIVE = "active"  # a worker has it until lease_until
    COMPLETED = "completed"
    FAILED = "failed"
    DEAD = "dead"
    CANCELLED = "cancelled"


TERMINAL = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.DEAD, JobState.CANCELLED})
BAD_ENDS = frozenset({JobState.FAILED, JobState.DEAD})
RETRYABLE = BAD_ENDS | {JobState.CANCELLED}

MINUTE_MS = 60_000
DAY_MS = 86_400_000
LONG_RUNNING_RETENTION_MS = 30 * DAY_MS
"""A long-running job's row is what a person looks its work up by."""

RETENTION_MS = {JobState.COMPLETED: 7 * DAY_MS, JobState.CANCELLED: 90 * DAY_MS}
"""How long a row stays after its end. A bad end stays until somebody decides about it."""

DECIDED_MS = 90 * DAY_MS
"""How long a dead letter stays after the decision about it."""

UNSUPPORTED_MS = 3 * DAY_MS
"""For so long a job waits for a version of the code that can run it: a rollback on a Friday is mended on a Monday."""

SEND_AHEAD_MS = 120_000
"""How long before its time a delayed job is looked at, so that its message can ride on SQS to the second."""

LOOK_AGAIN_MS = 300_000
"""When a job that waits for others is checked, in case that whoever ended the last of them died right then."""

LOOK_SELDOM_MS = 3_600_000
"""The longest pause between two such looks."""

GRACE_MS = 60_000
"""How long a message may take from its time on before its job is looked at again."""

MAX_QUEUE_DELAY_MS = 900_000
"""The longest DelaySeconds of SQS."""

HISTORY = 25
"""Attempts that a row keeps; the count goes on."""


class JobMode(StrEnum):
    """How a job came to be executed."""

    ASYNC_QUEUE = "async_queue"
    SYNC_DIRECT = "sync_direct"
    FALLBACK = "fallback"  # the queue refused, so the request did it


SPENDS_NO_ATTEMPT = frozenset({"snoozed", "throttled", "provider_closed", "unsupported"})
"""Kinds of failures whose attempt does not count: it was not made, or the provider did not look at it."""


class RetryLimit(Enum):
    """What bounds the repetitions after a failure."""

    ATTEMPTS = auto()  # the policy's attempts: the job itself is at fault, or what it costs is lost each time
    HORIZON = auto()  # the policy's attempts, then its horizon: somebody else is out of order
    NONE = auto()  # nothing: the job waits for its turn


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt did not complete its job.

    Attributes:
        kind: `transient`, `permanent`, `timeout`, `stalled` (the worker died), `cancelled`, `expired` (it has waited
            too long for another version of the code); or one that spends no attempt: `snoozed`, `throttled`,
            `provider_closed`, `unsupported` (it waits for another version of the code).
        error: the exception's class: what an operator searches for.
        message: one sentence, without personal data.
        limit: what bounds the repetitions; not stored.
    """

    kind: str
    error: str
    message: str
    limit: RetryLimit = field(default=RetryLimit.HORIZON, compare=False)

    def fingerprint(self, job_type: str) -> str:
        """The same for failures that are the same but for numbers and ids: dead letters are grouped by it."""
        text = re.sub(r"[0-9a-f]{8,}|\d+", "#", self.message.lower())
        return fingerprint(f"{job_type}\n{self.kind}\n{self.error}\n{text}")[:12]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a job after an attempt that failed.

    Attributes:
        state: DELAYED (tried again after `delay_ms`), FAILED, DEAD or CANCELLED.
        attempt: the attempts that count from now on.
        why: what is added to the failure's message.
    """

    state: JobState
    attempt: int
    delay_ms: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try, finished. `number` counts within a cycle."""

    number: int
    started_at: int
    ended_at: int
    worker: str
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job. Times are milliseconds since 1970.

    Attributes:
        tenant: who it is for: the user who enqueued it, or `system`. Tenants are served fairly.
        rank: place in the order of service while waiting (`rank`).
        fairness_delay_ms: how far it falls behind in that order because its tenant enqueues faster than its rate.
        run_at: not before this.
        due_at: while delayed or active: somebody must look at it by then.
        blocked_by: jobs that must end first.
        run_if_parents_fail: runs whatever became of those; otherwise it is cancelled when one did not complete.
        children: jobs that wait for this one.
        checkpoint: what its handler saved to resume from; it outlives attempts, cycles and the end of the job.
        attempt: attempts of this cycle, the running one included; what retries are counted by.
        cycle: how often a person had it retried.
        provider_key_generation: names the effect towards providers: changes only after a provider's definite no.
        first_started_at: when it first ran; written when that run has ended.
        tried_since: when it first ran in this cycle, or went on after it got somewhere: its horizon counts from then.
            Written when an attempt has failed.
        lease: the claim; whoever finishes the job must show it.
        long_running: it works in slices (`jobs.long_running`); its checkpoint is its progress.
        slices: how many slices it has written.
        cancel_requested: the processor is asked to stop.
        idempotency_expires_at: until then its idempotency key means this job (ms).
        webhook_url: is told of the end of each cycle.
        decision: `discarded` when a person has decided that a bad end stays one.
        last_replay: the governed replay that had it retried last; none has it retried twice.
    """

    id: str
    type: str
    queue: str
    payload: dict[str, Any]
    created_at: int
    state: JobState = JobState.WAITING
    priority: int = 0
    tenant: str = "system"
    rank: str | None = None
    fairness_delay_ms: int = 0
    run_at: int | None = None
    due_at: int | None = None
    tags: tuple[str, ...] = ()
    batch: str | None = None
    blocked_by: frozenset[str] = frozenset()
    depends_on: tuple[str, ...] = ()
    run_if_parents_fail: bool = False
    children: frozenset[str] = frozenset()
    mode: JobMode | None = None
    attempt: int = 0
    attempts: tuple[Attempt, ...] = ()
    cycle: int = 0
    provider_key_generation: int = 0
    lease: str | None = None
    lease_until: int | None = None
    worker: str | None = None
    started_at: int | None = None
    first_started_at: int | None = None
    tried_since: int | None = None
    finished_at: int | None = None
    result: Any = None
    failure: Failure | None = None
    fingerprint: str | None = None
    long_running: bool = False
    slices: int = 0
    cancel_requested: bool = False
    progress: dict[str, Any] = field(default_factory=dict)
    checkpoint: dict[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    idempotency_expires_at: int | None = None
    webhook_url: str | None = None
    decision: str | None = None
    last_replay: str | None = None
    version: int = 1
    expires_at: int | None = None

    @property
    def is_terminal(self) -> bool:
        """It will not run again unless a person has it retried."""
        return self.state in TERMINAL

    @property
    def may_have_acted(self) -> bool:
        """Whether its effect may have happened, or may yet: not refused for good, nor cancelled before it ran."""
        return self.state is not JobState.FAILED and (self.state is not JobState.CANCELLED or self.has_started)

    @property
    def provider_key(self) -> str:
        """The idempotency key towards providers: the job's id, for as long as no provider has refused it for good."""
        return self.id if not self.provider_key_generation else f"{self.id}-{self.provider_key_generation}"

    @property
    def rides_on_queue(self) -> bool:
        """Delayed by so little that its message waits for it in SQS; otherwise the sweeper sends it in time."""
        return self.run_at is not None and self.due_at is not None and self.due_at > self.run_at

    @property
    def has_started(self) -> bool:
        """It ran before. If it waits for others now, it is in the midst of its work: the end of any lets it go on."""
        return self.first_started_at is not None

    @property
    def effective_rank(self) -> str | None:
        """Its rank, or that which a delayed one will have at its time; None while it waits for others, or does not."""
        return self.rank if self.run_at is None else rank(self.priority, self.run_at + self.fairness_delay_ms)

    def age_ms(self, now: int) -> int:
        """For how long it has been tried: since it first ran in this cycle, or went on after it got somewhere."""
        return now - (self.tried_since or self.started_at or now)

    def changed(self, **values: Any) -> Job:
        """The job with other values."""
        return replace(self, **values)

    # What can happen to it

    def waiting(self, since: int) -> Job:
        """It may be claimed from this moment on."""
        place = rank(self.priority, since + self.fairness_delay_ms)
        return self._out_of_hand(state=JobState.WAITING, rank=place, run_at=None, blocked_by=frozenset())

    def delayed(self, run_at: int, now: int) -> Job:
        """It may be claimed from `run_at` on."""
        soon = run_at - now <= MAX_QUEUE_DELAY_MS
        due_at = run_at + GRACE_MS if soon else run_at - SEND_AHEAD_MS
        return self._out_of_hand(state=JobState.DELAYED, run_at=run_at, due_at=due_at)

    def blocked(self, parents: frozenset[str], now: int, pause: int = LOOK_AGAIN_MS) -> Job:
        """It may be claimed when these have ended; after a pause (ms) somebody looks whether they have."""
        return self._out_of_hand(state=JobState.DELAYED, run_at=None, blocked_by=parents, due_at=now + pause)

    def suspended(self, jobs: frozenset[str], now: int) -> Job:
        """It goes on when one of these has ended. It got somewhere, so attempts that failed before count no more."""
        first = self.first_started_at or self.started_at
        return self.blocked(jobs, now).changed(attempt=0, first_started_at=first, tried_since=None)

    def between_slices(self, not_before: int, now: int) -> Job:
        """It goes on with its next slice, now or at a time: no attempt is spent, and none is kept."""
        first = self.first_started_at or self.started_at
        back = self.delayed(not_before, now) if not_before > now else self.waiting(now)
        return back.changed(attempt=self.attempt - 1, first_started_at=first, failure=None)

    def completed(self, result: Any, now: int) -> Job:
        """Its work is done."""
        return self._tried(None, now)._end(JobState.COMPLETED, now, result=result, failure=None)  # noqa: SLF001

    def apply_verdict(self, verdict: Verdict, failure: Failure, now: int) -> Job:
        """An attempt failed, and this is what it leads to."""
        tried = self._tried(failure, now).changed(
            failure=replace(failure, message=f"{failure.message}{verdict.why}"),
            attempt=verdict.attempt,
            tried_since=now - self.age_ms(now),
        )
        if verdict.state is JobState.DELAYED:
            return tried.delayed(now + verdict.delay_ms, now)
        if verdict.state in BAD_ENDS:
            tried = tried.changed(fingerprint=failure.fingerprint(self.type))
        return tried._end(verdict.state, now)  # noqa: SLF001

    def put_back(self, failure: Failure, now: int) -> Job:
        """This version cannot run it: it waits, at no attempt's cost, for one that can; in the end it is dead.

        However often it is put back, it is one entry of its history, which begins with the first time.
        """
        last = self.attempts[-1] if self.attempts else None
        again = last is not None and last.failure is not None and last.failure.kind == failure.kind
        since = last.started_at if last and again else self.started_at or now
        age = now - since
        if age >= UNSUPPORTED_MS:
            failure = Failure("expired", failure.error, failure.message)
        entry = Attempt(self.attempt - 1, since, now, self.worker or "", failure)
        earlier = self.attempts[:-1] if again else self.attempts
        kept = self.changed(attempts=(*earlier, entry)[-HISTORY:], attempt=self.attempt - 1, failure=failure)
        if age >= UNSUPPORTED_MS:
            return kept.changed(fingerprint=failure.fingerprint(self.type))._end(JobState.DEAD, now)  # noqa: SLF001
        return kept.delayed(now + min(max(age // 2, MINUTE_MS // 2), 15 * MINUTE_MS), now)

    def cancelled(self, why: str, now: int) -> Job:
        """It will not run: a person cancelled it, or a job it depends on did not complete."""
        return self._end(JobState.CANCELLED, now).changed(failure=Failure("cancelled", "Cancelled", why))

    def restarted(self, now: int, payload: dict[str, Any] | None = None) -> Job:
        """A person has it retried: a new cycle of attempts, with another payload if one is given.

        A provider that said no would say so again under the same idempotency key; after any other end the effect may
        have happened, so the key stays. Another payload is another effect, and other work: a long-running job begins it
        anew, otherwise it resumes from its cursor.
        """
        another = self.state is JobState.FAILED or payload is not None
        anew = self.long_running and payload is not None and payload != self.payload
        return self.waiting(now).changed(
            payload=self.payload if payload is None else payload,
            checkpoint={} if anew else self.checkpoint,
            attempt=0,
            tried_since=None,
            cycle=self.cycle + 1,
            provider_key_generation=self.provider_key_generation + another,
            finished_at=None,
            expires_at=None,
            result=None,
            failure=None,
            fingerprint=None,
            cancel_requested=False,
            decision=None,
        )

    def discarded(self, now: int) -> Job:
        """A person has decided that a bad end stays one: it leaves the list, and its row goes in 90 days or later."""
        until = max(now + DECIDED_MS, self.idempotency_expires_at or 0)  # as in `_end`
        return self.changed(decision="discarded", expires_at=until // 1000)

    @property
    def is_dead_letter(self) -> bool:
        """It waits for a person's decision."""
        return self.state in BAD_ENDS and self.decision is None

    def _tried(self, failure: Failure | None, now: int) -> Job:
        attempt = Attempt(self.attempt, self.started_at or now, now, self.worker or "", failure)
        first = self.first_started_at or self.started_at
        return self.changed(attempts=(*self.attempts, attempt)[-HISTORY:], first_started_at=first)

    def _end(self, state: JobState, now: int, **values: Any) -> Job:
        # A key that still means this job must find it: the row stays at least as long.
        kept = RETENTION_MS.get(state)
        if kept and self.long_running:
            kept = max(kept, LONG_RUNNING_RETENTION_MS)
        until = None if kept is None else max(now + kept, self.idempotency_expires_at or 0) // 1000
        return self._out_of_hand(
            state=state,
            run_at=None,
            blocked_by=frozenset(),
            finished_at=now,
            expires_at=until,
            cancel_requested=False,
            **values,
        )

    def _out_of_hand(self, **values: Any) -> Job:
        """No worker has it, and it stands in no index but those that the new state says."""
        nothing: dict[str, Any] = {"rank": None, "due_at": None, "lease": None, "lease_until": None}
        return replace(self, **(nothing | values))
