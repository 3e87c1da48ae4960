"""Which job queues are meant to stand still. Intents: whoever changes one sees to it that it comes true.

QUEUE#<name>   Q   paused, changed_at, actor, reason, version; absent: it runs
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import Item
from adbot_queue.core.telemetry import logger

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CACHE_SECONDS = 5


@dataclass(frozen=True, slots=True, repr=False)
class Intent:
    """What a queue is meant to do; without `changed_at` nobody has touched it yet."""

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
        self._seconds = seconds
        self._paused: frozenset[str] = frozenset()
        self._asked_at: float | None = None

    def paused(self) -> frozenset[str]:
        """Queues that are paused, at most 5 s old. While that cannot be read what was known last stands."""
        now = self._seconds()
        if self._asked_at is None or now - self._asked_at >= CACHE_SECONDS:
            try:
                self._paused = frozenset(name for name, intent in self.intents().items() if intent.paused)
            except (ClientError, BotoCoreError) as error:
                logger.warning("pauses cannot be read; going on as before", error=type(error).__name__)
            self._asked_at = now
        return self._paused

    def intents(self) -> dict[str, Intent]:
        """The intent of every queue, read strongly in one call."""
        found = dynamodb.get_many(self._client, self._table, [intent_key(name) for name in self._queues])
        return dict.fromkeys(self._queues, Intent()) | {name_of(item): intent_of(item) for item in found}


def intent_key(queue: str) -> Item:
    """The key of a queue's intent."""
    return {"pk": f"QUEUE#{queue}", "sk": "Q"}


def name_of(item: Item) -> str:
    """The queue that an intent's item is about."""
    return str(item["pk"]).removeprefix("QUEUE#")


def intent_of(item: Mapping[str, object]) -> Intent:
    """The intent in an item."""
    return Intent(**{name: item[name] for name in Intent.__slots__})  # type: ignore[arg-type]


def intent_item(queue: str, intent: Intent) -> Item:
    """An intent as its item."""
    return {**intent_key(queue), **{name: getattr(intent, name) for name in Intent.__slots__}}
