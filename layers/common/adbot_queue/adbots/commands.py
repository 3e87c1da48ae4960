"""What all commands share: who asks, under which id, and how a lost race is run again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from adbot_queue.adbots.model import Adbot
from adbot_queue.adbots.storage.pool_store import Stale
from adbot_queue.core import conflicts
from adbot_queue.core.dynamodb import Contended
from adbot_queue.ledger import Actor

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Command:
    """Who does something, why, and under which id.

    Attributes:
        key: the caller's Idempotency-Key: a second command with it is not carried out but answered as the first.
        fingerprint: of the request, to refuse the key with another request.
    """

    actor: Actor
    reason: str = ""
    key: str | None = None
    fingerprint: str = ""

    @property
    def id(self) -> str | None:
        """The key, in the name of the actor: two people may use the same one."""
        return f"{self.actor.id}#{self.key}" if self.key else None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Done:
    """A bot after a command; `replayed` when an earlier command with the same key had done it."""

    adbot: Adbot
    replayed: bool = False


def retry_on_conflict(attempt: Callable[[], Result]) -> Result:
    """Return what `attempt` returns; it reads, decides and commits anew each time.

    Raises:
        Unavailable: as `conflicts.retry_on_conflict`.
    """
    return conflicts.retry_on_conflict(attempt, (Stale, Contended))
