"""Consumer of the payments queue: recorded events become orders and bots."""

from __future__ import annotations

from adbot_queue.core.consume import TimeLeft, messages
from adbot_queue.payments import service


def settle(event: str, time_left: TimeLeft) -> None:
    """One event; a second copy of the message finds it settled."""
    service.from_env().settle(event, time_left=time_left)


handler = messages(settle, "event", soon=True)
