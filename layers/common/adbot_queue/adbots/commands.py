"""What all commands share: who asks, under which id, and how a lost race is run again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from adbot_queue.adbots.model import Adbot, AdbotStatus
from adbot_queue.adbots.storage.pool_store import StalePool
from adbot_queue.core import conflicts
from adbot_queue.core.clock import iso
from adbot_queue.core.dynamodb import TransactionConflict
from adbot_queue.core.errors import AppError, Conflict, Forbidden
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
class CommandResult:
    """A bot after a command; `replayed` when an earlier command with the same key had done it."""

    adbot: Adbot
    replayed: bool = False


def refusal_of(adbot: Adbot, action: str) -> AppError:
    """Why a bot cannot be started or stopped. QUEUED comes before any other state, with what is missing and why."""
    if action == "adbot.start" and adbot.status is AdbotStatus.QUEUED:
        return Forbidden(
            f"adbot {adbot.id} is QUEUED: {adbot.missing} of {adbot.required} sessions are missing",
            missing_sessions_count=adbot.missing,
            queued_reason=adbot.queued_reason,
            queued_at=iso(adbot.queued_at) if adbot.queued_at else None,
        )
    if action == "adbot.start" and adbot.on_hold:
        return Conflict(f"adbot {adbot.id} is on hold: its payment is disputed", status_now=adbot.status)
    return Conflict(f"adbot {adbot.id} is {adbot.status}", status_now=adbot.status)


def retry_on_conflict(attempt: Callable[[], Result]) -> Result:
    """Return what `attempt` returns; it reads, decides and commits anew each time.

    Raises:
        Unavailable: as `conflicts.retry_on_conflict`.
    """
    return conflicts.retry_on_conflict(attempt, (StalePool, TransactionConflict))
