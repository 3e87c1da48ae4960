"""Consumer of the AdBots table's stream: domain events to the bus, notices for the admin, metrics."""

from __future__ import annotations

from adbot_queue.adbots import event_publisher
from adbot_queue.core.consume_stream import stream
from adbot_queue.operations import admin_digest as notices

handler = stream(lambda records: event_publisher.from_env(notices.from_env()).publish(records))
