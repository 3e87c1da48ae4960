"""Pause and resume queues: disable and enable the event source mapping of the queue's worker.

The desired state is written first, signed; then the mapping is changed (`mappings`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from adbot_queue import ledger as ledgers
from adbot_queue.core import aws, dynamodb
from adbot_queue.core.clock import Clock, iso, system_clock
from adbot_queue.core.conflicts import CHANGED, retry_on_conflict
from adbot_queue.core.dynamodb import Transaction
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import logger
from adbot_queue.jobs import job_queues
from adbot_queue.ledger import Actor, Ledger, LedgerEntry
from adbot_queue.platform.queue_pauses import (
    DesiredState,
    desired_state_item,
    desired_state_key,
    desired_state_of,
)
from adbot_queue.queues import mappings
from adbot_queue.queues.mappings import Mappings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, slots=True)
class PauseResult:
    """A queue after its switch was set; `mapping` is as Lambda names its state, or `mappings.PENDING`."""

    name: str
    desired: DesiredState
    mapping: str


class PauseControl:
    """Sets the switches of queues."""

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        ledger: Ledger,
        mappings: Mappings,
        now: Clock = system_clock,
    ) -> None:
        self._client = client
        self._table = table
        self._ledger = ledger
        self._mappings = mappings
        self._now = now

    def pause(self, queue: str, reason: str, actor: Actor) -> PauseResult:
        """Let a queue stand still: no message of it is received until it is resumed. Jobs that run are not touched.

        Saying it twice changes nothing, but sees to it again that the mapping obeys.

        Raises:
            NotFound: there is no such queue.
            Unavailable: others kept setting the switch.
        """
        return self._set(queue, reason, actor, paused=True)

    def resume(self, queue: str, reason: str, actor: Actor) -> PauseResult:
        """Let it go on. Otherwise as `pause`."""
        return self._set(queue, reason, actor, paused=False)

    def _set(self, queue: str, reason: str, actor: Actor, *, paused: bool) -> PauseResult:
        name = job_queues.queue(queue).name

        def attempt() -> DesiredState:
            found = dynamodb.get(self._client, self._table, desired_state_key(name))
            before = desired_state_of(found) if found else DesiredState()
            if before.paused is paused:
                return before
            after = DesiredState(paused, iso(self._now()), actor.id, reason, before.version + 1)
            self._transaction(name, before, after, actor).commit()
            logger.info("queue switched", queue=name, paused=paused)
            return after

        desired = retry_on_conflict(attempt, CHANGED)
        return PauseResult(name, desired, self._mappings.apply(name, paused=paused))

    def _transaction(self, queue: str, before: DesiredState, after: DesiredState, actor: Actor) -> Transaction:
        """Return the writes: desired state (refused if it was changed in the meantime), ledger entry."""
        transaction = Transaction(self._client)
        item = desired_state_item(queue, after)
        if before.version:
            transaction.put("desired", self._table, item, condition="version = :version", version=before.version)
        else:
            transaction.create("desired", self._table, item)
        action = "queue.pause" if after.paused else "queue.resume"
        was, becomes = {"paused": before.paused}, {"paused": after.paused}
        self._ledger.sign(transaction, LedgerEntry(actor, action, f"queue:{queue}", was, becomes, after.reason))
        return transaction


@lru_cache(maxsize=1)
def from_env() -> PauseControl:
    """Return the control of this process.

    Raises:
        MissingSetting: this function may not change mappings.
    """
    return PauseControl(aws.dynamodb(), settings().system_table, ledgers.from_env(), mappings.from_env())
