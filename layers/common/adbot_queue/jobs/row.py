"""What the row of a job holds: its state, its attempts, its fields. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from adbot_queue.jobs.failure import Failure


class JobState(StrEnum):
    """The state of a job."""

    WAITING = "waiting"  # claimable now
    DELAYED = "delayed"  # claimable from run_at on, or when its parents have ended
    ACTIVE = "active"  # claimed until lease_until
    COMPLETED = "completed"
    FAILED = "failed"
    DEAD = "dead"
    CANCELLED = "cancelled"


TERMINAL = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.DEAD, JobState.CANCELLED})
BAD_ENDS = frozenset({JobState.FAILED, JobState.DEAD})
RETRYABLE = BAD_ENDS | {JobState.CANCELLED}


class JobMode(StrEnum):
    """How a job was executed."""

    ASYNC_QUEUE = "async_queue"
    SYNC_DIRECT = "sync_direct"
    FALLBACK = "fallback"  # SQS refused, so the request ran it


@dataclass(frozen=True, slots=True)
class Attempt:
    """One finished attempt. `number` counts within a cycle."""

    number: int
    started_at: int
    ended_at: int
    worker: str
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class JobRow:
    """What the row of a job holds. Times are milliseconds since 1970.

    Attributes:
        tenant: the user who enqueued it, or `system`. Tenants are served fairly.
        rank: place in the order of service while waiting (`rank`).
        fairness_delay_ms: how far it falls behind in that order because its tenant enqueues faster than its rate.
        run_at: earliest start.
        due_at: when the sweeper must look at it, while delayed or active.
        blocked_by: jobs that must end first.
        run_if_parents_fail: runs however its parents end; otherwise it is cancelled if one does not complete.
        children: jobs blocked by this one.
        checkpoint: what its handler resumes from; it outlives attempts and cycles.
        attempt: attempts of this cycle, the running one included; the retry policy counts these.
        cycle: number of manual retries.
        provider_key_generation: grows when a provider has refused for good: the next try is a new effect.
        first_started_at: first start; written when that run has ended.
        tried_since: first start of this cycle, or the resumption after progress: the horizon counts from then. Written
            by a failed attempt.
        lease: the claim; finishing the job requires it.
        long_running: it works in slices (`jobs.long_running`); its checkpoint is its progress.
        slices: number of slices written.
        cancel_requested: the handler is asked to stop.
        idempotency_expires_at: until then its idempotency key means this job (ms).
        webhook_url: receives the result of each cycle.
        decision: `discarded` when an operator has closed a dead letter.
        last_replay: the last replay that retried it; a replay retries a job once.
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
