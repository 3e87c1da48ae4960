"""Probing a provider before its time: an open circuit becomes half-open, signed and in the health log."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from adbot_queue import ledger as ledgers
from adbot_queue.core import aws, dynamodb
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.conflicts import CHANGED, retry_on_conflict
from adbot_queue.core.dynamodb import Transaction
from adbot_queue.core.errors import Conflict, NotFound
from adbot_queue.core.settings import settings
from adbot_queue.ledger import Actor, Ledger, LedgerEntry
from adbot_queue.platform import health_log
from adbot_queue.platform.circuit import Circuit, CircuitState, circuit_of
from adbot_queue.platform.circuit_breaker import key_of
from adbot_queue.platform.health_log import HealthLog, LogLevel
from adbot_queue.providers.declarations import PROVIDERS

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class CircuitProbe:
    """Lets the next call of a provider through."""

    def __init__(
        self, client: DynamoDBClient, table: str, ledger: Ledger, log: HealthLog, now: Clock = system_clock
    ) -> None:
        self._client = client
        self._table = table
        self._ledger = ledger
        self._log = log
        self._now = now

    def request(self, provider: str, reason: str, actor: Actor) -> Circuit:
        """Make an open circuit half-open; one that is half-open stays so. Every process follows within 5 s.

        Args:
            provider: whose circuit.
            reason: for the ledger.
            actor: who signs it.

        Raises:
            NotFound: there is no such provider.
            Conflict: its circuit is closed.
            Unavailable: others kept changing it.
        """
        if provider not in PROVIDERS:
            raise NotFound(f"there is no provider {provider}; they are {', '.join(PROVIDERS)}")

        def attempt() -> Circuit:
            now = self._now()
            item = dynamodb.get(self._client, self._table, key_of(provider)) or {}
            before = circuit_of(provider, item, now)
            if before.state is CircuitState.CLOSED:
                raise Conflict(f"the circuit of {provider} is closed: its calls pass")
            if before.state is CircuitState.HALF_OPEN:
                return before
            self._transaction(before, now, reason, actor).commit()
            return circuit_of(provider, {**item, "open_until": now}, now)

        return retry_on_conflict(attempt, CHANGED)

    def _transaction(self, before: Circuit, now: int, reason: str, actor: Actor) -> Transaction:
        """Return the writes: circuit (refused if it was changed in the meantime), ledger entry, health log entry."""
        transaction = Transaction(self._client)
        transaction.update(
            "circuit",
            self._table,
            key_of(before.provider),
            "SET open_until = :now",
            condition="#state = :open AND open_until = :was",
            now=now,
            open=CircuitState.OPEN.value,
            was=before.open_until,
        )
        was, becomes = {"state": before.state.value}, {"state": CircuitState.HALF_OPEN.value}
        target = f"provider:{before.provider}"
        self._ledger.sign(transaction, LedgerEntry(actor, "circuit.probe", target, was, becomes, reason))
        message = f"{before.provider}: the next call is let through as a probe"
        detail = {"provider": before.provider, "actor": actor.id, "reason": reason}
        self._log.add(transaction, LogLevel.INFO, "circuit.probe", message, **detail)
        return transaction


@lru_cache(maxsize=1)
def from_env() -> CircuitProbe:
    """Return the probe of this process."""
    return CircuitProbe(aws.dynamodb(), settings().system_table, ledgers.from_env(), health_log.from_env())
