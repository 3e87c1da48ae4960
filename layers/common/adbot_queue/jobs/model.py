"""A job: its transitions. Pure.

    waiting --claim--> active --> completed | failed | dead | cancelled
       ^                 |
       |                 v  (transient failure, rate limit, expired lease)
    delayed <------------+

`failed`: the provider refused for good. `dead`: all attempts are spent. Both are dead letters until an operator
decides. These and `cancelled` jobs can be retried, which starts a new cycle of attempts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from adbot_queue.jobs.failure import Failure
from adbot_queue.jobs.rank import rank
from adbot_queue.jobs.row import BAD_ENDS, RETRYABLE, TERMINAL, Attempt, JobMode, JobRow, JobState

__all__ = ["BAD_ENDS", "RETRYABLE", "TERMINAL", "Attempt", "Job", "JobMode", "JobState", "Verdict"]

MINUTE_MS = 60_000
DAY_MS = 86_400_000
LONG_RUNNING_RETENTION_MS = 30 * DAY_MS
"""The row of a long-running job is its progress page."""

RETENTION_MS = {JobState.COMPLETED: 7 * DAY_MS, JobState.CANCELLED: 90 * DAY_MS}
"""How long a row stays after its end. A failed or dead job stays until an operator decides about it."""

DECIDED_MS = 90 * DAY_MS
"""How long a dead letter stays after the decision about it."""

UNSUPPORTED_MS = 3 * DAY_MS
"""How long a job waits for a version of the code that can run it: over a weekend."""

SEND_AHEAD_MS = 120_000
"""How long before its time a delayed job is sent to SQS, whose DelaySeconds then runs it on the second."""

RECHECK_MS = 300_000
"""When the sweeper rechecks a blocked job, in case the worker that ended its last parent died."""

MAX_RECHECK_MS = 3_600_000
"""The longest pause between two rechecks."""

GRACE_MS = 60_000
"""How late a message may be before the sweeper resends it."""

MAX_QUEUE_DELAY_MS = 900_000
"""The longest DelaySeconds of SQS."""

MAX_HISTORY = 25
"""Attempts that a row keeps; the counter goes on."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a failed attempt leads to.

    Attributes:
        state: DELAYED (retried after `delay_ms`), FAILED, DEAD or CANCELLED.
        attempt: spent attempts from now on.
        why: appended to the failure's message.
    """

    state: JobState
    attempt: int
    delay_ms: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Job(JobRow):
    """A job: its row, and what may follow."""

    @property
    def is_terminal(self) -> bool:
        """Whether it ended: only a manual retry runs it again."""
        return self.state in TERMINAL

    @property
    def may_have_acted(self) -> bool:
        """Whether its effect may have happened, or may yet: neither refused for good nor cancelled before it ran."""
        return self.state is not JobState.FAILED and (self.state is not JobState.CANCELLED or self.has_started)

    @property
    def provider_key(self) -> str:
        """The idempotency key towards providers: the job's id until a provider refuses for good."""
        return self.id if not self.provider_key_generation else f"{self.id}-{self.provider_key_generation}"

    @property
    def rides_on_queue(self) -> bool:
        """Whether its message waits in SQS; a longer delay is left to the sweeper."""
        return self.run_at is not None and self.due_at is not None and self.due_at > self.run_at

    @property
    def has_started(self) -> bool:
        """Whether it ran before. If it is blocked now, it waits for jobs of its own, and the end of any resumes it."""
        return self.first_started_at is not None

    @property
    def effective_rank(self) -> str | None:
        """Its rank now, or at its time if it is delayed; None while it is blocked or active."""
        return self.rank if self.run_at is None else rank(self.priority, self.run_at + self.fairness_delay_ms)

    def age_ms(self, now: int) -> int:
        """Return how long it has been tried: since it first ran in this cycle, or resumed after progress."""
        return now - (self.tried_since or self.started_at or now)

    def changed(self, **values: Any) -> Job:
        """Return the job with other values."""
        return replace(self, **values)

    # Transitions

    def waiting(self, since: int) -> Job:
        """Return it claimable from this moment on."""
        place = rank(self.priority, since + self.fairness_delay_ms)
        return self._released(state=JobState.WAITING, rank=place, run_at=None, blocked_by=frozenset())

    def delayed(self, run_at: int, now: int) -> Job:
        """Return it claimable from `run_at` on."""
        soon = run_at - now <= MAX_QUEUE_DELAY_MS
        due_at = run_at + GRACE_MS if soon else run_at - SEND_AHEAD_MS
        return self._released(state=JobState.DELAYED, run_at=run_at, due_at=due_at)

    def blocked(self, parents: frozenset[str], now: int, pause: int = RECHECK_MS) -> Job:
        """Return it blocked by these jobs; the sweeper rechecks them after a pause (ms)."""
        return self._released(state=JobState.DELAYED, run_at=None, blocked_by=parents, due_at=now + pause)

    def suspended(self, jobs: frozenset[str], now: int) -> Job:
        """Return it blocked by jobs of its own until one ends. It made progress: failed attempts no longer count."""
        first = self.first_started_at or self.started_at
        return self.blocked(jobs, now).changed(attempt=0, first_started_at=first, tried_since=None)

    def between_slices(self, not_before: int, now: int) -> Job:
        """Return it ready for its next slice, at once or later; no attempt is spent or recorded."""
        first = self.first_started_at or self.started_at
        back = self.delayed(not_before, now) if not_before > now else self.waiting(now)
        return back.changed(attempt=self.attempt - 1, first_started_at=first, failure=None)

    def completed(self, result: Any, now: int) -> Job:
        """Return it completed."""
        return self._tried(None, now)._end(JobState.COMPLETED, now, result=result, failure=None)  # noqa: SLF001

    def apply_verdict(self, verdict: Verdict, failure: Failure, now: int) -> Job:
        """Return it after a failed attempt."""
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
        """Return it delayed until a version of the code that can run it is deployed; after 3 days it is dead.

        Spends no attempt. Repeated returns are one entry of its history, which begins with the first.
        """
        last = self.attempts[-1] if self.attempts else None
        again = last is not None and last.failure is not None and last.failure.kind == failure.kind
        since = last.started_at if last and again else self.started_at or now
        age = now - since
        if age >= UNSUPPORTED_MS:
            failure = Failure("expired", failure.error, failure.message)
        entry = Attempt(self.attempt - 1, since, now, self.worker or "", failure)
        earlier = self.attempts[:-1] if again else self.attempts
        kept = self.changed(attempts=(*earlier, entry)[-MAX_HISTORY:], attempt=self.attempt - 1, failure=failure)
        if age >= UNSUPPORTED_MS:
            return kept.changed(fingerprint=failure.fingerprint(self.type))._end(JobState.DEAD, now)  # noqa: SLF001
        return kept.delayed(now + min(max(age // 2, MINUTE_MS // 2), 15 * MINUTE_MS), now)

    def cancelled(self, why: str, now: int) -> Job:
        """Return it cancelled, by a person or because a parent did not complete."""
        return self._end(JobState.CANCELLED, now).changed(failure=Failure("cancelled", "Cancelled", why))

    def restarted(self, now: int, payload: dict[str, Any] | None = None) -> Job:
        """Return it in a new cycle of attempts, with another payload if one is given.

        A provider that refused repeats its answer under the same idempotency key, so a new key is used; after any other
        end the effect may have happened, so the key stays. Another payload is another effect. A long-running job
        resumes from its cursor unless its payload changed.
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
        """Return it closed by an operator: no longer a dead letter, deleted after 90 days or later."""
        until = max(now + DECIDED_MS, self.idempotency_expires_at or 0)  # as in `_end`
        return self.changed(decision="discarded", expires_at=until // 1000)

    @property
    def is_dead_letter(self) -> bool:
        """Whether it waits for an operator's decision."""
        return self.state in BAD_ENDS and self.decision is None

    def _tried(self, failure: Failure | None, now: int) -> Job:
        attempt = Attempt(self.attempt, self.started_at or now, now, self.worker or "", failure)
        first = self.first_started_at or self.started_at
        return self.changed(attempts=(*self.attempts, attempt)[-MAX_HISTORY:], first_started_at=first)

    def _end(self, state: JobState, now: int, **values: Any) -> Job:
        # A key that still means this job must find it: the row stays at least as long.
        kept = RETENTION_MS.get(state)
        if kept and self.long_running:
            kept = max(kept, LONG_RUNNING_RETENTION_MS)
        until = None if kept is None else max(now + kept, self.idempotency_expires_at or 0) // 1000
        return self._released(
            state=state,
            run_at=None,
            blocked_by=frozenset(),
            finished_at=now,
            expires_at=until,
            cancel_requested=False,
            **values,
        )

    def _released(self, **values: Any) -> Job:
        """Return it without a lease and in no index, except what the values say."""
        nothing: dict[str, Any] = {"rank": None, "due_at": None, "lease": None, "lease_until": None}
        return replace(self, **(nothing | values))
