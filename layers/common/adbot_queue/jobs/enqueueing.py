"""Enqueues jobs: validates, writes, and sends them to workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from adbot_queue import ledger as ledgers
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.dynamodb import Transaction
from adbot_queue.core.errors import AppError, Conflict, IdempotencyMismatch, RateLimited
from adbot_queue.core.idempotency import DuplicateOf, IdempotencyRecord
from adbot_queue.core.telemetry import count
from adbot_queue.jobs import job_types
from adbot_queue.jobs.enqueue.inserts import inserts_of
from adbot_queue.jobs.enqueue.request import JobRequest, derived_key, validate
from adbot_queue.jobs.model import Job, JobMode, JobState
from adbot_queue.jobs.store.inserts import KeyInUse
from adbot_queue.jobs.store.jobs import JobStore
from adbot_queue.jobs.store.records import Created, JobInsert
from adbot_queue.jobs.worker.dependents import Dependents
from adbot_queue.jobs.worker.dispatch import Dispatcher
from adbot_queue.ledger import Actor, Ledger, LedgerEntry
from adbot_queue.platform import health_log
from adbot_queue.platform.health_log import LogLevel
from adbot_queue.platform.rate import Rate
from adbot_queue.platform.rate_limits import RateLimiter, RateLimitResult

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

DIRECT_S = 20
"""A type with a longer timeout is started, not awaited, when a request executes it: API Gateway times out after 30 s.
"""

RESERVE_MS = 4_000
"""Milliseconds of a request after which further direct runs are left to the sweeper."""

TimeLeft = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Enqueued:
    """A job as it is now; `replayed` if its key had enqueued it before."""

    job: Job
    replayed: bool = False


class Enqueueing:
    """What enqueueing takes."""

    def __init__(
        self,
        store: JobStore,
        dispatcher: Dispatcher,
        ledger: Ledger,
        limit: RateLimiter,
        rate: Rate,
        paused: Callable[[], AbstractSet[str]],
        now: Clock = system_clock,
    ) -> None:
        self.store = store
        self.dispatcher = dispatcher
        self.dependents = Dependents(store, dispatcher, now)
        self.ledger = ledger
        self._limits = limit
        self._rate = rate
        self.paused = paused
        self.now = now

    def enqueue(
        self,
        new: JobRequest,
        actor: Actor,
        time_left: TimeLeft | None = None,
        rate_limit: RateLimitResult | None = None,
    ) -> Enqueued:
        """Create a job and send it to a worker.

        The job is safe when this returns: it will run, or has run already (direct mode, or SQS refused).

        Args:
            new: the request.
            actor: the caller; people and providers sign in the ledger.
            time_left: milliseconds of the request that direct runs may use; None: they are started, not awaited.
            rate_limit: the tokens from `acquire`, which place the job in the fair order of service.

        Raises:
            Invalid: a field is invalid.
            IdempotencyMismatch: the key was used for another request.
            Conflict: the key means a job that was deleted.
            Unavailable: the outcome is unknown; send the same request again.
        """
        enqueued = self.enqueue_many([new], actor, time_left, rate_limit)[0]
        if isinstance(enqueued, AppError):
            raise enqueued
        return enqueued

    def enqueue_many(
        self,
        requests: Sequence[JobRequest],
        actor: Actor,
        time_left: TimeLeft | None = None,
        rate_limit: RateLimitResult | None = None,
        request: IdempotencyRecord | None = None,
    ) -> list[Enqueued | AppError]:
        """Create jobs: all, or none if one is invalid; see `enqueue`. `request` is the key of all together.

        Returns:
            For each its job, or why its key does not allow it.

        Raises:
            Invalid: names every invalid field; nothing was enqueued.
            IdempotencyMismatch: the key of all together was used for another request; nothing was enqueued.
            Unavailable: as `enqueue`.
        """
        now = self.now()
        checked = validate(requests, now, internal=actor.role == ledgers.SYSTEM.role)
        inserts = inserts_of(self.store, checked, now, rate_limit)
        first = _first_of_each(inserts)
        created = self._create(list(first.values()), now, actor, request)
        fresh = [insert.job for insert in first.values() if insert.job.id not in created.known]
        made = self.dispatch(fresh, time_left)
        for job in fresh:
            if job.id in created.late:
                self.dependents.recheck(job)
        count("JobsEnqueued", len(fresh))
        return [self._outcome(insert, first[_name(insert)], created, made) for insert in inserts]

    def _create(self, inserts: list[JobInsert], now: int, actor: Actor, request: IdempotencyRecord | None) -> Created:
        sign = self._signing(actor)
        try:
            created = self.store.create(inserts, now, sign, request)
        except KeyInUse as other:
            raise IdempotencyMismatch("the idempotency key was used with another request") from other
        # A job that did nothing loses a key that was derived from its payload.
        again: list[JobInsert] = []
        for insert in inserts:
            known = created.known.get(insert.job.id)
            if known and insert.job.idempotency_key is None:
                first = self.store.get(known.subject)
                if first and not first.may_have_acted:
                    again.append(replace(insert, instead_of=first.id, known=None))
        if again:
            new = self.store.create(again, now, sign)
            free = {insert.job.id for insert in again}
            kept = {job_id: known for job_id, known in created.known.items() if job_id not in free}
            created = Created(kept | new.known, created.late | new.late)
        return created

    def check(self, requests: Sequence[JobRequest], prefix: str) -> None:
        """Reject invalid requests before anything is written; `prefix` as in `validate`.

        Raises:
            Invalid: names every invalid field of every job.
        """
        validate(requests, self.now(), internal=False, prefix=prefix)

    def acquire(self, tenant: str, number: int = 1) -> RateLimitResult:
        """Take a rate-limit token for each of `number` new jobs of a tenant.

        Raises:
            RateLimited: the tenant enqueues faster than its rate.
        """
        rate_limit = self._limits.acquire(f"jobs:{tenant}", self._rate, number)
        if not rate_limit.allowed:
            error = RateLimited(f"more than {self._rate.per_second:g} jobs a second; try again later")
            error.headers = {"retry-after": str(rate_limit.retry_after_s), **rate_headers(rate_limit)}
            raise error
        return rate_limit

    def must_hold_its_key(self, job: Job) -> None:
        """Reject a retry if another job has taken the key derived from the payload.

        Raises:
            Conflict: the job did nothing, and another job took its key.
        """
        known = job_types.get(job.type)
        if known is None or not known.is_once or job.idempotency_key is not None:
            return
        with suppress(ValueError):  # the payload does not fit its model: the attempt reports it
            holder = self.store.key_holder(derived_key(job.tenant, known, job.payload))
            if holder not in {None, job.id}:
                raise Conflict(f"job {holder} was enqueued with the same payload since", job_id=holder)

    def _signing(self, actor: Actor) -> Callable[[Transaction, list[Job]], None] | None:
        if actor.role == ledgers.SYSTEM.role:
            return None

        def sign(transaction: Transaction, jobs: list[Job]) -> None:
            ids = [job.id for job in jobs]
            target = f"job:{ids[0]}" if len(jobs) == 1 else f"batch:{jobs[0].batch}"
            after = {"type": jobs[0].type, "queue": jobs[0].queue} if len(jobs) == 1 else {"jobs": ids}
            self.ledger.sign(transaction, LedgerEntry(actor, "job.enqueue", target, after=after))

        return sign

    def _outcome(
        self, insert: JobInsert, first: JobInsert, created: Created, made: Mapping[str, Job]
    ) -> Enqueued | AppError:
        """Return the outcome of an insert; `first` is the first insert of the same key in the request."""
        if known := created.known.get(first.job.id):
            return self._known(known)
        job = made.get(first.job.id, first.job)
        if insert is first:
            return Enqueued(job)
        if first.key_record and insert.key_record and first.key_record.fingerprint != insert.key_record.fingerprint:
            return IdempotencyMismatch("the idempotency key is used twice with different requests", job_id=job.id)
        return Enqueued(job, replayed=True)

    def _known(self, known: DuplicateOf) -> Enqueued | AppError:
        if not known.same:
            return IdempotencyMismatch("the idempotency key was used with another request", job_id=known.subject)
        job = self.store.get(known.subject)
        if job is None:
            return Conflict(
                f"the idempotency key means job {known.subject}, which has been deleted", job_id=known.subject
            )
        return Enqueued(job, replayed=True)

    def dispatch(self, jobs: list[Job], time_left: TimeLeft | None) -> dict[str, Job]:
        """Send new jobs to workers; return those that were executed directly, as they are afterwards."""
        if not self.dispatcher.is_direct:
            refused = self.dispatcher.send(jobs)
            if not refused:
                return {}
            count("QueueRefusals", len(refused))
            health_log.record(
                LogLevel.WARNING,
                "queue.refused",
                f"SQS refused {len(refused)} jobs; they are executed directly",
                queue=refused[0].queue,
                jobs=len(refused),
            )
            return self._run(refused, JobMode.FALLBACK, time_left)
        return self._run(jobs, JobMode.SYNC_DIRECT, time_left)

    def _run(self, jobs: list[Job], mode: JobMode, time_left: TimeLeft | None) -> dict[str, Job]:
        """Execute jobs within the request while its time lasts; the sweeper starts the others."""
        paused = self.paused()
        ran: list[str] = []
        for job in jobs:
            if job.state is not JobState.WAITING or job.queue in paused:
                continue
            known = job_types.get(job.type)
            if time_left is None or known is None or known.timeout_s > DIRECT_S:
                self.dispatcher.start(job, mode)
            elif time_left() > DIRECT_S * 1000 + RESERVE_MS and self.dispatcher.run(job, mode):
                ran.append(job.id)
        return self.store.get_many(ran) if ran else {}


def _name(insert: JobInsert) -> str:
    """Return the identity of an insert within its request: its key, or its id."""
    return insert.key_record.key if insert.key_record else insert.job.id


def _first_of_each(inserts: Sequence[JobInsert]) -> dict[str, JobInsert]:
    """Return the first insert of each key."""
    first: dict[str, JobInsert] = {}
    for insert in inserts:
        first.setdefault(_name(insert), insert)
    return first


def rate_headers(rate_limit: RateLimitResult) -> dict[str, str]:
    """Return the `RateLimit-*` headers."""
    return {
        "ratelimit-limit": str(rate_limit.limit),
        "ratelimit-remaining": str(rate_limit.remaining),
        "ratelimit-reset": str(rate_limit.reset_s),
    }
