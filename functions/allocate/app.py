"""Consumer of allocation.fifo: resolves the pools that were nudged, one at a time each."""

from __future__ import annotations

from adbot_queue.adbots import service
from adbot_queue.core.consume import TimeLeft, messages


def allocate(pool: str, time_left: TimeLeft) -> None:
    """One nudge, one run; a run that finds nothing to do costs two reads."""
    service.from_env().pools.resolve(pool, time_left)


handler = messages(allocate, "pool", fifo=True)
