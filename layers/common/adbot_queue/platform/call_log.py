"""Calls of models and plugins by jobs, for 90 days: what they cost and how they ended.

    EVENTS#<kind>   <ISO time>#<chance>   job, type, tenant, outcome, and the kind's own attributes

One partition per kind takes 1,000 writes a second, more than its workers can make. Prompts and answers are not stored.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import Any

from adbot_queue.core import attribute_values, aws, dynamodb
from adbot_queue.core.clock import iso, text_range
from adbot_queue.core.dynamodb import Item, Table
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import count, logger

TTL_MS = 90 * 86_400_000


class CallKind(StrEnum):
    """What was called."""

    AI = "ai"
    PLUGIN = "plugin"


class EventLog(Table):
    """Writes events, and reads those of a kind newest first."""

    def record(self, kind: CallKind, **event: Any) -> None:
        """Write an event. Never raises: what it tells of has happened and was paid for, whether it is noted or not.

        Args:
            kind: what was called.
            event: texts and whole numbers; None is left out.
        """
        now = self.now()
        item: Item = {
            "pk": f"EVENTS#{kind}",
            "sk": f"{iso(now)}#{time_ordered_id(now)}",
            "at": iso(now),
            "expires_at": (now + TTL_MS) // 1000,
            **event,
        }
        logger.info("called", kind=kind.value, **event)
        try:
            self.client.put_item(TableName=self.table, Item=attribute_values.encode(item))
        except Exception:  # noqa: BLE001  see above
            count("EventsNotRecorded")
            logger.exception("event not written", kind=kind.value)

    def read(
        self, kind: CallKind, since: int | None, until: int | None, limit: int, cursor: str | None
    ) -> tuple[list[Item], str | None]:
        """A page of events, newest first, and the cursor of the next one, None after the last.

        Args:
            kind: of what.
            since: first millisecond.
            until: last millisecond.
            limit: entries of a page.
            cursor: of the page before.

        Raises:
            Invalid: the cursor is not one of this list.
        """
        low, high = text_range(since, until)
        return dynamodb.query_page(
            self.client,
            self.table,
            "pk = :pk AND sk BETWEEN :low AND :high",
            limit=limit,
            cursor=cursor,
            pk=f"EVENTS#{kind}",
            low=low,
            high=high,
        )


@lru_cache(maxsize=1)
def from_env() -> EventLog:
    """The event log of this process."""
    return EventLog(aws.dynamodb(), settings().system_table)
