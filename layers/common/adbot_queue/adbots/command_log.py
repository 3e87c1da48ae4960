"""Commands: signed in the ledger, recorded under their idempotency key, and carried out once."""

from __future__ import annotations

from typing import Any

from adbot_queue.adbots.changes import PoolChange
from adbot_queue.adbots.commands import Command, CommandResult, summary
from adbot_queue.adbots.model import Adbot
from adbot_queue.adbots.storage.pool_store import StalePool, TransactionPart
from adbot_queue.adbots.storage.store import AdbotStore
from adbot_queue.core import idempotency
from adbot_queue.core.clock import Clock
from adbot_queue.core.dynamodb import Transaction, TransactionRejected
from adbot_queue.core.errors import NotFound
from adbot_queue.ledger import Ledger, LedgerEntry


class CommandLog:
    """What a command's transaction contains in addition to its effect: the ledger entry and the record of its key."""

    def __init__(self, store: AdbotStore, ledger: Ledger, now: Clock) -> None:
        self._store = store
        self._ledger = ledger
        self._now = now

    def commit_change(self, change: PoolChange, *parts: TransactionPart) -> None:
        """Write a change of a pool.

        Raises:
            StalePool: a row changed since it was read, or the command was carried out in the meantime: read again.
        """
        try:
            self._store.commit_change(change, *parts)
        except TransactionRejected as refused:
            raise _second_time(refused) from refused

    def commit(self, transaction: Transaction) -> None:
        """Write a transaction that changes a bot alone. Raises as `commit_change`."""
        try:
            transaction.commit()
        except TransactionRejected as refused:
            if "adbot" in refused.failed:
                raise StalePool from refused
            raise _second_time(refused) from refused

    def sign(
        self, command: Command, action: str, before: Adbot, after: Adbot, detail: dict[str, Any] | None = None
    ) -> TransactionPart:
        """Return the items that sign and record a command on a bot."""
        entry = LedgerEntry(
            command.actor,
            action,
            f"adbot:{before.id}",
            before=summary(before),
            after={**summary(after), **(detail or {})},
            reason=command.reason,
        )

        def sign(transaction: Transaction) -> None:
            self._ledger.sign(transaction, entry)
            self.remember(transaction, command, before.id)

        return sign

    def remember(self, transaction: Transaction, command: Command, adbot_id: str) -> None:
        """Record a command that has a key: refused with the tag of the record the second time."""
        now = self._now()
        if record := command.record(now):
            record.add(transaction, self._store.table, adbot_id, now)

    def known(self, command: Command) -> CommandResult | None:
        """Return the answer of an earlier command with the same key, None if there was none.

        Raises:
            IdempotencyMismatch: the key was used for another request.
        """
        now = self._now()
        record = command.record(now)
        duplicate = record.find(self._store.client, self._store.table, now) if record else None
        return CommandResult(self._adbot(duplicate.checked()), replayed=True) if duplicate else None

    def replay(self, command: Command) -> CommandResult:
        """Return the result of the first command with this key.

        Raises:
            StalePool: its record is not visible yet.
            IdempotencyMismatch: the key was used for another request.
        """
        done = self.known(command)
        if done is None:
            raise StalePool
        return done

    def _adbot(self, adbot_id: str) -> Adbot:
        adbot = self._store.adbot(adbot_id)
        if adbot is None:
            raise NotFound(f"there is no adbot {adbot_id}")
        return adbot


def _second_time(refused: TransactionRejected) -> Exception:
    """Whether the command was carried out, or a session lost, in the meantime: reading again finds it."""
    return StalePool() if refused.failed.keys() & {idempotency.TAG, "session"} else refused
