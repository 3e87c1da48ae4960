"""Reads the ledger."""

from __future__ import annotations

from typing import Any

from adbot_queue.core import clock, dynamodb
from adbot_queue.core.dynamodb import Item
from adbot_queue.core.errors import Invalid
from adbot_queue.ledger import Ledger

_INDEXES = {"target": "by_target", "actor": "by_actor", "action": "by_action"}  # the most selective first


def read(
    entries: Ledger,
    *,
    actor: str | None,
    action: str | None,
    target: str | None,
    since: int | None,
    until: int | None,
    limit: int,
    cursor: str | None,
) -> tuple[list[Item], str | None]:
    """Return entries that meet all filters, newest first, and the cursor of the next page.

    Without actor, action and target: those of one day.

    Args:
        entries: the ledger.
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
        days = {clock.day(end) for end in given_ends or [entries.now()]}
        if len(days) > 1:
            raise Invalid.field("from", "more than one day needs a filter by actor, action or target as well")
        values["hash"] = days.pop()
        condition = "pk = :hash AND sk BETWEEN :low AND :high"
        index = None
    values |= given
    where = " AND ".join(f"#{name} = :{name}" for name in given) or None
    return dynamodb.query_page(
        entries.client, entries.table, condition, index=index, limit=limit, cursor=cursor, where=where, **values
    )
