"""moto for many threads: the worker runs the handlers of a batch at the same time."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

from moto.core.botocore_stubber import BotocoreStubber

LOCK = threading.RLock()
"""Held during each call."""


@cache
def one_call_at_a_time() -> None:
    """Serialise moto's calls for the rest of the process.

    moto checks and writes in two steps: otherwise two threads can both win a conditional write.
    """
    answer = BotocoreStubber.__call__

    def answered(stubber: Any, *args: Any, **kwargs: Any) -> Any:
        with LOCK:
            return answer(stubber, *args, **kwargs)

    BotocoreStubber.__call__ = answered  # type: ignore[method-assign,assignment]
