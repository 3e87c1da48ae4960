"""A job that works in slices: counts each item that it was given, so that a test sees one that was done twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from adbot_queue.core import aws, dynamodb
from adbot_queue.core.dynamodb import Transaction
from adbot_queue.core.schema import Input
from adbot_queue.jobs import long_running
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.job_types import JobType
from adbot_queue.jobs.long_running import LongRunningJob, Progress, Slice
from tests.builders.world import AwsHarness


class Items(Input):
    """How many items, how many of them a slice, how many a second."""

    items: int = 10
    size: int = 2
    rate: float = Field(default=0)


@dataclass
class Script:
    """What a test has happen: `before_slice` is called with the cursor of each slice before it is decided on."""

    table: str = ""
    before_slice: Callable[[int], None] = lambda _: None
    effects: Callable[[Transaction, int], None] = lambda *_: None
    sent: list[int] = field(default_factory=list)


SCRIPT = Script()


class CountItems(LongRunningJob):
    """The work. Its cursor is `[the next item, when it may follow]`."""

    def __init__(self, payload: Items, context: Context) -> None:
        self._payload = payload
        self._context = context

    def next_slice(self, progress: Progress) -> Slice:
        first, paced_at = progress.cursor or (0, 0)
        SCRIPT.before_slice(first)
        last = min(first + self._payload.size, self._payload.items)

        def effects(transaction: Transaction) -> None:
            for item in range(first, last):
                transaction.add(f"item:{item}", SCRIPT.table, {"pk": f"ITEM#{item}", "sk": "I"}, {"times": 1})
            SCRIPT.effects(transaction, first)

        now = self._context.now()
        after = long_running.next_at(paced_at, now, self._payload.rate) if self._payload.rate else 0
        return Slice(
            [last, after],
            done=last - first,
            outcomes={
                "even": len(range(first + first % 2, last, 2)),
                "odd": len(range(first + 1 - first % 2, last, 2)),
            },
            effects=effects,
            afterwards=lambda: SCRIPT.sent.append(first),
            of=self._payload.items,
            cut_off=now if progress.cursor is None else None,
            not_before=after,
            is_last=last == self._payload.items,
        )


def count_items(payload: Items, context: Context) -> dict[str, Any]:
    """The handler."""
    return long_running.run(CountItems(payload, context), context)


def counting_items(name: str = "count-items", queue: str = "maintenance", **declared: Any) -> JobType:
    """Its declaration; nothing has happened yet."""
    return JobType(queue, Items, count_items, long_running=True, name=name, **declared)


def new_script(world: AwsHarness) -> Script:
    """A script in which nothing happens."""
    SCRIPT.__init__(world.env["SYSTEM_TABLE"])  # type: ignore[misc]  the handler is imported by name and knows this one
    return SCRIPT


def times(items: int) -> Counter[int]:
    """How many times each item was done."""
    keys = [{"pk": f"ITEM#{item}", "sk": "I"} for item in range(items)]
    found = dynamodb.get_many(aws.dynamodb(), SCRIPT.table, keys)
    return Counter({int(item["pk"].partition("#")[2]): item["times"] for item in found})
