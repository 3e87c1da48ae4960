"""Schedules: jobs that are enqueued when their time comes.

Create, change and remove are one transaction each: row, ledger entry, and the jobs that have not started and must not.
The sweeper turns due ticks into jobs (`ticking`).
"""

from __future__ import annotations

from functools import lru_cache

from adbot_queue import ledger as ledgers
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.conflicts import retry_on_conflict
from adbot_queue.core.dynamodb import TransactionConflict
from adbot_queue.core.errors import Conflict, IdempotencyMismatch, NotFound
from adbot_queue.jobs import service
from adbot_queue.jobs.service import Enqueued, JobService, TimeLeft
from adbot_queue.ledger import Actor, Ledger, LedgerEntry
from adbot_queue.schedules import edits
from adbot_queue.schedules.creation import Command, ScheduleCreation, checked
from adbot_queue.schedules.edits import ScheduleEdits
from adbot_queue.schedules.model import MAX_NAME, Schedule, ScheduleSpec
from adbot_queue.schedules.records import ScheduleRows, StaleVersion
from adbot_queue.schedules.runner import job_request
from adbot_queue.schedules.ticks import Tick, TickOutcome
from adbot_queue.schedules.withdrawal import changed

HISTORY_PAGE_SIZE = 10


class Schedules(ScheduleCreation):
    """Everything that people do to schedules."""

    _store: ScheduleEdits

    def __init__(self, store: ScheduleEdits, jobs: JobService, ledger: Ledger, now: Clock = system_clock) -> None:
        super().__init__(store, ledger, now)
        self._jobs = jobs

    def get(self, name: str) -> Schedule:
        """Return one schedule.

        Raises:
            NotFound: it does not exist.
            UnreadableSchedule: this version cannot read it.
        """
        found = self._store.get(name)
        if found is None:
            raise NotFound(f"schedule {name[:MAX_NAME]} does not exist")
        return found

    def page(self, limit: int, cursor: str | None) -> ScheduleRows:
        """Return schedules in the order of their creation."""
        return self._store.page(limit, cursor)

    def ticks(self, name: str) -> list[Tick]:
        """Return what became of the latest ticks, latest first."""
        return self._store.ticks(name, HISTORY_PAGE_SIZE)

    def check(self, spec: ScheduleSpec, before: Schedule | None = None) -> ScheduleSpec:
        """Return what is specified, tidied, as `create` or (with `before`) `change` would save it.

        Raises:
            Invalid: a field breaks its rule.
        """
        return checked(spec, self._now(), before)[0]

    def change(self, name: str, spec: ScheduleSpec, version: int | None, actor: Actor, reason: str = "") -> Schedule:
        """Replace what a schedule says. Saying what it says already changes nothing.

        Args:
            name: which one.
            spec: all that it shall say.
            version: the one that the caller has seen; None: whichever it is.
            actor: who wants it.
            reason: for the ledger.

        Raises:
            NotFound: it does not exist.
            Conflict: it was changed since, or at the same time.
            Invalid: a field breaks its rule.
        """
        before = self.get(name)
        if version is not None and version != before.version:
            raise Conflict(f"schedule {name} has version {before.version} by now", version=before.version)
        tidied, job_queue = checked(spec, self._now(), before)
        if tidied == before.spec:
            return before

        def attempt() -> Schedule:
            current, now = self._unchanged(before), self._now()
            withdrawal = self._store.withdrawal(name, now)
            after = changed(current, tidied, job_queue, now, withdrawal)
            sign = self._signed("schedule.change", actor, name, current, after, reason)
            self._store.change(current, after, withdrawal, now, sign)
            return after

        return retry_on_conflict(attempt, (TransactionConflict, StaleVersion))

    def remove(self, name: str, actor: Actor, reason: str = "") -> Schedule:
        """Remove a schedule; return it as it was.

        Raises:
            NotFound: it does not exist.
            Conflict: it was changed at the same time.
        """
        before = self.get(name)

        def attempt() -> Schedule:
            current, now = self._unchanged(before), self._now()
            sign = self._signed("schedule.delete", actor, name, current, None, reason)
            self._store.change(current, None, self._store.withdrawal(name, now), now, sign)
            return current

        return retry_on_conflict(attempt, (TransactionConflict, StaleVersion))

    def _unchanged(self, before: Schedule) -> Schedule:
        """Return a schedule as it is now: the sweeper may have decided ticks since it was read.

        Raises:
            NotFound: it was removed.
            Conflict: a person changed it.
        """
        current = self.get(before.name)
        if (current.id, current.version) != (before.id, before.version):
            raise Conflict(f"schedule {before.name} was changed at the same time", version=current.version)
        return current

    def run(self, name: str, command: Command, request_id: str, time_left: TimeLeft | None = None) -> Enqueued:
        """Enqueue a schedule's job now, in addition to its ticks and whether or not it is enabled.

        Raises:
            RateLimited: as `JobService.admit`.
            Invalid, Conflict, IdempotencyMismatch, Unavailable: as `JobService.enqueue`.
            NotFound: it does not exist.
        """
        schedule, now = self.get(name), self._now()
        key = f"schedule:{name}:run:{command.actor.id}:{command.key or request_id}"
        taken = self._jobs.acquire(command.actor.id)
        request = job_request(schedule, key, command.actor.id)
        try:
            enqueued = self._jobs.enqueue(request, command.actor, time_left, taken)
        except IdempotencyMismatch as error:  # the schedule was changed since the same request came first
            enqueued = Enqueued(self._jobs.job(str(error.extra["job_id"])), replayed=True)
        job = enqueued.job
        entry = LedgerEntry(
            command.actor, "schedule.run", f"schedule:{name}", after={"job_id": job.id}, reason=command.reason
        )
        tick = Tick(job.created_at, TickOutcome.MANUAL, job.id)
        self._store.add_manual(name, tick, now, lambda transaction: self._ledger.sign(transaction, entry))
        return enqueued


@lru_cache(maxsize=1)
def from_env() -> Schedules:
    """The schedules of this installation."""
    return Schedules(edits.from_env(), service.from_env(), ledgers.from_env())
