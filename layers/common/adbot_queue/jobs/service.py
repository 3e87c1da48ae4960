"""The door of the jobs: enqueue, look at, cancel, retry, clean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from adbot_queue import ledger as ledgers
from adbot_queue.core import aws
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.conflicts import retry_on_conflict
from adbot_queue.core.dynamodb import Contended, Transaction
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
from adbot_queue.jobs.enqueue.drafts import drafts_of
from adbot_queue.jobs.enqueue.request import NewJob, check_all, check_payload, derived_key, memory_key
from adbot_queue.jobs.enqueue.result_webhook import told
from adbot_queue.jobs.masking import unmasked
from adbot_queue.jobs.model import RETRYABLE, TERMINAL, Job, Mode, State
from adbot_queue.jobs.store.jobs import JobStore, Listed, OtherRequest
from adbot_queue.jobs.store.records import Created, Draft, Known, Memory
from adbot_queue.jobs.worker import dispatch
from adbot_queue.jobs.worker.dependents import Dependents
from adbot_queue.jobs.worker.dispatch import Dispatcher
from adbot_queue.ledger import Actor, Entry, Ledger
from adbot_queue.platform import health_log
from adbot_queue.platform import rate_limits as limits
from adbot_queue.platform.health_log import LogLevel
from adbot_queue.platform.queue_pauses import Pauses
from adbot_queue.platform.rate_limits import Limits, Rate, Taken

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

__all__ = ["TERMINAL", "Enqueued", "JobService", "NewJob"]

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
        limit: Limits,
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
        self, new: NewJob, actor: Actor, time_left: TimeLeft | None = None, taken: Taken | None = None
    ) -> Enqueued:
        """Create a job and get it to a worker.

        When it returns, the job is safe: it will run, or it has run already (direct mode, or the queue refused).

        Args:
            new: what is wanted.
            actor: who wants it; a person or provider signs for it in the ledger.
            time_left: milliseconds of the request that direct runs may use; None: they are started, not waited for.
            taken: the tokens of `admit`, which give it its place among the jobs of others.

        Raises:
            Invalid: a field breaks its rule.
            IdempotencyMismatch: the key was used for another request.
            Conflict: the key was used for a job that has been deleted.
            Unavailable: nothing is known to have been enqueued; send the same again.
        """
        enqueued = self.enqueue_many([new], actor, time_left, taken)[0]
        if isinstance(enqueued, AppError):
            raise enqueued
        return enqueued

    def enqueue_many(
        self,
        news: Sequence[NewJob],
        actor: Actor,
        time_left: TimeLeft | None = None,
        taken: Taken | None = None,
        request: Memory | None = None,
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
        checked = check_all(news, now, internal=actor.role == ledgers.SYSTEM.role)
        drafts = drafts_of(self.store, checked, now, taken)
        first = _first_of_each(drafts)
        created = self._create(list(first.values()), now, actor, request)
        fresh = [draft.job for draft in first.values() if draft.job.id not in created.known]
        made = self.hand_over(fresh, time_left)
        for job in fresh:
            if job.id in created.late:
                self.dependents.look_again(job)
        count("JobsEnqueued", len(fresh))
        return [self._outcome(draft, first[_name(draft)], created, made) for draft in drafts]

    def _create(self, drafts: list[Draft], now: int, actor: Actor, request: Memory | None) -> Created:
        sign = self._signing(actor)
        try:
            created = self.store.create(drafts, now, sign, request)
        except OtherRequest as other:
            raise IdempotencyMismatch("the idempotency key was used with another request") from other
        # A key that the type has made is not held by a job that did nothing.
        again: list[Draft] = []
        for draft in drafts:
            known = created.known.get(draft.job.id)
            if known and draft.memory and draft.memory.derived:
                first = self.store.get(known.job_id)
                if first and not first.may_have_acted:
                    again.append(replace(draft, memory=replace(draft.memory, instead_of=first.id), known=None))
        if again:
            new = self.store.create(again, now, sign)
            free = {draft.job.id for draft in again}
            kept = {job_id: known for job_id, known in created.known.items() if job_id not in free}
            created = Created(kept | new.known, created.late | new.late)
        return created

    def check(self, news: Sequence[NewJob], prefix: str) -> None:
        """Refuse what breaks a rule, before anything is done; `prefix` as in `check_all`.

        Raises:
            Invalid: names every field of every job.
        """
        check_all(news, self.now(), internal=False, prefix=prefix)

    def admit(self, tenant: str, number: int = 1) -> Taken:
        """Take the tokens for so many new jobs of a tenant.

        Raises:
            RateLimited: the tenant enqueues faster than it may.
        """
        taken = self._limits.take(f"jobs:{tenant}", self._rate, number)
        if not taken.allowed:
            error = RateLimited(f"more than {self._rate.per_second:g} jobs a second; try again later")
            error.headers = {"retry-after": str(taken.retry_after_s), **rate_headers(taken)}
            raise error
        return taken

    def _signing(self, actor: Actor) -> Callable[[Transaction, list[Job]], None] | None:
        if actor.role == ledgers.SYSTEM.role:
            return None

        def sign(transaction: Transaction, jobs: list[Job]) -> None:
            ids = [job.id for job in jobs]
            target = f"job:{ids[0]}" if len(jobs) == 1 else f"batch:{jobs[0].batch}"
            after = {"type": jobs[0].type, "queue": jobs[0].queue} if len(jobs) == 1 else {"jobs": ids}
            self.ledger.sign(transaction, Entry(actor, "job.enqueue", target, after=after))

        return sign

    def _outcome(self, draft: Draft, first: Draft, created: Created, made: Mapping[str, Job]) -> Enqueued | AppError:
        """What became of a draft; `first` is the one of the same key in the same request."""
        if known := created.known.get(first.job.id):
            return self._known(known)
        job = made.get(first.job.id, first.job)
        if draft is first:
            return Enqueued(job)
        if first.memory and draft.memory and first.memory.fingerprint != draft.memory.fingerprint:
            return IdempotencyMismatch("the idempotency key is used twice with different requests", job_id=job.id)
        return Enqueued(job, replayed=True)

    def _known(self, known: Known) -> Enqueued | AppError:
        if not known.same:
            return IdempotencyMismatch("the idempotency key was used with another request", job_id=known.job_id)
        job = self.store.get(known.job_id)
        if job is None:
            return Conflict(
                f"the idempotency key stands for job {known.job_id}, which has been deleted", job_id=known.job_id
            )
        return Enqueued(job, replayed=True)

    def hand_over(self, jobs: list[Job], time_left: TimeLeft | None) -> dict[str, Job]:
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
            return self._run(refused, Mode.FALLBACK, time_left)
        return self._run(jobs, Mode.SYNC_DIRECT, time_left)

    def _run(self, jobs: list[Job], mode: Mode, time_left: TimeLeft | None) -> dict[str, Job]:
        """Execute within the request what may run now and fits into its time; the sweeper sees to the others."""
        paused = self.paused()
        ran: list[str] = []
        for job in jobs:
            if job.state is not State.WAITING or job.queue in paused:
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

    def page(self, queue: str, state: State, limit: int, cursor: str | None) -> tuple[Listed, str | None]:
        """Jobs of a queue in a state, newest first, and the cursor of the next page.

        Raises:
            NotFound: there is no such queue.
            Invalid: the cursor is not one of this list.
        """
        job_queues.queue(queue)
        return self.store.page(queue, state, limit=limit, cursor=cursor)

    def long_running(self, limit: int, cursor: str | None) -> tuple[Listed, str | None]:
        """Long-running jobs of all queues, newest first, and the cursor of the next page.

        Raises:
            Invalid: the cursor is not one of this list.
        """
        return self.store.long_running(limit, cursor)

    # Changing

    def cancel(self, job_id: str, actor: Actor, reason: str = "") -> Job:
        """Cancel a job: at once when it is not running, otherwise its processor is asked to stop.

        One with jobs of its own is asked to stop as soon as it has begun: it runs once more, to cancel them.

        Raises:
            NotFound: there is none.
            Conflict: it has ended otherwise.
        """

        def cancelled(job: Job) -> Job | None:
            leads = job.has_begun and job_types.spawns_jobs(job.type)
            waits_to_stop = job.state is State.ACTIVE or (leads and job.state is State.WAITING)
            if job.state is State.CANCELLED or (job.cancel_requested and waits_to_stop):
                return None
            if job.is_terminal:
                raise Conflict(f"job {job.id} is {job.state}", state=job.state.value)
            if job.state is State.ACTIVE:
                return job.changed(cancel_requested=True)
            if leads:
                return job.waiting(self.now()).changed(cancel_requested=True)
            return job.cancelled(reason or "cancelled by a person", self.now())

        job = self.by_person(job_id, "job.cancel", cancelled, actor, reason)
        if job.is_terminal and job.children:
            self.dependents.tell(job)
        if job.state is State.WAITING:
            self.hand_over([job], None)
        return job

    def retry(
        self,
        job_id: str,
        actor: Actor,
        reason: str = "",
        *,
        payload: dict[str, Any] | None = None,
        only: frozenset[State] = RETRYABLE,
        time_left: TimeLeft | None = None,
    ) -> Job:
        """Have an ended job run again: a new cycle of attempts. In direct mode it has run when this returns.

        Args:
            job_id: which.
            actor: who wants it.
            reason: why.
            payload: another payload, checked like a new one.
            only: states in which it may be retried.
            time_left: as `enqueue`.

        Raises:
            NotFound: there is none.
            Conflict: it has not ended, or is completed.
            Invalid: the payload breaks its type's rules.
        """

        def again(job: Job) -> Job:
            if job.state not in only:
                raise Conflict(
                    f"job {job.id} is {job.state}; retried are {', '.join(sorted(only))}", state=job.state.value
                )
            self.must_hold_its_key(job)
            tolerant = actor.role == ledgers.SYSTEM.role
            whole = unmasked(payload, job.payload) if payload is not None else None
            if whole is not None:
                check_payload(job_types.find(job.type), whole, job, tolerant=tolerant)
            return job.again(self.now(), whole)

        job = self.by_person(job_id, "job.retry", again, actor, reason)
        return self.hand_over([job], time_left).get(job.id, job)

    def must_hold_its_key(self, job: Job) -> None:
        """Refuse to run a job whose key, derived from its payload, another job has taken since.

        Raises:
            Conflict: the job did nothing, and another one took the key.
        """
        known = job_types.get(job.type)
        if known is None or not known.is_once or job.idempotency_key is not None:
            return
        with suppress(ValidationError):  # it is put back when it is run
            holder = self.store.remembered(derived_key(job.tenant, known, job.payload))
            if holder not in {None, job.id}:
                raise Conflict(f"job {holder} was enqueued with the same payload since", job_id=holder)

    def by_person(
        self, job_id: str, action: str, change: Callable[[Job], Job | None], actor: Actor, reason: str
    ) -> Job:
        """Change a job on a person's behalf, signed in the same transaction.

        Args:
            job_id: which.
            action: what the ledger calls it.
            change: the job as it is to be; None leaves it as it is; asked again when the row has changed meanwhile.
            actor: who.
            reason: why.

        Raises:
            NotFound: there is none.
            Unavailable: it keeps changing.
        """

        def attempt() -> Job:
            before = self.job(job_id)
            after = change(before)
            if after is None:
                return before
            entry = Entry(
                actor, action, f"job:{job_id}", {"state": before.state.value}, {"state": after.state.value}, reason
            )
            after, with_it = told(after, self.now()) if after.cycle > before.cycle else (after, ())
            written = self.store.change(before, after, _signer(self.ledger, entry), with_it)
            if written is None:
                raise Contended(f"job {job_id}")
            return written

        return retry_on_conflict(attempt)


def _name(draft: Draft) -> str:
    """What a draft is told apart by within a request: its key, or, without one, itself."""
    return draft.memory.key if draft.memory else draft.job.id


def _first_of_each(drafts: Sequence[Draft]) -> dict[str, Draft]:
    """The first draft of each key."""
    first: dict[str, Draft] = {}
    for draft in drafts:
        first.setdefault(_name(draft), draft)
    return first


def rate_headers(taken: Taken) -> dict[str, str]:
    """`RateLimit-*` headers as most APIs send them."""
    return {
        "ratelimit-limit": str(taken.limit),
        "ratelimit-remaining": str(taken.remaining),
        "ratelimit-reset": str(taken.reset_s),
    }


def _signer(ledger: Ledger, entry: Entry) -> Callable[[Transaction], None]:
    return lambda transaction: ledger.sign(transaction, entry)


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
