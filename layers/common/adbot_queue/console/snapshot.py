"""The figures of all pages: gathered once every few seconds and shared by all viewers.

    CONSOLE   SNAPSHOT#<version>   at, figures (JSON, deflated), expires_at
    CONSOLE   LEASE#<version>      renews (the `at` of the figures that its holder replaces), lease_until, expires_at

The version is that of the module that makes the figures: during a deployment pages of each read their own.

A viewer reads the item; one who finds it older than `FRESH_MS` takes the lease and gathers anew. Others are served what
is there, however old: a lease that its holder did not use ends by itself. Who has just changed something gathers
without a lease: its holder may have read before the change. The lease is apart because a write is paid by the size of
its item.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from adbot_queue.console import figures
from adbot_queue.console.figures import Snapshot
from adbot_queue.core import aws, dynamodb
from adbot_queue.core.attribute_values import Binary
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.dynamodb import ConditionFailed, Item, Table
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import count, logger

FRESH_MS = 4_000
FRESH_FOR_A_PAGE_MS = 6_000
"""For a page that opens: while a tab is open somewhere, which refreshes every five seconds, it reads two items."""

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


def lease_of(key: Item) -> Item:
    """Return the key of the lease of figures."""
    return {**key, "sk": key["sk"].replace("SNAPSHOT", "LEASE")}


KEY = key_of(Path(figures.__file__).read_bytes())


class Gather(Protocol):
    """Reads the figures; see `figures.gather`."""

    def __call__(self, now: int, before: Snapshot | None, *, acted: bool) -> dict[str, Any]:
        """Read them now, or what of them is due since the last ones."""
        ...


class Snapshots(Table):
    """Reads the snapshot, and renews it."""

    def __init__(self, client: Any, table: str, gather: Gather, now: Clock = system_clock) -> None:
        super().__init__(client, table, now)
        self._gather = gather

    def get(self, *, fresh: bool = False, opens: bool = False) -> Snapshot:
        """Return the snapshot: one read, and what `of` takes."""
        return self.of(dynamodb.get(self.client, self.table, KEY), fresh=fresh, opens=opens)

    def of(self, found: Item | None, *, fresh: bool = False, opens: bool = False) -> Snapshot:
        """Return the snapshot; for one viewer every `FRESH_MS` it takes the figures' own reads and two writes.

        Args:
            found: the item of `KEY`, as it was read.
            opens: a page opens: its figures may be a little older, and its first refresh renews them.
            fresh: the viewer has just changed something, and looks for its effect: the figures are read after that.
        """
        before = _unpacked(found) if found else None
        now = self.now()
        if before and not fresh and -AHEAD_MS < now - before.at < (FRESH_FOR_A_PAGE_MS if opens else FRESH_MS):
            return before
        if not fresh and not self._lease(now, before.at if before else 0) and before:
            return before  # the very first viewers gather all at once
        try:
            made = Snapshot(now, self._gather(now, before, acted=fresh))
        except Exception:
            if not before:
                raise
            logger.exception("figures not gathered; the last ones are shown")
            count("ConsoleFiguresStale")
            return before
        self._write(made)
        return made

    def _lease(self, now: int, seen: int) -> bool:
        """Whether this viewer may gather: no other does, and none has since the viewer read the figures of `seen`."""
        try:
            dynamodb.update_if(
                self.client,
                self.table,
                lease_of(KEY),
                "SET lease_until = :until, renews = :seen, expires_at = :expires",
                condition="attribute_not_exists(pk) OR renews < :seen OR lease_until < :now OR lease_until > :ahead",
                answer=False,
                until=now + LEASE_MS,
                seen=seen,
                expires=now // 1000 + TTL_S,
                now=now,
                ahead=now + AHEAD_MS,
            )
        except ConditionFailed:
            return False
        return True

    def _write(self, made: Snapshot) -> None:
        """Write the figures, unless newer ones are there."""
        packed = zlib.compress(json.dumps(made.figures, separators=(",", ":")).encode(), 9)
        if len(packed) > MAX_BYTES - 100:
            logger.warning("snapshot is large", bytes=len(packed))
        expires_at = made.at // 1000 + TTL_S
        item = {**KEY, "at": made.at, "figures": Binary(base64.b64encode(packed)), "expires_at": expires_at}
        try:
            condition = "attribute_not_exists(#at) OR #at < :at OR #at > :ahead"
            dynamodb.put_if(self.client, self.table, item, condition=condition, at=made.at, ahead=made.at + AHEAD_MS)
        except ConditionFailed:
            logger.info("newer figures are there already")


def _unpacked(item: Item) -> Snapshot:
    return Snapshot(item["at"], json.loads(zlib.decompress(base64.b64decode(item["figures"]))))


@lru_cache(maxsize=1)
def from_env() -> Snapshots:
    """The snapshot of this installation."""
    return Snapshots(aws.dynamodb(), settings().system_table, figures.gather)
