"""Consumer of the Jobs table's stream: statistics, and whoever else wants to know of jobs' changes."""

from __future__ import annotations

from typing import Any

from adbot_queue.core.consume import stream
from adbot_queue.jobs import alerts, counters


def work(records: list[dict[str, Any]]) -> None:
    """A batch of records. Each consumer must bear to see it again, longer or shorter, when a later one fails."""
    counters.from_env().tally(records)
    if died := alerts.arrivals(records):
        alerts.from_env().tell(died)


handler = stream(work)
