"""The processing mode, queued or direct; `kill_switch` sets it.

MODE   M   mode, changed_at, actor, reason, version; absent: async_queue
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from adbot_queue.core import aws, dynamodb
from adbot_queue.core.dynamodb import Item
from adbot_queue.core.last_known import LastKnown
from adbot_queue.core.settings import settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

KEY: Item = {"pk": "MODE", "sk": "M"}


class ProcessingMode(StrEnum):
    """How work is done: by workers behind queues, or within the request."""

    ASYNC_QUEUE = "async_queue"
    SYNC_DIRECT = "sync_direct"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Switch:
    """The state of the switch; without `changed_at` it was never changed."""

    mode: ProcessingMode = ProcessingMode.ASYNC_QUEUE
    changed_at: str | None = None
    actor: str | None = None
    reason: str = ""
    version: int = 0


class Modes:
    """Reads the mode."""

    def __init__(self, client: DynamoDBClient, table: str, seconds: Callable[[], float] = time.monotonic) -> None:
        self.client = client
        self.table = table
        mode = LastKnown("mode", lambda: self.read().mode, ProcessingMode.ASYNC_QUEUE, seconds)
        self.current = mode.get
        """Returns the mode, at most 5 s old. While it cannot be read, the last known one, at first async_queue."""
        self.is_now = mode.set
        """Takes note of a mode that this process has set."""

    def read(self) -> Switch:
        """The switch, read strongly."""
        found = dynamodb.get(self.client, self.table, KEY)
        if found is None:
            return Switch()
        return Switch(
            ProcessingMode(found["mode"]), found["changed_at"], found["actor"], found["reason"], found["version"]
        )


@lru_cache(maxsize=1)
def from_env() -> Modes:
    """Return the mode as this process knows it."""
    return Modes(aws.dynamodb(), settings().system_table)
