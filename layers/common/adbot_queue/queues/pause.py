"""Pause and resume queues: disable and enable the event source mapping of the queue's worker.

The desired state is written first, signed; then the mapping is changed. `reconcile`, which the sweeper calls every
minute, completes a change that died in between and reverts any other change of a mapping.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue import ledger as ledgers
from adbot_queue.core import aws, dynamodb
from adbot_queue.core.clock import Clock, iso, system_clock
from adbot_queue.core.conflicts import CHANGED, retry_on_conflict
from adbot_queue.core.dynamodb import Transaction
from adbot_queue.core.settings import MissingSetting, settings
from adbot_queue.core.telemetry import count, logger
from adbot_queue.jobs import job_queues
from adbot_queue.ledger import Actor, Ledger, LedgerEntry
from adbot_queue.platform import health_log
from adbot_queue.platform.health_log import HealthLog, LogLevel
from adbot_queue.platform.queue_pauses import (
    DesiredState,
    Pauses,
    desired_state_item,
    desired_state_key,
    desired_state_of,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient

PENDING = "Pending"
"""Said of a mapping that could not be changed yet: the sweeper does it."""

_RIGHT = {True: {"Disabled", "Disabling"}, False: {"Enabled", "Enabling"}}
_SETTLED = {"Enabled", "Disabled"}


@dataclass(frozen=True, slots=True)
class PauseResult:
    """A queue after its switch was set: the desired, and the mapping's state as Lambda names it, or `PENDING`."""

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
        log: HealthLog,
        functions: Callable[[], LambdaClient],
        mappings: Mapping[str, str],
        now: Clock = system_clock,
    ) -> None:
        self._client = client
        self._table = table
        self._ledger = ledger
        self._log = log
        self._functions = functions
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
        return PauseResult(name, desired, self._apply(name, paused=paused))

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

    def _apply(self, queue: str, *, paused: bool) -> str:
        """Change the mapping; its state, `PENDING` when Lambda refused or could not be reached."""
        try:
            answer = self._functions().update_event_source_mapping(UUID=self._mappings[queue], Enabled=not paused)
        except (ClientError, BotoCoreError) as error:
            # As a rule it is being changed this very moment (ResourceInUseException).
            message = f"the event source mapping of {queue} could not be changed; the sweeper tries again"
            self._log.record(LogLevel.WARNING, "queue.mapping", message, queue=queue, error=_name(error))
            return PENDING
        return str(answer["State"])

    def reconcile(self) -> list[str]:
        """Change mappings that do not obey their queue's switch; answers their queues. One that fails stops no other.

        One that is just being changed is left to the next run.
        """
        repaired: list[str] = []
        for queue, desired in Pauses(self._client, self._table, self._mappings).desired_states().items():
            try:
                state = self._functions().get_event_source_mapping(UUID=self._mappings[queue])["State"]
            except (ClientError, BotoCoreError) as error:
                logger.warning("mapping cannot be read", queue=queue, error=_name(error))
                continue
            if state in _RIGHT[desired.paused] or state not in _SETTLED:
                continue
            message = f"the event source mapping of {queue} was {state}; it is set right"
            self._log.record(LogLevel.WARNING, "queue.mapping", message, queue=queue, paused=desired.paused)
            if self._apply(queue, paused=desired.paused) != PENDING:
                repaired.append(queue)
        count("MappingsRepaired", len(repaired))
        return repaired


def _name(error: ClientError | BotoCoreError) -> str:
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", type(error).__name__))
    return type(error).__name__


def reconcile() -> list[str]:
    """As `PauseControl.reconcile`, for the queues of this process."""
    return from_env().reconcile()


@lru_cache(maxsize=1)
def from_env() -> PauseControl:
    """Return the control of this process. Only functions that may change mappings know their ids.

    Raises:
        MissingSetting: this function may not.
    """
    mappings = os.environ.get("EVENT_SOURCE_MAPPINGS")
    if mappings is None:
        raise MissingSetting("EVENT_SOURCE_MAPPINGS is not set: JSON, queue -> UUID of its event source mapping")
    return PauseControl(
        aws.dynamodb(),
        settings().system_table,
        ledgers.from_env(),
        health_log.from_env(),
        aws.functions,
        json.loads(mappings),
    )
