"""Consumer of allocation.fifo: resolves the pools that were nudged, one at a time each."""

from __future__ import annotations

from typing import Any

from adbot_queue.adbots import service
from adbot_queue.core.consume import TimeLeft, messages


def allocate(message: dict[str, Any], time_left: TimeLeft) -> None:
    """One nudge, one run; a run that finds nothing to do costs two reads."""
    service.from_env().pools.resolve(message["pool"], time_left)


handler = messages(allocate, fifo=True)
