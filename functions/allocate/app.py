"""Consumer of allocation.fifo: resolves each pool that a message names, one run at a time."""

from __future__ import annotations

from adbot_queue.adbots import service
from adbot_queue.core.consume import TimeLeft, messages


def allocate(pool: str, time_left: TimeLeft) -> None:
    """Run the resolver once for a message; a run with nothing to do costs two reads."""
    service.from_env().resolver.run(pool, time_left)


handler = messages(allocate, "pool", fifo=True)
