"""Schedules: jobs that are enqueued when their time comes.

A schedule's row is the truth. EventBridge Scheduler is told of each version of it, and rings; what runs is told by the
row's plan and by the ledger of ticks (`ticks.decide`). Whatever dies in between is mended by the next tick or by the
sweeper: a version that EventBridge Scheduler does not know, a ring for a schedule that is gone, a ring that never came.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from adbot_queue import ledger as ledgers
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.dynamodb import Transaction
from adbot_queue.core.errors import Conflict, IdempotencyMismatch, Invalid, NotFound, Unavailable
from adbot_queue.core.ids import derived_id
from adbot_queue.jobs import intake, schedule_store, service, telling
from adbot_queue.jobs.cron import BadExpression
from adbot_queue.jobs.schedule_model import MOST_NAME, Outcome, Schedule, Tick, Wanted, is_name
from adbot_queue.jobs.schedule_store import Known, Lost, Memory, Remembered, ScheduleStore
from adbot_queue.jobs.service import Enqueued
from adbot_queue.jobs.telling import Teller
from adbot_queue.jobs.ticking import Jobs, TimeLeft, job_of
from adbot_queue.jobs.ticks import BadZone
from adbot_queue.ledger import Actor, Entry, Ledger

KEY_MS = 86_400_000
"""How long the Idempotency-Key of a creation is remembered."""

SHOWN_TICKS = 10


@dataclass(frozen=True, slots=True)
class Command:
    """Who changes something, and under which Idempotency-Key."""

    actor: Actor
    key: str | None = None
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """A schedule; `replayed` when an earlier request with the same key had made it."""

    schedule: Schedule
    replayed: bool = False


class Schedules:
    """Everything that people do to schedules."""

    def __init__(
        self, store: ScheduleStore, teller: Teller, jobs: Jobs, ledger: Ledger, now: Clock = system_clock
    ) -> None:
        self._store = store
        self._teller = teller
        self._jobs = jobs
        self._ledger = ledger
        self._now = now

    # Looking

    def get(self, name: str) -> Schedule:
        """One schedule.

        Raises:
            NotFound: there is none.
        """
        found = self._store.get(name) if is_name(name) else None
        if found is None or found.deleted:
            raise NotFound(f"there is no schedule {name[:MOST_NAME]}")
        return found

    def page(self, limit: int, cursor: str | None) -> tuple[list[Schedule], str | None]:
        """Schedules in the order of their making, and the cursor of the next page."""
        return self._store.page(limit, cursor)

    def ticks(self, name: str) -> list[Tick]:
        """What became of the latest ticks, latest first."""
        return self._store.ticks(name, SHOWN_TICKS)

    # Changing. Each writes the row, signed for, and then tells EventBridge Scheduler; what it cannot tell now, follows.

    def create(self, name: str, wanted: Wanted, command: Command) -> Made:
        """Make a schedule.

        Raises:
            Invalid: a field breaks its rule.
            Conflict: there is one of that name, or the one that the key has made is gone.
            IdempotencyMismatch: the key was used with another request.
        """
        now = self._now()
        memory = self._memory(command, now)
        if memory and (known := self._store.known(memory.key, now)):
            return self._replay(known, command)
        wanted = _checked(wanted, now)
        before = self._store.get(name)
        if before and not before.deleted:
            raise Conflict(f"there is a schedule {name} already")
        fresh = Schedule(name, wanted, now, now, anchor=now, seen=now)
        # One that was deleted and is not forgotten: its versions go on, so that nobody takes one for the other.
        after = replace(fresh, version=before.version + 1, synced=before.synced) if before else fresh
        try:
            self._save(before, after, "schedule.create", command.actor, now, memory)
        except Remembered:
            if memory and (known := self._store.known(memory.key, now)):
                return self._replay(known, command)
            raise Unavailable("the same request is being carried out; try again") from None
        return Made(self._teller.tell(after))

    def change(self, name: str, wanted: Wanted, version: int | None, actor: Actor) -> Schedule:
        """Replace what a schedule says. Saying what it says already changes nothing.

        Args:
            name: which one.
            wanted: all that it shall say.
            version: the one that the caller has seen; None: whichever it is.
            actor: who wants it.

        Raises:
            NotFound: there is none.
            Conflict: it was changed since, or at the same time.
            Invalid: a field breaks its rule.
        """
        before, now = self.get(name), self._now()
        if version is not None and version != before.version:
            raise Conflict(f"schedule {name} has version {before.version} by now", version=before.version)
        wanted = _checked(wanted, now, before)
        if wanted == before.wanted:
            return self._teller.tell(before)
        after = before.changed(wanted, now)
        self._save(before, after, "schedule.change", actor, now)
        return self._teller.tell(after)

    def remove(self, name: str, actor: Actor) -> Schedule:
        """Remove a schedule; answers with it as it was.

        Raises:
            NotFound: there is none.
            Conflict: it was changed at the same time.
        """
        before, now = self._store.get(name) if is_name(name) else None, self._now()
        if before is None:
            raise NotFound(f"there is no schedule {name[:MOST_NAME]}")
        if not before.deleted:
            after = before.removed(now)
            self._save(before, after, "schedule.delete", actor, now)
            self._teller.tell(after)
        else:
            self._teller.tell(before)  # a removal that died on its way
        return before

    def run(self, name: str, command: Command, request_id: str, time_left: TimeLeft | None = None) -> Enqueued:
        """Enqueue a schedule's job now, beside its ticks and whether or not it is switched on.

        Raises:
            NotFound: there is none.
            RateLimited: as `JobService.admit`.
            Invalid, Conflict, IdempotencyMismatch, Unavailable: as `JobService.enqueue`.
        """
        schedule, now = self.get(name), self._now()
        key = f"schedule:{name}:run:{command.actor.id}:{command.key or request_id}"
        taken = self._jobs.admit(command.actor.id)
        try:
            enqueued = self._jobs.enqueue(job_of(schedule, key, command.actor.id), command.actor, time_left, taken)
        except IdempotencyMismatch as error:  # the schedule was changed since the same request came first
            enqueued = Enqueued(self._jobs.job(str(error.extra["job_id"])), replayed=True)
        job = enqueued.job
        entry = Entry(command.actor, "schedule.run", f"schedule:{name}", after={"job_id": job.id})
        tick = Tick(job.created_at, Outcome.BY_HAND, job.id)
        self._store.by_hand(name, tick, lambda transaction: self._ledger.sign(transaction, entry), now)
        return enqueued

    # Ledger and keys

    def _save(
        self,
        before: Schedule | None,
        after: Schedule,
        action: str,
        actor: Actor,
        now: int,
        memory: Memory | None = None,
    ) -> None:
        was = before.wanted.summary() if before and not before.deleted else {}
        entry = Entry(actor, action, f"schedule:{after.name}", was, {} if after.deleted else after.wanted.summary())

        def sign(transaction: Transaction) -> None:
            self._ledger.sign(transaction, entry)

        try:
            self._store.save(before, after, now, sign, memory)
        except Lost as lost:
            raise Conflict(f"schedule {after.name} was changed at the same time") from lost

    def _memory(self, command: Command, now: int) -> Memory | None:
        if command.key is None:
            return None
        key = derived_id("IDEM#", "schedule.create", command.actor.id, command.key)
        return Memory(key, command.fingerprint, now + KEY_MS)

    def _replay(self, known: Known, command: Command) -> Made:
        if known.fingerprint != command.fingerprint:
            raise IdempotencyMismatch("this Idempotency-Key was used with another request")
        found = self._store.get(known.name)
        if found is None or found.deleted:
            raise Conflict(f"this Idempotency-Key stands for schedule {known.name}, which has been removed")
        return Made(self._teller.tell(found), replayed=True)


def _checked(wanted: Wanted, now: int, before: Schedule | None = None) -> Wanted:
    """What is wanted, tidied.

    Raises:
        Invalid: names the field.
    """
    try:
        plan = wanted.plan(now)
    except BadZone as error:
        raise Invalid.field("timezone", str(error)) from error
    except BadExpression as error:
        raise Invalid.field("expression", str(error)) from error
    if wanted.start is not None and wanted.end is not None and wanted.end <= wanted.start:
        raise Invalid.field("end", "must be after the start")
    intake.wanted(wanted.type, wanted.payload)
    wanted = replace(wanted, expression=plan.text)
    if (before is None or wanted.timing != before.wanted.timing) and plan.next(now) is None:
        raise Invalid.field("expression", "never comes, from now on and within start and end")
    return wanted


@lru_cache(maxsize=1)
def from_env() -> Schedules:
    """The schedules of this installation."""
    return Schedules(schedule_store.from_env(), telling.from_env(), service.from_env(), ledgers.from_env())
