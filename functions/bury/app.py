"""Consumer of every dead-letter queue: a message becomes a dead letter that a person decides about, and an alert."""

from __future__ import annotations

import json
import os
from typing import Any

from adbot_queue.core import telemetry
from adbot_queue.jobs import bury


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """A batch; whatever its messages hold, none of them stops another."""
    try:
        failed = bury.from_env().bury(event["Records"], json.loads(os.environ["DEAD_LETTER_SOURCES"]))
    finally:
        telemetry.flush()
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
