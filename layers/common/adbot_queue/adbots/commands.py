"""What all commands share: actor, idempotency key, retry after a conflict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from adbot_queue.adbots.model import Adbot
from adbot_queue.adbots.storage.pool_store import StalePool
from adbot_queue.core import conflicts
from adbot_queue.core.dynamodb import TransactionConflict
from adbot_queue.core.idempotency import IdempotencyRecord, key_of
from adbot_queue.ledger import Actor

Result = TypeVar("Result")

KEY_TTL_MS = 30 * 86_400_000
"""How long the key of a command is valid."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Command:
    """Who does something, why, and under which key.

    Attributes:
        key: the caller's Idempotency-Key: a second command with it gets the first one's result.
        fingerprint: of the request, to refuse the key for another request.
    """

    actor: Actor
    reason: str = ""
    key: str | None = None
    fingerprint: str = ""

    @property
    def id(self) -> str | None:
        """The key, scoped to the actor: two people may use the same one."""
        return f"{self.actor.id}#{self.key}" if self.key else None

    def record(self, now: int) -> IdempotencyRecord | None:
        """Return what the command is remembered by, None without a key."""
        if not self.key:
            return None
        return IdempotencyRecord(key_of("command", self.actor.id, self.key), self.fingerprint, now + KEY_TTL_MS)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CommandResult:
    """A bot after a command; `replayed` if an earlier command with the same key did it, `kept` if none was needed."""

    adbot: Adbot
    replayed: bool = False
    kept: bool = False


def retry_on_conflict(attempt: Callable[[], Result]) -> Result:
    """Return what `attempt` returns; it reads, decides and commits anew each time.

    Raises:
        Unavailable: as `conflicts.retry_on_conflict`.
    """
    return conflicts.retry_on_conflict(attempt, (StalePool, TransactionConflict))


def summary(adbot: Adbot) -> dict[str, Any]:
    """The part of a bot that a ledger entry's before and after show."""
    return {
        "status": adbot.status.value,
        "assigned": adbot.assigned,
        "missing": adbot.missing,
        "queued_reason": adbot.queued_reason.value if adbot.queued_reason else None,
    }
