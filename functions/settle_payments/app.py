"""Consumer of the payments queue: recorded events become orders and bots."""

from __future__ import annotations

from typing import Any

from adbot_queue.core.consume import TimeLeft, messages
from adbot_queue.payments import service


def settle(message: dict[str, Any], time_left: TimeLeft) -> None:
    """One event; a second copy of the message finds it settled."""
    service.from_env().settle(message["event"], time_left=time_left)


handler = messages(settle, soon=True)
