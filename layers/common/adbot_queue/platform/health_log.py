"""The health log: what the system noticed about itself, for 7 days.

    HEALTH#<level>   <time-ordered id>   event, message, detail, at

One partition a level, its key in the order of time: a page is one Query, or one a level for all of them, however many
days lie in between. A level takes 1,000 writes a second. So that a storm does not fill it, a process writes an event of
a level at most `MAX_ENTRIES` times in `PERIOD_S` seconds; the next entry says how many it left out. The function's log
has all of them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adbot_queue.core import attribute_values, aws, cursors, dynamodb
from adbot_queue.core.clock import Clock, iso, system_clock
from adbot_queue.core.dynamodb import Item, Transaction
from adbot_queue.core.errors import Invalid
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import logger

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TTL_MS = 7 * 86_400_000
MAX_ENTRIES, PERIOD_S = 5, 10
MAX_TEXT = 1_000
"""Characters of a text in an entry."""


class LogLevel(StrEnum):
    """How much an entry matters. SWITCH: the mode was changed."""

    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    SWITCH = "SWITCH"


@dataclass(slots=True, eq=False, repr=False)
class _Spell:
    """What a process wrote of one event since `began`."""

    began: float
    written: int = 0
    left_out: int = 0


class HealthLog:
    """Writes entries, and reads them newest first."""

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        now: Clock = system_clock,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._table = table
        self._now = now
        self._seconds = seconds
        self._spells: dict[tuple[str, str], _Spell] = {}

    def record(self, level: LogLevel, event: str, message: str, **detail: Any) -> None:
        """Write an entry. Never raises: one that cannot be written is logged.

        Args:
            level: not SWITCH, which goes with the switch (`add`).
            event: a short name, the same for the same kind of thing.
            message: one sentence for a person, without personal data.
            detail: ids, counts, reasons.
        """
        severity = {LogLevel.WARNING: logger.warning, LogLevel.ERROR: logger.error}.get(level, logger.info)
        severity(message, event=event, detail=detail)
        try:
            left_out = self._admit(level, event)
            if left_out is None:
                return
            if left_out:
                detail["left_out"] = left_out
            self._client.put_item(
                TableName=self._table, Item=attribute_values.encode(self._entry(level, event, message, detail))
            )
        except Exception:  # noqa: BLE001  the caller is handling an error already
            logger.exception("health log entry not written", event=event)

    def add(self, transaction: Transaction, level: LogLevel, event: str, message: str, **detail: Any) -> None:
        """Add an entry to a transaction: it is written exactly if its effect is."""
        transaction.create("health", self._table, self._entry(level, event, message, detail))

    def _entry(self, level: LogLevel, event: str, message: str, detail: dict[str, Any]) -> Item:
        now = self._now()
        return {
            "pk": _pk(level),
            "sk": time_ordered_id(now),
            "level": level.value,
            "event": event,
            "message": message[:MAX_TEXT],
            "detail": {name: _plain(value) for name, value in detail.items() if value is not None},
            "at": iso(now),
            "expires_at": (now + TTL_MS) // 1000,
        }

    def _admit(self, level: LogLevel, event: str) -> int | None:
        """How many of its kind were left out before it; None when it is to be left out itself."""
        now = self._seconds()
        spell = self._spells.setdefault((level.value, event), _Spell(now))
        if now - spell.began >= PERIOD_S:
            spell.began, spell.written = now, 0
        if spell.written >= MAX_ENTRIES:
            spell.left_out += 1
            return None
        spell.written += 1
        left_out, spell.left_out = spell.left_out, 0
        return left_out

    def read(self, level: LogLevel | None, limit: int, cursor: str | None) -> tuple[list[Item], str | None]:
        """Return a page of entries of the last 7 days, newest first, and the cursor of the next, None after the last.

        One Query for a level, four for all.

        Raises:
            Invalid: the cursor is invalid.
        """
        low = time_ordered_id(self._now() - TTL_MS)[:12]  # TTL may delete days late
        high = _position(cursor) if cursor else "g"  # after every hex digit
        if high < low:
            return [], None
        found: list[Item] = []
        for one in [level] if level else LogLevel:
            found += self._query(one, low, high, limit + 1)
        found.sort(key=lambda entry: str(entry["sk"]), reverse=True)
        page = found[:limit]
        following = cursors.make_cursor({"before": page[-1]["sk"]}) if len(found) > limit else None
        return [_shown(entry) for entry in page], following

    def _query(self, level: LogLevel, low: str, high: str, limit: int) -> list[Item]:
        # Between includes both ends; the entry at the high end was shown on the page before.
        condition = "pk = :pk AND sk BETWEEN :low AND :high"
        values: dict[str, Any] = {"pk": _pk(level), "low": low, "high": high}
        found = dynamodb.query(self._client, self._table, condition, limit=limit + 1, forward=False, **values)
        return [entry for entry in found if entry["sk"] != high]


def _position(cursor: str) -> str:
    before = cursors.open_cursor(cursor).get("before")
    if not isinstance(before, str) or not re.fullmatch("[0-9a-f]{26}", before):
        raise Invalid.field("cursor", "is not a cursor of this list")
    return before


def _pk(level: LogLevel) -> str:
    return f"HEALTH#{level}"


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int) else str(value)[:MAX_TEXT]


def _shown(entry: Item) -> Item:
    return {name: entry[name] for name in ("at", "level", "event", "message", "detail")}


def record(level: LogLevel, event: str, message: str, **detail: Any) -> None:
    """Write an entry to this process's log; never raises, wherever it is called."""
    try:
        log = from_env()
    except Exception:  # noqa: BLE001  as above
        logger.exception("health log entry not written", event=event)
        return
    log.record(level, event, message, **detail)


@lru_cache(maxsize=1)
def from_env() -> HealthLog:
    """The health log of this process."""
    return HealthLog(aws.dynamodb(), settings().system_table)
