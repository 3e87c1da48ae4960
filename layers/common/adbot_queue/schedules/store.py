"""Schedules in the Jobs table.

    SCHEDULE#<name>  S                   the schedule; payload as JSON text
    SCHEDULE#<name>  TICK#<time>[#<job>] its history, kept for 90 days; with a job's id: a manual run
    IDEM#<hash>      I                   what an idempotency key names (`core.idempotency`)

Index attributes, as jobs have them:

    due       queue = schedules, due_at       `next_check_at`: its next tick; absent when it has none, or is disabled
    by_state  listing = schedules, listed_at  the list

`v` is the version of the row's format, as in `items`: a row of a newer one is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any

from adbot_queue.core import aws, dynamodb, idempotency
from adbot_queue.core.dynamodb import Item, Table, Transaction, TransactionRejected
from adbot_queue.core.idempotency import IdempotencyRecord
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import count, logger
from adbot_queue.jobs.store import items
from adbot_queue.jobs.store.items import exactly, json_object, texts
from adbot_queue.schedules.cron import BadExpression
from adbot_queue.schedules.model import Schedule, ScheduleSpec, is_name
from adbot_queue.schedules.plan import BadZone, MissedPolicy
from adbot_queue.schedules.records import KeyInUse, ScheduleRows, Settlement, StaleVersion, UnreadableSchedule
from adbot_queue.schedules.ticks import Tick, TickOutcome

QUEUE = "schedules"
ROW_VERSION = 1
TICK_TTL_S = 90 * 86_400

AS_READ = "version = :version AND decided_until = :decided_until AND id = :id"

Sign = Callable[[Transaction], None]


class ScheduleStore(Table):
    """Access patterns of the Jobs table that concern schedules."""

    def get(self, name: str) -> Schedule | None:
        """Read one schedule strongly.

        Raises:
            UnreadableSchedule: its row cannot be read.
        """
        found = dynamodb.get(self.client, self.table, key_of(name)) if is_name(name) else None
        return schedule_of(found) if found else None

    def due(self, until: int, limit: int, cursor: str | None) -> ScheduleRows:
        """Read the schedules whose next tick is due by a moment, the earliest first.

        Pages follow the index: no page repeats a schedule that is still due.
        """
        condition = "queue = :queue AND due_at <= :until"
        return self._read("due", condition, limit, cursor, queue=QUEUE, until=until)

    def _read(self, index: str, condition: str, limit: int, cursor: str | None, **values: Any) -> ScheduleRows:
        found, following = dynamodb.query_page(
            self.client, self.table, condition, index=index, limit=limit, cursor=cursor, forward=True, **values
        )
        keys = [{"pk": item["pk"], "sk": item["sk"]} for item in found]
        # Rows that were deleted since the index was written are not found.
        rows = {item["pk"]: item for item in dynamodb.get_many(self.client, self.table, keys)}
        schedules, unreadable = [], 0
        for key in keys:
            try:
                schedules += [schedule_of(rows[key["pk"]])] if key["pk"] in rows else []
            except UnreadableSchedule as error:
                unreadable += 1
                logger.error("schedule cannot be read", schedule=error.name, problem=error.problem)
        if unreadable:
            count("SchedulesUnreadable", unreadable)
        return ScheduleRows(schedules, following, unreadable)

    def create(self, schedule: Schedule, now: int, sign: Sign, record: IdempotencyRecord | None) -> None:
        """Write a new schedule. Items: the row (refuses one that exists), the ledger entry, the key.

        Raises:
            KeyInUse: the key was used in the meantime.
            StaleVersion: the name is taken.
            TransactionConflict: try again.
        """
        transaction = Transaction(self.client).create("schedule", self.table, item_of(schedule))
        sign(transaction)
        if record:
            record.add(transaction, self.table, schedule.name, now)
        try:
            transaction.commit()
        except TransactionRejected as refused:
            raise KeyInUse if idempotency.TAG in refused.failed else StaleVersion([schedule.name]) from refused

    def settle(self, settlements: Sequence[Settlement], now: int) -> None:
        """Write what was decided about the ticks of several schedules, all or nothing.

        Items of each: the row (refuses if it is not as it was read, so that each tick is decided once), its ticks,
        their jobs.

        Raises:
            StaleVersion: names the schedules that have changed.
            TransactionConflict: try again.
        """
        transaction = Transaction(self.client)
        for one in settlements:
            name = one.before.name
            self._update(transaction, name, one.before, one.after)
            for tick in one.ticks:
                transaction.put(f"{name} tick {tick.at}", self.table, tick_item(name, tick, now))
            for job in one.jobs:
                transaction.create(f"{name} job {job.id}", self.table, items.item_of(job))
        try:
            transaction.commit()
        except TransactionRejected as refused:
            raise StaleVersion(tag.partition(" ")[0] for tag in refused.failed) from refused

    def _update(self, transaction: Transaction, tag: str, before: Schedule, after: Schedule) -> None:
        """Add the change of a row. What another version stored in it stays."""
        old, new = item_of(before), item_of(after)
        changed = {name: value for name, value in new.items() if value is not None and old[name] != value}
        gone = [name for name, value in new.items() if value is None and old[name] is not None]
        parts = [f"SET {', '.join(f'#{name} = :new_{name}' for name in changed)}"] if changed else []
        parts += [f"REMOVE {', '.join(f'#{name}' for name in gone)}"] if gone else []
        values = {f"new_{name}": value for name, value in changed.items()} | as_read(before)
        transaction.update(tag, self.table, key_of(before.name), " ".join(parts), condition=AS_READ, **values)


def key_of(name: str) -> Item:
    """Return the key of a schedule's row."""
    return {"pk": f"SCHEDULE#{name}", "sk": "S"}


def _row_version(stored: Any) -> int:
    if type(stored) is not int or stored > ROW_VERSION:
        raise ValueError("row version")
    return stored


_ROW: dict[str, Callable[[Any], Any]] = {
    "id": exactly(str),
    "version": exactly(int),
    "job_queue": exactly(str),
    "created_at": exactly(int),
    "updated_at": exactly(int),
    "anchor": exactly(int),
    "decided_until": exactly(int),
}
_SPEC: dict[str, Callable[[Any], Any]] = {
    "expression": exactly(str),
    "timezone": exactly(str),
    "type": exactly(str),
    "payload": json_object,
    "priority": exactly(int),
    "tags": texts(list, tuple),
    "enabled": exactly(bool),
    "missed_policy": MissedPolicy,
    "by_owner": exactly(bool),
}
_OPTIONAL = {"start": exactly(int), "end": exactly(int), "due_at": exactly(int), "problem": exactly(str)}
_READERS = {"v": _row_version} | _ROW | _SPEC | _OPTIONAL


def as_read(schedule: Schedule) -> dict[str, Any]:
    """Return the values of `AS_READ`."""
    return {"version": schedule.version, "decided_until": schedule.decided_until, "id": schedule.id}


def item_of(schedule: Schedule) -> Item:
    """Return the row of a schedule, every attribute of it."""
    spec = schedule.spec
    return {
        **key_of(schedule.name),
        "v": ROW_VERSION,
        "queue": QUEUE,
        "due_at": schedule.next_check_at,
        "listing": QUEUE,
        "listed_at": schedule.created_at,
        **{name: getattr(schedule, name) for name in _ROW},
        **{name: getattr(spec, name) for name in (*_SPEC, "start", "end")},
        "tags": list(spec.tags),
        "missed_policy": spec.missed_policy.value,
        "payload": json.dumps(spec.payload, separators=(",", ":")),
        "problem": schedule.problem,
    }


def schedule_of(item: Mapping[str, Any]) -> Schedule:
    """Return the schedule in a row.

    Raises:
        UnreadableSchedule: an attribute is not what this version takes it for, or the row is of a newer version.
    """
    name = str(item["pk"]).removeprefix("SCHEDULE#")
    values: dict[str, Any] = {}
    for attribute, read in _READERS.items():
        stored = item.get(attribute)
        if stored is None and attribute in _OPTIONAL:
            continue
        try:
            values[attribute] = read(stored)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise UnreadableSchedule(name, f"attribute {attribute}") from error
    spec = ScheduleSpec(**{known: values[known] for known in (*_SPEC, "start", "end") if known in values})
    row = {known: values[known] for known in _ROW}
    schedule = Schedule(name, spec, **row, next_check_at=values.get("due_at"), problem=values.get("problem"))
    try:
        _ = schedule.recurrence
    except (BadExpression, BadZone) as error:
        raise UnreadableSchedule(name, "attribute expression or timezone") from error
    return schedule


def tick_key(at: int) -> str:
    """Return the sort key of a tick, without a manual run's job."""
    return f"TICK#{at:013d}"


def tick_item(name: str, tick: Tick, now: int) -> Item:
    """Return the row of a tick."""
    run = f"#{tick.job_id}" if tick.outcome is TickOutcome.MANUAL else ""
    item: Item = {spec.name: getattr(tick, spec.name) for spec in fields(Tick)}
    return item | {
        "pk": key_of(name)["pk"],
        "sk": tick_key(tick.at) + run,
        "outcome": tick.outcome.value,
        "expires_at": now // 1000 + TICK_TTL_S,
    }


@lru_cache(maxsize=1)
def from_env() -> ScheduleStore:
    """The schedules of this installation."""
    return ScheduleStore(aws.dynamodb(), settings().jobs_table)
