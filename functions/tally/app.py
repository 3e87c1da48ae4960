"""Consumer of the AdBots table's stream: domain events to the bus, notices for the admin, metrics."""

from __future__ import annotations

from adbot_queue.adbots import announce
from adbot_queue.core.consume import stream

handler = stream(lambda records: announce.from_env().announce(records))
