"""The kill switch between queued and direct processing.

MODE   M   mode, changed_at, actor, reason, version; absent: async_queue
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from adbot_queue import ledger as ledgers
from adbot_queue.core import aws, dynamodb
from adbot_queue.core.clock import Clock, iso, system_clock
from adbot_queue.core.conflicts import CHANGED, retry_on_conflict
from adbot_queue.core.dynamodb import Item, Transaction
from adbot_queue.core.errors import Conflict
from adbot_queue.core.last_known import LastKnown
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import logger
from adbot_queue.ledger import Actor, Ledger, LedgerEntry
from adbot_queue.platform import health_log
from adbot_queue.platform.health_log import HealthLog, LogLevel

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
    """Reads and sets the mode."""

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        ledger: Ledger,
        log: HealthLog,
        now: Clock = system_clock,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._table = table
        self._ledger = ledger
        self._log = log
        self._now = now
        self._mode = LastKnown("mode", lambda: self.read().mode, ProcessingMode.ASYNC_QUEUE, seconds)

    def current(self) -> ProcessingMode:
        """Return the mode, at most 5 s old. While it cannot be read, the last known one, at first async_queue."""
        return self._mode.get()

    def read(self) -> Switch:
        """The switch, read strongly."""
        found = dynamodb.get(self._client, self._table, KEY)
        if found is None:
            return Switch()
        return Switch(
            ProcessingMode(found["mode"]), found["changed_at"], found["actor"], found["reason"], found["version"]
        )

    def set(self, mode: ProcessingMode, reason: str, actor: Actor, seen: int | None = None) -> Switch:
        """Set the mode; the same again changes nothing. Every process follows within 5 s.

        Args:
            mode: to set.
            reason: for the ledger.
            actor: who signs it.
            seen: the version that the person decided on; None: whatever it is.

        Raises:
            Conflict: the switch has another version by now.
            Unavailable: others kept setting it.
        """

        def attempt() -> Switch:
            before = self.read()
            if seen is not None and before.version != seen:
                raise Conflict(
                    f"the mode is {before.mode} since {before.changed_at}, set by {before.actor}: {before.reason}",
                    version=before.version,
                )
            if before.mode is mode:
                return before
            after = Switch(mode, iso(self._now()), actor.id, reason, before.version + 1)
            self._transaction(before, after, actor).commit()
            self._mode.set(mode)
            logger.warning("mode switched", before=before.mode, after=mode)
            return after

        return retry_on_conflict(attempt, CHANGED)

    def _transaction(self, before: Switch, after: Switch, actor: Actor) -> Transaction:
        """Return the writes: switch (refused if it was changed in the meantime), ledger entry, health log entry."""
        item: Item = {
            **KEY,
            "mode": after.mode.value,
            "changed_at": after.changed_at,
            "actor": after.actor,
            "reason": after.reason,
            "version": after.version,
        }
        transaction = Transaction(self._client)
        if before.version:
            transaction.put("mode", self._table, item, condition="version = :version", version=before.version)
        else:
            transaction.create("mode", self._table, item)
        was, becomes = before.mode.value, after.mode.value
        entry = LedgerEntry(actor, "mode.set", "system:mode", {"mode": was}, {"mode": becomes}, after.reason)
        self._ledger.sign(transaction, entry)
        message = f"mode switched from {was} to {becomes}"
        detail = {"before": was, "after": becomes, "actor": actor.id, "reason": after.reason}
        self._log.add(transaction, LogLevel.SWITCH, "mode.set", message, **detail)
        return transaction


@lru_cache(maxsize=1)
def from_env() -> Modes:
    """The mode as this process knows it."""
    return Modes(aws.dynamodb(), settings().system_table, ledgers.from_env(), health_log.from_env())
