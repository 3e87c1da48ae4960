"""Consumer of the notices queue: one mail for a minute's notices."""

from __future__ import annotations

from adbot_queue.core.consume import TimeLeft, messages
from adbot_queue.system import notices


def notify(minute: str, _time_left: TimeLeft) -> None:
    """One minute; a second copy of the message finds its mail sent."""
    notices.from_env().send(minute)


handler = messages(notify, "minute")
