"""Consumer of every dead-letter queue: a message becomes a dead letter that a person decides about, and an alert."""

from __future__ import annotations

import json
import os
from typing import Any

from adbot_queue.core import consume, events, telemetry
from adbot_queue.jobs import bury


def handler(event: Any, _context: Any) -> dict[str, Any]:
    """A batch; whatever its messages hold, none of them stops another."""
    found = events.messages_of(event, attributes=("SentTimestamp", "ApproximateReceiveCount"), source=True)
    if found is None:
        return consume.nothing_done(event, consume.MESSAGES)
    try:
        failed = bury.from_env().bury(found.good, json.loads(os.environ["DEAD_LETTER_SOURCES"]))
        consume.come_back(
            found.good, {one["messageId"]: consume.wait_of(one) for one in found.good if one["messageId"] in failed}
        )
    finally:
        telemetry.flush()
    return consume.failed_answer(found.failed + failed)
