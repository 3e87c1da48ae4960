"""A value of AWS that a process reads again every 5 s, and keeps while it cannot be read."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core.telemetry import logger

CACHE_SECONDS = 5

Value = TypeVar("Value")


class LastKnown(Generic[Value]):
    """The value, at most `CACHE_SECONDS` old; `value` is what holds before the first reading."""

    def __init__(
        self, what: str, read: Callable[[], Value], value: Value, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._what = what
        self._read = read
        self._seconds = seconds
        self._asked_at: float | None = None
        self.value = value

    @property
    def is_stale(self) -> bool:
        """Whether the next `get` reads."""
        return self._asked_at is None or self._seconds() - self._asked_at >= CACHE_SECONDS

    def get(self) -> Value:
        """The value. After a reading that failed the last one holds for another 5 s."""
        if not self.is_stale:
            return self.value
        try:
            return self.set(self._read())
        except (ClientError, BotoCoreError) as error:
            logger.warning(
                f"{self._what} cannot be read; going on with the last known value", error=type(error).__name__
            )
            return self.set(self.value)

    def set(self, value: Value) -> Value:
        """Take a value that was read or written just now."""
        self.value, self._asked_at = value, self._seconds()
        return value
