"""Consumer of the alarm topics: each message becomes a post in the chat of `AlarmChatUrl`."""

from __future__ import annotations

from typing import Any

from adbot_queue.core import events, telemetry
from adbot_queue.operations import chat


def handler(event: Any, _context: Any) -> dict[str, Any]:
    """Enqueue the posts. A failure fails the run, which is alarmed; Lambda tries it twice again."""
    notifications = events.notifications_of(event)
    if notifications is None:
        return events.ignored(event, "messages of the alarm topics")
    try:
        return {"jobs": [chat.from_env().post(notification) for notification in notifications]}
    finally:
        telemetry.flush()
