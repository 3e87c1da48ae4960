"""Schedules in the Jobs table as people list, change and run them."""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache

from adbot_queue.core import aws, dynamodb
from adbot_queue.core.dynamodb import Item, Transaction, TransactionRejected
from adbot_queue.core.settings import settings
from adbot_queue.jobs.model import JobState
from adbot_queue.jobs.store import items
from adbot_queue.jobs.store.rows import difference
from adbot_queue.schedules.model import Schedule
from adbot_queue.schedules.plan import ON_TIME_MS
from adbot_queue.schedules.records import ScheduleRows, StaleVersion
from adbot_queue.schedules.store import AS_READ, QUEUE, ScheduleStore, Sign, as_read, key_of, tick_item, tick_key
from adbot_queue.schedules.ticks import Tick, TickOutcome
from adbot_queue.schedules.withdrawal import Withdrawal


class ScheduleEdits(ScheduleStore):
    """Access patterns of the Jobs table that concern people's work on schedules."""

    def page(self, limit: int, cursor: str | None) -> ScheduleRows:
        """Read schedules in the order of their creation."""
        return self._read("by_state", "listing = :listing", limit, cursor, listing=QUEUE)

    def ticks(self, name: str, limit: int) -> list[Tick]:
        """Read the latest ticks, latest first."""
        condition, pk = "pk = :pk AND begins_with(sk, :sk)", key_of(name)["pk"]
        found = dynamodb.query(self.client, self.table, condition, limit=limit, forward=False, pk=pk, sk="TICK#")
        return list(filter(None, map(_tick_of, found)))

    def withdrawal(self, name: str, now: int) -> Withdrawal:
        """Read which decided ticks have not started."""
        condition, pk = "pk = :pk AND sk > :since", key_of(name)["pk"]
        since = tick_key(now - ON_TIME_MS)
        found = dynamodb.query(self.client, self.table, condition, forward=False, pk=pk, since=since)
        ticks = list(filter(None, map(_tick_of, found)))
        keys = [items.key_of(tick.job_id) for tick in ticks if tick.job_id]
        jobs, _ = items.sort_out(dynamodb.get_many(self.client, self.table, keys))
        return Withdrawal.of(ticks, {job.id: job for job in jobs}, now)

    def change(self, before: Schedule, after: Schedule | None, withdrawal: Withdrawal, now: int, sign: Sign) -> None:
        """Change a schedule, or remove it (`after` is None).

        Items: the row (refuses if it is not as it was read), the withdrawn ticks and their jobs (each refuses if it
        has started), the ledger entry.

        Raises:
            StaleVersion: one of them has changed.
            TransactionConflict: try again.
        """
        transaction = Transaction(self.client)
        read = as_read(before)
        if after is None:
            transaction.delete("schedule", self.table, key_of(before.name), condition=AS_READ, **read)
        else:
            self._update(transaction, "schedule", before, after)
        for job in withdrawal.jobs:
            expression, values = difference(job, job.cancelled("its schedule was changed or removed", now))
            guard = {"job_version": job.version, "delayed": JobState.DELAYED.value}
            condition = "#version = :job_version AND #state = :delayed"
            transaction.update(
                f"job:{job.id}", self.table, items.key_of(job.id), expression, condition=condition, **values, **guard
            )
        for tick in withdrawal.ticks:
            taken = Tick(tick.at, TickOutcome.WITHDRAWN, tick.job_id)
            transaction.put(f"tick:{tick.at}", self.table, tick_item(before.name, taken, now))
        sign(transaction)
        try:
            transaction.commit()
        except TransactionRejected as refused:
            raise StaleVersion([before.name]) from refused

    def add_manual(self, name: str, tick: Tick, now: int, sign: Sign) -> bool:
        """Record a manual run; False if it is recorded already."""
        transaction = Transaction(self.client).create("tick", self.table, tick_item(name, tick, now))
        sign(transaction)
        try:
            transaction.commit()
        except TransactionRejected:
            return False
        return True


def _tick_of(item: Item) -> Tick | None:
    """Return the tick in an item; None if another version wrote it and this one cannot read it."""
    try:
        values = {spec.name: item[spec.name] for spec in fields(Tick) if spec.name in item}
        return Tick(**values | {"outcome": TickOutcome(item["outcome"])})
    except (KeyError, TypeError, ValueError):
        return None


@lru_cache(maxsize=1)
def from_env() -> ScheduleEdits:
    """The schedules of this installation."""
    return ScheduleEdits(aws.dynamodb(), settings().jobs_table)
