"""Consumer of the Jobs table's stream: statistics."""

from __future__ import annotations

from adbot_queue.core.consume_stream import stream
from adbot_queue.queues import counters

handler = stream(lambda records: counters.from_env().tally(records))
