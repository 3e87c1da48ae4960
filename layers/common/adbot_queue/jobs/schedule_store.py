"""Schedules in the Jobs table.

    SCHEDULE#<name>  S                   the schedule; payload as JSON text
    SCHEDULE#<name>  TICK#<time>[#<job>] the ledger of its ticks, kept for 90 days; with a job's id: run by hand
    IDEM#<hash>      I                   which schedule an idempotency key has made

Index attributes, as jobs have them:

    due       queue = schedules, due_at       somebody must look at it by then: EventBridge Scheduler must be told
                                              of it, or its next tick is overdue
    by_state  listing = schedules, listed_at  the list
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adbot_queue.core import aws, dynamodb
from adbot_queue.core.dynamodb import ConditionFailed, Item, Refused, Transaction
from adbot_queue.core.settings import settings
from adbot_queue.jobs.schedule_model import Outcome, Schedule, Tick, Wanted
from adbot_queue.jobs.ticks import ON_TIME_MS, MissedPolicy

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

QUEUE = "schedules"
TELL_MS = 60_000
"""When EventBridge Scheduler has not been told of a change by then, the sweeper does it."""

TICK_DAYS = 90

_ROW = {"created_at", "updated_at", "anchor", "seen", "version", "synced"}
_PLAIN = {"expression", "timezone", "type", "priority", "enabled", "start", "end"}

Sign = Callable[[Transaction], None]


@dataclass(frozen=True, slots=True)
class Memory:
    """What an idempotency key is remembered by, and for how long (ms)."""

    key: str
    fingerprint: str
    until: int


@dataclass(frozen=True, slots=True)
class Known:
    """What an idempotency key has made."""

    name: str
    fingerprint: str


class Remembered(Exception):
    """The key was used meanwhile."""


class Lost(Exception):
    """Somebody else was faster: the row is not what it was."""


class ScheduleStore:
    """Access patterns of the Jobs table that concern schedules."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    # Reading

    def get(self, name: str) -> Schedule | None:
        """One schedule, read strongly; also one that is deleted and not forgotten."""
        found = dynamodb.get(self._client, self._table, key_of(name))
        return schedule_of(found) if found else None

    def page(self, limit: int, cursor: str | None) -> tuple[list[Schedule], str | None]:
        """Schedules in the order of their making."""
        found, following = self._index("by_state", "listing = :listing", limit, cursor, listing=QUEUE)
        rows = dynamodb.get_many(self._client, self._table, [{"pk": item["pk"], "sk": item["sk"]} for item in found])
        by_name = {schedule.name: schedule for schedule in map(schedule_of, rows) if not schedule.deleted}
        # The index is a moment older than the rows.
        return [by_name[name] for item in found if (name := _name(item)) in by_name], following

    def due(self, until: int, limit: int) -> list[str]:
        """Names of schedules that must be looked at, the most overdue first."""
        condition = "queue = :queue AND due_at <= :until"
        return [_name(item) for item in self._index("due", condition, limit, None, queue=QUEUE, until=until)[0]]

    def ticks(self, name: str, limit: int) -> list[Tick]:
        """The latest ticks, latest first."""
        condition, pk = "pk = :pk AND begins_with(sk, :sk)", key_of(name)["pk"]
        found = dynamodb.query(self._client, self._table, condition, limit=limit, forward=False, pk=pk, sk="TICK#")
        return [_tick_of(item) for item in found]

    def known(self, key: str, now: int) -> Known | None:
        """What a key has made, while it is remembered."""
        found = dynamodb.get(self._client, self._table, {"pk": key, "sk": "I"})
        return Known(found["schedule"], found["fingerprint"]) if found and found["until"] > now else None

    # Writing

    def save(
        self, before: Schedule | None, after: Schedule, now: int, sign: Sign, memory: Memory | None = None
    ) -> None:
        """Write a new or changed schedule. Items: the row (refuses if it is not as before), the ledger entry, the key.

        Raises:
            Remembered: the key was used meanwhile.
            Lost: the row has changed.
        """
        transaction = Transaction(self._client)
        item = item_of(after, now + TELL_MS)
        if before is None:
            transaction.create("schedule", self._table, item)
        else:
            transaction.put("schedule", self._table, item, condition="version = :version", version=before.version)
        sign(transaction)
        if memory:
            remembered: Item = {
                "pk": memory.key,
                "sk": "I",
                "schedule": after.name,
                "fingerprint": memory.fingerprint,
                "until": memory.until,
                "expires_at": memory.until // 1000,
            }
            condition = "attribute_not_exists(pk) OR #until <= :now"  # TTL may delete days late
            transaction.put("memory", self._table, remembered, condition=condition, now=now)
        try:
            transaction.commit()
        except Refused as refused:
            raise (Remembered if "memory" in refused.failed else Lost)(after.name) from refused

    def told(self, schedule: Schedule, problem: str | None, due_at: int | None) -> Schedule:
        """Note that EventBridge Scheduler has this version, or what it has against it.

        Raises:
            Lost: there is another version by now.
        """
        values: dict[str, Any] = {"synced": schedule.version, "version": schedule.version}
        sets, removes = ["synced = :synced"], []
        for name, value in (("problem", problem), ("due_at", due_at)):
            if value is None:
                removes.append(name)
            else:
                sets.append(f"{name} = :{name}")
                values[name] = value
        expression = f"SET {', '.join(sets)}" + (f" REMOVE {', '.join(removes)}" if removes else "")
        try:
            written = dynamodb.update_if(
                self._client,
                self._table,
                key_of(schedule.name),
                expression,
                condition="#version = :version",
                **values,
            )
        except ConditionFailed as failed:
            raise Lost(schedule.name) from failed
        return schedule_of(written)

    def put_off(self, schedule: Schedule, due_at: int) -> None:
        """Have others looked at before this one, which could not be told of; nothing when it has changed."""
        with suppress(ConditionFailed):
            dynamodb.update_if(
                self._client,
                self._table,
                key_of(schedule.name),
                "SET due_at = :due_at",
                condition="#version = :version",
                due_at=due_at,
                version=schedule.version,
            )

    def forget(self, schedule: Schedule) -> None:
        """Remove the row of a deleted schedule.

        Raises:
            Lost: it was made again, or somebody else has forgotten it.
        """
        transaction = Transaction(self._client).delete(
            "schedule",
            self._table,
            key_of(schedule.name),
            condition="version = :version AND deleted = :yes",
            version=schedule.version,
            yes=True,
        )
        try:
            transaction.commit()
        except Refused as refused:
            raise Lost(schedule.name) from refused

    def settle(self, schedule: Schedule, ticks: Sequence[Tick], seen: int, due_at: int | None, now: int) -> None:
        """Write down what became of ticks. Items: the ticks, and the row, which refuses if somebody else has done it.

        Raises:
            Lost: the schedule, or how far its ticks are decided, has changed.
        """
        transaction = Transaction(self._client)
        for tick in ticks:
            transaction.put(f"tick:{tick.at}", self._table, _tick_item(schedule.name, tick, now))
        values: dict[str, Any] = {"seen": seen, "was": schedule.seen, "version": schedule.version}
        expression = "SET seen = :seen"
        if schedule.in_step:  # otherwise somebody must tell EventBridge Scheduler of it, and sooner
            expression += ", due_at = :due_at" if due_at is not None else " REMOVE due_at"
            values |= {"due_at": due_at} if due_at is not None else {}
        condition = "version = :version AND seen = :was"
        transaction.update("schedule", self._table, key_of(schedule.name), expression, condition=condition, **values)
        try:
            transaction.commit()
        except Refused as refused:
            raise Lost(schedule.name) from refused

    def by_hand(self, name: str, tick: Tick, sign: Sign, now: int) -> bool:
        """Write down a run that somebody asked for; False when it is there already."""
        transaction = Transaction(self._client).create("tick", self._table, _tick_item(name, tick, now))
        sign(transaction)
        try:
            transaction.commit()
        except Refused:
            return False
        return True

    def _index(
        self, index: str, condition: str, limit: int, cursor: str | None, **values: Any
    ) -> tuple[list[Item], str | None]:
        return dynamodb.query_page(
            self._client, self._table, condition, index=index, limit=limit, cursor=cursor, forward=True, **values
        )


def key_of(name: str) -> Item:
    """The key of a schedule's row."""
    return {"pk": f"SCHEDULE#{name}", "sk": "S"}


def look_at(schedule: Schedule) -> int | None:
    """When the sweeper must look at a schedule that EventBridge Scheduler knows: its next tick is overdue then."""
    following = schedule.plan.next(schedule.seen) if schedule.is_live else None
    return None if following is None else following + ON_TIME_MS


def item_of(schedule: Schedule, due_at: int) -> Item:
    """The row of a schedule that EventBridge Scheduler must be told of by `due_at`."""
    wanted = schedule.wanted
    item: Item = {**key_of(schedule.name), "queue": QUEUE, "due_at": due_at}
    item |= {name: getattr(schedule, name) for name in _ROW}
    item |= {name: getattr(wanted, name) for name in _PLAIN}
    item |= {
        "tags": list(wanted.tags),
        "missed_policy": wanted.missed_policy.value,
        "payload": json.dumps(wanted.payload, separators=(",", ":")),
        "problem": schedule.problem,
    }
    if schedule.deleted:
        return item | {"deleted": True}
    return item | {"listing": QUEUE, "listed_at": schedule.created_at}


def schedule_of(item: Item) -> Schedule:
    """The schedule in a row."""
    wanted = {name: item[name] for name in _PLAIN if name in item}
    return Schedule(
        name=_name(item),
        wanted=Wanted(
            **wanted,
            tags=tuple(item["tags"]),
            missed_policy=MissedPolicy(item["missed_policy"]),
            payload=json.loads(item["payload"]),
        ),
        **{name: item[name] for name in _ROW},
        problem=item.get("problem"),
        deleted=item.get("deleted", False),
    )


def _name(item: Item) -> str:
    return str(item["pk"]).removeprefix("SCHEDULE#")


def _tick_item(name: str, tick: Tick, now: int) -> Item:
    by_hand = f"#{tick.job_id}" if tick.outcome is Outcome.BY_HAND else ""
    item: Item = {spec.name: getattr(tick, spec.name) for spec in fields(Tick)}
    return item | {
        "pk": key_of(name)["pk"],
        "sk": f"TICK#{tick.at:013d}{by_hand}",
        "outcome": tick.outcome.value,
        "expires_at": now // 1000 + TICK_DAYS * 86_400,
    }


def _tick_of(item: Item) -> Tick:
    values = {spec.name: item[spec.name] for spec in fields(Tick) if spec.name in item}
    return Tick(**values | {"outcome": Outcome(item["outcome"])})


@lru_cache(maxsize=1)
def from_env() -> ScheduleStore:
    """The schedules of this installation."""
    return ScheduleStore(aws.dynamodb(), settings().jobs_table)
