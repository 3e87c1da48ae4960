"""The ledger: every change by a person or provider is signed in its own transaction.

Entries are only put, under a key made of time and chance; no function may update or delete one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adbot_queue.core import aws, clock, dynamodb
from adbot_queue.core.dynamodb import Item, Table, Transaction
from adbot_queue.core.errors import Invalid
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


_INDEXES = {"target": "by_target", "actor": "by_actor", "action": "by_action"}  # the most selective first


class Ledger(Table):
    """Writes entries into other people's transactions, and reads them for `GET /admin/ledger`."""

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

    def read(
        self,
        *,
        actor: str | None,
        action: str | None,
        target: str | None,
        since: int | None,
        until: int | None,
        limit: int,
        cursor: str | None,
    ) -> tuple[list[Item], str | None]:
        """Entries, newest first, that meet all filters. Without actor, action and target: those of one day.

        Args:
            actor: only entries of this person or provider.
            action: only this action.
            target: only what was done to this.
            since: first millisecond.
            until: last millisecond.
            limit: entries read for the page; the filters may leave fewer.
            cursor: of the page before.

        Raises:
            Invalid: a period of more than a day without any other filter.
        """
        low, high = clock.text_range(since, until)
        filters = {"target": target, "actor": actor, "action": action}
        given = {name: value for name, value in filters.items() if value}
        values: dict[str, Any] = {"low": low, "high": high}
        if given:
            first = next(name for name in _INDEXES if name in given)
            values["hash"] = given.pop(first)
            condition = f"#{first} = :hash AND sk BETWEEN :low AND :high"
            index = _INDEXES[first]
        else:
            given_ends = [end for end in (since, until) if end is not None]
            days = {clock.day(end) for end in given_ends or [self.now()]}
            if len(days) > 1:
                raise Invalid.field("from", "more than one day needs a filter by actor, action or target as well")
            values["hash"] = days.pop()
            condition = "pk = :hash AND sk BETWEEN :low AND :high"
            index = None
        values |= given
        where = " AND ".join(f"#{name} = :{name}" for name in given) or None
        return dynamodb.query_page(
            self.client, self.table, condition, index=index, limit=limit, cursor=cursor, where=where, **values
        )


@lru_cache(maxsize=1)
def from_env() -> Ledger:
    """The ledger of this process."""
    return Ledger(aws.dynamodb(), settings().ledger_table)
