"""Creating a schedule: one transaction writes row, ledger entry and key."""

from __future__ import annotations

from dataclasses import dataclass, replace

from adbot_queue.core import idempotency
from adbot_queue.core.clock import Clock
from adbot_queue.core.conflicts import retry_on_conflict
from adbot_queue.core.errors import Conflict, Invalid, Unavailable
from adbot_queue.core.idempotency import DuplicateOf, IdempotencyRecord
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.jobs.enqueue import payloads
from adbot_queue.ledger import Actor, Ledger, LedgerEntry
from adbot_queue.schedules.cron import BadExpression
from adbot_queue.schedules.model import Schedule, ScheduleSpec
from adbot_queue.schedules.plan import BadZone
from adbot_queue.schedules.records import KeyInUse, StaleVersion
from adbot_queue.schedules.store import ScheduleStore, Sign

KEY_TTL_MS = 86_400_000
"""How long the Idempotency-Key of a creation is remembered."""


@dataclass(frozen=True, slots=True)
class Command:
    """Who changes something, under which Idempotency-Key, and why."""

    actor: Actor
    key: str | None = None
    fingerprint: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Created:
    """A schedule; `replayed` if an earlier request with the same key created it."""

    schedule: Schedule
    replayed: bool = False


def _record(command: Command, now: int) -> IdempotencyRecord | None:
    if command.key is None:
        return None
    key = idempotency.key_of("schedule.create", command.actor.id, command.key)
    return IdempotencyRecord(key, command.fingerprint, now + KEY_TTL_MS)


def checked(spec: ScheduleSpec, now: int, before: Schedule | None = None) -> tuple[ScheduleSpec, str]:
    """Return what is specified, tidied, and the queue of its jobs.

    Raises:
        Invalid: names the field.
    """
    try:
        recurrence = spec.recurrence(now)
    except BadZone as error:
        raise Invalid.field("timezone", str(error)) from error
    except BadExpression as error:
        raise Invalid.field("expression", str(error)) from error
    if spec.start is not None and spec.end is not None and spec.end <= spec.start:
        raise Invalid.field("end", "must be after the start")
    known = payloads.wanted(spec.type, spec.payload)
    spec = replace(spec, expression=recurrence.text)
    if (before is None or spec.timing != before.spec.timing) and recurrence.next(now) is None:
        raise Invalid.field("expression", "never ticks from now on within start and end")
    return spec, known.queue


class ScheduleCreation:
    """What the creation of a schedule takes."""

    def __init__(self, store: ScheduleStore, ledger: Ledger, now: Clock) -> None:
        self._store = store
        self._ledger = ledger
        self._now = now

    def create(self, name: str, spec: ScheduleSpec, command: Command) -> Created:
        """Create a schedule.

        Raises:
            Invalid: a field breaks its rule.
            Conflict: the name is taken, or the schedule that the key created has been removed.
            IdempotencyMismatch: the key was used with another request.
        """
        now = self._now()
        record = _record(command, now)
        if record and (duplicate := record.find(self._store.client, self._store.table, now)):
            return self._replay(duplicate)
        spec, job_queue = checked(spec, now)
        new = Schedule(name, spec, job_queue, now, now, anchor=now, decided_until=now, id=time_ordered_id(now))
        new = new.decided(now, None)
        sign = self._signed("schedule.create", command.actor, name, None, new, command.reason)
        try:
            retry_on_conflict(lambda: self._store.create(new, now, sign, record))
        except KeyInUse:
            if record and (duplicate := record.find(self._store.client, self._store.table, now)):
                return self._replay(duplicate)
            raise Unavailable("the same request is being carried out; try again") from None
        except StaleVersion as stale:
            raise Conflict(f"schedule {name} exists already") from stale
        return Created(new)

    def _signed(
        self, action: str, actor: Actor, name: str, before: Schedule | None, after: Schedule | None, reason: str
    ) -> Sign:
        was, becomes = (one.spec.summary() if one else {} for one in (before, after))
        entry = LedgerEntry(actor, action, f"schedule:{name}", was, becomes, reason)
        return lambda transaction: self._ledger.sign(transaction, entry)

    def _replay(self, duplicate: DuplicateOf) -> Created:
        found = self._store.get(name := duplicate.checked())
        if found is None:
            raise Conflict(f"this Idempotency-Key means schedule {name}, which has been removed")
        return Created(found, replayed=True)
