"""The desired state of each job queue: paused or running. `queues.pause` applies it.

PAUSES   <queue>   paused, changed_at, actor, reason, version; absent: it runs
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import Item
from adbot_queue.core.last_known import LastKnown

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


_PARTITION = "PAUSES"


@dataclass(frozen=True, slots=True, repr=False)
class DesiredState:
    """The desired state of a queue; without `changed_at` it was never changed."""

    paused: bool = False
    changed_at: str | None = None
    actor: str | None = None
    reason: str = ""
    version: int = 0


class Pauses:
    """Knows the intents of all queues."""

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        queues: Iterable[str],
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._table = table
        self._queues = list(queues)
        self._paused: LastKnown[frozenset[str]] = LastKnown("pauses", self._read, frozenset(), seconds)

    def paused(self) -> frozenset[str]:
        """Return the paused queues, at most 5 s old. While they cannot be read, the last known ones."""
        return self._paused.get()

    def _read(self) -> frozenset[str]:
        return frozenset(name for name, intent in self.desired_states().items() if intent.paused)

    def desired_states(self) -> dict[str, DesiredState]:
        """The intent of every queue, read strongly in one call."""
        found = dynamodb.get_many(self._client, self._table, [desired_state_key(name) for name in self._queues])
        return dict.fromkeys(self._queues, DesiredState()) | {name_of(item): desired_state_of(item) for item in found}


def all_desired_states(client: DynamoDBClient, table: str) -> dict[str, DesiredState]:
    """Return the intents that were ever set, read strongly: one Query, a read unit where one read each takes thirteen.

    For functions that may query the table; `Pauses` gets by with what a worker may do.
    """
    found = dynamodb.query(client, table, "pk = :pk", pk=_PARTITION)
    return {name_of(item): desired_state_of(item) for item in found}


def desired_state_key(queue: str) -> Item:
    """The key of a queue's intent."""
    return {"pk": _PARTITION, "sk": queue}


def name_of(item: Item) -> str:
    """The queue that an intent's item is about."""
    return str(item["sk"])


def desired_state_of(item: Mapping[str, object]) -> DesiredState:
    """The intent in an item."""
    return DesiredState(**{name: item[name] for name in DesiredState.__slots__})  # type: ignore[arg-type]


def desired_state_item(queue: str, intent: DesiredState) -> Item:
    """An intent as its item."""
    return {**desired_state_key(queue), **{name: getattr(intent, name) for name in DesiredState.__slots__}}
