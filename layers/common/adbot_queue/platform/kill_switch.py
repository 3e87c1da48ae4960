"""The kill switch: sets the mode, signed and in the health log, in one transaction."""

from __future__ import annotations

from functools import lru_cache

from adbot_queue import ledger as ledgers
from adbot_queue.core.clock import Clock, iso, system_clock
from adbot_queue.core.conflicts import CHANGED, retry_on_conflict
from adbot_queue.core.dynamodb import Item, Transaction
from adbot_queue.core.errors import Conflict
from adbot_queue.core.telemetry import logger
from adbot_queue.ledger import Actor, Ledger, LedgerEntry
from adbot_queue.platform import health_log, mode
from adbot_queue.platform.health_log import HealthLog, LogLevel
from adbot_queue.platform.mode import KEY, Modes, ProcessingMode, Switch


class KillSwitch:
    """Sets the mode."""

    def __init__(self, modes: Modes, ledger: Ledger, log: HealthLog, now: Clock = system_clock) -> None:
        self._modes = modes
        self._ledger = ledger
        self._log = log
        self._now = now

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
            before = self._modes.read()
            if seen is not None and before.version != seen:
                raise Conflict(
                    f"the mode is {before.mode} since {before.changed_at}, set by {before.actor}: {before.reason}",
                    version=before.version,
                )
            if before.mode is mode:
                return before
            after = Switch(mode, iso(self._now()), actor.id, reason, before.version + 1)
            self._transaction(before, after, actor).commit()
            self._modes.is_now(mode)
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
        transaction = Transaction(self._modes.client)
        if before.version:
            transaction.put("mode", self._modes.table, item, condition="version = :version", version=before.version)
        else:
            transaction.create("mode", self._modes.table, item)
        was, becomes = before.mode.value, after.mode.value
        entry = LedgerEntry(actor, "mode.set", "system:mode", {"mode": was}, {"mode": becomes}, after.reason)
        self._ledger.sign(transaction, entry)
        message = f"mode switched from {was} to {becomes}"
        detail = {"before": was, "after": becomes, "actor": actor.id, "reason": after.reason}
        self._log.add(transaction, LogLevel.SWITCH, "mode.set", message, **detail)
        return transaction


@lru_cache(maxsize=1)
def from_env() -> KillSwitch:
    """Return the kill switch of this process."""
    return KillSwitch(mode.from_env(), ledgers.from_env(), health_log.from_env())
