"""The ledger: every change by a person or provider is signed in its own transaction.

Entries are only put, under a key made of time and chance; no function may update or delete one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adbot_queue.core import aws, clock
from adbot_queue.core.dynamodb import Item, Table, Transaction
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.core.settings import settings

if TYPE_CHECKING:
    from adbot_queue.core.http import Request


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Actor:
    """Who acts: a person (`id` is the user's subject) or a payment provider (`stripe`), in which role."""

    id: str
    role: str
    request_id: str = ""

    @classmethod
    def behind(cls, request: Request[Any]) -> Actor:
        """The person behind an HTTP request."""
        return cls(request.caller.id, request.caller.role, request.request_id)


SYSTEM = Actor("system", "system")
"""For what the system decides by itself and a person must be able to trace: parking a bot, finishing an upload."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LedgerEntry:
    """One action on one target, for instance `adbot.cancel` on `adbot:abc`."""

    actor: Actor
    action: str
    target: str
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


class Ledger(Table):
    """Writes entries into other people's transactions; `search` reads them."""

    def sign(self, transaction: Transaction, entry: LedgerEntry) -> None:
        """Add the entry to a transaction: it is written exactly if its effect is."""
        now = self.now()
        at = clock.iso(now)
        item: Item = {
            "pk": clock.day(now),
            "sk": f"{at}#{time_ordered_id(now)}",
            "at": at,
            "actor": entry.actor.id,
            "role": entry.actor.role,
            "request_id": entry.actor.request_id,
            "action": entry.action,
            "target": entry.target,
            "before": entry.before,
            "after": entry.after,
            "reason": entry.reason,
        }
        transaction.create("ledger", self.table, item)


@lru_cache(maxsize=1)
def from_env() -> Ledger:
    """The ledger of this process."""
    return Ledger(aws.dynamodb(), settings().ledger_table)
