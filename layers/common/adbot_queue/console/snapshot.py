"""The figures of all pages: gathered once every few seconds and shared by all viewers.

    CONSOLE   SNAPSHOT#<version>   at, lease_until, figures (JSON, gzip, base85), expires_at

The version is that of the module that makes the figures: during a deployment pages of each read their own.

A viewer reads the item; one who finds it older than `FRESH_MS` takes a lease and gathers anew. Others are served what
is there, however old: a lease that its holder did not use ends by itself. Who has just changed something gathers
without a lease: its holder may have read before the change.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from adbot_queue.console import figures
from adbot_queue.core import aws, dynamodb
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.dynamodb import ConditionFailed, Item, Table
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import count, logger

FRESH_MS = 4_000
OLD_MS = 12_000
"""From here on a page says how old its figures are: renewing them fails."""

LEASE_MS = 3_000
AHEAD_MS = 60_000
"""Figures and leases from further in the future are of a clock that was wrong: they count for nothing."""

MAX_BYTES = 4_096
"""Of the item: a write costs a unit for each KB."""

TTL_S = 86_400


def key_of(source: bytes) -> Item:
    """Return the key of the figures that a module makes."""
    return {"pk": "CONSOLE", "sk": f"SNAPSHOT#{hashlib.sha256(source).hexdigest()[:8]}"}


KEY = key_of(Path(figures.__file__).read_bytes())


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Snapshot:
    """Figures as of `at` (ms); see `figures.gather`."""

    at: int
    figures: dict[str, Any]


class Snapshots(Table):
    """Reads the snapshot, and renews it."""

    def __init__(
        self, client: Any, table: str, gather: Callable[[int], dict[str, Any]], now: Clock = system_clock
    ) -> None:
        super().__init__(client, table, now)
        self._gather = gather

    def get(self, *, fresh: bool = False) -> Snapshot:
        """Return the snapshot: one read; for one viewer every `FRESH_MS` the figures' own reads and two writes.

        Args:
            fresh: the viewer has just changed something, and looks for its effect: the figures are read after that.
        """
        found = dynamodb.get(self.client, self.table, KEY)
        now = self.now()
        if not fresh and found and "figures" in found and -AHEAD_MS < now - found["at"] < FRESH_MS:
            return _unpacked(found)
        if not fresh and not self._lease(now, found.get("at") if found else None):
            if found and "figures" in found:
                return _unpacked(found)
            return Snapshot(now, self._gather(now))  # the very first viewers, all at once
        try:
            made = Snapshot(now, self._gather(now))
        except Exception:
            if not found or "figures" not in found:
                raise
            logger.exception("figures not gathered; the last ones are shown")
            count("ConsoleFiguresStale")
            return _unpacked(found)
        self._write(made)
        return made

    def _lease(self, now: int, seen: int | None) -> bool:
        """Whether this viewer may gather: no other does, and none has since the viewer read the figures of `seen`."""
        free = "(attribute_not_exists(lease_until) OR lease_until < :now OR lease_until > :ahead)"
        same = "attribute_not_exists(#at)" if seen is None else "#at = :seen"
        values: dict[str, Any] = {
            "until": now + LEASE_MS,
            "now": now,
            "ahead": now + AHEAD_MS,
            **({} if seen is None else {"seen": seen}),
        }
        try:
            dynamodb.update_if(
                self.client,
                self.table,
                KEY,
                "SET lease_until = :until",
                condition=f"{free} AND {same}",
                answer=False,
                **values,
            )
        except ConditionFailed:
            return False
        return True

    def _write(self, made: Snapshot) -> None:
        """Write the figures, unless newer ones are there; the lease ends with them."""
        packed = base64.b85encode(gzip.compress(json.dumps(made.figures, separators=(",", ":")).encode(), 9)).decode()
        if len(packed) > MAX_BYTES - 100:
            logger.warning("snapshot is large", bytes=len(packed))
        expires_at = made.at // 1000 + TTL_S
        item = {**KEY, "at": made.at, "lease_until": 0, "figures": packed, "expires_at": expires_at}
        try:
            condition = "attribute_not_exists(#at) OR #at < :at OR #at > :ahead"
            dynamodb.put_if(self.client, self.table, item, condition=condition, at=made.at, ahead=made.at + AHEAD_MS)
        except ConditionFailed:
            logger.info("newer figures are there already")


def _unpacked(item: Item) -> Snapshot:
    return Snapshot(item["at"], json.loads(gzip.decompress(base64.b85decode(item["figures"]))))


@lru_cache(maxsize=1)
def from_env() -> Snapshots:
    """The snapshot of this installation."""
    return Snapshots(aws.dynamodb(), settings().system_table, figures.gather)
