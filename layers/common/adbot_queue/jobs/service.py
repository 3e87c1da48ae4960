"""The door of the jobs: enqueue and look at. `lifecycle` changes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from adbot_queue import ledger as ledgers
from adbot_queue.core import aws
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.dynamodb import Transaction
from adbot_queue.core.errors import (
    AppError,
    Conflict,
    IdempotencyMismatch,
    NotFound,
    RateLimited,
)
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import count
from adbot_queue.jobs import job_queues, job_types
from adbot_queue.jobs.enqueue.inserts import inserts_of
from adbot_queue.jobs.enqueue.request import JobRequest, memory_key, validate
from adbot_queue.jobs.model import TERMINAL, Job, JobMode, JobState
from adbot_queue.jobs.store.jobs import JobList, JobStore, KeyInUse
from adbot_queue.jobs.store.records import Created, DuplicateOf, IdempotencyRecord, JobInsert
from adbot_queue.jobs.worker import dispatch
from adbot_queue.jobs.worker.dependents import Dependents
from adbot_queue.jobs.worker.dispatch import Dispatcher
from adbot_queue.ledger import Actor, Ledger, LedgerEntry
from adbot_queue.platform import health_log
from adbot_queue.platform import rate_limits as limits
from adbot_queue.platform.health_log import LogLevel
from adbot_queue.platform.queue_pauses import Pauses
from adbot_queue.platform.rate import Rate
from adbot_queue.platform.rate_limits import RateLimiter, RateLimitResult

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

__all__ = ["TERMINAL", "Enqueued", "JobRequest", "JobService"]

DIRECT_S = 20
"""A type that may run longer than this is started, not waited for, when the request executes it: API Gateway gives up
after 30 s."""

RESERVE_MS = 4_000
"""Time left of a request at which it leaves further direct runs to the sweeper."""

TimeLeft = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Enqueued:
    """A job as it is now; `replayed` when the key had enqueued it before."""

    job: Job
    replayed: bool = False


class JobService:
    """Everything that is done to jobs from outside."""

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

    # Enqueueing

    def enqueue(
        self,
        new: JobRequest,
        actor: Actor,
        time_left: TimeLeft | None = None,
        rate_limit: RateLimitResult | None = None,
    ) -> Enqueued:
        """Create a job and get it to a worker.

        When it returns, the job is safe: it will run, or it has run already (direct mode, or the queue refused).

        Args:
            new: what is wanted.
            actor: who wants it; a person or provider signs for it in the ledger.
            time_left: milliseconds of the request that direct runs may use; None: they are started, not waited for.
            rate_limit: the tokens of `admit`, which give it its place among the jobs of others.

        Raises:
            Invalid: a field breaks its rule.
            IdempotencyMismatch: the key was used for another request.
            Conflict: the key was used for a job that has been deleted.
            Unavailable: nothing is known to have been enqueued; send the same again.
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
        """Create jobs, all or (when one is invalid) none; see `enqueue`. `request`: the key of all of them together.

        Returns:
            For each the job, or why its key does not allow it.

        Raises:
            Invalid: names every field that breaks a rule; nothing was enqueued.
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
        # A key that the type has made is not held by a job that did nothing.
        again: list[JobInsert] = []
        for insert in inserts:
            known = created.known.get(insert.job.id)
            if known and insert.memory and insert.memory.derived:
                first = self.store.get(known.job_id)
                if first and not first.may_have_acted:
                    again.append(replace(insert, memory=replace(insert.memory, instead_of=first.id), known=None))
        if again:
            new = self.store.create(again, now, sign)
            free = {insert.job.id for insert in again}
            kept = {job_id: known for job_id, known in created.known.items() if job_id not in free}
            created = Created(kept | new.known, created.late | new.late)
        return created

    def check(self, requests: Sequence[JobRequest], prefix: str) -> None:
        """Refuse what breaks a rule, before anything is done; `prefix` as in `validate`.

        Raises:
            Invalid: names every field of every job.
        """
        validate(requests, self.now(), internal=False, prefix=prefix)

    def acquire(self, tenant: str, number: int = 1) -> RateLimitResult:
        """Take the tokens for so many new jobs of a tenant.

        Raises:
            RateLimited: the tenant enqueues faster than it may.
        """
        rate_limit = self._limits.acquire(f"jobs:{tenant}", self._rate, number)
        if not rate_limit.allowed:
            error = RateLimited(f"more than {self._rate.per_second:g} jobs a second; try again later")
            error.headers = {"retry-after": str(rate_limit.retry_after_s), **rate_headers(rate_limit)}
            raise error
        return rate_limit

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
        """What became of an insert; `first` is the one of the same key in the same request."""
        if known := created.known.get(first.job.id):
            return self._known(known)
        job = made.get(first.job.id, first.job)
        if insert is first:
            return Enqueued(job)
        if first.memory and insert.memory and first.memory.fingerprint != insert.memory.fingerprint:
            return IdempotencyMismatch("the idempotency key is used twice with different requests", job_id=job.id)
        return Enqueued(job, replayed=True)

    def _known(self, known: DuplicateOf) -> Enqueued | AppError:
        if not known.same:
            return IdempotencyMismatch("the idempotency key was used with another request", job_id=known.job_id)
        job = self.store.get(known.job_id)
        if job is None:
            return Conflict(
                f"the idempotency key stands for job {known.job_id}, which has been deleted", job_id=known.job_id
            )
        return Enqueued(job, replayed=True)

    def dispatch(self, jobs: list[Job], time_left: TimeLeft | None) -> dict[str, Job]:
        """Get new jobs to workers; those that were executed on the way, as they are afterwards."""
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
        """Execute within the request what may run now and fits into its time; the sweeper sees to the others."""
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

    # Looking

    def job(self, job_id: str) -> Job:
        """One job.

        Raises:
            NotFound: there is none.
        """
        found = self.store.get(job_id)
        if found is None:
            raise NotFound(f"there is no job {job_id}")
        return found

    def enqueued_as(self, tenant: str, key: str) -> Job | None:
        """The job that an idempotency key has enqueued, if it has."""
        job_id = self.store.remembered(memory_key(tenant, key))
        return self.store.get(job_id) if job_id else None

    def page(self, queue: str, state: JobState, limit: int, cursor: str | None) -> tuple[JobList, str | None]:
        """Jobs of a queue in a state, newest first, and the cursor of the next page.

        Raises:
            NotFound: there is no such queue.
            Invalid: the cursor is not one of this list.
        """
        job_queues.queue(queue)
        return self.store.page(queue, state, limit=limit, cursor=cursor)

    def long_running(self, limit: int, cursor: str | None) -> tuple[JobList, str | None]:
        """Long-running jobs of all queues, newest first, and the cursor of the next page.

        Raises:
            Invalid: the cursor is not one of this list.
        """
        return self.store.long_running(limit, cursor)


def _name(insert: JobInsert) -> str:
    """What an insert is told apart by within a request: its key, or, without one, itself."""
    return insert.memory.key if insert.memory else insert.job.id


def _first_of_each(inserts: Sequence[JobInsert]) -> dict[str, JobInsert]:
    """The first insert of each key."""
    first: dict[str, JobInsert] = {}
    for insert in inserts:
        first.setdefault(_name(insert), insert)
    return first


def rate_headers(rate_limit: RateLimitResult) -> dict[str, str]:
    """`RateLimit-*` headers as most APIs send them."""
    return {
        "ratelimit-limit": str(rate_limit.limit),
        "ratelimit-remaining": str(rate_limit.remaining),
        "ratelimit-reset": str(rate_limit.reset_s),
    }


@lru_cache(maxsize=1)
def from_env() -> JobService:
    """The service of this process."""
    env = settings()
    return JobService(
        JobStore(aws.dynamodb(), env.jobs_table),
        dispatch.from_env(),
        ledgers.from_env(),
        limits.from_env(),
        Rate(float(env.jobs_per_second), int(env.jobs_burst)),
        Pauses(aws.dynamodb(), env.system_table, job_queues.QUEUES).paused,
    )
